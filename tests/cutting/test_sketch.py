"""What a search counts without building fragments, held against the fragments; plans against the proven optimum."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from ortools.sat.python import cp_model
from qiskit import QuantumCircuit

from results.benchmarks.planner_least import A_CUT, BUILD, commuting_circuit, least_cuts, least_overhead, mixed_circuit
from results.benchmarks.planner_problems import grid
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import make_plan
from tasks.cutting.cone_program import cone_program
from tasks.cutting.cuts import GateCut
from tasks.cutting.objectives import OBJECTIVES
from tasks.cutting.partition import partition
from tasks.cutting.search.candidates import candidate_cuts, forget
from tasks.cutting.search.ends import GateEnds
from tasks.cutting.search.multilevel import multilevel_blocks
from tasks.cutting.search.seen import views
from tasks.cutting.search.sketch import sketch_of
from tasks.cutting.search.sweep import swept
from tests.cutting.test_joined import mixture
from tests.oracles import problem_of


def turned_circuit(qubits, gates, seed):
    """Qubits in |+>, gates that are diagonal along Z or X, several on one pair."""
    return mixture(qubits, gates, seed).circuit


def labels(qubits, count, seed):
    rng = np.random.default_rng([seed, 5])
    return sorted({"".join(rng.choice(list("IXYZ"), qubits)) for _ in range(count)} | {"Z" * qubits})


@pytest.mark.parametrize("circuit", [mixed_circuit, commuting_circuit, turned_circuit])
@pytest.mark.parametrize("seed", range(10))
def test_a_sketch_counts_what_the_fragments_have(circuit, seed):
    problem = problem_of(circuit(7, 12, seed), given := labels(7, 5, seed), np.ones((1, len(given))))
    circuit, qubits = views(problem, OBJECTIVES["work" if seed % 2 else "overhead"], runs=True)[0]
    rng = np.random.default_rng([seed, 8])
    block = rng.integers(0, 3, 7)[circuit.ends.qubits].reshape(-1)
    block[rng.integers(0, len(block), 4)] = 1
    own = circuit.ends
    ends = GateEnds(own.instructions, qubits, own.weights, own.wire_weight, own.members)
    if not ends.keeps_runs(block):
        pytest.skip(f"seed {seed}: a wire is severed inside of a run")
    copies = circuit.copies(block, 9)
    mine, built = circuit.sketch(block, 9), sketch_of(partition(problem, ends.cuts(block, copies)))
    assert mine.overhead == pytest.approx(built.overhead), f"seed {seed}"
    assert mine.terms == built.terms
    assert mine.contraction.flops == pytest.approx(built.contraction.flops, rel=0.5), "but for ties of the greedy path"

    def counts(sketch):
        each = [(f.width, f.lent, f.branches, f.outputs, f.factors, sorted(f.dimensions)) for f in touching(sketch)]
        logs = [(round(f.log_cost, 9), round(f.log_variants, 9)) for f in touching(sketch)]
        return sorted(zip(each, logs, strict=True))

    def touching(sketch):
        """Qubits that no two-qubit gate acts on cost next to nothing, and no search looks at them."""
        return [f for f in sketch.fragments if f.width > 1 or f.cuts]

    assert counts(mine) == counts(built), f"seed {seed}"
    lone = len(built.fragments) - len(touching(built))
    seconds = built.seconds - lone * TYPICAL_CPU.speed.job
    assert mine.seconds == pytest.approx(seconds, rel=0.2), "but for the one-qubit gates of severed ones"


@pytest.mark.parametrize("circuit", [mixed_circuit, commuting_circuit])
@pytest.mark.parametrize("seed", range(6))
def test_a_sketch_counts_the_light_cones_of_its_fragments(circuit, seed, monkeypatch):
    """Whatever all amplitudes take; but for one-qubit gates of severed ones, and terms that see part of another's."""
    for name, value in (("WIDE", 0), ("WORTH_S", -1.0), ("CLEARLY", 0.0)):
        monkeypatch.setattr(f"tasks.cutting.search.circuit.{name}", value)
    rng = np.random.default_rng([seed, 9])
    given = sorted({"".join(rng.choice(list("IIIIXYZ"), 9)) for _ in range(1 + 5 * (seed % 2))})
    problem = problem_of(circuit(9, 14, seed), given, np.ones((1, len(given))))
    seen, qubits = views(problem, OBJECTIVES["work"], runs=True)[0]
    seen = replace(seen, other=np.ones_like(seen.other))
    block = rng.integers(0, 3, 9)[seen.ends.qubits].reshape(-1)
    block[rng.integers(0, len(block), 4)] = 1
    own = seen.ends
    ends = GateEnds(own.instructions, qubits, own.weights, own.wire_weight, own.members)
    if not ends.keeps_runs(block):
        pytest.skip(f"seed {seed}: a wire is severed inside of a run")
    sketch, built = seen.sketch(block, 9), partition(problem, ends.cuts(block, seen.copies(block, 9)))
    mine, true = defaultdict(list), defaultdict(list)
    for one in sketch.fragments:
        mine[one.width, tuple(sorted(one.dimensions))].append(one.compact_seconds)
    for fragment in built.fragments:
        if fragment.num_qubits > 1 or fragment.legs:
            dimensions = sorted(leg.dimension for leg in fragment.legs)
            true[fragment.num_qubits, tuple(dimensions)].append(cone_program(fragment).seconds)
    assert mine.keys() == true.keys(), f"seed {seed}"
    for key, seconds in true.items():
        assert sorted(mine[key]) == pytest.approx(sorted(seconds), rel=0.7), f"seed {seed}: {key}"


def test_copies_do_not_widen_the_fragments_of_an_exact_run():
    """Fewer cuts by copies that join parts would take 84 cuts and three times as long here."""
    labels = ["I" * q + "Z" + "I" * (24 - q) for q in range(0, 25, 3)]
    problem = problem_of(grid(5, 2), labels, np.ones((1, len(labels))))
    plan = make_plan(problem, max_qubits=12)
    assert len(plan.cuts) < 40 and sketch_of(partition(problem, plan.cuts)).seconds < 2


def test_an_exact_plan_of_a_shallow_grid_counts_on_light_cones():
    """CZ, and observables that are diagonal as it is: gates count from cut ends only: two wide halves take little."""
    circuit = grid(6, 1)
    problem = problem_of(circuit, ["Z" * 36], np.ones((1, 1)))
    qubits = [[circuit.find_bit(q).index // 18 for q in item.qubits] for item in circuit.data]
    halves = partition(problem, tuple(GateCut(i) for i, own in enumerate(qubits) if len(set(own)) == 2))
    plan = make_plan(problem, max_qubits=18)
    assert sketch_of(partition(problem, plan.cuts)).seconds < 1.01 * sketch_of(halves).seconds < 0.05


@pytest.mark.parametrize("shots", [None, 10**6])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_renumbered_circuit_gets_the_same_plan(shots, seed):
    circuit = mixed_circuit(12, 30, seed)
    order = np.random.default_rng(seed).permutation(12).tolist()
    other = QuantumCircuit(12)
    for item in circuit.data:
        other.append(item.operation, [order[circuit.find_bit(q).index] for q in item.qubits])
    found = []
    for own in (circuit, other):
        forget()
        found.append(candidate_cuts(problem_of(own, ["Z" * 12], np.ones((1, 1))), 6, OBJECTIVES["work"], shots=shots))
    places = [[{(c.instruction, c.wire is None) for c in cuts} for cuts in candidates] for candidates in found]
    assert places[0] == places[1], f"seed {seed}"
    again = candidate_cuts(problem_of(circuit, ["Z" * 12], np.ones((1, 1))), 6, OBJECTIVES["work"], shots=shots)
    assert again == found[0]


def a_better_plan(seen, width, overhead):
    """Whether gate ends in blocks of at most ``width`` qubits at once can have less, by CP-SAT, copies among the cuts.

    Each gate cut is paid for by itself or by a copy of one of its qubits: one for the ends of a run on an unbroken
    stretch of wire in one block whose other ends are in another block.
    """
    ends = seen.ends
    nodes, wires, gates = 2 * len(ends.weights), ends.wires(), len(ends.weights)
    blocks = len(wires)
    model = cp_model.CpModel()

    def boolean():
        return model.new_bool_var("")

    at = [[boolean() for _ in range(blocks)] for _ in range(nodes)]
    for node in range(nodes):
        model.add_exactly_one(at[node])
        for b in range(node + 1, blocks):  # blocks are named in the order in which nodes take them
            model.add(at[node][b] == 0)

    def parted(one, other):
        cut = boolean()
        for b in range(blocks):
            model.add(at[one][b] - at[other][b] <= cut)
        return cut

    terms, served, alive = [], [[] for _ in range(gates)], [[[] for _ in range(gates)] for _ in range(blocks)]
    for run in np.unique(seen.runs[seen.runs >= 0]).tolist():
        ends_of_run = np.flatnonzero((seen.runs == run).any(axis=1)).tolist()
        for home, b in permutations(range(blocks), 2) if len(ends_of_run) > 1 else ():
            used = boolean()
            terms.append((seen.copy_weight - A_CUT, used))
            own = []
            for node in ends_of_run:
                serves = boolean()
                model.add(serves <= at[node][home])
                model.add(serves <= at[node ^ 1][b])
                model.add(serves <= used)
                served[node >> 1].append(serves)
                own.append((node >> 1, serves))
            line = next(line for line in wires if ends_of_run[0] in line)
            for (one, first), (other, last) in combinations(zip(ends_of_run, own, strict=True), 2):
                for node in line[line.index(one) + 1 : line.index(other)]:
                    model.add(first[1] + last[1] - 1 <= at[node][home])
            for gate in range(own[0][0], own[-1][0] + 1):
                begun, goes_on, there = boolean(), boolean(), boolean()
                for other, serves in own:
                    if other <= gate:
                        model.add(serves <= begun)
                    if other >= gate:
                        model.add(serves <= goes_on)
                model.add(begun + goes_on - 1 <= there)
                alive[b][gate].append(there)
    for gate, weight in enumerate(ends.weights):
        alone = boolean()
        model.add(alone >= parted(2 * gate, 2 * gate + 1) - sum(served[gate]))
        terms.append((weight - A_CUT, alone))
    for b in range(blocks):
        begun = [at[line[0]][b] for line in wires]
        for line in wires:
            for earlier, later in pairwise(line):
                new = boolean()
                model.add(new >= at[later][b] - at[earlier][b])
                begun.append(new)
        for gate in range(gates):
            model.add(sum(begun) + sum(alive[b][gate]) <= width)
    for line in wires:
        terms += [(ends.wire_weight - A_CUT, parted(a, b)) for a, b in pairwise(line)]
    model.add(sum(round(1000 * weight) * cut for weight, cut in terms) <= round(1000 * overhead) - 20)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = 60
    found = solver.solve(model)
    assert found in (cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.INFEASIBLE), "not proven either way"
    return found != cp_model.INFEASIBLE


SIZES = ((6, 12, 3), (6, 14, 4))
SMALL = [(kind, *size, 0) for kind in (mixed_circuit, commuting_circuit) for size in SIZES]
OTHERS = [(kind, *size, 1) for kind in (mixed_circuit, commuting_circuit) for size in SIZES]
LARGER = [(kind, 8, 20, 5, 0) for kind in (mixed_circuit, commuting_circuit)]


@pytest.mark.parametrize(
    "circuit, qubits, gates, width, seed",
    [
        *SMALL,
        (mixed_circuit, 7, 12, 4, 1),
        (commuting_circuit, 7, 12, 4, 0),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (*OTHERS, (commuting_circuit, 7, 12, 4, 1), *LARGER)),
    ],
)
def test_the_least_overhead_there_is_can_be_built_and_no_other_search_finds_less(circuit, qubits, gates, width, seed):
    problem = problem_of(circuit(qubits, gates, seed), ["Z" * qubits], np.ones((1, 1)))
    plan = make_plan(problem, max_qubits=width, shots=10**10)
    for seen, on in views(problem, OBJECTIVES["overhead"], runs=True):
        least, block, copies = least_cuts(seen, width)
        assert not a_better_plan(seen, width, least), f"seed {seed}"
        assert np.log2(plan.sampling_overhead) < least + 0.02, f"seed {seed}"
        own = seen.ends
        ends = GateEnds(own.instructions, on, own.weights, own.wire_weight, own.members)
        built = partition(problem, ends.cuts(block, copies))
        assert built.log_overhead < least + 1e-6, "gates on one pair are severed as one where it is less"
        assert max(fragment.width for fragment in built.fragments) <= width


@pytest.mark.parametrize(
    "kind, qubits, gates, width, seed",
    [
        pytest.param("random pairs", 10, 60, 7, 0, marks=pytest.mark.slow),
        pytest.param("random pairs", 9, 45, 6, 2, marks=pytest.mark.slow),
        pytest.param("random pairs", 10, 30, 5, 0, marks=pytest.mark.slow),
        ("brickwork", 10, 60, 5, 0),
        ("brickwork", 10, 60, 7, 1),
        pytest.param("qaoa", 10, 20, 5, 0, marks=pytest.mark.slow),
        ("commuting gates", 8, 20, 5, 4),
        pytest.param("random pairs", 10, 60, 7, 5, marks=pytest.mark.slow),
        pytest.param("random pairs", 10, 60, 6, 1, marks=pytest.mark.slow),
        pytest.param("qaoa", 10, 40, 6, 0, marks=pytest.mark.slow),
        ("random pairs", 8, 24, 5, 0),
        pytest.param("mixed gates", 8, 30, 5, 0, marks=pytest.mark.slow),
        pytest.param("mixed gates", 10, 60, 7, 0, marks=pytest.mark.slow),
    ],
)
def test_plans_have_the_least_overhead_there_is(kind, qubits, gates, width, seed):
    circuit = BUILD[kind](qubits, gates, seed)
    plan = make_plan(problem_of(circuit, ["Z" * qubits], np.ones((1, 1))), max_qubits=width, shots=10**10)
    assert np.log2(plan.sampling_overhead) < least_overhead(circuit, width) + 0.02


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_sweep_that_keeps_all_states_finds_the_least_overhead(seed, backwards):
    """Within the width, too, though copies are counted by what they are at once at least."""
    problem = problem_of((mixed_circuit, commuting_circuit)[seed % 2](6, 12, seed), ["Z" * 6], np.ones((1, 1)))
    seen, _ = views(problem, OBJECTIVES["overhead"], runs=True)[0]
    sketch = seen.sketch(swept(seen, 4, 10**6, backwards=backwards)[0][0], 4)
    assert sketch.width <= 4
    assert sketch.overhead < least_cuts(seen, 4)[0] + 0.1, f"seed {seed}: but for fewer cuts"


def test_without_the_library_for_graphs_other_splits_are_taken(monkeypatch):
    problem = problem_of(mixed_circuit(10, 16, 1), ["Z" * 10], np.ones((1, 1)))
    monkeypatch.setattr("tasks.cutting.search.multilevel._library", lambda: None)
    forget()
    plan = make_plan(problem, max_qubits=6, shots=10**6)
    forget()
    assert plan.cuts and max(f.width for f in plan.fragments) <= 6


def test_a_split_keeps_its_limit_or_there_is_none():
    from scipy.sparse import csr_array

    chain = np.diag(np.ones(11), 1)
    weights, one = csr_array(chain + chain.T), np.ones(12, dtype=np.int64)
    blocks = multilevel_blocks(weights, one, 3, 4)
    assert np.bincount(blocks).tolist() == [4, 4, 4]
    assert multilevel_blocks(weights, one, 3, 3) is None, "no room for all"
    assert multilevel_blocks(weights, one, 1, 12) is None and multilevel_blocks(weights, one, 13, 1) is None


@pytest.mark.parametrize("shots", [None, 10**6])
def test_no_seconds_for_the_search_still_give_a_plan(shots):
    problem = problem_of(mixed_circuit(12, 20, 2), ["Z" * 12], np.ones((1, 1)))
    plan = make_plan(problem, max_qubits=6, shots=shots, plan_seconds=0)
    assert max(f.width for f in plan.fragments) <= 6


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_a_search_knows_wide_fragments_of_clifford_gates(angle):
    """Two halves of 22 qubits: by Paulis milliseconds, with all amplitudes seconds."""
    circuit, rng = QuantumCircuit(44), np.random.default_rng(8)
    for _ in range(12):
        for q in range(44):
            circuit.h(q)
            circuit.s(q)
        for half in (0, 22):
            for a, b in rng.permutation(22).reshape(-1, 2).tolist():
                circuit.cx(half + a, half + b)
    circuit.cz(21, 22)
    if angle:
        circuit.rz(angle, 3)
        circuit.h(3)
    problem = problem_of(circuit, ["Z" * 44], np.ones((1, 1)))
    seen, qubits = views(problem, OBJECTIVES["work"], runs=True)[0]
    sketch = seen.sketch((qubits >= 22).reshape(-1).astype(int), 22)
    assert sorted(fragment.compact_seconds > 0 for fragment in sketch.fragments) == [not angle, True]
    assert (sketch.seconds > 1) == bool(angle)
