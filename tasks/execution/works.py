"""A plan's fragments as the work that policies place: what `scheduler_policies` needs to know, without circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt

import numpy as np

from scheduler_policies import Device, Work
from tasks.cutting.cost import end_cost
from tasks.cutting.drawn_bytes import least_bytes
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment, Plan
from tasks.cutting.seconds import cheaper_way, stabiliser_seconds
from tasks.cutting.sizes import acted_amplitudes, gram_passes, measured_qubits, simulated_legs, tensor_numbers
from tasks.execution.jobs import count_measuring

_LARGE = 18  # open qubits, states of 4 MiB: below, nobody asks whether a device has the memory


def works_of(
    plan: Plan,
    shots: int | Sequence[int],
    weights: Sequence[float] | None = None,
    fidelities: Mapping[int, Sequence[tuple[str, float]]] | None = None,
    shares: tuple[float, ...] = (1.0,),
) -> list[Work]:
    """One `Work` for each fragment of a plan.

    Args:
        plan: the plan.
        shots: for each variant, the same for all fragments or one number for each.
        weights: (fragment,) |d estimate / d fragment| x sigma, from a first round's gradient; when not given, what
            the cuts alone let expect (see ``expected_weight``).
        fidelities: for a fragment, (device name, fidelity of its transpiled circuit) where known.
        shares: of a variant's shots, at each noise factor (``noise_shares``).
    """
    each = [shots] * len(plan.fragments) if isinstance(shots, int) else list(shots)
    works = []
    for fragment, cost, schemes in zip(plan.fragments, plan.costs, plan.schemes, strict=True):
        index = fragment.index
        operations, way = fragment.circuit.data, cheaper_way(fragment)
        branches, outputs = simulated_legs(fragment)
        weight = expected_weight(plan, fragment, schemes, cost.variants) if weights is None else weights[index]
        works.append(
            Work(
                fragment=index,
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
                variant_seconds=stabiliser_seconds(fragment, cost.variants, each[index]),
                exact_bytes=cost.exact_bytes,
                drawn_bytes=least_bytes(fragment, schemes) if fragment.open_qubits >= _LARGE else 0,
                variants=cost.variants,
                shots=each[index],
                weight=weight,
                mid_circuit_measurements=sum(leg.kind.measures_midway for leg in fragment.legs),
                ancillas=sum(leg.kind.ancillas for leg in fragment.legs),
                fidelities=tuple(fidelities.get(index, ())) if fidelities else (),
                shares=shares,
                silent=cost.variants - count_measuring(fragment, schemes),
            )
        )
    return works


def noise_shares(devices: Sequence[Device], mitigation: str) -> tuple[float, ...]:
    """Parts of a variant's shots that a QPU takes at each noise factor of a mitigation."""
    if mitigation == "none" or all(device.exact for device in devices):
        return (1.0,)
    from tasks.execution.mitigation.extrapolation import mitigation_of  # loads what talks to QPUs

    sizes = np.abs(mitigation_of(mitigation).shares)
    return tuple((sizes / sizes.sum()).tolist())


def expected_weight(plan: Plan, fragment: Fragment, schemes: Sequence[Scheme], variants: int) -> float:
    """The weight to expect before any gradient is known, for observables of norm 1.

    ``end_cost`` says how many times the shots of an uncut circuit one cut end takes for the same error; ends multiply,
    so with n shots a variant the variance is ``prod(end_cost) / (n variants)``.
    """
    ends = (end_cost(leg, plan.bonds[leg.cut], scheme) for leg, scheme in zip(fragment.legs, schemes, strict=True))
    return sqrt(prod(ends) / variants)
