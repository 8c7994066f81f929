"""problem -> plan: find cuts (or take those given), split, and say what it will cost."""

from __future__ import annotations

from dataclasses import replace
from math import log2

import numpy as np
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from scipy.sparse import csr_array

from tasks.cutting.cost import choose_schemes, contraction_cost, exact_work, fragment_cost
from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.cutting.errors import CuttingError
from tasks.cutting.kinds import cheapest_gate_kind, gate_kind
from tasks.cutting.lightcone import light_cone
from tasks.cutting.partition import Partition, partition
from tasks.cutting.plan import Fragment, Plan
from tasks.cutting.schmidt import SchmidtForm, find_form, schmidt_form
from tasks.cutting.search.annealing import anneal
from tasks.cutting.search.blocks import qubit_blocks
from tasks.cutting.search.ends import GateEnds, end_blocks
from tasks.model.problem import Problem
from tasks.model.tensor import Structure

_FIND_CUTS_GATES = 40  # qiskit-addon-cutting's search takes well under a second up to here
_MOVES_A_NODE = 200
_MOST_MOVES = 60_000
_MOST_TENSOR_BITS = 60
_FRAGMENT_WORK = 2e7  # a fragment of any size is a task, of about 20 ms at 1e9 operations a second
_STAYS_WHOLE = 1e6  # weight of a gate that cannot be cut: above any sum of the others, small enough to add exactly


def make_plan(
    problem: Problem,
    *,
    max_qubits: int | None = None,
    cuts: tuple[Cut, ...] | None = None,
    shots: int | None = None,
    memory_bytes: int | None = None,
    mid_circuit_measurement: bool = True,
    seed: int = 0,
) -> Plan:
    """Plan a problem.

    Args:
        problem: validated.
        max_qubits: widest fragment allowed; None allows any.
        cuts: cut here; None searches for cuts (none, when the circuit fits).
        shots: total shots of the sampled path, None for the exact path: decides what is cheap.
        memory_bytes: refuse plans that need more at their peak; None refuses none.
        mid_circuit_measurement: whether the devices of the sampled path can read a bit in mid-circuit: where one
            cannot, a bit takes an ancilla anyway, and every gate cut without a kind gets the one of least variance.
        seed: of the search.

    Raises:
        CuttingError: no plan within the limits, or the given cuts do not make one.
    """
    if max_qubits is not None and max_qubits < 1:
        raise CuttingError(f"--max-qubits {max_qubits}: a fragment has at least 1 qubit")
    if cuts is not None:
        given = partition(problem, cuts)
        _refuse_too_many_ends(given)
        if shots is not None and not mid_circuit_measurement:
            given = _of_cheapest_kinds(problem, given)
        return _checked(_costed(given, shots), shots, max_qubits, memory_bytes)
    candidates = [partition(problem, c) for c in _candidates(problem, max_qubits, shots is None, seed)]
    within = [p for p in candidates if max_qubits is None or _widest(p.fragments) <= max_qubits]
    if not within:
        raise CuttingError(
            f"no plan within --max-qubits {max_qubits}: the narrowest fragments found have "
            f"{min(_widest(p.fragments) for p in candidates)} qubits; allow more qubits or name the cuts with --cuts"
        )
    possible = [p for p in within if _tensor_bits(p) <= _MOST_TENSOR_BITS]
    if not possible:
        _refuse_too_many_ends(min(within, key=_tensor_bits))
    best = min(possible, key=lambda p: _score(p, shots is None))
    if shots is not None and not mid_circuit_measurement:
        best = _of_cheapest_kinds(problem, best)
    return _checked(_costed(best, shots), shots, max_qubits, memory_bytes)


def _of_cheapest_kinds(problem: Problem, found: Partition) -> Partition:
    """The same cuts with the kind of least variance for every gate that names none."""
    cuts = []
    for cut in found.cuts:
        if cut.wire is None and not cut.kind:
            form = schmidt_form(problem.circuit.data[cut.instruction].operation)
            kind = cheapest_gate_kind(form)
            cut = GateCut(cut.instruction, "" if kind == gate_kind(form) else kind.name)
        cuts.append(cut)
    return partition(problem, tuple(cuts))


def structure_of(problem: Problem, plan: Plan) -> Structure:
    """How the plan's fragments are joined, and what the problem asks of the whole: reconstruction's input."""
    scale = csr_array(np.diag(plan.term_scale)) if plan.term_scale.size < 2 else _diagonal(plan.term_scale)
    return Structure(
        legs=tuple(tuple((leg.cut, leg.end) for leg in fragment.legs) for fragment in plan.fragments),
        bonds=plan.bonds,
        factor_index=plan.factor_index,
        num_factors=tuple(fragment.num_factors for fragment in plan.fragments),
        coefficients=csr_array(problem.terms.coefficients @ scale),
    )


def _diagonal(values: np.ndarray) -> csr_array:
    index = np.arange(values.size)
    return csr_array((values, (index, index)), shape=(values.size, values.size))


def _candidates(problem: Problem, max_qubits: int | None, exact: bool, seed: int) -> list[tuple[Cut, ...]]:
    """Sets of cuts worth comparing: no cut at all where the circuit fits."""
    uncut: tuple[Cut, ...] = ()
    if max_qubits is None or _widest(partition(problem, uncut).fragments) <= max_qubits:
        return [uncut]
    matters = light_cone(problem.circuit, np.asarray(problem.terms.support.any(axis=0)))
    ends = gate_ends(problem.circuit, matters, exact)
    starts = [
        blocks[ends.qubits].reshape(-1)
        for blocks in qubit_blocks(ends.qubit_weights(problem.num_qubits), max_qubits)[:2]
    ]
    starts += end_blocks(ends, max_qubits)[:2] if max_qubits > 1 else []
    found: list[tuple[Cut, ...]] = []
    for start in starts:
        found.append(ends.cuts(start))
        moves = min(_MOST_MOVES, _MOVES_A_NODE * len(start))
        found.append(ends.cuts(anneal(ends, start, max_qubits, seed=seed, moves=moves)))
    if len(ends.instructions) <= _FIND_CUTS_GATES and max_qubits > 1:
        found += _addon_cuts(problem.circuit, matters, max_qubits, seed)
    whole = set(ends.instructions[ends.weights == _STAYS_WHOLE].tolist())
    made = [cuts for cuts in dict.fromkeys(found) if not any(c.wire is None and c.instruction in whole for c in cuts)]
    if not made:
        names = ", ".join(f"{i} ({problem.circuit.data[i].operation.name})" for i in sorted(whole)[:8])
        raise CuttingError(
            f"no plan within --max-qubits {max_qubits}: gates that cannot be cut, as instruction {names}, keep more "
            "qubits together; allow more qubits"
        )
    return made


def gate_ends(circuit: QuantumCircuit, matters: np.ndarray, exact: bool) -> GateEnds:
    """The two-qubit gates that matter, with the cost of cutting each: log2 of kappa**2 and, exactly, of the leg."""
    instructions, qubits, weights = [], [], []
    index = {bit: i for i, bit in enumerate(circuit.qubits)}
    for i, item in enumerate(circuit.data):
        if matters[i] and len(item.qubits) == 2:
            instructions.append(i)
            qubits.append([index[q] for q in item.qubits])
            weights.append(_gate_weight(find_form(item.operation), exact))
    return GateEnds(
        np.array(instructions, dtype=np.int64),
        np.array(qubits, dtype=np.int64).reshape(-1, 2),
        np.array(weights),
        2.2 if exact else 4.1,
    )


def _gate_weight(form: SchmidtForm | None, exact: bool) -> float:
    if form is None:
        return _STAYS_WHOLE
    overhead = 2 * log2(form.kappa())
    # The exact path pays for the leg's dimension, the sampled one for its overhead; the other breaks ties.
    return 2 * log2(form.rank) + 0.05 * overhead if exact else overhead + 0.1


def _addon_cuts(circuit: QuantumCircuit, matters: np.ndarray, max_qubits: int, seed: int) -> list[tuple[Cut, ...]]:
    """qiskit-addon-cutting's own search, as one more candidate."""
    from qiskit_addon_cutting import DeviceConstraints, OptimizationParameters, find_cuts

    kept = [i for i in range(len(circuit.data)) if matters[i]]
    bare = circuit.copy_empty_like()
    for i in kept:
        bare.append(circuit.data[i])
    try:
        out, _ = find_cuts(bare, OptimizationParameters(seed=seed, max_backjumps=300), DeviceConstraints(max_qubits))
    except (ValueError, QiskitError):  # it found none within the constraint, or a gate that it cannot cut
        return []
    cuts: list[Cut] = []
    waiting: set[int] = set()
    done = 0
    for item in out.data:
        qubits = [out.find_bit(q).index for q in item.qubits]
        if item.operation.name == "cut_wire":
            waiting.add(qubits[0])
            continue
        original = kept[done]
        for q in sorted(waiting.intersection(qubits)):
            cuts.append(WireCut(original, q))
            waiting.discard(q)
        if item.operation.name == "qpd_2q":
            cuts.append(GateCut(original))
        done += 1
    return [tuple(cuts)]


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


def _score(candidate: Partition, exact: bool) -> float:
    """Lower is better: log2 of the work on the exact path, of the sampling overhead on the sampled one."""
    work = sum(_FRAGMENT_WORK + exact_work(f) for f in candidate.fragments)
    work += contraction_cost(candidate.fragments, candidate.bonds).flops
    if exact:
        return log2(max(1.0, work))
    return log2(candidate.sampling_overhead) + 0.02 * log2(max(1.0, work))


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
    contraction = contraction_cost(plan.fragments, plan.bonds)
    # Two operands and their product, or their transposed copies, are alive at once.
    return int(tensors + max(fragment, 3 * 8 * contraction.largest))


def _checked(plan: Plan, shots: int | None, max_qubits: int | None, memory_bytes: int | None) -> Plan:
    largest = contraction_cost(plan.fragments, plan.bonds).largest
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
                    f"than --max-qubits {max_qubits}; cut it further or allow more qubits"
                )
    need = predicted_bytes(plan)
    if memory_bytes is not None and need > memory_bytes:
        raise CuttingError(
            f"the plan needs {_gib(need)} of memory and {_gib(memory_bytes)} may be used; allow more qubits a "
            "fragment, ask fewer observables, cut elsewhere or raise --memory"
        )
    variants = sum(c.variants for c in plan.costs)
    if shots is not None and shots < variants:
        raise CuttingError(
            f"--shots {shots}: the plan has {variants} distinct variants and each needs a shot; give at least "
            f"{variants}, better {100 * variants}"
        )
    if plan.sampling_overhead > 1e6 and shots is not None:
        note = f"sampling overhead {plan.sampling_overhead:.2g}: expect large error bars, or use --exact"
        return replace(plan, notes=(*plan.notes, note))
    return plan


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
