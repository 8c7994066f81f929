"""problem -> plan: find cuts (or take those given), split, and say what it will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2

from scipy.sparse import csr_array

from tasks.cutting.cost import choose_schemes, fragment_cost, greedy_contraction
from tasks.cutting.cuts import Cut
from tasks.cutting.errors import CuttingError
from tasks.cutting.kinds import cheapest_kind, cut_kind
from tasks.cutting.objectives import find_objective
from tasks.cutting.partition import Partition, partition
from tasks.cutting.plan import Fragment, Plan
from tasks.cutting.schmidt import schmidt_form
from tasks.cutting.search.candidates import candidate_cuts
from tasks.model.problem import Problem
from tasks.model.tensor import Structure

_MOST_TENSOR_BITS = 60


def make_plan(
    problem: Problem,
    *,
    max_qubits: int | None = None,
    cuts: tuple[Cut, ...] | None = None,
    shots: int | None = None,
    memory_bytes: int | None = None,
    mid_circuit_measurement: bool = True,
    objective: str | None = None,
    seed: int = 0,
    plan_seconds: float | None = None,
) -> Plan:
    """Plan a problem.

    Args:
        problem: validated.
        max_qubits: widest fragment allowed; None allows any.
        cuts: cut here; None searches for cuts (none, when the circuit fits).
        shots: total shots of the sampled path, None for the exact path: decides what is cheap.
        memory_bytes: refuse plans that need more at their peak; None refuses none.
        mid_circuit_measurement: whether the devices of the sampled path can read a bit in mid-circuit: where one
            cannot, a bit takes an ancilla anyway, and every cut without a kind gets the one of least variance.
        objective: what the search minimises, by name (``tasks/cutting/objectives``); None for the work of an exact
            run, the sampling overhead of a sampled one.
        seed: of the search.
        plan_seconds: effort of the search, in seconds of a typical core; None for what the circuit is worth.

    Raises:
        CuttingError: no plan within the limits, no such objective, or the given cuts do not make one.
    """
    if max_qubits is not None and max_qubits < 1:
        raise CuttingError(f"`max_qubits` {max_qubits}: a fragment has at least 1 qubit", field="max_qubits")
    if cuts is not None:
        given = partition(problem, cuts)
        _refuse_too_many_ends(given)
        if shots is not None and not mid_circuit_measurement:
            given = _of_cheapest_kinds(problem, given)
        return _checked(_costed(given, shots), shots, max_qubits, memory_bytes)
    aim = find_objective(objective or ("work" if shots is None else "overhead"))
    whole = partition(problem, ())
    if max_qubits is None or _widest(whole.fragments) <= max_qubits:
        best = whole
    else:
        found = candidate_cuts(problem, max_qubits, aim, shots=shots, seed=seed, seconds=plan_seconds)
        best = _first_within(problem, found, max_qubits)
    if shots is not None and not mid_circuit_measurement:
        best = _of_cheapest_kinds(problem, best)
    return _checked(_costed(best, shots), shots, max_qubits, memory_bytes)


def _first_within(problem: Problem, found: Sequence[tuple[Cut, ...]], max_qubits: int) -> Partition:
    """The first that keeps the limits; fragments are built one set of cuts after the other until there is one."""
    candidates: list[Partition] = []
    for cuts in found:
        candidates.append(partition(problem, cuts))
        if _widest(candidates[-1].fragments) <= max_qubits and _tensor_bits(candidates[-1]) <= _MOST_TENSOR_BITS:
            return candidates[-1]
    within = [candidate for candidate in candidates if _widest(candidate.fragments) <= max_qubits]
    if not within:
        raise CuttingError(
            f"no plan within `max_qubits` {max_qubits}: the narrowest fragments found have "
            f"{min(_widest(p.fragments) for p in candidates)} qubits; allow more qubits or name the cuts with `cuts`",
            field="max_qubits",
        )
    best = min(within, key=_tensor_bits)
    _refuse_too_many_ends(best)
    return best


def _of_cheapest_kinds(problem: Problem, found: Partition) -> Partition:
    """The same cuts with the kind of least variance for every one that names none."""
    cuts = []
    for cut in found.cuts:
        if not cut.kind:
            gate = problem.circuit.data[cut.instruction].operation
            form = schmidt_form(gate) if cut.wire is None else None
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
    return max((f.num_qubits for f in fragments), default=0)


def _tensor_bits(candidate: Partition) -> int:
    """log2 of the entries of the largest fragment tensor, for one observable factor."""
    return max((sum(2 * (leg.rank.bit_length() - 1) for leg in f.legs) for f in candidate.fragments), default=0)


def _refuse_too_many_ends(candidate: Partition) -> None:
    """Before anything is counted in numbers that a machine cannot hold."""
    if _tensor_bits(candidate) > _MOST_TENSOR_BITS:
        worst = max(candidate.fragments, key=lambda f: sum(leg.rank for leg in f.legs))
        raise CuttingError(
            f"fragment {worst.index} has {len(worst.legs)} cut ends: its tensor alone would have "
            f"2**{_tensor_bits(candidate)} numbers; allow more qubits a fragment or cut elsewhere"
        )


def _costed(found: Partition, shots: int | None) -> Plan:
    schemes = choose_schemes(found.fragments, found.bonds, shots)
    return Plan(
        cuts=found.cuts,
        fragments=found.fragments,
        bonds=found.bonds,
        factor_index=found.factor_index,
        term_scale=found.term_scale,
        sampling_overhead=found.sampling_overhead,
        costs=tuple(fragment_cost(f, s) for f, s in zip(found.fragments, schemes, strict=True)),
        schemes=schemes,
        notes=found.notes,
    )


def predicted_bytes(plan: Plan) -> int:
    """Peak memory of the plan in one process: all fragment tensors, the largest fragment, the contraction."""
    tensors = sum(c.tensor_bytes for c in plan.costs)
    fragment = max((c.exact_bytes for c in plan.costs), default=0)
    contraction = greedy_contraction(plan.fragments, plan.bonds)
    # Two operands and their product, or their transposed copies, are alive at once.
    return int(tensors + max(fragment, 3 * 8 * contraction.largest))


def _checked(plan: Plan, shots: int | None, max_qubits: int | None, memory_bytes: int | None) -> Plan:
    largest = greedy_contraction(plan.fragments, plan.bonds).largest
    if largest > 2.0**_MOST_TENSOR_BITS:
        raise CuttingError(
            f"joining the {len(plan.fragments)} fragments over {len(plan.cuts)} cuts would take an array of "
            f"2**{log2(largest):.0f} numbers; allow more qubits a fragment or cut elsewhere"
        )
    if max_qubits is not None:
        for fragment in plan.fragments:
            if fragment.num_qubits > max_qubits:
                qubits = sorted({q for _, q in fragment.outputs})
                raise CuttingError(
                    f"the cuts leave a fragment of {fragment.num_qubits} qubits (it ends on qubits {qubits}), more "
                    f"than `max_qubits` {max_qubits}; cut it further or allow more qubits",
                    field="max_qubits",
                )
    need = predicted_bytes(plan)
    if memory_bytes is not None and need > memory_bytes:
        raise CuttingError(
            f"the plan needs {_gib(need)} of memory and {_gib(memory_bytes)} may be used; allow more qubits a "
            "fragment, ask fewer observables, cut elsewhere or raise `memory_bytes`",
            field="memory_bytes",
        )
    variants = sum(c.variants for c in plan.costs)
    if shots is not None and shots < variants:
        raise CuttingError(
            f"`shots` {shots}: the plan has {variants} distinct variants and each needs a shot; give at least "
            f"{variants}, better {100 * variants}",
            field="shots",
        )
    if plan.sampling_overhead > 1e6 and shots is not None:
        note = f"sampling overhead {plan.sampling_overhead:.2g}: expect large error bars, or leave `shots` out"
        return replace(plan, notes=(*plan.notes, note))
    return plan


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
