"""Where the goal is to spend as little as can be: nothing is cheaper, and among what costs the same noise counts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler_policies import DeviceLimits, Price, cheapest_devices, work_price
from scheduler_policies.cost import why_not
from scheduler_policies.place import place
from scheduler_policies.placement import Goal, evaluate, usual_bound
from scheduler_policies.policies.balanced import balanced
from tests.scheduler_policies.instances import qpu, tiny_instance, work

CHEAPEST = Goal(cheapest=True)


@pytest.mark.parametrize("seed", range(20))
def test_no_placement_of_whole_fragments_costs_less(seed):
    works, pool = tiny_instance(seed)
    prices = [[work_price(c.device, w) for c in pool if why_not(c.device, w) is None] for w in works]
    least = min(math.fsum(way) for way in itertools.product(*prices))
    assert evaluate(balanced(works, pool, CHEAPEST), pool).price <= least * (1 + 1e-9), seed
    bound = Goal(budget=2 * least, cheapest=True)
    assert place(balanced, works, pool, bound).price <= least * (1 + 1e-9), "a budget that holds more changes nothing"


@pytest.mark.parametrize("seed", range(20))
def test_jobs_that_works_share_are_paid_once(seed):
    rng = np.random.default_rng(seed)
    works = [work(k, variants=int(rng.integers(1, 12))) for k in range(4)]
    limits = DeviceLimits(circuits_per_job=int(rng.integers(3, 20)))
    job, shot = float(rng.uniform(0, 5)), float(rng.uniform(0, 1e-4))
    devices = [
        replace(qpu("a", 20, 0.01, 1e-4).device, price=Price(per_job=job), limits=limits),
        replace(qpu("b", 20, 0.01, 1e-4).device, price=Price(per_shot=shot)),
    ]

    def bill(way):
        circuits = sum(w.variants for w, k in zip(works, way, strict=True) if k == 0)
        shots = sum(w.variants * w.shots for w, k in zip(works, way, strict=True) if k == 1)
        return job * math.ceil(circuits / limits.circuits_per_job) + shot * shots

    found = [own[0] for own in cheapest_devices(works, devices, [[0, 1]] * 4)]
    apart = [min((0, 1), key=lambda k: work_price(devices[k], w)) for w in works]
    assert bill(found) <= min(bill(apart), bill([0] * 4), bill([1] * 4)) * (1 + 1e-9), seed


def test_a_job_that_works_share_is_cheaper_than_what_each_would_pay():
    """3 for both on one device, 4 on the other: the second costs no more than 3 for each."""
    works = [work(k, variants=5) for k in range(2)]
    shared, other = qpu("shared", 20, 0.01, 1e-3), qpu("other", 20, 0.01, 1e-5)
    shared = shared._replace(device=replace(shared.device, price=Price(per_job=3.0)))
    other = other._replace(device=replace(other.device, price=Price(per_shot=2.0 / (works[0].shots * 5))))
    assert {name for _, name in balanced(works, [shared, other], CHEAPEST)} == {"shared"}


def test_of_devices_that_cost_the_same_noise_and_time_decide():
    pool = [qpu("noisy", 20, 0.2, 1e-5), qpu("good", 20, 1e-4, 1e-3), qpu("dear", 20, 1e-6, 1e-5, price=1e-3)]
    works = [work(0), work(1)]
    bound = usual_bound(works, pool)
    used = [{name for _, name in balanced(works, pool, Goal(bound, cheapest=own))} for own in (True, False)]
    assert used == [{"good"}, {"dear"}]
