"""How fast whole runs are on this machine, beside what their work explains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler_policies import CPU_SPEED
from scheduler_policies.machine import TYPICAL_CPU
from tasks import whole_runs
from tasks.cut import chosen_plan
from tasks.execution.calibration_file import Calibration, machine_name
from tasks.forecast import asked_of_plan
from tasks.prediction import done_here, predicted_spending


def planned(problem, options, device):
    return chosen_plan(problem, options.cuts, asked_of_plan(options, [device]))


def test_a_machine_on_which_all_but_the_work_takes_longer_is_known_by_whole_runs(monkeypatch):
    """Work at twice the speed of a typical core, everything else at two fifths of it."""
    speed = replace(CPU_SPEED, **{name: value / 2 for name, value in vars(CPU_SPEED).items() if name != "housekeeping"})
    device = replace(TYPICAL_CPU, speed=replace(speed, housekeeping=2.5))

    def seconds(problem, options):
        plan = planned(problem, options, device)
        assert done_here(plan, [device], options.shots), "in this process, or its seconds are not seen"
        spent = predicted_spending(plan, [device], options.shots)
        return spent.execute + spent.reconstruct

    monkeypatch.setattr(whole_runs, "_seconds", seconds)
    assert whole_runs.housekeeping(speed) == pytest.approx(2.5)


def test_runs_are_done_and_their_seconds_counted(monkeypatch):
    monkeypatch.setattr(whole_runs, "_RUNS", ((10, 1, 4, 4, None), (6, 1, 3, 4, 2000)))
    monkeypatch.setattr(whole_runs, "_REPEATS", 2)
    assert 0.05 < whole_runs.housekeeping(CPU_SPEED) < 100


def test_constants_that_are_in_doubt_are_not_measured_further(monkeypatch):
    found = Calibration(machine_name(), CPU_SPEED, 90.0)
    monkeypatch.setattr(whole_runs, "housekeeping", lambda speed: 3.0)
    monkeypatch.setattr(whole_runs, "calibrate", lambda: found)
    assert whole_runs.calibrated() == replace(found, speed=replace(CPU_SPEED, housekeeping=3.0))
    busy = replace(found, waited=0.9)
    monkeypatch.setattr(whole_runs, "calibrate", lambda: busy)
    assert whole_runs.calibrated() == busy
