"""A fragment as the work that a device does: what ``scheduler_policies`` needs to know of it, without its circuit."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler_policies.device import Work
from tasks.cutting.drawn_bytes import least_bytes
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment, FragmentCost
from tasks.cutting.seconds import cheaper_way, stabiliser_seconds
from tasks.cutting.sizes import acted_amplitudes, gram_passes, measured_qubits, simulated_legs, tensor_numbers

_LARGE = 18  # open qubits, states of 4 MiB: below, nobody asks whether a device has the memory


def fragment_work(fragment: Fragment, cost: FragmentCost, schemes: Sequence[Scheme], shots: int, weight: float) -> Work:
    """A fragment's work.

    Args:
        fragment: of a plan.
        cost: what the plan says that it costs.
        schemes: (leg,) the settings of its legs.
        shots: for each variant.
        weight: see ``Work``.
    """
    operations, way = fragment.circuit.data, cheaper_way(fragment)
    branches, outputs = simulated_legs(fragment)
    return Work(
        fragment=fragment.index,
        width=fragment.num_qubits,
        lent=fragment.num_qubits - 1 - max(fragment.homes, default=-1),
        depth=cost.depth,
        one_qubit_gates=len(operations) - cost.two_qubit_gates,
        two_qubit_gates=cost.two_qubit_gates,
        measured=measured_qubits(fragment),
        branches=branches,
        outputs=outputs,
        factors=fragment.num_factors,
        passes=gram_passes(fragment),
        numbers=tensor_numbers(fragment),
        acted=acted_amplitudes(fragment),
        compact_seconds=0.0 if way is None else way.seconds,
        variant_seconds=stabiliser_seconds(fragment, cost.variants, shots),
        exact_bytes=cost.exact_bytes,
        drawn_bytes=least_bytes(fragment, tuple(schemes)) if fragment.open_qubits >= _LARGE else 0,
        variants=cost.variants,
        shots=shots,
        weight=weight,
        mid_circuit_measurements=sum(leg.kind.measures_midway for leg in fragment.legs),
        ancillas=sum(leg.kind.ancillas for leg in fragment.legs),
    )
