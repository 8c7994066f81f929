"""What the errors of a QPU do to what a fragment's shots show, on average, before anything runs.

Under depolarising noise a gate of average error e on d states leaves 1 - e d / (d - 1) of any Pauli on its qubits. A
factor of a fragment shows the product of that over the gates of its cone, by the device's calibration; what is the same
for every state, the norm, stays. A readout error e leaves 1 - 2 e of a bit's sign: of each bit of a factor, and of
those that legs read. Where readout is mitigated the sign counts for 1 / (1 - 2 e), which mends the mean and spreads the
shots; where values are extrapolated to zero noise, those at several multiples of the two-qubit gates' noise are added.
Errors are those of the qubits that transpiling takes (``placed``) where the device says which pairs have a gate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler_policies import Device
from scheduler_policies.cost import ROUTED_TWO_QUBIT_GATES, why_not
from tasks.cutting import Fragment, Plan
from tasks.cutting.pauli_program import leg_map
from tasks.execution.works import works_of
from tasks.prediction.noise_paths import cx_needed, met_gates
from tasks.prediction.placed import Rates, placed_rates


@dataclass(frozen=True)
class Noise:
    """What a device's errors do, and what is done against them.

    Attributes:
        one_qubit: what a one-qubit gate leaves of a Pauli.
        two_qubit: the same of a two-qubit one, swaps of routing counted.
        basis_gates: two-qubit gates that the device has; others take as many as they take CX.
        contrast: what a wrong readout leaves of a bit's sign.
        reading: what a bit's sign counts for.
        factors: on the noise of two-qubit gates, at which shots are taken.
        shares: what the mean at each of them counts for.
    """

    one_qubit: float = 1.0
    two_qubit: float = 1.0
    basis_gates: tuple[str, ...] = ()
    contrast: float = 1.0
    reading: float = 1.0
    factors: tuple[int, ...] = (1,)
    shares: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, device: Device, mitigation: str = "none", rates: Rates | None = None) -> Noise:
        """By a device's calibration, under a mitigation (``--mitigation``).

        Args:
            device: a QPU.
            mitigation: what is done against errors.
            rates: of the qubits that are used, if they are known; else the mean of all of them counts.
        """
        from tasks.execution.mitigation.extrapolation import mitigation_of  # loads what talks to QPUs
        from tasks.execution.mitigation.readout import LEAST_CONTRAST

        against = mitigation_of(mitigation)
        rates = rates or Rates(
            max(1 - 2 * device.one_qubit_error, 0.0),
            max(1 - 4 / 3 * device.two_qubit_error, 0.0) ** (ROUTED_TWO_QUBIT_GATES if device.routes else 1.0),
            max(1 - 2 * device.readout_error, 0.0),
        )
        return cls(
            rates.one_qubit,
            rates.two_qubit,
            device.basis_gates,
            rates.contrast,
            1 / max(rates.contrast, LEAST_CONTRAST) if against.readout else 1.0,
            against.noise_factors,
            tuple(against.shares.tolist()),
        )

    @property
    def spreads(self) -> tuple[float, ...]:
        """What the variance of a shot at each noise factor counts for, its shots being part of all in its share."""
        return tuple(abs(share) * sum(map(abs, self.shares)) for share in self.shares)

    def kept(self, fragment: Fragment) -> list[np.ndarray]:
        """For each noise factor, (leg..., factor) or (factor,): the part of its tensor that gates' errors leave."""
        shown = self._shown(fragment)
        if self.one_qubit == self.two_qubit == 1:
            return shown
        norms = np.ones((1,) * len(fragment.legs), dtype=bool)
        for axis, leg in enumerate(fragment.legs):
            traced = leg_map(leg.kind)  # the entries that make I of I are the same for every state
            same = np.zeros(leg.dimension, dtype=bool)
            codes, entries = (own[0, : traced.count[0]] for own in (traced.codes, traced.entries))
            for code, entry in zip(codes, entries, strict=True):
                same[entry] |= code == 0
            norms = norms & same.reshape(-1, *(1,) * (len(fragment.legs) - axis - 1))
        certain = norms[..., None] & (sign_bits(fragment) == 0)
        return [np.where(certain, 1.0, own) for own in shown]

    def values(self, fragment: Fragment) -> float:
        """How much it leaves of what a fragment shows, to compare devices by."""
        counted = (self.contrast * self.reading) ** sign_bits(fragment)
        return float(sum(share * own for share, own in zip(self.shares, self._shown(fragment), strict=True)) @ counted)

    def _shown(self, fragment: Fragment) -> list[np.ndarray]:
        """For each noise factor, (factor,): which part of each factor gates' errors leave."""
        if self.one_qubit == self.two_qubit == 1:
            return [np.ones(fragment.num_factors)] * len(self.factors)
        met = met_gates(fragment)
        pairs = np.array([len(item.qubits) == 2 for item in fragment.circuit.data], dtype=bool)
        ones, twos = met[~pairs].sum(axis=0), two_qubit_gates(fragment, self.basis_gates) @ met[pairs]
        return [self.one_qubit**ones * self.two_qubit ** (factor * twos) for factor in self.factors]


NOISELESS = Noise()


def two_qubit_gates(fragment: Fragment, native: Collection[str]) -> np.ndarray:
    """(two-qubit gate,) how many each takes on a device that has some: those that it has one, others their CX."""
    pairs = [item for item in fragment.circuit.data if len(item.qubits) == 2]
    return np.array([1 if g.name in native else cx_needed(np.asarray(g.matrix, complex).tobytes()) for g in pairs])


def sign_bits(fragment: Fragment) -> np.ndarray:
    """(factor,) int: bits whose parity is the sign of each factor."""
    return np.asarray((fragment.factors_x | fragment.factors_z).sum(axis=1))


def noise_of(plan: Plan, devices: Sequence[Device], mitigation: str) -> list[Noise]:
    """For each fragment the noise of the device that spoils it least, where policy ``fidelity`` puts it.

    Args:
        plan: the plan.
        devices: of the run; none for shots that show exact tensors.
        mitigation: what is done against errors.
    """
    if not devices:
        return [NOISELESS] * len(plan.fragments)
    found = []
    for fragment, schemes, work in zip(plan.fragments, plan.schemes, works_of(plan, 1), strict=True):
        able = []
        for device in [device for device in devices if why_not(device, work) is None] or devices:
            twos = float(two_qubit_gates(fragment, device.basis_gates).sum())
            able.append(Noise.of(device, mitigation, placed_rates(device, fragment, schemes, twos)))
        found.append(max(able, key=lambda own: own.values(fragment)) if len(able) > 1 else able[0])
    return found
