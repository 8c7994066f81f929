"""Error mitigation on a QPU: readout errors taken out of every parity, and extrapolation to zero noise by folding.

Readout. Two extra circuits, all measured qubits at 0 and all at 1, give each qubit's two flip probabilities
a = P(1|0) and b = P(0|1). A parity is then the mean over shots of a product of *readings*, (1 - b + a) / (1 - a - b)
for a bit read as 0 and -(1 - a + b) / (1 - a - b) for a 1, instead of +1 and -1: unbiased where qubits are misread
independently, the model of mthree's tensored calibration. mthree's own quasi-probabilities give the same means (a test
holds one against the other), but only a bound on their error, the overhead of all bits together; readings keep every
shot, so the sample covariance that the error bar is made of pays for exactly the bits that a parity has. The
calibration's own error, below 0.5 % of a parity for each bit at 8192 shots, is not in the error bar.

Zero noise. Every two-qubit gate G becomes G (G^-1 G)^k, which multiplies its noise by 2k + 1 and does nothing else; a
straight line through the values at several such factors, taken at 0, is a weighted sum of them, and so the shots carry
weights (``VariantCounts.weights``). The error bar has the weights' squares in it; what the line leaves of the bias is
not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile

from tasks.execution.qpu.asking import present_target
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import default_folder
from tasks.execution.qpu.programs import REGISTER, SEED, Program, circuit_digest, make_programs
from tasks.execution.qpu.records import QpuOptions, QpuRun
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.run import run_variants
from tasks.execution.qpu.target import QpuTarget
from tasks.tensor import VariantCounts

CALIBRATION_SHOTS = 8192
LEAST_CONTRAST = 0.1  # a qubit whose readout tells 0 from 1 worse than this cannot be mitigated, only avoided

Flips = dict[int, tuple[float, float]]  # qubit -> (probability of 1 read for 0, of 0 read for 1)


@dataclass(frozen=True)
class Mitigation:
    """What is done against errors.

    Attributes:
        readout: whether readout errors are taken out.
        noise_factors: odd factors on the noise of two-qubit gates, starting with 1; one alone means no extrapolation.
        calibration_shots: shots of each of the two readout circuits.
    """

    readout: bool = True
    noise_factors: tuple[int, ...] = (1,)
    calibration_shots: int = CALIBRATION_SHOTS

    def __post_init__(self) -> None:
        factors = self.noise_factors
        if not factors or factors[0] != 1 or any(f % 2 == 0 for f in factors) or list(factors) != sorted(set(factors)):
            raise QpuError(Fault.CONFIGURATION, "any", f"noise factors {factors}: odd, rising, starting with 1, please")


NO_MITIGATION = Mitigation(readout=False)
_NAMED = {
    "none": NO_MITIGATION,
    "readout": Mitigation(),
    "readout+zne": Mitigation(noise_factors=(1, 3)),
}


def mitigation_of(name: str) -> Mitigation:
    """The mitigation that ``--mitigation`` names: none, readout or readout+zne.

    Raises:
        QpuError: there is none of that name.
    """
    if name not in _NAMED:
        raise QpuError(Fault.CONFIGURATION, "any", f"no mitigation {name!r}; there are {', '.join(_NAMED)}")
    return _NAMED[name]


def run_mitigated(
    resource: QpuResource,
    circuits: Sequence[QuantumCircuit],
    shots: Sequence[int],
    mitigation: Mitigation = NO_MITIGATION,
    options: QpuOptions | None = None,
) -> QpuRun:
    """``run_variants`` with mitigation: the same variants and shots, and counts that carry what their statistics need.

    The shots of a variant are shared among the noise factors; the calibration's are on top, once for a calibration
    of the device.

    Raises:
        QpuError: as ``run_variants``.
    """
    options = options or QpuOptions()
    if mitigation == NO_MITIGATION or all(circuit.num_clbits == 0 for circuit in circuits):
        return run_variants(resource, circuits, shots, options)
    with QpuClient(resource, options.call_seconds) as client:
        target = present_target(client, options.patience)
    measuring = [index for index, circuit in enumerate(circuits) if circuit.num_clbits]
    programs = make_programs([circuits[index] for index in measuring], target, options.level)
    shares = _shares(mitigation.noise_factors)
    wanted: list[QuantumCircuit | Program] = list(circuits)
    asked = list(map(int, shots))
    parts: dict[int, list[int]] = {}  # variant -> where each of its noise factors is in ``wanted``
    if len(mitigation.noise_factors) > 1:
        for index, program in zip(measuring, programs, strict=True):
            each = [max(1, round(share * shots[index])) for share in np.abs(shares) / np.abs(shares).sum()]
            asked[index], wanted[index] = each[0], program
            parts[index] = [index]
            for factor, part in zip(mitigation.noise_factors[1:], each[1:], strict=True):
                parts[index].append(len(wanted))
                wanted.append(fold(program, factor))
                asked.append(part)
    book = _Book(options.journal or default_folder(), target)
    calibration = _calibration_programs(book, target, programs) if mitigation.readout else []
    run = run_variants(
        resource, [*wanted, *calibration], [*asked, *[mitigation.calibration_shots] * len(calibration)], options
    )
    counts = list(run.counts)
    if calibration:
        _learn(book, calibration, counts[len(wanted) :])
    if mitigation.readout:
        known = book.read()
        for index, (ran, found) in enumerate(zip(run.programs, counts, strict=True)):
            try:
                counts[index] = _read(known, target, ran, found)
            except QpuError as error:
                counts[index], run.failures[index] = None, error
    failures = {index: error for index, error in run.failures.items() if index < len(circuits)}
    for index, places in parts.items():
        pieces = [counts[place] for place in places]
        missing = next((place for place in places if counts[place] is None), None)
        if missing is not None:
            failures[index] = run.failures[missing]
            counts[index] = None
        else:
            counts[index] = extrapolate([one for one in pieces if one is not None], shares)
    run.counts, run.programs, run.failures = counts[: len(circuits)], run.programs[: len(circuits)], failures
    return run


def fold(program: Program, factor: int) -> Program:
    """A program whose two-qubit gates are each followed by (inverse, gate) ``(factor - 1) / 2`` times.

    Raises:
        QpuError: the inverse of a gate is not a gate of the program's device.
    """
    folded = program.circuit.copy_empty_like()
    for entry in program.circuit.data:
        folded.append(entry)
        if len(entry.qubits) == 2 and entry.operation.name != "barrier":
            inverse = entry.operation.inverse()
            if inverse.name != entry.operation.name:
                raise QpuError(Fault.UNFIT, "any", f"{entry.operation.name} cannot be folded: its inverse is no gate")
            for _ in range((factor - 1) // 2):
                folded.append(inverse, entry.qubits)
                folded.append(entry)
    return Program(f"{program.digest}-x{factor}", folded, program.measured)


def extrapolate(parts: Sequence[VariantCounts], shares: np.ndarray) -> VariantCounts:
    """Counts at several noise factors as one sample whose weighted mean is their combination ``shares``."""
    total = sum(part.shots for part in parts)
    weights = [np.full(len(part.counts), share * total / part.shots) for part, share in zip(parts, shares, strict=True)]
    return replace(
        parts[0],
        outcomes=np.concatenate([part.outcomes for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        weights=np.concatenate(weights),
    )


def readings(flips: Sequence[tuple[float, float]]) -> np.ndarray:
    """(bit, 2) what a 0 and a 1 of each bit contribute to a parity, from its P(1|0) and P(0|1)."""
    low, high = np.asarray(flips, dtype=np.float64).reshape(-1, 2).T
    return np.column_stack([1 - high + low, -(1 - low + high)]) / (1 - low - high)[:, None]


def _shares(factors: Sequence[int]) -> np.ndarray:
    """Coefficients of the value at 0 of the least-squares line through values at ``factors``; they add up to 1."""
    places = np.asarray(factors, dtype=np.float64)
    if len(places) == 1:
        return np.ones(1)
    return np.linalg.pinv(np.column_stack([np.ones_like(places), places]))[0]


class _Book:
    """The readout calibrations of a QPU at one epoch, on disk: every process of every run pays for them once."""

    def __init__(self, folder: Path, target: QpuTarget) -> None:
        digest = hashlib.sha256(f"{target.resource}:{target.epoch}".encode()).hexdigest()[:16]
        self._path = folder / f"readout-{digest}.calibration"

    def read(self) -> Flips:
        """What is known; nothing where the file is missing or torn."""
        try:
            known = json.loads(self._path.read_text())
            return {int(qubit): (float(low), float(high)) for qubit, (low, high) in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def add(self, flips: Flips) -> None:
        """Add to it; two writers at once may lose one's, which is then measured again."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".readout-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.read() | flips, file)
        os.replace(name, self._path)


def _calibration_programs(book: _Book, target: QpuTarget, programs: Sequence[Program]) -> list[Program]:
    """The two readout circuits for the qubits measured that are not calibrated yet; none where all are."""
    qubits = sorted({qubit for program in programs for qubit in program.measured} - set(book.read()))
    if not qubits:
        return []
    made = []
    for value in (0, 1):
        circuit = QuantumCircuit(QuantumRegister(target.num_qubits, "q"), ClassicalRegister(len(qubits), REGISTER))
        if value:
            circuit.x(qubits)
        circuit.measure(qubits, range(len(qubits)))
        written = transpile(
            circuit, target=target.target, optimization_level=0, initial_layout=range(target.num_qubits),
            seed_transpiler=SEED,
        )  # fmt: skip
        made.append(Program(circuit_digest(circuit), written, tuple(qubits)))
    return made


def _learn(book: _Book, calibration: Sequence[Program], counts: Sequence[VariantCounts | None]) -> None:
    low, high = counts
    if low is None or high is None:
        return  # its failure is told with the run's; published rates are used
    ones = [
        (np.unpackbits(found.outcomes, axis=1, count=found.num_bits, bitorder="little").T @ found.counts) / found.shots
        for found in (low, high)
    ]
    book.add(
        {qubit: (float(zero), float(1 - one)) for qubit, zero, one in zip(calibration[0].measured, *ones, strict=True)}
    )


def _read(
    known: Flips, target: QpuTarget, program: Program | None, found: VariantCounts | None
) -> VariantCounts | None:
    if program is None or found is None or found.num_bits == 0:
        return found
    flips = [known.get(qubit, target.readout[qubit]) for qubit in program.measured]
    worst = min(1 - low - high for low, high in flips)
    if worst < LEAST_CONTRAST:
        raise QpuError(
            Fault.IMPLAUSIBLE, target.resource, f"a qubit's readout hardly tells 0 from 1 (contrast {worst:.2f})"
        )
    return replace(found, readings=readings(flips))
