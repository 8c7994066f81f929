"""Rounds of shots: a small uniform one, then shots where they lower the error of the estimates most.

Where more than one round may come the shots are in two halves, each of which decides what the other still takes.

A budget is for all rounds: the first one's policy keeps to its share of it, and a later round takes no more shots than
what is left pays for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from tasks.cutting import Plan
from tasks.dispatch.driver import Driver, steps_of
from tasks.dispatch.fan_in import TakesTensors
from tasks.execution.jobs import FragmentJob, sampled_jobs, uniform_shots
from tasks.model.problem import Estimate
from tasks.model.progress import Progress
from tasks.model.tensor import Structure
from tasks.prediction import greedy_flops
from tasks.reconstruct import Allocation, allocate
from tasks.reconstruction.statistics.allocation import first_round_shots
from tasks.runtime import Ticket, limits

_MOST_ROUNDS = 5
_FITTINGS = 5  # looks at what a round costs, where the budget does not hold it: prices are not quite linear in shots
_TOLD_FLOPS = 1e8  # of a contraction: then estimates between rounds, for whoever watches, take a fraction of a second


def first_round(plan: Plan, shots: int | None) -> list[np.ndarray]:
    """(fragment, half, variant) shots of the first round; ``shots``: all there are, None for as many as it takes."""
    first = int(first_round_shots(sum(cost.variants for cost in plan.costs), shots))
    return uniform_shots(plan, first, halves=1 if first == shots else 2)


def shot_rounds(
    structure: Structure,
    plan: Plan,
    driver: Driver,
    shown: Progress,
    end: TakesTensors,
    *,
    shots: int | None,
    target_error: float | None,
    seed: int,
    memory_bytes: int | None = None,
    share: float = 1.0,
) -> None:
    """Counts of all variants, in as many rounds as pay.

    Args:
        structure: how the fragments are joined.
        plan: the plan.
        driver: runs jobs.
        shown: where progress is shown.
        end: takes the tensors of the last round.
        shots: all there are to spend, None for as many as the target error takes.
        target_error: standard error to reach for every observable, None for what the shots give.
        seed: of the run.
        memory_bytes: how much the contraction between rounds may use, None for any.
        share: of the budget, what the policy is to keep to; the rest is there for policies that do not.
    """
    asked: list[str] = [repr((shots, target_error))]
    wanted = first_round(plan, shots)
    first = sum(int(own.sum()) for own in wanted)
    prices = {name: device.price.per_shot for name, device in driver.devices.items()}
    tell = greedy_flops(plan) <= _TOLD_FLOPS
    pool = driver.state.pool
    aim = None if pool.budget is None else share * pool.budget
    pool.aim = aim if aim is None or shots is None else aim * first / shots
    for number in range(_MOST_ROUNDS):
        jobs = sampled_jobs(plan, wanted, seed, round_index=number)
        asked += [job.digest for job in jobs]
        digest = hashlib.sha256(" ".join(asked).encode()).hexdigest()
        last = number == _MOST_ROUNDS - 1 or (
            shots is not None and (first >= shots or (number == 1 and target_error is None))
        )
        more = None if last else driver.directory.results.load_round(number + 1, digest)
        further = _Allocation(structure, plan, driver, prices, shots, target_error, memory_bytes, number + 1, tell)
        # What a shot costs is known once it is known who took it; without prices nothing is to be waited for.
        ahead = end if last else further.submit if more is None and not any(prices.values()) else None
        run_round("execute" if number == 0 else f"execute, round {number + 1}", jobs, driver, shown, ahead)
        if last or not any(any(driver.state.shots_of(f.index).values()) for f in plan.fragments):
            break
        if more is None:
            allocation: Allocation = driver.value_of("the allocation of shots", further.submit)
            pool.aim = aim
            more = _affordable(plan, allocation.shots, driver, seed, number + 1)
            driver.directory.results.store_round(number + 1, digest, more)
            if allocation.estimates is not None:
                names = driver.directory.record["problem"]["names"]
                pairs = zip(names, *allocation.estimates, strict=False)
                shown.estimates(number + 1, [Estimate(name, float(own), float(error)) for name, own, error in pairs])
        if not any(n.any() for n in more.values()):
            break
        wanted = shots_by_fragment(plan, more)


def _affordable(
    plan: Plan, more: dict[int, np.ndarray], driver: Driver, seed: int, number: int
) -> dict[int, np.ndarray]:
    """A round's shots, or as many of them as the money left pays for where the policy would place them now."""
    pool = driver.state.pool
    left, aim = pool.money_left, pool.aim
    if left is None or pool.budget is None or aim is None:
        return more
    left = max(left, 0.0)
    wanted, asked = _held(plan, more, driver, seed, number, left), _total(more)
    if _total(wanted) < asked:
        pool.aim = pool.budget - left  # as if all were spent: what has a price is then used only where nothing else can
        others = _held(plan, more, driver, seed, number, left)
        if _total(others) > _total(wanted):
            wanted = others
        else:
            pool.aim = aim
    if (taken := _total(wanted)) < asked:
        driver.directory.record.note(
            f"`budget`: {pool.budget:g} holds {taken:,} of the {asked:,} shots of round {number + 1}: the standard "
            "errors are what these give"
        )
    return wanted


def _held(
    plan: Plan, more: dict[int, np.ndarray], driver: Driver, seed: int, number: int, left: float
) -> dict[int, np.ndarray]:
    """A round's shots, of the fragments that the policy would pay for as many as so much money holds."""
    wanted = more
    for looked in count():
        jobs = sampled_jobs(plan, shots_by_fragment(plan, wanted), seed, round_index=number)
        price, paid = driver.state.price_of([job.piece for job in jobs], time.monotonic()) if jobs else (0.0, set())
        if price <= left or not paid:
            break
        # What jobs cost does not fall with their shots.
        fits = (0.98 * left / price) ** (looked + 1) if looked < _FITTINGS else 0.0
        wanted = {
            index: (fits * shots).astype(shots.dtype) if index in paid else shots for index, shots in wanted.items()
        }
    return wanted


def _total(more: Mapping[int, np.ndarray]) -> int:
    return sum(int(shots.sum()) for shots in more.values())


def shots_by_fragment(plan: Plan, more: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """(fragment, half, variant) shots of a later round, none where ``more`` says nothing of a fragment."""
    return [
        more.get(f.index, np.zeros((2, cost.variants), dtype=np.int64))
        for f, cost in zip(plan.fragments, plan.costs, strict=True)
    ]


def run_round(
    name: str, jobs: Sequence[FragmentJob], driver: Driver, shown: Progress, ahead: TakesTensors | None
) -> None:
    """All results of some jobs, shown as a stage of this name; ``ahead`` as for ``Driver.run``."""
    with shown.stage(name, sum(steps_of(job.piece) for job in jobs)) as stage:
        driver.run(jobs, stage, ahead)


@dataclass(frozen=True)
class _Allocation:
    """What a round asks for the next one."""

    structure: Structure
    plan: Plan
    driver: Driver
    prices: Mapping[str, float]
    shots: int | None
    target_error: float | None
    memory_bytes: int | None
    rounds: int
    tell: bool

    def submit(self, tensors: list[Any], ticket: Ticket) -> Any:
        """(half, variant) shots still to take, by fragment."""
        cost = {f.index: _mean_price(self.driver.state.shots_of(f.index), self.prices) for f in self.plan.fragments}
        return allocate(
            self.structure, tensors, self.shots, self.target_error, cost, self.memory_bytes, self.rounds, self.tell,
            limits(), ticket,
        )  # fmt: skip


def _mean_price(shots: Mapping[str, int], prices: Mapping[str, float]) -> float:
    """Price of a shot of a fragment, if the devices that took its shots so far go on as they did."""
    total = sum(shots.values())
    return sum(prices.get(name, 0.0) * count for name, count in sorted(shots.items())) / total if total else 0.0
