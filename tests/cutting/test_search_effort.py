"""What a search for cuts looks at, and what its steps are said to cost."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import CDKMRippleCarryAdder, CXGate

from results.benchmarks.planner_least import BUILD
from results.benchmarks.planner_problems import swap_test
from tasks.cutting import make_plan
from tasks.cutting.cuts import GateCut
from tasks.cutting.objectives import OBJECTIVES
from tasks.cutting.open_program import _Layout
from tasks.cutting.openings import Gate
from tasks.cutting.partition import partition, partition_of
from tasks.cutting.search import annealing, candidates, narrower
from tasks.cutting.search.candidates import _Search, candidate_cuts
from tasks.cutting.search.circuit import Circuit
from tasks.cutting.search.ends import GateEnds
from tasks.cutting.search.narrower import exact_cuts
from tasks.cutting.search.seen import views
from tasks.cutting.search.sketch import Sketch, sketch_of
from tasks.cutting.search.splits import Splits
from tests.cutting.test_joined import mixture
from tests.oracles import problem_of

ROOT = Path(__file__).parents[2]


def search_of(qubits, max_qubits):
    circuit = QuantumCircuit(qubits)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["Z" * qubits], np.ones((1, 1)))
    seen, _ = views(problem, OBJECTIVES["work"], runs=True)[0]
    return _Search(seen, max_qubits, OBJECTIVES["work"], shots=None, seed=0, seconds=None)


def test_gate_ends_are_split_at_the_three_widths_that_did_best(monkeypatch):
    score = {20: 5.0, 15: 1.0, 12: 6.0, 9: 2.0, 7: 7.0, 6: 3.0}  # each three quarters of the one before, down to 6
    asked = []
    monkeypatch.setattr(Splits, "of_qubits", lambda self, width, **_: [(False, [(0.0, width)])])
    monkeypatch.setattr(Splits, "of_ends", lambda self, width, more, seed: asked.append(width) or [])
    monkeypatch.setattr(_Search, "_try", lambda self, cost, split: score[split])
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: True)
    monkeypatch.setattr(_Search, "_rounds", lambda *_: None)
    search = search_of(40, 20)
    search.run(Splits(search.circuit))
    assert asked == [15, 9, 6] * 3, "with none, one and two blocks more than needed"


@pytest.mark.parametrize("score, split", [
    ({20: 1.0, 15: 4.0, 12: 2.0, 9: 4.0, 7: 5.0, 6: 0.0}, [20, 15, 12, 9, 7]),
    ({20: 1.0, 15: 4.0, 12: inf, 9: 4.0, 7: 2.0, 6: 0.0}, [20, 15, 12, 9, 7, 6]),
    ({20: 4.0, 15: 1.0, 12: 2.9, 9: 3.1, 7: 3.1, 6: 0.0}, [20, 15, 12, 9, 7]),
])  # fmt: skip
def test_narrower_widths_are_left_after_two_that_are_far_behind(monkeypatch, score, split):
    asked = []
    monkeypatch.setattr(Splits, "of_qubits", lambda self, width, **_: asked.append(width) or [(False, [(0.0, width)])])
    monkeypatch.setattr(_Search, "_try", lambda self, cost, split: score[split])
    monkeypatch.setattr(_Search, "_cannot_win", lambda *_: False)
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: False)
    monkeypatch.setattr(Splits, "of_ends", lambda *_: [])
    search = search_of(40, 20)
    search.run(Splits(search.circuit))
    assert asked == split


def test_another_view_is_split_into_as_few_blocks_as_fit_until_a_width_is_far_behind(monkeypatch):
    asked = []
    score = {20: 1.0, 15: 2.0, 12: 3.1, 9: 0.0}

    def of_qubits(self, width, *, seeds, more, **_):
        asked.append((width, seeds, more))
        return [(False, [(0.0, width)])]

    monkeypatch.setattr(Splits, "of_qubits", of_qubits)
    monkeypatch.setattr(_Search, "_try", lambda self, cost, split: score[split])
    monkeypatch.setattr(_Search, "_cannot_win", lambda *_: False)
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: False)
    monkeypatch.setattr(Splits, "of_ends", lambda *_: [])
    search = search_of(40, 20)
    replace(search, starts=(search.circuit.ends.qubits.reshape(-1).tobytes(),)).run(Splits(search.circuit))
    assert asked == [(20, False, (0,)), (15, False, (0,)), (12, False, (0,))]


def test_gate_ends_are_split_at_widths_far_behind_only_while_a_run_takes_long(monkeypatch):
    tried = {20: 1.0, 15: 2.9, 12: 3.1, 9: inf}
    monkeypatch.setattr(_Search, "_cannot_win", lambda *_: False)
    for seconds, widths in ((0.6, [20, 15, 12]), (0.4, [20, 15, 9])):
        monkeypatch.setattr(_Search, "quickest", lambda self, seconds=seconds: seconds)
        assert search_of(40, 20)._promising(tried) == widths


def test_widths_are_not_split_whose_fragments_take_longer_whatever_they_are(monkeypatch):
    asked = []
    split = Splits.of_qubits
    monkeypatch.setattr(Splits, "of_qubits", lambda self, width, **k: asked.append(width) or split(self, width, **k))
    search = search_of(24, 12)
    search.run(Splits(search.circuit))
    least = min(item.score for item in search.found.values())
    assert asked == [12] and OBJECTIVES["work"].least(2) < least < OBJECTIVES["work"].least(3)
    sampled = replace(search, shots=10**6, found=search.found)
    assert not sampled._cannot_win(1), "predicted seconds say nothing of its score"


@pytest.mark.parametrize("seed", range(8))
def test_no_exact_run_scores_below_what_so_many_fragments_take(seed):
    rng = np.random.default_rng([seed, 21])
    problem = mixture(6, 9, seed)
    circuit, _ = views(problem, OBJECTIVES["work"], runs=True)[0]
    for parts in (1, 2, 6):
        sketch = circuit.sketch(rng.integers(0, parts, 2 * len(circuit.costs)), 6)
        for objective in OBJECTIVES.values():
            assert objective.score(sketch, None) >= objective.least(len(sketch.fragments)), f"seed {seed}"


def test_a_sketch_is_counted_by_the_gate_ends_it_looks_at():
    spent = {}
    for qubits in (3, 84, 501):
        search = search_of(qubits, 2)
        search._take(search.circuit.ends.qubits.reshape(-1))
        spent[len(search.circuit.alone)] = search.spent
    assert spent == {4: pytest.approx(5.4e-4), 166: pytest.approx(2.16e-3), 1000: pytest.approx(1.05e-2)}


def test_annealing_takes_as_long_where_wires_have_thousands_of_gates(monkeypatch):
    """A move may take a whole stretch of wire along; an epoch in which they are long has fewer moves."""
    looked = []

    class Counted(list):
        def __getitem__(self, node):
            looked.append(node)
            return super().__getitem__(node)

    neighbours = annealing._neighbours
    monkeypatch.setattr(annealing, "_neighbours", lambda ends: tuple(map(Counted, neighbours(ends))))
    pairs = np.random.default_rng(3).permuted(np.tile(np.arange(4), (1500, 1)), axis=1)[:, :2]
    ends = GateEnds(np.arange(1500), pairs, np.ones(1500), 1.0)
    start = (pairs == 3).astype(np.int64).reshape(-1)
    annealing.anneal(ends, start, 3, seed=0, moves=4000)
    assert 8000 < len(looked) < 60_000, "those at the ends of each stretch, and 8 more a move"


def test_a_circuit_of_too_many_gates_to_cut_is_not_looked_at_part_by_part(monkeypatch):
    """What its observables see is nothing to whom its fragments cannot be joined."""
    monkeypatch.setattr(Circuit, "_cone_seconds", lambda *_: pytest.fail("seconds that nobody waits for"))
    search = search_of(2, 1)
    pairs = np.tile([[0, 1]], (40, 1))
    ends = GateEnds(np.arange(40), pairs, np.ones(40), 1.0)
    many = replace(
        search.circuit, ends=ends, costs=search.circuit.costs * 40, alone=np.ones(80), runs=np.full((80, 3), -1),
        fresh=np.zeros(80, dtype=bool), other=np.ones(80, dtype=bool),
    )  # fmt: skip
    assert many.sketch(pairs.reshape(-1), 1).too_large


def test_seeds_are_asked_until_two_agree(monkeypatch):
    asked = []
    found = {0: [0, 1, 1], 1: [0, 0, 1], 2: [1, 0, 0], 3: [0, 1, 2]}  # the third is the first by other names

    def split(self, number, width, seed):
        asked.append((width, number, seed))
        return np.array(found[seed])[self._circuit.ends.qubits % 3].reshape(-1)

    monkeypatch.setattr(Splits, "_of_qubits", split)
    monkeypatch.setattr(Splits, "of_ends", lambda *_: [])
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: False)
    search = search_of(12, 8)
    search.run(Splits(search.circuit))
    assert asked == [(8, 2, 0), (8, 2, 1), (8, 2, 2), (8, 3, 0), (6, 2, 0), (6, 3, 0)], "one more block, and narrower"


def test_a_split_is_made_once_for_all_limits(monkeypatch):
    asked = []
    split = Splits._of_qubits

    def noted(self, *how):
        asked.append(how)
        return split(self, *how)

    monkeypatch.setattr(Splits, "_of_qubits", noted)
    monkeypatch.setattr(_Search, "_cannot_win", lambda *_: False)
    search = search_of(40, 20)
    splits = Splits(search.circuit)
    search.run(splits)
    further = replace(search, max_qubits=15, found={}, wide={}, spent=0.0)
    further.run(splits)
    assert len(asked) == len(set(asked)) and {width for _, width, _ in asked} >= {20, 15, 12, 9, 7, 6}


def test_gates_one_by_one_are_looked_at_from_what_runs_gave(monkeypatch):
    asked = []
    search = candidates._searched

    def noted(key, *how):
        asked.append((key.circuit.ends, [np.frombuffer(start, dtype=np.int64) for start in how[-2]], search(key, *how)))
        return asked[-1][-1]

    monkeypatch.setattr(candidates, "_searched", noted)
    circuit = QuantumCircuit(6)
    for q in (0, 1, 2, 3, 4):
        for _ in range(2):  # their product is dearer than one of them
            circuit.cx(q + 1, q)
            circuit.u(0.3, 0.4, 0.5, q)
            circuit.cx(q, q + 1)
            circuit.u(0.6, 0.7, 0.8, q + 1)
    candidate_cuts(problem_of(circuit, ["Z" * 6], np.ones((1, 1))), 3, OBJECTIVES["overhead"], shots=10**6)
    (runs, none, (found, _)), (single, starts, _) = asked
    assert none == [] and starts and len(runs.weights) < len(single.weights) == 20
    of = {i: gate for gate, many in enumerate(runs.members) for i in many}
    for start, (_, block) in zip(starts, found, strict=False):
        for gate, i in enumerate(single.instructions.tolist()):
            assert sorted(start[2 * gate : 2 * gate + 2]) == sorted(block[2 * of[i] : 2 * of[i] + 2])


def two_qubits(gates):
    circuit = QuantumCircuit(2)
    for angles in np.random.default_rng(gates).uniform(0, 3, (gates, 6)):
        circuit.u(*angles[:3], 0)
        circuit.u(*angles[3:], 1)
        circuit.cx(0, 1)
    return problem_of(circuit, ["ZZ"], np.ones((1, 1)))


@pytest.mark.parametrize("shots", [None, 10**6])
def test_nothing_is_annealed_where_every_gate_has_to_be_cut(monkeypatch, shots):
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: pytest.fail("each end has its block"))
    assert len(make_plan(two_qubits(11), max_qubits=1, shots=shots).cuts) == 1


def test_gates_one_by_one_are_worth_no_more_effort_than_a_run_of_them_takes(monkeypatch):
    """Found one by one are seconds, as a run milliseconds."""
    asked = []
    search = candidates._searched
    monkeypatch.setattr(candidates, "_searched", lambda *how: asked.append(search(*how)) or asked[-1])
    candidate_cuts(two_qubits(11), 1, OBJECTIVES["work"])
    (_, first), (_, second) = asked
    assert first.quickest == second.quickest < 0.1


@pytest.mark.parametrize("shots, more", [(10**6, ()), (None, (0,))])
def test_another_view_of_what_a_sweep_has_looked_at_begins_with_what_was_found(monkeypatch, shots, more):
    """Its qubits are not split again."""
    asked, split = [], Splits.of_qubits
    monkeypatch.setattr(Splits, "of_qubits", lambda *own, **how: asked.append(how["more"]) or split(*own, **how))
    problem = problem_of(BUILD["random pairs"](5, 10, 0), ["Z" * 5], np.ones((1, 1)))
    assert candidate_cuts(problem, 3, OBJECTIVES["overhead"], shots=shots)
    assert asked == [(0, 1), more]


def test_what_is_best_by_far_is_left_where_there_are_fewer_shots_than_variants():
    """Of two fragments 2^67, with four times as many variants as shots; qubit by qubit 2^185."""
    problem = problem_of(BUILD["random pairs"](10, 60, 2), ["Z" * 10], np.ones((1, 1)))
    plan = make_plan(problem, max_qubits=6, shots=10**10)
    assert sum(cost.variants for cost in plan.costs) <= 10**10
    assert np.log2(plan.sampling_overhead) < 80 and max(fragment.width for fragment in plan.fragments) <= 6


def random_gates(qubits, gates, seed=5):
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits)
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        circuit.u(*rng.uniform(0, 3, 3), a)
        circuit.cx(a, b)
    return problem_of(circuit, ["Z" * qubits], np.ones((1, 1)))


@pytest.mark.parametrize("gates, shots", [(150, None), (60, 20_000)])
def test_wires_are_severed_at_times_where_fragments_would_have_too_many_ends(gates, shots):
    """Blocks of qubits leave tensors that nothing holds, or more variants than shots; slices of them do not."""
    seen, _ = views(random_gates(4, gates), OBJECTIVES["work"], runs=True)[0]
    search = _Search(seen, 3, OBJECTIVES["work"], shots=shots, seed=0, seconds=0)
    search._take(seen.ends.qubits.reshape(-1))
    assert not search._usable()
    search.slice()
    (found,) = search._usable()
    assert found.sketch.width <= 3 and found.sketch.tensor_bits <= 60
    assert shots is None or found.sketch.variants <= shots
    assert any(np.array_equal(block, found.block) for _, block in search.best()), "it is handed on"
    spent = search.spent
    search.slice()
    assert search.spent == spent, "nothing is sliced where something can be run"


def test_gates_are_in_the_first_layer_that_they_can_be_in():
    pairs = np.array([[0, 1], [1, 2], [0, 3], [4, 5], [3, 2]])
    assert GateEnds(np.arange(5), pairs, np.ones(5), 1.0).layers.tolist() == [0, 1, 1, 0, 2]


def test_the_time_of_a_program_is_that_of_all_its_blocks():
    layout = _Layout((0, 1))
    for _ in range(3):
        layout.add([Gate((0, 1), CXGate().to_matrix())])
    assert layout.nanoseconds == pytest.approx(3 * (50_000 + 4 * 3.6)), "50 us a block, 3.6 ns an amplitude"


PLANS = """
import numpy as np
from tasks.cutting import make_plan
from tests.cutting.test_joined import mixture
for seed in (1, 2):
    for shots in (None, 10**9):
        print(make_plan(mixture(14, 40, seed), max_qubits=8, shots=shots).cuts)
"""


def test_a_seed_gives_one_plan_in_any_process():
    """Whatever the order of sets there, the threads of linear algebra, and what else the machine does meanwhile."""

    def plans(threads, hashes):
        more = {"OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": hashes}
        done = subprocess.run([sys.executable, "-c", PLANS], cwd=ROOT, env={**os.environ, **more}, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    with ThreadPoolExecutor(2) as both:
        first, second = both.map(plans, ("1", "2"), ("1", "7"))
    assert first == second and first.count(b"GateCut") >= 4


def test_a_search_that_finds_nothing_better_ends_whatever_effort_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(_Search, "_anneal_all", lambda self, pool, width: asked.append(width) or True)
    search = replace(search_of(6, 4), seconds=1e308)
    search._take(search.circuit.ends.qubits.reshape(-1))
    search._rounds(4)
    assert asked == [4] * 50


def test_annealing_that_finds_nothing_better_ends_unless_an_effort_is_asked(monkeypatch):
    monkeypatch.setattr("tasks.cutting.search.candidates.anneal", lambda ends, block, width, **_: block)
    spent = {}
    for seconds in (None, 0.4):
        search = replace(search_of(12, 8), seconds=seconds)
        search.run(Splits(search.circuit))
        spent[seconds] = search.spent
        began = search.better_at  # nothing was found after it
        assert search.spent - began <= (0.4 if seconds else max(0.08, 0.2 * search.spent) + 0.06)
    assert spent[None] < 0.25 and spent[0.4] > 0.39


def test_a_wider_limit_is_no_slower_than_a_narrower_one():
    """A Cuccaro adder of 40 qubits takes less in fragments of 12 than in those that a search for 20 finds first."""
    adder = CDKMRippleCarryAdder(19, kind="full").decompose(reps=3)
    problem = problem_of(transpile(adder, basis_gates=["u", "cx"], optimization_level=0), ["Z" * 40], np.ones((1, 1)))
    narrow, wide = (make_plan(problem, max_qubits=limit) for limit in (12, 20))
    assert sketch_of(partition_of(wide)).seconds <= sketch_of(partition_of(narrow)).seconds * 1.01


def test_a_second_search_has_a_limit_near_the_width_that_was_the_quickest(monkeypatch):
    circuit = QuantumCircuit(40)
    for q in range(39):
        circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["Z" * 40], np.ones((1, 1)))
    asked = []

    def found(problem, limit, *_, **__):
        asked.append(limit)
        return [tuple(GateCut(q) for q in range(width - 1, 39, width)) for width in (10, 20)]

    monkeypatch.setattr(narrower, "candidate_cuts", found)
    monkeypatch.setattr(narrower, "_SHORT_S", 0.0)
    seconds = {10: 1.0, 20: 2.0}
    monkeypatch.setattr(Sketch, "seconds", property(lambda self: seconds[self.width]))
    find = partial(exact_cuts, problem, objective=OBJECTIVES["work"], seed=0, seconds=None, runs=True)
    first = find(max_qubits=20)
    assert asked == [20, 12] and len(first[0]) == 3, "10 times 1.155"
    seconds[20] = 0.5
    assert len(find(max_qubits=20)[0]) == 1 and asked[2:] == [20, 15], "three quarters of the limit"
    monkeypatch.setattr(Sketch, "too_large", True)
    find(max_qubits=20)
    assert asked[4:] == [20], "none where nothing can be joined"


def test_splits_of_nets_are_left_after_two_widths_where_they_are_far_behind(monkeypatch):
    asked = []
    score = {20: 6.1, 15: 6.0, 12: 6.1, 9: 6.1}  # those of qubits: 4

    def of_qubits(self, width, *, nets, **_):
        asked.append(nets)
        return [(False, [(0.0, 4.0)]), *([(True, [(0.0, score[width])])] if nets else [])]

    monkeypatch.setattr(Splits, "of_qubits", of_qubits)
    monkeypatch.setattr(_Search, "_try", lambda self, cost, split: split)
    monkeypatch.setattr(_Search, "_cannot_win", lambda *_: False)
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: False)
    monkeypatch.setattr(Splits, "of_ends", lambda *_: [])
    search = search_of(40, 20)
    search.run(Splits(search.circuit))
    assert asked == [True, True, True, True, False, False]


def test_candidates_for_shots_are_not_all_alike():
    """A swap test's single wire is least in overhead; with a second one severed its fragments may err less."""
    problem = problem_of(swap_test(6), ["Z" * 13], np.ones((1, 1)))
    found = candidate_cuts(problem, 7, OBJECTIVES["overhead"], shots=10**6)
    assert [type(cut).__name__ for cut in found[0]] == ["WireCut"]
    assert any([type(cut).__name__ for cut in cuts] == ["WireCut", "WireCut"] for cuts in found)
    widths = [tuple(sorted(fragment.width for fragment in partition(problem, cuts).fragments)) for cuts in found]
    assert len(set(widths)) > 1 and max(map(widths.count, widths)) < len(widths)
