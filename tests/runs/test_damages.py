"""A few of the damages of results/benchmarks/reliability.py, and each kind of them at least once in the slow form."""

from __future__ import annotations

import signal

import pytest

from results.benchmarks.reliability_damages import damages


@pytest.mark.parametrize(("count", "seed"), [(15, 7), pytest.param(200, 8, marks=pytest.mark.slow)])
def test_damaged_runs_give_the_same_values_or_one_line(tmp_path, monkeypatch, count, seed):
    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    _, bad = damages(count, seed)
    for number, handler in kept.items():
        signal.signal(number, handler)
    assert not bad, f"seed {seed}:\n" + "\n".join(bad)
