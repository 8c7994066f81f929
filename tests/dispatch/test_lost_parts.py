"""Tasks that end with a part of their work missing: the part that is done counts once, the rest is done."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tasks.dispatch import driver
from tasks.dispatch.instructions import Submit
from tasks.execute import run_jobs
from tasks.runs import RunDirectory
from tasks.runtime import Outcome
from tasks.workflow import Options, run
from tests.dispatch.script import CPU, a_qpu, counts
from tests.oracles import brickwork, random_problem


@pytest.mark.parametrize("why", ["failure", "left"])
def test_what_a_task_did_before_it_lost_the_rest_counts_once(tmp_path, monkeypatch, why):
    rng = np.random.default_rng(3)
    problem = random_problem(brickwork(8, 2, rng), rng)
    options = Options(max_qubits=4, shots=60_000, seed=2, cache="off")
    lost = [True]  # the whole runs without a loss, then with one

    def execute_on(device, *, late=False):
        def submit(jobs, device, how, folder, limits, ticket):
            loses = not lost
            if loses:
                lost.append(True)
                jobs = [jobs[0].share(jobs[0].piece.first, jobs[0].piece.count // 2)]
            report, payload = run_jobs(jobs, device, how, folder, ticket.attempt)
            report = replace(report, **{why: "a job was lost"}) if loses else report
            return Outcome(report, device=device.name, seconds=0.01), payload

        return submit

    monkeypatch.setattr(driver, "execute_on", execute_on)
    found = []
    for _ in range(2):
        with RunDirectory.create(tmp_path, {}, problem) as directory:
            result = run(problem, options, directory)
            found.append([(e.value, e.std_error) for e in result.estimates])
            done = sorted(
                (entry["fragment"], entry["round"], entry["first"] + k)
                for entry in directory.record["results"].values()
                for k in range(entry["count"])
            )
            assert len(done) == len(set(done)), "shots count twice"
        lost.clear()
    assert found[1] == [pytest.approx(pair, abs=1e-12) for pair in found[0]]


def test_a_simulator_may_take_fifty_times_what_was_predicted_and_a_minute(monkeypatch):
    monkeypatch.setattr(driver, "limits", lambda seconds: seconds)
    own = SimpleNamespace(_predicted=lambda piece: 2.0)
    for device, seconds in ((CPU, 60.0 + 50.0 * 4.0), (a_qpu("A"), 3600.0)):
        submit = Submit(0, device, (counts(0), counts(1)), 0, False, None)
        assert driver.Driver._limits(own, submit) == seconds
