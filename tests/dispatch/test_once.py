"""Equal fragments of a run on the exact path: one of them is simulated, and each has its result."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut
from tasks.dispatch import driver as driver_module
from tasks.execution.jobs import run_job
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory
from tasks.runtime import Failure, Outcome, Reason
from tasks.workflow import Options, run
from tests.oracles import uncut_values


@pytest.fixture
def problem():
    """Five parts of two qubits in a row: the three in the middle are equal."""
    circuit, wanted = QuantumCircuit(10), []
    for first in range(0, 10, 2):
        circuit.ry(0.4, first)
        circuit.cx(first, first + 1)
        circuit.rx(0.7, first + 1)
        wanted.append(f"Z{first} Z{first + 1}")
    for first in range(1, 9, 2):
        circuit.rzz(0.6, first, first + 1)
    return make_problem(circuit, [*wanted, "Z0 Z9"])


@pytest.fixture
def options(problem):
    severed = [
        number
        for number, item in enumerate(problem.circuit.data)
        if item.operation.name == "rzz" and problem.circuit.find_bit(item.qubits[0]).index % 2
    ]
    return Options(cuts=tuple(GateCut(number) for number in severed), cache="off")


@pytest.fixture
def ran(monkeypatch):
    """The fragments that were simulated."""
    seen: list[int] = []

    def noted(job, **where):
        seen.append(job.fragment.index)
        return run_job(job, **where)

    monkeypatch.setattr("tasks.execution.on_device.run_job", noted)
    return seen


def test_the_equal_ones_are_simulated_once_and_stored_each(problem, options, ran, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, options, directory)
        stored = {key: kept.meta for key, kept in directory.results.stored()}
    assert len(result.plan.fragments) == 5 and len(ran) == 3, ran
    assert len(stored) == len(result.record["results"]) == 5
    assert sorted(meta["same_as"] for meta in stored.values() if "same_as" in meta) == [1, 1]
    np.testing.assert_allclose([own.value for own in result.estimates], uncut_values(problem), atol=1e-9)
    ran.clear()
    with RunDirectory.open(directory.path) as again:
        assert run(problem, options, again).estimates == result.estimates and not ran
    for path in directory.path.glob("fragments/fragment-1-*"):
        path.unlink()
    with RunDirectory.open(directory.path) as again:
        assert run(problem, options, again).estimates == result.estimates and ran == [1]


def test_what_fails_for_one_is_done_again_for_all(problem, options, ran, tmp_path, monkeypatch):
    execute_on, lost = driver_module.execute_on, []

    def failing(device, *, late=False):
        task = execute_on(device, late=late)

        def submit(jobs, *arguments):
            if any(len(job.fragments) > 1 for job in jobs) and not lost:
                lost.append([job.fragments for job in jobs])
                return Outcome(failure=Failure(Reason.KILLED, "ended by signal 9"), device=device.name), ()
            return task(jobs, *arguments)

        return submit

    monkeypatch.setattr(driver_module, "execute_on", failing)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, options, directory)
    assert (1, 2, 3) in lost[0]
    np.testing.assert_allclose([own.value for own in result.estimates], uncut_values(problem), atol=1e-9)
