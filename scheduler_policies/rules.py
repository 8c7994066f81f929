"""Placing one piece after the other by one rule: what the simple policies have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from scheduler_policies.cost import runs_exact, variant_seconds
from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Loads, fitting, placed_seconds

Choice = tuple[Work, str]
# Chooses a key of the options: what each candidate that fits would run, by index -> index.
Rule = Callable[[Mapping[int, Work], Loads], int]

# A piece should last this many times what it costs to get it started.
_PIECE_OVER_START = 10.0


def pieces(work: Work, pool: Sequence[Candidate], fits: Sequence[int]) -> int:
    """Into how many pieces a fragment's variants are divided by the simple policies.

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


def place_by_rule(works: Sequence[Work], pool: Sequence[Candidate], rule: Rule, queues: bool = True) -> list[Choice]:
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
