"""A plan's fragments as work: sizes from the plan, weights that agree with the statistics of reconstruction."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from qiskit import QuantumCircuit
from scipy.sparse import csr_array

from scheduler_policies.cost import runs_exact, state_bytes, work_seconds
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting.cuts import GateCut, WireCut
from tasks.cutting.planner import make_plan
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.execution.jobs import exact_jobs, measuring, predicted_seconds, sampled_jobs, uniform_shots
from tasks.execution.works import works_of
from tasks.model.problem import PauliTerms, Problem


def _problem() -> Problem:
    circuit = QuantumCircuit(6)
    rng = np.random.default_rng(3)
    for layer in range(2):
        for qubit in range(6):
            circuit.ry(float(rng.uniform(0.2, 1.2)), qubit)
        for qubit in range(layer % 2, 5, 2):
            circuit.cz(qubit, qubit + 1)
    z = np.zeros((1, 6), dtype=bool)
    z[0] = True
    return Problem(circuit, PauliTerms(np.zeros_like(z), z, csr_array(np.ones((1, 1)))), ("ZZZZZZ",))


def test_sizes_are_those_of_the_plan():
    problem = _problem()
    plan = make_plan(problem, max_qubits=3, shots=100_000)
    works = works_of(plan, 500, weights=[0.5] * len(plan.fragments))
    assert len(works) == len(plan.fragments) >= 2
    for work, fragment, cost, schemes in zip(works, plan.fragments, plan.costs, plan.schemes, strict=True):
        assert (work.width, work.depth, work.variants, work.shots) == (cost.width, cost.depth, cost.variants, 500)
        assert work.silent == cost.variants - measuring(fragment, schemes).sum()
        assert work.gates == len(fragment.circuit.data) and work.weight == 0.5
        assert 2**work.branches == prod(leg.rank for leg in fragment.legs if not leg.kind.opens_qubit)
        assert state_bytes(work.width, work.branches) == 16 * 2**fragment.open_qubits


@pytest.mark.parametrize("cuts", [(), (GateCut(16),), (WireCut(16, 3), GateCut(6))], ids=["none", "gate", "both"])
def test_planner_policies_and_time_limits_say_the_same_of_a_fragment(cuts):
    """One model: bytes of the plan and of the policies, seconds of the planner, of the policies and of the jobs."""
    plan = make_plan(_problem(), cuts=cuts, shots=100_000)
    jobs = sampled_jobs(plan, uniform_shots(plan, 400 * sum(cost.variants for cost in plan.costs)), 1)
    for work, fragment, cost, exact, sampled in zip(
        works_of(plan, 400), plan.fragments, plan.costs, exact_jobs(plan), jobs, strict=True
    ):
        needed = work.exact_bytes
        assert needed == cost.exact_bytes > 0
        assert runs_exact(replace(TYPICAL_CPU, memory_bytes=needed), work)
        assert not runs_exact(replace(TYPICAL_CPU, memory_bytes=needed - 1), work)
        seconds = work_seconds(TYPICAL_CPU, work) - TYPICAL_CPU.speed.job
        assert seconds == pytest.approx(exact_fragment_seconds(fragment)) == pytest.approx(predicted_seconds(exact))
        shares = work_seconds(TYPICAL_CPU, replace(work, whole=False)) - TYPICAL_CPU.speed.job
        assert shares == pytest.approx(predicted_seconds(sampled))


@pytest.mark.parametrize("cuts", [(GateCut(16),), (WireCut(16, 3),)], ids=["gate", "wire"])
def test_more_cuts_weigh_more_than_none(cuts):
    problem = _problem()
    uncut = works_of(make_plan(problem, cuts=(), shots=100_000), 1000)
    cut = works_of(make_plan(problem, cuts=cuts, shots=100_000), 1000)
    assert all(work.weight == pytest.approx(1.0) for work in uncut)
    # Shots for the same error: every end costs more than no cut, so weight**2 * variants is above 1.
    legged = [work for work in cut if work.branches or work.outputs]
    assert legged and all(work.weight**2 * work.variants > 1.0 for work in legged)
