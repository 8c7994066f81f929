"""The simple policies: each places one piece after the other by one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from scheduler_policies.cost import fidelity as expected_fidelity
from scheduler_policies.cost import jobs_needed, runs_exact, variant_seconds
from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, Loads, fitting, placed_seconds

Choice = tuple[Work, str]
# Chooses a key of the options: what each candidate that fits would run, by index -> index.
Rule = Callable[[Mapping[int, Work], Loads], int]

# A piece should last this many times what it costs to get it started.
_PIECE_OVER_START = 10.0


def pieces(work: Work, pool: Sequence[Candidate], fits: Sequence[int]) -> int:
    """Into how many pieces a fragment's variants are dealt out by the simple policies.

    At most one for each QPU unit that can run it, and so few that starting a job is about a tenth of a piece.
    """
    noisy = [pool[index] for index in fits if not pool[index].device.exact]
    if not noisy:
        return 1
    units = sum(device.units for device, _ in noisy)
    worth = []
    for device, state in noisy:
        run = work.variants * variant_seconds(device, work.width, work.depth, work.shots)
        start = state.expected_wait + device.speed.job
        worth.append(run / (_PIECE_OVER_START * start) if start > 0 else float(work.variants))
    return max(1, min(work.variants, units, int(median(worth))))


def deal(works: Sequence[Work], pool: Sequence[Candidate], rule: Rule, queues: bool = True) -> list[Choice]:
    """Places works in their order by a rule, piece by piece; an exact device takes a fragment whole.

    Raises:
        NoDeviceError: a work fits no candidate.
    """
    loads = Loads(pool, queues)
    choices: list[Choice] = []
    for work in works:
        fits = fitting(work, pool)
        whole = {index for index in fits if runs_exact(pool[index].device, work)}
        count = pieces(work, pool, fits)
        bounds = [work.first + work.variants * k // count for k in range(count + 1)]
        for first, end in pairwise(bounds):
            piece = work.share(first, end - first)
            at_start = first == work.first
            options = {index: work if at_start and index in whole else piece for index in fits}
            index = rule(options, loads)
            loads.add(index, placed_seconds(pool[index], options[index]))
            choices.append((options[index], pool[index].device.name))
            if options[index] is work:
                break
    return choices


def availability(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The first device that fits and has a free unit, in the order of the resources file: the usual practice.

    It sees its own leases only, neither queues nor speeds; when all are taken, it takes the first to become free.
    """
    return deal(works, pool, lambda options, loads: min(options, key=lambda i: (loads.free_at(i), i)), queues=False)


def round_robin(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """One device after the other, leaving out those that do not fit."""
    turn = 0

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        nonlocal turn
        index = min(options, key=lambda i: (i - turn) % len(pool))
        turn = index + 1
        return index

    return deal(works, pool, rule)


def least_busy(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The device with the fewest jobs a unit, others' and ours together."""
    jobs = [state.queue_length + len(state.busy) for _, state in pool]

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        index = min(options, key=lambda i: (jobs[i] / pool[i].device.units, i))
        jobs[index] += jobs_needed(pool[index].device, options[index])
        return index

    return deal(works, pool, rule)


def fidelity(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The device with the best expected fidelity; among equals (all simulators are) the first to be free."""

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        return min(options, key=lambda i: (-expected_fidelity(*pool[i], options[i]), loads.free_at(i), i))

    return deal(works, pool, rule)


def fastest(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The device that is predicted to complete the piece first."""

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        return min(options, key=lambda i: (loads.free_at(i) + placed_seconds(pool[i], options[i]), i))

    return deal(works, pool, rule)
