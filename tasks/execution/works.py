"""A plan's fragments as the work that policies place: what `scheduler_policies` needs to know, without circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod, sqrt

import numpy as np

from scheduler_policies import Device, Work
from tasks.cutting.cost import end_cost
from tasks.cutting.fragment_work import fragment_work
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment, Plan
from tasks.execution.jobs import count_measuring


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
        weight = expected_weight(plan, fragment, schemes, cost.variants) if weights is None else weights[index]
        works.append(
            replace(
                fragment_work(fragment, cost, schemes, each[index], weight),
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
