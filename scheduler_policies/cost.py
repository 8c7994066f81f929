"""How long a device takes for a piece of work, how wrong it will be and what it costs: the shared model."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scheduler_policies.device import Device, DeviceState, Kind, Speed, Work
from scheduler_policies.jobs import LEVEL_RATIO, parts_needed
from scheduler_policies.machine import AMPLITUDE_BYTES, CPU_SPEED, DRAWN_FIRST, PLAIN_GATE

# Swaps a sparse coupling map adds: a two-qubit gate costs this many on average after routing.
ROUTED_TWO_QUBIT_GATES = 2.0
_MOST_BITS = 1000  # of what is counted: no machine holds nearly as much, and no float much more


def cpu_speed(devices: Iterable[Device]) -> Speed:
    """Of this machine, as far as a run's devices tell: their first CPU's, else a typical core's."""
    return next((device.speed for device in devices if device.kind is Kind.CPU), CPU_SPEED)


def variant_seconds(device: Device, width: int, depth: int, shots: int, gates: int | None = None) -> float:
    """Predicted seconds for one variant, without the fixed cost of its job.

    Args:
        device: the device.
        width: qubits of the variant.
        depth: its layers.
        shots: how often it is run.
        gates: how many gates it has; a full circuit, ``width * depth``, when not given.
    """
    speed = device.speed
    if device.kind is Kind.QPU:
        return speed.circuit + shots * (speed.shot + depth * speed.layer + device.readout_seconds)
    count = width * depth if gates is None else gates
    amplitude = PLAIN_GATE * speed.amplitude_gate
    return speed.circuit + count * (speed.gate + _doubled(width) * amplitude) + shots * speed.shot


def exact_seconds(
    device: Device,
    width: int,
    depth: int,
    branches: int,
    outputs: int,
    factors: int,
    gates: int | None = None,
    passes: int | None = None,
    numbers: float = 0,
    acted: float = 0.0,
) -> float:
    """Predicted seconds for a whole fragment tensor from one simulation with its legs left open.

    The states of the ``2**branches`` branches, then the Gram matrices, in passes over the states: for each observable
    factor every pair of branches meets on ``2**width`` amplitudes, and outgoing legs, left open in it, multiply the
    pairs by ``2**outputs``; then what follows from these.

    Args:
        device: a simulator.
        width: qubits of the fragment.
        depth: its layers.
        branches: cut ends the simulation branches on.
        outputs: outgoing wire legs.
        factors: observable factors.
        gates: how many gates it has; ``width * depth`` when not given.
        passes: that the factors take; as many as there are factors when not given.
        numbers: in the tensor.
        acted: amplitudes that its gates act on (see ``Work``).
    """
    speed, many = device.speed, max(factors, 1)
    amplitudes, pairs = _doubled(width + branches), _doubled(2 * (branches + outputs))
    met = _doubled(width - outputs + 2 * (branches + outputs))
    grams = (passes or many) * (speed.grams + amplitudes * speed.amplitude_pass) + many * met * speed.pair
    made = many * pairs * speed.entry + numbers * speed.number
    return open_state_seconds(device, width, depth, branches, gates, acted) + grams + made


def open_state_seconds(
    device: Device, width: int, depth: int, branches: int, gates: int | None = None, acted: float = 0.0
) -> float:
    """Predicted seconds for the states of all branches of a fragment."""
    speed, count = device.speed, width * depth if gates is None else gates
    acted = acted or count * _doubled(width + branches)
    return speed.circuit + count * speed.gate + acted * speed.amplitude_gate


def sampled_seconds(
    device: Device,
    width: int,
    depth: int,
    branches: int,
    variants: int,
    shots: int,
    gates: int | None = None,
    measured: int | None = None,
    acted: float = 0.0,
) -> float:
    """Predicted seconds for counts of a fragment's variants on a simulator.

    All variants' distributions from one simulation with the legs open; where its state does not fit, each variant by
    its own simulation.

    Args:
        device: a simulator.
        width: qubits of the fragment.
        depth: its layers.
        branches: cut ends the simulation branches on.
        variants: how many.
        shots: of all variants together.
        gates: how many gates the fragment has; ``width * depth`` when not given.
        measured: qubits that a variant measures; all when not given.
        acted: amplitudes that its gates act on (see ``Work``).
    """
    measured = width if measured is None else measured
    drawn = drawn_shots(variants, shots, measured) * device.speed.shot
    if device.memory_bytes is not None and state_bytes(width, branches) > device.memory_bytes:
        return variants * variant_seconds(device, width, depth, 0, gates) + drawn
    draw = device.speed.draw + places(measured) * device.speed.place
    return open_state_seconds(device, width, depth, branches, gates, acted) + variants * draw + drawn


def drawn_shots(variants: int, shots: int, measured: int) -> float:
    """Of ``shots`` in all, those that cost something: more of a variant than it has outcomes are numbers of these."""
    return min(float(shots), variants * _doubled(measured))


def places(measured: int) -> float:
    """Of the distribution that a variant's shots are drawn from first: of all qubits measured, or as many as pay."""
    return _doubled(min(measured, DRAWN_FIRST))


def state_bytes(width: int, branches: int = 0) -> int:
    """Memory of a state, or of the states of all branches at once."""
    return int(AMPLITUDE_BYTES * 2 ** (width + branches))


def jobs_needed(device: Device, work: Work) -> int:
    """How many jobs a piece of work takes on a device that limits circuits and shots a job."""
    if device.exact:
        return 1
    limit = device.limits.circuits_per_job
    return 1 if limit is None else math.ceil(work.variants * repeats_needed(device, work) / limit)


def repeats_needed(device: Device, work: Work) -> int:
    """How many circuits a variant is on a device that limits shots a job."""
    return sum(parts_needed(max(1, round(share * work.shots)), device.limits) for share in work.shares)


def work_seconds(device: Device, work: Work) -> float:
    """Predicted seconds one unit of a device is busy with a piece of work, waiting in its queue not counted.

    A simulator does the whole tensor at once, or its variants where that is cheaper or all that fits.
    """
    if device.exact:
        return device.speed.job + _simulation_seconds(device, work)
    one = sum(variant_seconds(device, work.width, work.depth, math.ceil(share * work.shots)) for share in work.shares)
    return jobs_needed(device, work) * device.speed.job + work.variants * one


def steady_pace(state: DeviceState) -> float:
    """How many times longer than its speed model says a device takes, in steps of a tenth, so that noise is no news."""
    return 1.1 ** round(math.log(state.pace) / math.log(1.1))


def runs_exact(device: Device, work: Work) -> bool:
    """Whether a piece of work is a whole tensor on this device (no error) and not variants with shots."""
    if not device.exact or not work.whole:
        return False
    return device.memory_bytes is None or _whole_bytes(work) <= device.memory_bytes


def needed_bytes(work: Work) -> int:
    """Memory that a simulator needs for a piece of work at least."""
    if work.exact:
        return _whole_bytes(work)
    if work.variant_seconds or (work.compact_seconds and work.whole):
        return work.exact_bytes
    return work.drawn_bytes or state_bytes(work.width)


def _whole_bytes(work: Work) -> int:
    """Memory that a simulator needs for the whole tensor."""
    return work.exact_bytes if work.compact_seconds else max(work.exact_bytes, state_bytes(work.width, work.branches))


def _simulation_seconds(device: Device, work: Work) -> float:
    width, depth, branches = work.width, work.depth, work.branches
    if runs_exact(device, work):
        if work.compact_seconds:
            return device.speed.housekeeping * work.compact_seconds + work.numbers * device.speed.number
        sizes = work.outputs, work.factors, work.gates, work.passes, work.numbers, work.acted
        return exact_seconds(device, width, depth, branches, *sizes)
    if work.variant_seconds:
        return device.speed.housekeeping * work.variants * work.variant_seconds
    shots = work.variants * work.shots
    counts = work.variants, shots, work.gates, work.measured, work.acted
    return sampled_seconds(device, width, depth, branches, *counts)


def why_not(device: Device, work: Work) -> str | None:
    """Why a device cannot run a piece of work, in words, or None when it can."""
    if device.name in work.avoid:
        return "failed it before"
    if work.exact and not device.exact:
        return "takes shots only"
    resets = not device.exact and device.limits.mid_circuit_measurement and device.limits.reset
    width = work.width - work.lent if resets else work.width
    if device.qubits is not None and width > device.qubits:
        return f"has {device.qubits} qubits, {width} needed"
    if device.exact:
        needed = needed_bytes(work)
        if device.memory_bytes is not None and needed > device.memory_bytes and not runs_exact(device, work):
            return f"has {device.memory_bytes} bytes of memory, {needed} needed"
    else:
        midway = 0 if device.limits.mid_circuit_measurement else work.mid_circuit_measurements
        needed = width + work.ancillas + midway
        if device.qubits is not None and needed > device.qubits:
            why = "cannot measure within a circuit and " if midway else ""
            return f"{why}has {device.qubits} qubits, {needed} needed with ancillas"
    return None


def circuit_fidelity(
    device: Device, operations: Iterable[tuple[str, tuple[int, ...]]], measured: Iterable[int]
) -> float:
    """Expected fidelity along a transpiled circuit: the product of (1 - error) of its gates and readouts.

    Args:
        device: a device with calibrated gates.
        operations: (gate name, physical qubits) of each gate. A gate without calibration takes the mean of the
            gates of its size (virtual rotations report error 0 in every calibration).
        measured: physical qubits measured.
    """
    calibrated = {(gate.name, gate.qubits): gate.error for gate in device.gates}
    means = {1: device.one_qubit_error, 2: device.two_qubit_error}
    logarithm = 0.0
    for name, qubits in operations:
        error = calibrated.get((name, qubits))
        if error is None:
            error = means.get(len(qubits), means[2])
        logarithm += _log_success(error)
    for qubit in measured:
        known = qubit < len(device.readout_errors)
        logarithm += _log_success(device.readout_errors[qubit] if known else device.readout_error)
    return math.exp(logarithm)


def expected_fidelity(device: Device, state: DeviceState, work: Work) -> float:
    """Expected fidelity of one of the work's variants, with the device's drift.

    From the transpiled circuit where ``work.fidelities`` has one, else from the mean gate and readout errors with
    two-qubit gates multiplied for routing. Drift multiplies every error rate, so to first order it raises
    the fidelity to the power ``1 + drift``.
    """
    if device.exact:
        return 1.0
    known = dict(work.fidelities).get(device.name)
    if known is None:
        known = mean_fidelity(device, work.one_qubit_gates, work.two_qubit_gates, work.measured)
    return known ** (1.0 + max(state.drift, -1.0))


def mean_fidelity(device: Device, one_qubit_gates: int, two_qubit_gates: int, measured: int) -> float:
    """Fidelity of a circuit known only by its counts, from the device's mean errors."""
    routed = two_qubit_gates * (ROUTED_TWO_QUBIT_GATES if device.routes else 1.0)
    logarithm = one_qubit_gates * _log_success(device.one_qubit_error)
    logarithm += routed * _log_success(device.two_qubit_error)
    logarithm += measured * _log_success(device.readout_error)
    return math.exp(logarithm)


def systematic_error(device: Device, state: DeviceState, work: Work) -> float:
    """Predicted bias of the final estimate from the device's noise: weight times infidelity."""
    return work.weight * (1.0 - expected_fidelity(device, state, work))


def statistical_variance(device: Device, work: Work) -> float:
    """Predicted variance of the final estimate from the work's shots; 0 where the tensor is exact."""
    return 0.0 if runs_exact(device, work) else work.weight**2 / work.shots


def squared_error(device: Device, state: DeviceState, work: Work) -> float:
    """Predicted squared error of the final estimate from one piece of work; pieces add.

    Variance plus squared bias. Adding squares takes the biases of different pieces to have independent signs, as the
    gradient's entries have; biases that all point one way add up to sqrt(pieces) times more.
    """
    return statistical_variance(device, work) + systematic_error(device, state, work) ** 2


def work_price(device: Device, work: Work) -> float:
    """About what running a piece of work costs, in the currency of the budget.

    On a QPU that follows from the circuits of all works that share its jobs (``scheduler_policies.jobs``).
    """
    price = device.price
    shots: float = 0 if device.exact else work.shots * work.variants
    if work.uneven and device.limits.common_shots:
        shots *= LEVEL_RATIO
    total = price.per_job * jobs_needed(device, work) + price.per_shot * shots
    return total + price.per_second * work_seconds(device, work)


def start_delays(device: Device, state: DeviceState) -> tuple[float, ...]:
    """Seconds until each unit of a device would start something of ours, soonest first; never empty.

    What one decision gives to a unit is submitted together and waits for others' jobs once.
    """
    free = min(max(state.free_units, 0), device.units - min(len(state.busy), device.units))
    delays = sorted((*([0.0] * free), *state.busy))
    return tuple(delay + state.expected_wait for delay in delays) if delays else (2.0 * state.expected_wait,)


def _doubled(bits: int) -> float:
    """2**bits; of more bits than anything has, a number that is as far beyond it."""
    return float(2.0 ** min(bits, _MOST_BITS))


def _log_success(error: float) -> float:
    return math.log1p(-error) if error < 1.0 else -math.inf
