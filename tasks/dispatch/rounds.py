"""Rounds of shots: a small uniform one, then shots where they lower the error of the estimates most.

Where more than one round may come the shots are in two halves, each of which decides what the other still takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from tasks.cutting import Plan, structure_of
from tasks.dispatch.driver import Dispatcher, RunError, size_of
from tasks.dispatch.result_store import Results
from tasks.execution.jobs import exact_jobs, fragment_tensor, sampled_jobs, uniform_shots
from tasks.model.problem import Problem
from tasks.model.progress import Progress
from tasks.model.tensor import FragmentTensor
from tasks.reconstruct import allocate
from tasks.reconstruction.statistics.allocation import FIRST_ROUND
from tasks.runtime import Outcome, limits, wait_on

_SHOTS_FOR_ROUNDS = 100  # a variant: with fewer, a first round says too little and starves what looks certain
_FIRST_SHOTS = 200  # a variant, in the first round towards a target error
_MOST_ROUNDS = 5


def exact_round(plan: Plan, dispatcher: Dispatcher, shown: Progress) -> Results:
    """All fragment tensors, exactly."""
    jobs = exact_jobs(plan)
    with shown.stage("execute", sum(map(size_of, jobs))) as stage:
        return dispatcher.run(jobs, stage)


def shot_rounds(
    problem: Problem,
    plan: Plan,
    dispatcher: Dispatcher,
    shown: Progress,
    *,
    shots: int | None,
    target_error: float | None,
    seed: int,
    prices: Mapping[str, float],
    memory_bytes: int | None = None,
) -> Results:
    """Counts of all variants, in as many rounds as pay.

    Args:
        problem: the problem.
        plan: its plan.
        dispatcher: runs jobs.
        shown: where progress is shown.
        shots: all there are to spend, None for as many as the target error takes.
        target_error: standard error to reach for every observable, None for what the shots give.
        seed: of the run.
        prices: price of a shot on each device, by name.
        memory_bytes: how much the contraction between rounds may use, None for any.
    """
    variants = sum(cost.variants for cost in plan.costs)
    if shots is None:
        first = _FIRST_SHOTS * variants
    else:
        first = int(FIRST_ROUND * shots) if shots >= _SHOTS_FOR_ROUNDS * variants else shots
    results: Results = {}
    asked: list[str] = [repr((shots, target_error))]
    wanted = uniform_shots(plan, first, halves=1 if first == shots else 2)
    for number in range(_MOST_ROUNDS):
        jobs = sampled_jobs(plan, wanted, seed, round_index=number)
        asked += [job.digest for job in jobs]
        with shown.stage(
            "execute" if number == 0 else f"execute, round {number + 1}", sum(map(size_of, jobs))
        ) as stage:
            for fragment, found in dispatcher.run(jobs, stage).items():
                results.setdefault(fragment, []).extend(found)
        spent_all = shots is not None and (first >= shots or (number == 1 and target_error is None))
        if spent_all or not any(job.variants for own in results.values() for job, _ in own):
            break
        digest = hashlib.sha256(" ".join(asked).encode()).hexdigest()
        more = dispatcher.directory.load_round(number + 1, digest)
        if more is None:
            more = _allocated(problem, plan, results, dispatcher, shots, target_error, prices, memory_bytes, number + 1)
            dispatcher.directory.store_round(number + 1, digest, more)
        if not any(n.any() for n in more.values()):
            break
        wanted = [
            more.get(f.index, np.zeros((2, cost.variants), dtype=np.int64))
            for f, cost in zip(plan.fragments, plan.costs, strict=True)
        ]
    return results


def tensors_of(plan: Plan, results: Results) -> list[FragmentTensor]:
    """The fragment tensors that the results so far make."""
    return [fragment_tensor(f, plan.schemes[f.index], results[f.index]) for f in plan.fragments]


def _allocated(
    problem: Problem,
    plan: Plan,
    results: Results,
    dispatcher: Dispatcher,
    shots: int | None,
    target_error: float | None,
    prices: Mapping[str, float],
    memory_bytes: int | None,
    rounds: int,
) -> dict[int, np.ndarray]:
    """(half, variant) shots still to take, by fragment."""
    cost = {f.index: _mean_price(dispatcher.shots_of(f.index), prices) for f in plan.fragments}
    outcome: Outcome = wait_on(
        allocate(
            structure_of(problem, plan),
            tensors_of(plan, results),
            shots,
            target_error,
            cost,
            memory_bytes,
            rounds,
            limits(),
            0,
        )
    )
    if outcome.failure is not None:
        raise RunError(outcome.failure.message)
    found: dict[int, np.ndarray] = outcome.value
    return found


def _mean_price(shots: Mapping[str, int], prices: Mapping[str, float]) -> float:
    """Price of a shot of a fragment, if the devices that took its shots so far go on as they did."""
    total = sum(shots.values())
    return sum(prices.get(name, 0.0) * count for name, count in sorted(shots.items())) / total if total else 0.0
