"""A few of the damages of results/benchmarks/reliability.py, and each kind of them at least once in the slow form."""

from __future__ import annotations

import random
import shutil
import signal

import pytest

from results.benchmarks.reliability_damages import KINDS, base_runs, damages, loops, outcome


@pytest.mark.parametrize("part", [damages, loops])
@pytest.mark.parametrize(("count", "seed"), [(15, 7), pytest.param(200, 8, marks=pytest.mark.slow)])
def test_damaged_runs_give_the_same_values_or_one_line(tmp_path, monkeypatch, count, seed, part):
    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    _, bad = part(count, seed)
    for number, handler in kept.items():
        signal.signal(number, handler)
    assert not bad, f"seed {seed}:\n" + "\n".join(bad)


def test_a_forged_result_is_computed_again_and_not_taken_from_the_folder_by_its_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for name, (run, wanted) in base_runs(tmp_path / "bases").items():
        verb = "reconstruct" if name.startswith("finished") else "resume"
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        what = KINDS["a forged value in"](copy, random.Random(f"1 {name}"))
        assert outcome(verb, copy, wanted) == "", f"{name}: {what}"
        shutil.rmtree(copy)
    for number, handler in kept.items():
        signal.signal(number, handler)
