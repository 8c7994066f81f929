"""Readout errors of a QPU: measured once a calibration by two circuits, kept on disk, and taken out of counts.

Two extra circuits, all measured qubits at 0 and all at 1, give each qubit's two flip probabilities a = P(1|0) and
b = P(0|1). A parity is then the mean over shots of a product of *readings*, (1 - b + a) / (1 - a - b) for a bit read
as 0 and -(1 - a + b) / (1 - a - b) for a 1, instead of +1 and -1: unbiased where qubits are misread independently, the
model of mthree's tensored calibration. mthree's own quasi-probabilities give the same means (a test holds one against
the other), but only a bound on their error, the overhead of all bits together; readings keep every shot, so the sample
covariance that the error bar is made of pays for exactly the bits that a parity has. The calibration's own error, below
0.5 % of a parity for each bit at 8192 shots, is not in the error bar.

Counts are read with the rates of the calibration under which they were taken. Where that is not certain, because the
device was recalibrated while the job may have run, or where shots of one variant are of two calibrations, it is the
mean of the rates: right to first order for shots that lie half and half, off by half their difference at worst.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile

from tasks.execution.as_written import circuit_digest
from tasks.execution.own_stages import own_stages
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.programs import REGISTER, SEED, Program
from tasks.execution.qpu.records import CircuitResult, QpuRun, Source
from tasks.execution.qpu.target import QpuTarget
from tasks.runtime.private_folder import PrivateFolder

LEAST_CONTRAST = 0.1  # a qubit whose readout tells 0 from 1 worse than this cannot be mitigated, only avoided

Flips = dict[int, tuple[float, float]]  # qubit -> (probability of 1 read for 0, of 0 read for 1)


def readings(flips: Sequence[tuple[float, float]]) -> np.ndarray:
    """(bit, 2) what a 0 and a 1 of each bit contribute to a parity, from its P(1|0) and P(0|1)."""
    low, high = np.asarray(flips, dtype=np.float64).reshape(-1, 2).T
    return np.column_stack([1 - high + low, -(1 - low + high)]) / (1 - low - high)[:, None]


class ReadoutCalibration:
    """The readout errors of a QPU at one calibration, on disk: every process of every run pays for them once.

    Args:
        folder: where it is kept.
        resource: name of the QPU.
        epoch: name of its calibration.
    """

    def __init__(self, folder: Path, resource: str, epoch: str) -> None:
        digest = hashlib.sha256(f"{resource}:{epoch}".encode()).hexdigest()[:16]
        self._folder, self._name = folder, f"readout-{digest}.calibration"

    def read(self) -> Flips:
        """What is known; nothing where the file is missing or torn.

        Raises:
            PrivateFolderError: others may have written it.
        """
        try:
            with PrivateFolder(self._folder) as folder:
                known = json.loads(folder.read(self._name))
            return {int(qubit): (float(low), float(high)) for qubit, (low, high) in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def add(self, flips: Flips) -> None:
        """Add to it; two writers at once may lose one's, which is then measured again."""
        known = self.read() | flips
        with PrivateFolder(self._folder) as folder:
            folder.write(self._name, json.dumps(known).encode())


def readout_programs(folder: Path, target: QpuTarget, wanted: set[int]) -> list[Program]:
    """The two readout circuits for the qubits wanted that are not calibrated yet; none where all are."""
    qubits = sorted(wanted - set(ReadoutCalibration(folder, target.resource, target.epoch).read()))
    if not qubits:
        return []
    made = []
    for value in (0, 1):
        circuit = QuantumCircuit(QuantumRegister(target.num_qubits, "q"), ClassicalRegister(len(qubits), REGISTER))
        if value:
            circuit.x(qubits)
        circuit.measure(qubits, range(len(qubits)))
        with own_stages():
            written = transpile(
                circuit, target=target.target, optimization_level=0, initial_layout=range(target.num_qubits),
                seed_transpiler=SEED,
            )  # fmt: skip
        made.append(Program(circuit_digest(circuit), written, tuple(qubits)))
    return made


def learn(folder: Path, resource: str, results: Sequence[CircuitResult]) -> None:
    """Write down what the two readout circuits have measured, if they ran under one calibration for certain.

    Args:
        folder: of the calibrations.
        resource: name of the QPU.
        results: of the two.
    """
    low, high = (result.counts for result in results)
    epochs = {epoch for result in results for source in result.sources for epoch in source.epochs}
    if low is None or high is None or len(epochs) != 1:
        return  # published rates are used
    measured = results[0].sources[0].measured
    ones = [
        (np.unpackbits(found.outcomes, axis=1, count=found.num_bits, bitorder="little").T @ found.counts) / found.shots
        for found in (low, high)
    ]
    flips = {qubit: (float(zero), float(1 - one)) for qubit, zero, one in zip(measured, *ones, strict=True)}
    ReadoutCalibration(folder, resource, epochs.pop()).add(flips)


def unmeasured(folder: Path, run: QpuRun, target: QpuTarget) -> set[int]:
    """Qubits that counts of a run were read from under a calibration for which they were not measured."""
    known = ReadoutCalibration(folder, target.resource, target.epoch).read()
    read = {
        qubit
        for result in run.results
        for source in result.sources
        if target.epoch in source.epochs
        for qubit in source.measured
    }
    return read - set(known)


def mitigate(folder: Path, run: QpuRun) -> None:
    """Give the counts of every circuit the readings that undo the readout errors of its qubits at its calibration.

    Counts of a qubit whose readout hardly tells 0 from 1 are taken out, and why is among the run's failures.
    """
    target = run.target
    if target is None:
        return
    epochs = {epoch for result in run.results for source in result.sources for epoch in source.epochs}
    rates: dict[str, Flips] = {}
    for epoch in epochs:
        published = run.targets[epoch].readout if epoch in run.targets else ()
        rates[epoch] = dict(enumerate(published)) | ReadoutCalibration(folder, target.resource, epoch).read()
    for result in run.results:
        if result.counts is None or not result.sources:
            continue
        flips = [_flips(result.sources, bit, rates, target) for bit in range(result.counts.num_bits)]
        worst = min(1 - low - high for low, high in flips)
        if worst >= LEAST_CONTRAST:
            result.counts = replace(result.counts, readings=readings(flips))
            continue
        why = f"a qubit's readout hardly tells 0 from 1 (contrast {worst:.2f})"
        result.fail(QpuError(Fault.IMPLAUSIBLE, target.resource, why))


def _flips(sources: Sequence[Source], bit: int, rates: dict[str, Flips], target: QpuTarget) -> tuple[float, float]:
    """Rates of one bit: the mean over the calibrations a source may be of, weighted over sources by their shots."""
    pairs, weights = [], []
    for source in sources:
        qubit = source.measured[bit]
        known = [rates[epoch][qubit] for epoch in source.epochs if qubit in rates[epoch]]
        pairs.append(np.mean(known or [target.readout[qubit]], axis=0))
        weights.append(source.shots)
    low, high = np.average(pairs, axis=0, weights=weights)
    return float(low), float(high)
