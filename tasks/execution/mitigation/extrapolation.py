"""Error mitigation on a QPU: readout errors taken out of every parity, and extrapolation to zero noise by folding.

Readout: ``tasks/execution/mitigation/readout.py``.

Zero noise. Every two-qubit gate G becomes G (G^-1 G)^k, which multiplies its noise by 2k + 1 and does nothing else; a
straight line through the values at several such factors, taken at 0, is a weighted sum of them, and so the shots carry
weights (``VariantCounts.weights``). The error bar has the weights' squares in it; what the line leaves of the bias is
not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from qiskit import QuantumCircuit

from tasks.execution.mitigation.readout import learn, mitigate, readout_programs, unmeasured
from tasks.execution.qpu.cached_run import run_kept
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import default_folder
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.records import QpuOptions, QpuRun
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.retry import present_target
from tasks.execution.qpu.target import QpuTarget
from tasks.model.tensor import VariantCounts

CALIBRATION_SHOTS = 8192
READOUT_STREAM = "readout"


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
        return run_kept(resource, circuits, shots, options, options.streams)
    with QpuClient(resource, options.call_seconds) as client:
        target = present_target(client, options.patience, options.believe)
    measuring = [index for index, circuit in enumerate(circuits) if circuit.num_clbits]
    programs = make_programs([circuits[index] for index in measuring], target, options.level)
    shares = _shares(mitigation.noise_factors)
    wanted: list[QuantumCircuit | Program] = list(circuits)
    asked = list(map(int, shots))
    streams = list(options.streams)
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
                streams += streams[index : index + 1]
    folder = options.journal or default_folder()
    calibration: list[Program] = []
    if mitigation.readout:
        measured = {qubit for program in programs for qubit in program.measured}
        calibration = readout_programs(folder, target, measured)
    streams += [READOUT_STREAM] * len(calibration) if streams else []
    run = run_kept(
        resource, [*wanted, *calibration], [*asked, *[mitigation.calibration_shots] * len(calibration)], options,
        streams,
    )  # fmt: skip
    if calibration:
        learn(folder, resource.name, run, len(wanted))
    if mitigation.readout:
        *_, newest = run.targets.values()
        if newest.epoch != target.epoch:
            _measure_again(resource, run, newest, mitigation, replace(options, watch=None))
        mitigate(folder, run)
    counts = list(run.counts)
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
    run.sources = run.sources[: len(circuits)]
    for index, places in parts.items():  # from the cache is what is so at every noise factor
        if run.origins and not all(run.origins[place] for place in places):
            run.origins[index] = {}
    run.origins = run.origins[: len(circuits)]
    return run


def _measure_again(
    resource: QpuResource, run: QpuRun, target: QpuTarget, mitigation: Mitigation, options: QpuOptions
) -> None:
    """The device was recalibrated on the way: measure the readout of the qubits that were read since."""
    folder = options.journal or default_folder()
    programs = readout_programs(folder, target, unmeasured(folder, run, target))
    if not programs:
        return
    try:
        shots = [mitigation.calibration_shots] * len(programs)
        streams = [READOUT_STREAM] * len(programs) if options.streams else []
        more = run_kept(resource, programs, shots, options, streams, besides=True)
    except QpuError as error:
        run.notes.append(f"readout could not be measured after the recalibration, published rates are used: {error}")
        return
    learn(folder, resource.name, more, 0)
    run.jobs += more.jobs
    run.notes += more.notes


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


def _shares(factors: Sequence[int]) -> np.ndarray:
    """Coefficients of the value at 0 of the least-squares line through values at ``factors``; they add up to 1."""
    places = np.asarray(factors, dtype=np.float64)
    if len(places) == 1:
        return np.ones(1)
    return np.linalg.pinv(np.column_stack([np.ones_like(places), places]))[0]
