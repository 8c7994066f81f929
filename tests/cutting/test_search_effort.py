"""What a search for cuts looks at, and what its steps are said to cost."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import CDKMRippleCarryAdder, CXGate

from tasks.cutting import make_plan
from tasks.cutting.objectives import OBJECTIVES
from tasks.cutting.open_program import Gate, _Layout
from tasks.cutting.partition import partition_of
from tasks.cutting.search.candidates import _Search, candidate_cuts
from tasks.cutting.search.narrower import exact_cuts
from tasks.cutting.search.seen import views
from tasks.cutting.search.sketch import sketch_of
from tests.oracles import problem_of

ROOT = Path(__file__).parents[2]


def search_of(qubits, max_qubits):
    circuit = QuantumCircuit(qubits)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["Z" * qubits], np.ones((1, 1)))
    seen, _ = next(views(problem, np.ones(qubits - 1, dtype=bool), OBJECTIVES["work"], runs=True))
    return _Search(seen, max_qubits, OBJECTIVES["work"], shots=None, seed=0, seconds=None)


def test_gate_ends_are_split_at_the_three_widths_that_did_best(monkeypatch):
    score = {20: 5.0, 15: 1.0, 12: 6.0, 9: 2.0, 7: 7.0, 6: 3.0}  # each three quarters of the one before, down to 6
    asked = []
    monkeypatch.setattr(_Search, "_splits_of_qubits", lambda self, width, qubits: [(0.0, width)])
    monkeypatch.setattr(_Search, "_try", lambda self, cost, split: score[split])
    monkeypatch.setattr(_Search, "_splits_of_ends", lambda self, width, qubits, more: asked.append(width) or [])
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: True)
    monkeypatch.setattr(_Search, "_rounds", lambda *_: None)
    search_of(40, 20).run()
    assert asked == [15, 9, 6] * 3, "with none, one and two blocks more than needed"


def test_a_small_circuit_is_worth_every_split_of_its_qubits(monkeypatch):
    asked = []
    split = _Search._qubits

    def noted(self, weights, number, width, seed):
        asked.append((width, number))
        return split(self, weights, number, width, seed)

    monkeypatch.setattr(_Search, "_qubits", noted)
    monkeypatch.setattr(_Search, "_splits_of_ends", lambda *_: [])
    monkeypatch.setattr(_Search, "_anneal_all", lambda *_: True)
    monkeypatch.setattr(_Search, "_rounds", lambda *_: None)
    search_of(12, 8).run()
    assert set(asked) == {(8, 2), (8, 3), (6, 2), (6, 3)}, "as few blocks as fit, and one more"


def test_the_time_of_a_program_is_that_of_all_its_blocks():
    layout = _Layout((0, 1))
    for _ in range(3):
        layout.add([Gate((0, 1), (CXGate(),))])
    assert layout.nanoseconds == pytest.approx(3 * (20_000 + 4 * 2.4)), "20 us a block, 2.4 ns an amplitude"


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


@pytest.mark.parametrize("seconds, rounds", [(None, 3), (1e308, 50)])
def test_a_search_that_finds_nothing_better_ends_whatever_effort_is_asked(monkeypatch, seconds, rounds):
    asked = []
    monkeypatch.setattr(_Search, "_anneal_all", lambda self, pool, width, number: asked.append(number) or True)
    search = replace(search_of(6, 4), seconds=seconds)
    search._take(search.circuit.ends.qubits.reshape(-1))
    search._rounds(4)
    assert asked == list(range(1, rounds + 1))


def test_a_wider_limit_is_no_slower_than_a_narrower_one():
    """A Cuccaro adder of 40 qubits takes less in fragments of 12 than in those that a search for 20 finds first."""
    adder = CDKMRippleCarryAdder(19, kind="full").decompose(reps=3)
    problem = problem_of(transpile(adder, basis_gates=["u", "cx"], optimization_level=0), ["Z" * 40], np.ones((1, 1)))
    narrow, wide = (make_plan(problem, max_qubits=limit) for limit in (12, 20))
    assert sketch_of(partition_of(wide)).seconds <= sketch_of(partition_of(narrow)).seconds * 1.01


@pytest.mark.parametrize("bits, limits", [(60, [10, 6]), (0, [10])])
def test_narrower_limits_are_searched_only_where_fragments_can_be_joined(monkeypatch, bits, limits):
    asked = []

    def noted(problem, limit, *arguments, **named):
        asked.append(limit)
        return candidate_cuts(problem, limit, *arguments, **named)

    for name, value in (
        ("narrower._SHORT_S", 0.0),
        ("narrower.candidate_cuts", noted),
        ("sketch.MOST_TENSOR_BITS", bits),
    ):
        monkeypatch.setattr(f"tasks.cutting.search.{name}", value)
    circuit = QuantumCircuit(12)
    for q in range(11):
        circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["Z" * 12], np.ones((1, 1)))
    exact_cuts(problem, 10, OBJECTIVES["work"], seed=0, seconds=None, runs=True)
    assert asked == limits
