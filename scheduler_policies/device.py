"""What a device is and how it is doing: plain data, read from resources files and QPU targets by other rooms.

Times are seconds on the caller's clock; this room never reads one. Error rates are probabilities in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from scheduler_policies.errors import PolicyError


class Kind(str, Enum):
    """What a device is made of; simulators on CPU and GPU are exact, a QPU is not."""

    CPU = "CPU"
    GPU = "GPU"
    QPU = "QPU"


@dataclass(frozen=True)
class GateRate:
    """Error and duration of one gate on the qubits it acts on, as the device's calibration reports them.

    Attributes:
        name: the gate's name in the device's basis ("cz", "sx", ...).
        qubits: physical qubits, in the gate's order.
        error: probability that the gate fails.
        seconds: its duration.
    """

    name: str
    qubits: tuple[int, ...]
    error: float
    seconds: float = 0.0


@dataclass(frozen=True)
class DeviceLimits:
    """What a device cannot do.

    Attributes:
        mid_circuit_measurement: whether a qubit can be measured before the end.
        reset: whether a qubit can be reset to zero within a circuit.
        shots_per_job: most shots of one circuit in one job, None where there is no limit.
        circuits_per_job: most circuits in one job, None where there is no limit.
        common_shots: whether all circuits of a job have the same number of shots, so that these are rounded up.
    """

    mid_circuit_measurement: bool = True
    reset: bool = True
    shots_per_job: int | None = None
    circuits_per_job: int | None = None
    common_shots: bool = False


@dataclass(frozen=True)
class Speed:
    """Coefficients of the speed model in `scheduler_policies.cost`, in seconds.

    A simulator's time grows with gates times amplitudes, a QPU's with shots times (depth + a fixed part); the
    coefficients of the other kind stay 0.

    Attributes:
        start: of an engine and its first process, once a run (simulator).
        job: fixed cost of one job or task (submission, start, collection).
        circuit: fixed cost of one circuit (transpilation, loading).
        shot: fixed cost of one shot (QPU: repetition delay, reset and readout; simulator: drawing one sample).
        layer: one layer of depth within one shot (QPU).
        gate: fixed cost of one gate of one simulation (simulator).
        draw: fixed cost of one variant whose distribution comes from an open-leg state (simulator).
        place: one place of such a distribution (simulator).
        amplitude_gate: one gate applied to one amplitude (simulator).
        grams: fixed cost of one pass over a state for Gram matrices of observable factors (simulator).
        amplitude_pass: one amplitude, of all branches, in one such pass (simulator).
        pair: one amplitude of one pair of branches for one factor (simulator).
        entry: one pair of branches of one factor (simulator; on a GPU, its host).
        number: one number of a fragment tensor, made and stored (simulator; on a GPU, its host).
        contraction: one floating-point operation of a contraction, as a large product of matrices has it (simulator).
        housekeeping: no seconds, but how many times as long as on a typical core everything else takes.
    """

    start: float = 0.0
    job: float = 0.0
    circuit: float = 0.0
    shot: float = 0.0
    layer: float = 0.0
    gate: float = 0.0
    draw: float = 0.0
    place: float = 0.0
    amplitude_gate: float = 0.0
    grams: float = 0.0
    amplitude_pass: float = 0.0
    pair: float = 0.0
    entry: float = 0.0
    number: float = 0.0
    contraction: float = 0.0
    housekeeping: float = 1.0


@dataclass(frozen=True)
class Price:
    """What using a device costs, in the currency of the budget.

    Attributes:
        per_job: for each job submitted.
        per_shot: for each shot of each circuit.
        per_second: for each second the device works.
    """

    per_job: float = 0.0
    per_shot: float = 0.0
    per_second: float = 0.0


@dataclass(frozen=True)
class Device:
    """Something that runs variants: its kind, size, errors, speed, price and limits. Nothing in it changes in a run.

    A CPU or GPU is as wide as its memory allows; its error rates are empty and it is exact.

    Attributes:
        name: unique among the devices of a run, as the user knows it.
        kind: CPU, GPU or QPU.
        units: how many fragments or jobs it runs at once.
        qubits: the widest circuit it takes; None where only memory limits it (most simulators).
        basis_gates: names of the gates it has; empty where it has all (simulators).
        coupling: directed pairs of physical qubits with a two-qubit gate, None where all pairs have one.
        gates: calibrated error and duration of each gate on each qubit or pair; empty where unknown or exact.
        readout_errors: (qubits,) probability of a wrong bit; empty where unknown or exact.
        readout_seconds: duration of a measurement.
        speed: coefficients of its speed model.
        price: what it costs.
        limits: what it cannot do.
        memory_bytes: memory one unit may use for states, None where unknown or meaningless (QPU).
        processor: its processor name in the resources XML, the one constraints use.
        computing_units: computing units of that processor one fragment or job takes.
        node: name of the node it is on in the resources XML, "" where there is none.
        resource_type: how QRMI reaches it ("ibm-quantum-compute-service", ...), "" where it does not.
    """

    name: str
    kind: Kind
    units: int = 1
    qubits: int | None = None
    basis_gates: tuple[str, ...] = ()
    coupling: tuple[tuple[int, int], ...] | None = None
    gates: tuple[GateRate, ...] = ()
    readout_errors: tuple[float, ...] = ()
    readout_seconds: float = 0.0
    speed: Speed = field(default_factory=Speed)
    price: Price = field(default_factory=Price)
    limits: DeviceLimits = field(default_factory=DeviceLimits)
    memory_bytes: int | None = None
    processor: str = ""
    computing_units: int = 1
    node: str = ""
    resource_type: str = ""

    def __post_init__(self) -> None:
        if self.units < 1:
            raise PolicyError(f"device {self.name}: units is {self.units}; a device has at least one")
        if self.kind is Kind.QPU and self.qubits is None:
            raise PolicyError(f"device {self.name}: a QPU needs its number of qubits; read it from its target")
        for rate in (*self.readout_errors, *(gate.error for gate in self.gates)):
            if not 0.0 <= rate <= 1.0:
                raise PolicyError(f"device {self.name}: error rate {rate} is not a probability")

    @property
    def exact(self) -> bool:
        """Whether it can return a whole fragment tensor with no error."""
        return self.kind is not Kind.QPU

    @property
    def priced(self) -> bool:
        """Whether using it costs anything."""
        return any(vars(self.price).values())

    @cached_property
    def routes(self) -> bool:
        """Whether some pairs of its qubits have no two-qubit gate, so that circuits are routed."""
        pairs = {frozenset(pair) for pair in self.coupling or ()}
        return self.coupling is not None and 2 * len(pairs) < (self.qubits or 0) * ((self.qubits or 0) - 1)

    @cached_property
    def one_qubit_error(self) -> float:
        """Mean calibrated error of its one-qubit gates; 0 where it has none."""
        return _mean([gate.error for gate in self.gates if len(gate.qubits) == 1])

    @cached_property
    def two_qubit_error(self) -> float:
        """Mean calibrated error of its two-qubit gates; 0 where it has none."""
        return _mean([gate.error for gate in self.gates if len(gate.qubits) == 2])

    @cached_property
    def readout_error(self) -> float:
        """Mean probability of a wrong bit; 0 where it reports none."""
        return _mean(self.readout_errors)


@dataclass(frozen=True)
class DeviceState:
    """How a device is doing at one moment, as far as the caller knows.

    Attributes:
        queue_length: jobs of others ahead of one submitted now.
        expected_wait: seconds a job submitted now waits for others' jobs before it starts; ours not counted.
        free_units: units nobody holds a lease on.
        busy: predicted seconds until each unit that we hold is free again; units neither free nor busy are others'.
        consecutive_failures: failures since the last success.
        set_aside_until: time on the caller's clock before which nothing is placed here; None when in use.
        set_aside_count: how often in a row it was set aside; the next rest is longer.
        on_trial: whether it came back from being set aside and has yet to succeed at one small job.
        calibration_epoch: the device's own name of its calibration ("" where it has none).
        calibration_age: seconds since that calibration.
        drift: error rates now over those calibrated, minus 1: 0 as calibrated, 1 twice as bad.
        pace: seconds that pieces took of late over those predicted; 1 until something is known.
    """

    queue_length: int = 0
    expected_wait: float = 0.0
    free_units: int = 1
    busy: tuple[float, ...] = ()
    consecutive_failures: int = 0
    set_aside_until: float | None = None
    set_aside_count: int = 0
    on_trial: bool = False
    calibration_epoch: str = ""
    calibration_age: float = 0.0
    drift: float = 0.0
    pace: float = 1.0


@dataclass(frozen=True)
class Work:
    """What a policy needs to know about one fragment, or a share of its variants, without its circuit.

    Attributes:
        fragment: index of the fragment in its plan.
        width: qubits a device needs, ancillas for legs not counted.
        depth: layers of the fragment's circuit.
        one_qubit_gates: how many it has.
        two_qubit_gates: how many it has (before routing).
        measured: qubits measured at the end of a variant.
        branches: an exact simulation has 2**branches states at most, for incoming wires and gate cuts.
        outputs: outgoing wire legs, left unmeasured by an exact simulation.
        factors: observable factors its tensor has.
        passes: over its state that they take, one of half of its rows counted as one; 0 where that is not known, as
            many as there are factors.
        numbers: in its tensor; 0 where that is not known.
        acted: amplitudes that its gates act on in one simulation, as many for a gate as its share of a block takes; 0
            where that is not known, all of them for each.
        compact_seconds: that a typical core takes for its whole tensor, where a simulator computes it without all
            amplitudes (a matrix product state, Paulis followed back); 0 where it is computed with them.
        variant_seconds: the same for one variant with its shots, where it is a stabiliser state; 0 elsewhere.
        exact_bytes: peak memory of its whole tensor in one simulation, at least that of its states.
        drawn_bytes: memory that a simulator needs at least for counts of its variants; 0: that of one state.
        variants: distinct variants on the sampled path.
        shots: shots for each variant, on average.
        silent: how many of its variants read no bit, and so are no circuits on a QPU.
        shares: parts of them that circuits of their own take on a QPU, at several factors on its noise.
        weight: |d estimate / d fragment| x sigma: the square root of the sum over variants of (g_v sigma_v)**2. With n
            shots a variant its part of the statistical error is ``weight / sqrt(n)``; ``weight`` times infidelity is
            its part of the systematic one. Parts add in squares.
        lent: qubits of the width that a device which measures and resets within a circuit does not need.
        mid_circuit_measurements: of the variant with most; 0 when none needs one.
        ancillas: qubits that the variant with most needs beside its own on any device but a simulator.
        fidelities: (device name, fidelity) where the transpiled circuit is known; the mean-rate model otherwise.
        first: index of the first variant, for a share of a fragment.
        whole: whether these are all variants of the fragment, so that an exact device may do it in one simulation.
        exact: whether nothing but its whole tensor will do, as in a run without shots.
        avoid: names of devices not to use for it (they failed it before).
        uneven: whether its variants' shots are more different numbers than a device rounds them up to.
    """

    fragment: int
    width: int
    depth: int
    one_qubit_gates: int
    two_qubit_gates: int
    measured: int
    branches: int
    outputs: int
    factors: int
    variants: int
    shots: int
    weight: float
    mid_circuit_measurements: int = 0
    lent: int = 0
    ancillas: int = 0
    exact_bytes: int = 0
    drawn_bytes: int = 0
    passes: int = 0
    numbers: int = 0
    acted: float = 0.0
    compact_seconds: float = 0.0
    variant_seconds: float = 0.0
    fidelities: tuple[tuple[str, float], ...] = ()
    first: int = 0
    whole: bool = True
    exact: bool = False
    avoid: tuple[str, ...] = ()
    uneven: bool = False
    shares: tuple[float, ...] = (1.0,)
    silent: int = 0

    def __post_init__(self) -> None:
        sizes = (self.width, self.variants, self.shots)
        if min(sizes) < 1 or min(self.depth, self.branches, self.outputs) < 0 or self.weight < 0:
            raise PolicyError(f"fragment {self.fragment}: sizes {sizes} must be positive and counts not negative")

    @property
    def gates(self) -> int:
        """Number of gates."""
        return self.one_qubit_gates + self.two_qubit_gates

    def share(self, first: int, variants: int) -> Work:
        """The same fragment, variants ``first`` to ``first + variants - 1`` only; its weight falls with its size.

        Raises:
            PolicyError: it has not all of them.
        """
        if not self.first <= first <= first + variants <= self.first + self.variants:
            raise PolicyError(
                f"fragment {self.fragment}: variants {first} to {first + variants - 1} are not all among "
                f"{self.first} to {self.first + self.variants - 1}"
            )
        if variants == self.variants:
            return self
        weight = self.weight * math.sqrt(variants / self.variants)
        return replace(self, first=first, variants=variants, weight=weight, whole=False)


def _mean(errors: Sequence[float]) -> float:
    # Gates and qubits reported as broken (error 1) are left out: transpilation routes around them.
    working = [error for error in errors if error < 1.0]
    return math.fsum(working) / len(working) if working else 0.0
