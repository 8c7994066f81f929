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
from pathlib import Path

import numpy as np

from scheduler_policies import Device
from tasks.execution.mitigation.readout import ReadoutCalibration, learn, mitigate, readout_programs, unmeasured
from tasks.execution.qpu.cached_run import run_cached
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.devices import qpu_report
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import default_folder
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.records import CircuitRequest, CircuitResult, QpuOptions, QpuRun
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.retry import present_target
from tasks.execution.qpu.target import QpuTarget
from tasks.model.tensor import VariantCounts

CALIBRATION_SHOTS = 8192


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

    @property
    def shares(self) -> np.ndarray:
        """What the value at each noise factor counts for in that of the least-squares line at 0; they add up to 1.

        A circuit's shots are shared out in proportion to their sizes.
        """
        places = np.asarray(self.noise_factors, dtype=np.float64)
        if len(places) == 1:
            return np.ones(1)
        return np.asarray(np.linalg.pinv(np.column_stack([np.ones_like(places), places]))[0])


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


def readout_shots_due(device: Device, name: str) -> int:
    """Shots of both readout circuits, 0 where mitigation ``name`` needs none or this user has measured it already."""
    mitigation = mitigation_of(name)
    if not mitigation.readout:
        return 0
    epoch = qpu_report(device).state.calibration_epoch
    known = ReadoutCalibration(default_folder(), device.name, epoch).read()
    return 0 if known else 2 * mitigation.calibration_shots


def run_mitigated(
    resource: QpuResource,
    requests: Sequence[CircuitRequest],
    mitigation: Mitigation = NO_MITIGATION,
    options: QpuOptions | None = None,
) -> QpuRun:
    """``run_requests`` with mitigation: the same circuits and shots, and counts that carry what their statistics need.

    The shots of a circuit are shared among the noise factors; the calibration's are on top, once for a calibration
    of the device.

    Raises:
        QpuError: as ``run_requests``.
    """
    options = options or QpuOptions()
    if mitigation == NO_MITIGATION or not any(request.circuit.num_clbits for request in requests):
        return run_cached(resource, requests, options)
    with QpuClient(resource, options.call_seconds) as client:
        target = present_target(client, options.patience, options.believe)
    shares = mitigation.shares
    parts = [_at_factors(request, mitigation.noise_factors, shares, target, options.level) for request in requests]
    folder = options.journal or default_folder()
    calibration: list[CircuitRequest] = []
    if mitigation.readout:
        measuring = [request.circuit for request in requests if request.circuit.num_clbits]
        measured = {qubit for p in make_programs(measuring, target, options.level) for qubit in p.measured}
        keep = all(request.stream for request in requests)
        calibration = _readout_requests(folder, target, measured, mitigation, keep=keep)
    run = run_cached(resource, [*(one for part in parts for one in part), *calibration], options)
    ran = iter(run.results)
    results = [[next(ran) for _ in part] for part in parts]
    if calibration:
        measured_now = list(ran)
        learn(folder, resource.name, measured_now)
        run.readout_shots += _taken(measured_now)
    if mitigation.readout:
        *_, newest = run.targets.values()
        if newest.epoch != target.epoch:
            _measure_again(resource, run, newest, mitigation, replace(options, monitor=None))
        mitigate(folder, run)
    run.results = [extrapolate_result(part, shares) for part in results]
    return run


def _at_factors(
    request: CircuitRequest, factors: Sequence[int], shares: np.ndarray, target: QpuTarget, level: int
) -> list[CircuitRequest]:
    """A request at each noise factor, its shots shared out in proportion to the weights that they will have."""
    if len(factors) == 1 or not request.circuit.num_clbits:
        return [request]
    (program,) = make_programs([request.circuit], target, level)
    each = [max(1, round(share * request.shots)) for share in np.abs(shares) / np.abs(shares).sum()]
    return [
        replace(request, circuit=program if factor == 1 else fold(program, factor), shots=shots)
        for factor, shots in zip(factors, each, strict=True)
    ]


def _readout_requests(
    folder: Path, target: QpuTarget, qubits: set[int], mitigation: Mitigation, *, keep: bool
) -> list[CircuitRequest]:
    stream = f"readout at {target.epoch}" if keep else ""  # what a job of another calibration has measured is not it
    programs = readout_programs(folder, target, qubits)
    return [CircuitRequest(program, mitigation.calibration_shots, stream) for program in programs]


def _taken(results: Sequence[CircuitResult]) -> int:
    """Shots of results that no cache had."""
    return sum(result.counts.shots for result in results if result.counts is not None and not result.origin)


def extrapolate_result(parts: Sequence[CircuitResult], shares: np.ndarray) -> CircuitResult:
    """Results of a circuit at several noise factors as one; it fails with the first of them that did."""
    first = parts[0]
    if len(parts) == 1:
        return first
    failed = next((part.failure for part in parts if part.failure is not None), None)
    if failed is not None:
        first.fail(failed)
    else:
        first.counts = extrapolate([part.counts for part in parts if part.counts is not None], shares)
    if not all(part.origin for part in parts):
        first.origin = {}  # from the cache is what is so at every noise factor
    return first


def _measure_again(
    resource: QpuResource, run: QpuRun, target: QpuTarget, mitigation: Mitigation, options: QpuOptions
) -> None:
    """The device was recalibrated on the way: measure the readout of the qubits that were read since."""
    folder = options.journal or default_folder()
    qubits = unmeasured(folder, run, target)
    requests = _readout_requests(folder, target, qubits, mitigation, keep=options.cache is not None)
    if not requests:
        return
    try:
        more = run_cached(resource, requests, options, further=True)
    except QpuError as error:
        run.notes.append(f"readout could not be measured after the recalibration, published rates are used: {error}")
        return
    learn(folder, resource.name, more.results)
    run.readout_shots += _taken(more.results)
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
