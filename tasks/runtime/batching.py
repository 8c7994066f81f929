"""Group work into tasks that are worth their overhead: pure functions over predicted seconds."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

WORTH = 10.0  # a task lasts at least this many times its overhead, where there is plenty of work
LEAST_WORTH = 2.0  # and this many times where otherwise a worker would have nothing to do


def target_seconds(total: float, overhead_s: float, workers: int, rounds: int = 4, most_s: float = 5.0) -> float:
    """How long a task should last.

    With plenty of work each worker gets about ``rounds`` tasks (fewer cost less, and a few rounds even out wrong
    predictions), none longer than ``most_s`` (what is lost at most when a run is killed) only to have fewer. With less
    each worker gets one, as long as that lasts ``LEAST_WORTH`` times the overhead.

    Args:
        total: predicted seconds of all work.
        overhead_s: what a task costs beside its work, as measured on this engine.
        workers: how many tasks run at once.
        rounds: how many tasks for each worker when there is plenty of work.
        most_s: no task grows past this only to have fewer.
    """
    plenty = max(WORTH * overhead_s, min(total / (workers * rounds), most_s))
    return max(LEAST_WORTH * overhead_s, min(total / workers, plenty))


def batches(
    seconds: Sequence[float], overhead_s: float, workers: int, rounds: int = 4, most_s: float = 5.0
) -> list[tuple[int, ...]]:
    """Indices of the pieces of work that travel together, the longest batch first.

    A batch lasts about ``target_seconds``. Work too little for one such batch is one batch; pieces longer than a batch
    stay alone.

    Args:
        seconds: (piece,) predicted seconds of each, not negative.
        overhead_s: as in ``target_seconds``.
        workers: as in ``target_seconds``.
        rounds: as in ``target_seconds``.
        most_s: as in ``target_seconds``.
    """
    if not seconds:
        return []
    total = sum(seconds)
    target = target_seconds(total, overhead_s, workers, rounds, most_s)
    count = len(seconds) if target <= 0 else max(1, min(len(seconds), int(total / target * (1 + 1e-9))))
    if workers < count < len(seconds):  # whole rounds: a last one of a few batches leaves workers idle
        count = min(len(seconds), round(count / workers) * workers)
    # Longest first into the batch with least so far: no batch exceeds the mean by more than its longest piece.
    heap: list[tuple[float, int]] = [(0.0, number) for number in range(count)]
    members: list[list[int]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for piece in sorted(range(len(seconds)), key=lambda index: (-seconds[index], index)):
        load, number = heapq.heappop(heap)
        members[number].append(piece)
        loads[number] = load + seconds[piece]
        heapq.heappush(heap, (loads[number], number))
    order = sorted((number for number in range(count) if members[number]), key=lambda number: (-loads[number], number))
    return [tuple(members[number]) for number in order]


@dataclass(frozen=True)
class TaskStatistics:
    """How tasks and their overhead compared in a run, for the record.

    Attributes:
        tasks: how many.
        mean_seconds: mean wall time of their work.
        overhead_seconds: mean wall time a task cost beside its work; 0 where workers were idle for lack of tasks.
        overhead_share: part of the workers' wall time not spent on the work.
    """

    tasks: int
    mean_seconds: float
    overhead_seconds: float
    overhead_share: float


def task_statistics(seconds: Sequence[float], wall_s: float, workers: int) -> TaskStatistics:
    """Compare the work of tasks with the wall time in which ``workers`` of them at once did it.

    Args:
        seconds: (task,) wall time of each task's work.
        wall_s: from the first submission to the last result.
        workers: how many tasks could run at once.
    """
    if not seconds or wall_s <= 0:
        return TaskStatistics(len(seconds), 0.0, 0.0, 0.0)
    busy = min(workers, len(seconds))
    lost = max(0.0, busy * wall_s - sum(seconds))
    return TaskStatistics(
        len(seconds), sum(seconds) / len(seconds), lost / len(seconds), min(1.0, lost / (busy * wall_s))
    )
