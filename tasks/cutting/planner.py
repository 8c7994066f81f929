"""problem -> plan: find cuts (or take those given), split, and say what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf, log2
from typing import Any

from scipy.sparse import csr_array

from scheduler_policies.device import Device
from scheduler_policies.machine import AMPLITUDE_BYTES
from tasks.cutting.cost import choose_schemes, fragment_cost, greedy_contraction
from tasks.cutting.cuts import Cut
from tasks.cutting.errors import CuttingError, NoRoomError, TooFewShotsError
from tasks.cutting.kinds import cheapest_kind, cut_kind
from tasks.cutting.limits import checked
from tasks.cutting.objectives import find_objective
from tasks.cutting.partition import Partition, partition, severed_form, widest_part
from tasks.cutting.plan import Fragment, Plan
from tasks.cutting.refusal import price_of, with_narrowest
from tasks.cutting.search.candidates import candidate_cuts
from tasks.cutting.search.narrower import exact_cuts
from tasks.cutting.search.sketch import MOST_TENSOR_BITS, sketch_of
from tasks.cutting.seconds import cheaper_way, stabiliser_seconds
from tasks.cutting.variants import count_variants, measurement_groups
from tasks.model.problem import Problem
from tasks.model.tensor import Structure

_WORTH_CUTTING_S = 1.0  # a simulation of the whole that takes longer may be quicker in pieces
_SHORT_S = 0.1  # of the searches for a width that would do
_STATES = 3  # that a simulation holds at a time, about
_ANY_WIDTH = 10**6
_WIDTHS = 6  # tried, where a device's memory holds a state and not what else a fragment takes
_NEXT_WIDTH = 0.75  # of the one before, at least: fragments with many cut ends need fewer of them


def make_plan(problem: Problem, **limits: Any) -> Plan:
    """Plan a problem: the best of ``make_plans``, whose arguments these are.

    Raises:
        CuttingError: no plan within the limits, no such objective, or the given cuts do not make one.
    """
    return make_plans(problem, **limits)[0]


def make_plans(
    problem: Problem,
    *,
    max_qubits: int | None = None,
    cuts: tuple[Cut, ...] | None = None,
    shots: int | None = None,
    memory_bytes: int | None = None,
    over_memory: bool = False,
    mid_circuit_measurement: bool = True,
    devices: Sequence[Device] = (),
    objective: str | None = None,
    seed: int = 0,
    plan_seconds: float | None = None,
    runs: bool = True,
    most: int = 1,
) -> list[Plan]:
    """Plan a problem in several ways, the best first.

    Args:
        problem: validated.
        max_qubits: widest fragment allowed; None allows what the devices and the memory do.
        cuts: cut here; None searches for cuts (none, when the circuit fits and is no quicker in pieces).
        shots: total shots of the sampled path, None for the exact path: decides what is cheap.
        memory_bytes: of this machine: refuse plans that need more at their peak; None refuses none.
        over_memory: refuse none for its memory, as long as a machine could hold it: a plan to be looked at, not run.
        mid_circuit_measurement: whether the devices of the sampled path can read a bit in mid-circuit: where one
            cannot, a bit takes an ancilla anyway, and every cut without a kind gets the one of least variance.
        devices: of the run: what a QPU runs takes no memory here, and every fragment needs one that it fits on.
        objective: what the search minimises, by name (``tasks/cutting/objectives``); None for the work of an exact
            run, the sampling overhead of a sampled one.
        seed: of the search.
        plan_seconds: effort of the search, in seconds of a typical core; None for what the circuit is worth.
        runs: whether several gates on one pair of qubits may be severed as their product; not where their angles are
            to vary under one plan.
        most: how many plans at most.

    Raises:
        CuttingError: no plan within the limits, no such objective, or the given cuts do not make one.
    """
    if max_qubits is not None and max_qubits < 1:
        raise CuttingError(f"`max_qubits` {max_qubits}: a fragment has at least 1 qubit", field="max_qubits")
    search = partial(
        _plans, problem, cuts=cuts, shots=shots, memory_bytes=memory_bytes, objective=objective, seed=seed,
        mid_circuit_measurement=mid_circuit_measurement, runs=runs, over_memory=over_memory,
    )  # fmt: skip
    limit = _widest_allowed(max_qubits, shots, memory_bytes, devices)

    def within(width: int | None) -> list[Plan]:
        return search(max_qubits=width, devices=devices, plan_seconds=plan_seconds, most=most)

    try:
        return within(max_qubits)
    except NoRoomError as refusal:
        if cuts is not None:
            raise
        return _with_room(refusal, within, limit)
    except CuttingError as refusal:
        if cuts is not None or refusal.field not in ("max_qubits", "memory_bytes"):
            raise

        def plan_at(width: int, aim: str | None) -> Plan:
            own = objective if aim is None else aim
            return search(max_qubits=width, devices=(), plan_seconds=_SHORT_S, most=1, objective=own, priced=False)[0]

        raise with_narrowest(refusal, problem, plan_at, min(limit, problem.num_qubits), shots) from None


def _with_room(refusal: NoRoomError, within: Callable[[int], list[Plan]], limit: int) -> list[Plan]:
    """Plans of narrower fragments, where those of a width fit no device: more than the state takes memory.

    Args:
        refusal: of the width that the devices' states allow.
        within: makes plans of fragments of a width at most.
        limit: that width.

    Raises:
        NoRoomError: there are none; it says what the plan of least memory takes.
    """
    least, width = refusal, max(min(limit, refusal.qubits), int(_NEXT_WIDTH * limit))
    for _ in range(_WIDTHS):
        if width < 1:
            break
        try:
            return within(width)
        except NoRoomError as other:
            least = min(least, other, key=_lacking)
            width = max(min(width - 1, other.qubits), int(_NEXT_WIDTH * width))
        except CuttingError:  # too many cuts
            break
    advice = "no plan that was found takes less: add a device, or give one as much"
    raise NoRoomError(least.lack, advice, qubits=least.qubits, needed=least.needed)


def _plans(
    problem: Problem,
    *,
    max_qubits: int | None,
    cuts: tuple[Cut, ...] | None,
    shots: int | None,
    memory_bytes: int | None,
    over_memory: bool,
    mid_circuit_measurement: bool,
    devices: Sequence[Device],
    objective: str | None,
    seed: int,
    plan_seconds: float | None,
    runs: bool,
    most: int,
    priced: bool = True,
) -> list[Plan]:
    said: list[str] = []

    def price(found: Partition) -> str:
        """Of the first refusal: no other is read."""
        if not said:
            said.append(price_of(sketch_of(found), shots) if priced else "dear")
        return said[0]

    def finished(found: Partition) -> Plan:
        if shots is not None and not mid_circuit_measurement:
            found = _of_cheapest_kinds(problem, found)
        _refuse_too_large_an_array(found, price)
        bound = None if over_memory else memory_bytes
        return checked(_costed(found, shots, memory_bytes), shots, max_qubits, bound, devices)

    if cuts is not None:
        given = partition(problem, cuts)
        _refuse_too_many_ends(given, price)
        return [finished(given)]
    aim = find_objective(objective or ("work" if shots is None else "overhead"))
    width = widest_part(problem)
    asked = min(width, max_qubits or width)
    limit = min(asked, _widest_allowed(max_qubits, shots, memory_bytes, devices))
    if limit < asked and _without_amplitudes(partition(problem, ()), shots, devices):
        limit = asked  # its memory is looked at by itself
    if limit == width and (shots is not None or sketch_of(partition(problem, ())).seconds <= _WORTH_CUTTING_S):
        return [finished(partition(problem, ()))]
    ways: list[tuple[Cut, ...]] = [()] if limit == width else []
    try:
        if shots is None:
            ways += exact_cuts(problem, limit, aim, seed=seed, seconds=plan_seconds, runs=runs)
        else:
            ways += candidate_cuts(problem, limit, aim, shots=shots, seed=seed, seconds=plan_seconds, runs=runs)
    except CuttingError:
        if not ways:
            raise
    if len(ways) > 1 and not ways[0]:
        ways.sort(key=lambda own: aim.score(sketch_of(partition(problem, own)), shots))
    try:
        return _first_within(problem, ways, limit, price, finished, most)
    except CuttingError as refusal:
        if shots is None or aim.name == "work":
            raise
        # What takes fewest shots may be too large to join, or have too many variants; what is quickest to join is a
        # plan, if a dear one.
        quickest = find_objective("work")
        ways = candidate_cuts(problem, limit, quickest, seed=seed, seconds=plan_seconds, runs=runs)
        try:
            return _first_within(problem, ways, limit, price, finished, most)
        except CuttingError as other:
            raise min((refusal, other), key=_lacking) from None


def _without_amplitudes(whole: Partition, shots: int | None, devices: Sequence[Device]) -> bool:
    """Whether a simulator runs the uncut circuit in a way that its width hardly matters to."""
    widest = max((fragment.width for fragment in whole.fragments), default=0)
    if devices and not any(device.exact and (device.qubits or _ANY_WIDTH) >= widest for device in devices):
        return False
    if shots is None:
        return any(cheaper_way(fragment) is not None for fragment in whole.fragments)
    wide = [fragment for fragment in whole.fragments if fragment.num_qubits == widest]
    return bool(wide) and all(stabiliser_seconds(f, len(measurement_groups(f))) for f in wide)


def _widest_allowed(
    max_qubits: int | None, shots: int | None, memory_bytes: int | None, devices: Sequence[Device]
) -> int:
    """Qubits of the widest fragment that the user allows and some device holds."""
    here = _ANY_WIDTH if memory_bytes is None else max(1, int(log2(max(1, memory_bytes / _STATES / AMPLITUDE_BYTES))))
    able = [
        min(device.qubits or _ANY_WIDTH, here, _held(device)) if device.exact else device.qubits or here
        for device in devices
        if device.exact or shots is not None
    ]
    return min(max_qubits or _ANY_WIDTH, max(able, default=here))


def _held(device: Device) -> int:
    """Qubits of the widest state in a simulator's memory."""
    most = None if device.memory_bytes is None else device.memory_bytes // AMPLITUDE_BYTES
    return _ANY_WIDTH if most is None else max(1, most.bit_length() - 1)


def _first_within(
    problem: Problem,
    ways: Sequence[tuple[Cut, ...]],
    limit: int,
    price: Callable[[Partition], str],
    finished: Callable[[Partition], Plan],
    most: int,
) -> list[Plan]:
    """The first that keep the limits; fragments are built one set of cuts after the other until there are enough."""
    plans: list[Plan] = []
    refusals: list[CuttingError] = []
    seen: list[Partition] = []
    for cuts in ways:
        seen.append(partition(problem, cuts))
        if _widest(seen[-1].fragments) > limit or _tensor_bits(seen[-1]) > MOST_TENSOR_BITS:
            continue
        try:
            plans.append(finished(seen[-1]))
        except CuttingError as refusal:
            refusals.append(refusal)
        if len(plans) == most:
            break
    if plans:
        return plans
    if refusals:
        raise min(refusals, key=_lacking)
    within = [candidate for candidate in seen if _widest(candidate.fragments) <= limit]
    if not within:
        raise CuttingError(
            f"no plan within `max_qubits` {limit}: the narrowest fragments found have "
            f"{min(_widest(p.fragments) for p in seen)} qubits; allow more qubits or name the cuts with `cuts`",
            field="max_qubits",
        )
    best = min(within, key=_tensor_bits)
    _refuse_too_many_ends(best, price)
    raise AssertionError("a plan within all limits was left out")


def _lacking(refusal: CuttingError) -> tuple[float, float]:
    """What a refused plan lacks, those first that keep most limits: shots for its variants, a device's memory."""
    variants = refusal.variants if isinstance(refusal, TooFewShotsError) else inf
    return variants, refusal.needed if isinstance(refusal, NoRoomError) else inf


def _of_cheapest_kinds(problem: Problem, found: Partition) -> Partition:
    """The same cuts with the kind of least variance for every one that names none."""
    cuts = []
    for cut in found.cuts:
        if not cut.kind:
            form = severed_form(problem, cut)
            kind = cheapest_kind(form)
            cut = replace(cut, kind="" if kind == cut_kind(form) else kind.name)
        cuts.append(cut)
    return partition(problem, tuple(cuts))


def structure_of(problem: Problem, plan: Plan) -> Structure:
    """How the plan's fragments are joined, and what the problem asks of the whole: reconstruction's input."""
    return Structure(
        legs=tuple(tuple((leg.cut, leg.end) for leg in fragment.legs) for fragment in plan.fragments),
        bonds=plan.bonds,
        factor_index=plan.factor_index,
        num_factors=tuple(fragment.num_factors for fragment in plan.fragments),
        coefficients=csr_array(problem.terms.coefficients.multiply(plan.term_scale[None, :])),
    )


def _widest(fragments: tuple[Fragment, ...]) -> int:
    return max((f.width for f in fragments), default=0)


def _tensor_bits(candidate: Partition) -> int:
    """log2 of the entries of the largest fragment tensor, for one observable factor."""
    return max((sum(2 * (leg.rank.bit_length() - 1) for leg in f.legs) for f in candidate.fragments), default=0)


def _refuse_too_many_ends(candidate: Partition, price: Callable[[Partition], str]) -> None:
    """Before anything is counted in numbers that a machine cannot hold."""
    if _tensor_bits(candidate) > MOST_TENSOR_BITS:
        worst = max(candidate.fragments, key=lambda f: sum(leg.rank for leg in f.legs))
        raise CuttingError(
            f"fragment {worst.index} has {len(worst.legs)} cut ends: its tensor alone would have "
            f"2**{_tensor_bits(candidate)} numbers ({price(candidate)}); "
            "allow more qubits a fragment or cut elsewhere",
            field="max_qubits",
        )


def _refuse_too_large_an_array(found: Partition, price: Callable[[Partition], str]) -> None:
    """Before the fragments' costs are counted, which may take long where there are so many cuts."""
    largest = greedy_contraction(found.fragments, found.bonds).largest
    if largest > 2.0**MOST_TENSOR_BITS:
        raise CuttingError(
            f"joining the {len(found.fragments)} fragments over {len(found.cuts)} cuts would take an array of "
            f"2**{log2(largest):.0f} numbers ({price(found)}); "
            "allow more qubits a fragment or cut elsewhere",
            field="max_qubits",
        )


def _costed(found: Partition, shots: int | None, memory_bytes: int | None = None) -> Plan:
    schemes = choose_schemes(found.fragments, found.bonds, shots)
    variants = sum(map(count_variants, found.fragments, schemes))
    each = 0 if shots is None else shots // max(1, variants)
    room = None if memory_bytes is None else memory_bytes // 2  # tensors and the contraction need some, too
    return Plan(
        cuts=found.cuts,
        fragments=found.fragments,
        bonds=found.bonds,
        factor_index=found.factor_index,
        term_scale=found.term_scale,
        kappas=found.kappas,
        costs=tuple(
            fragment_cost(f, s, sampled=shots is not None, shots=each, memory_bytes=room)
            for f, s in zip(found.fragments, schemes, strict=True)
        ),
        schemes=schemes,
        notes=found.notes,
    )
