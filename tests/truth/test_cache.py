"""The truth suite through the cache, off, cold and warm: the same tensors, and the uncut statevector to 1e-9."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tasks.cutting import make_plan, structure_of
from tasks.execution import on_device
from tasks.execution.cache import cache
from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.payoff import Payoff
from tasks.execution.jobs import exact_jobs, fragment_tensor, sampled_jobs, uniform_shots
from tasks.execution.on_device import recalled
from tasks.reconstruction import estimate_values
from tests.oracles import random_problem, uncut_values
from tests.truth.test_exact_path import FAMILIES, benchmark_circuit, random_case


def cases():
    """(name, seed, problem, plan) of the whole suite's families, and of its random circuits with cuts anywhere."""
    for family, qubits, width in FAMILIES:
        seed = 1000 + qubits
        problem = random_problem(benchmark_circuit(family, qubits), np.random.default_rng(seed))
        yield f"{family} of {qubits}, seed {seed}", problem, make_plan(problem, max_qubits=width)
    for kind in ("gates", "wires", "mixed"):
        for seed in range(14):
            problem, cuts = random_case(seed, kind)
            yield f"{kind}, seed {seed}", problem, make_plan(problem, cuts=cuts)


def through(place, jobs):
    """The results of jobs, and how many of them came from the cache."""
    found = [recalled(job, "CPU", "CPU", place) for job in jobs]
    return found, sum(result.origin.get("cache") == "hit" for result in found)


@pytest.fixture
def where(tmp_path, monkeypatch):
    """A cache that is opened anew each time, as by another process."""
    opened = []

    def open_anew(place):
        opened.append(open_cache(place))
        return opened[-1]

    monkeypatch.setattr(on_device, "opened_cache", open_anew)
    monkeypatch.setattr(cache, "meaning_pays", lambda fragment, seconds: True)  # however small these are
    monkeypatch.setattr(Payoff, "looks", lambda *asked: True)
    yield str(tmp_path / "cache")
    for one in opened:
        one.close()


def test_exact_tensors_off_cold_and_warm(where):
    fragments = hits = 0
    for name, problem, plan in cases():
        jobs = exact_jobs(plan)
        off, cold, warm = (through(place, jobs) for place in ("off", where, where))
        assert warm[1] == len(jobs), name
        fragments, hits = fragments + len(jobs), hits + cold[1]
        for one, two, three in zip(off[0], cold[0], warm[0], strict=True):
            np.testing.assert_allclose(two.arrays["values"], one.arrays["values"], atol=1e-12, err_msg=name)
            assert np.array_equal(three.arrays["values"], two.arrays["values"]), name
        tensors = [
            fragment_tensor(job.fragment, schemes, [(job, result.arrays)])
            for job, schemes, result in zip(jobs, plan.schemes, warm[0], strict=True)
        ]
        values, _ = estimate_values(structure_of(problem, plan), tensors)
        np.testing.assert_allclose(values, uncut_values(problem), atol=1e-9, err_msg=name)
    assert fragments > 120 and hits > 5, "fragments that mean the same are shared already when the cache is cold"


def test_counts_off_cold_and_warm_are_the_same(where):
    for number, (name, _, plan) in enumerate(cases()):
        variants = sum(cost.variants for cost in plan.costs)
        if number % 4 or variants > 1000:  # general gates have thousands of variants
            continue
        jobs = sampled_jobs(plan, uniform_shots(plan, 50 * variants), seed=number)
        off, cold, warm = map(partial(through, jobs=jobs), ("off", where, where))
        assert (cold[1], warm[1]) == (0, len(jobs)), name
        for one, two, three in zip(off[0], cold[0], warm[0], strict=True):
            for array in one.arrays:
                assert np.array_equal(one.arrays[array], two.arrays[array]), (name, array)
                assert np.array_equal(one.arrays[array], three.arrays[array]), (name, array)
