"""Rounds of shots: a small uniform one, then shots where they lower the error of the estimates most.

Where more than one round may come the shots are in two halves, each of which decides what the other still takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.cutting import Plan
from tasks.dispatch.driver import Driver, steps_of
from tasks.dispatch.fan_in import TakesTensors
from tasks.dispatch.start import greedy_flops
from tasks.execution.jobs import FragmentJob, sampled_jobs, uniform_shots
from tasks.model.problem import Estimate
from tasks.model.progress import Progress
from tasks.model.tensor import Structure
from tasks.reconstruct import Allocation, allocate
from tasks.reconstruction.statistics.allocation import FIRST_ROUND
from tasks.runtime import limits

_SHOTS_FOR_ROUNDS = 100  # a variant: with fewer, a first round says too little and starves what looks certain
_FIRST_SHOTS = 400  # a variant, in the first round towards a target error
_MOST_ROUNDS = 5
_TOLD_FLOPS = 1e8  # of a contraction: then estimates between rounds, for whoever watches, take a fraction of a second


def first_round(plan: Plan, shots: int | None) -> list[np.ndarray]:
    """(fragment, half, variant) shots of the first round; ``shots``: all there are, None for as many as it takes."""
    variants = sum(cost.variants for cost in plan.costs)
    if shots is None:
        first = _FIRST_SHOTS * variants
    else:
        first = int(FIRST_ROUND * shots) if shots >= _SHOTS_FOR_ROUNDS * variants else shots
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
    """
    asked: list[str] = [repr((shots, target_error))]
    wanted = first_round(plan, shots)
    first = sum(int(own.sum()) for own in wanted)
    prices = {name: device.price.per_shot for name, device in driver.devices.items()}
    tell = greedy_flops(plan) <= _TOLD_FLOPS
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
            more = allocation.shots
            driver.directory.results.store_round(number + 1, digest, more)
            if allocation.estimates is not None:
                names = driver.directory.record["problem"]["names"]
                pairs = zip(names, *allocation.estimates, strict=False)
                shown.estimates(number + 1, [Estimate(name, float(own), float(error)) for name, own, error in pairs])
        if not any(n.any() for n in more.values()):
            break
        wanted = shots_by_fragment(plan, more)


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

    def submit(self, tensors: list[Any], attempt: int) -> Any:
        """(half, variant) shots still to take, by fragment."""
        cost = {f.index: _mean_price(self.driver.state.shots_of(f.index), self.prices) for f in self.plan.fragments}
        return allocate(
            self.structure, tensors, self.shots, self.target_error, cost, self.memory_bytes, self.rounds, self.tell,
            limits(), attempt,
        )  # fmt: skip


def _mean_price(shots: Mapping[str, int], prices: Mapping[str, float]) -> float:
    """Price of a shot of a fragment, if the devices that took its shots so far go on as they did."""
    total = sum(shots.values())
    return sum(prices.get(name, 0.0) * count for name, count in sorted(shots.items())) / total if total else 0.0
