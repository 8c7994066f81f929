"""Who gets which shots of a pool: requests with one key share it, each in a range of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tasks.execution.cache.entry import Entry
from tasks.execution.cache.keys import Key
from tasks.execution.cache.requests import CountsAnswer, CountsRequest
from tasks.execution.cache.shots import from_canonical, shares, take
from tasks.execution.cache.single_flight import same_angles


def same_key_groups(keys: Sequence[Key | None]) -> list[list[int]]:
    """Positions of requests that share a key: equal material, and angles that agree as a hit demands it."""
    groups: dict[bytes, list[list[int]]] = {}
    for i, key in enumerate(keys):
        if key is None:
            groups[b"unkeyed %d" % i] = [[i]]
            continue
        alike = groups.setdefault(key.digest, [])
        for group in alike:
            first = keys[group[0]]
            if first is not None and same_angles(first.angles, key.angles):
                group.append(i)
                break
        else:
            alike.append([i])
    return sorted(group for alike in groups.values() for group in alike)


def needed(requests: Sequence[CountsRequest]) -> int:
    """Return the shots that the pool of these requests must have."""
    return requests[0].shots if requests[0].seed is not None else sum(request.shots for request in requests)


def allotted(
    requests: Sequence[CountsRequest], keys: Sequence[Key | None], pool: Entry, ran: bool
) -> list[CountsAnswer]:
    """Give each of the requests with one key its own range of the pool.

    Args:
        requests: those with this key.
        keys: their keys: the same, but for the bits they map to; None for a circuit that has none.
        pool: what is stored under it.
        ran: whether something was run for it in this call.
    """
    wanted = [request.shots for request in requests]
    seeded = requests[0].seed is not None
    if seeded:
        sizes = [wanted[0]] * len(requests)
    elif requests[0].stream and len(requests) == 1:
        sizes = [_whole_blocks(pool, wanted[0])]
    elif requests[0].stream:
        sizes = wanted
    else:
        sizes = shares(pool.shots, wanted)
    answers = []
    start = 0
    for key, size in zip(keys, sizes, strict=True):
        counts = take(pool.blocks, start, start + size)
        if key is not None:
            counts = from_canonical(counts, key.bits, key.inverted, key.num_bits)
        answers.append(CountsAnswer(counts, start, not ran, key.name if key else "", pool.provenance))
        if not seeded:
            start += size
    return answers


def _whole_blocks(pool: Entry, shots: int) -> int:
    """The first end of an execution at or after so many shots: a later top-up changes nothing for who asked before."""
    return next((end for end in accumulate(block.shots for block in pool.blocks) if end >= shots), pool.shots)
