"""Who gets which shots of a pool: requests with one key share it, each in a range of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from tasks.execution.cache.entry import Entry
from tasks.execution.cache.errors import UnsupportedCircuit
from tasks.execution.cache.keys import Key, KeyMaker, Target
from tasks.execution.cache.requests import Draw, Request
from tasks.execution.cache.shots import from_canonical, shares, take
from tasks.execution.cache.single_flight import same_angles


def spread(requests: Sequence[Request], target: Target, keys: KeyMaker) -> list[Request]:
    """Give requests that will be made in different calls or processes disjoint shots where they mean the same.

    Call it where the variants of a run are planned; the requests it returns take exactly their shots, from ``skip`` on.
    """
    used: dict[bytes, int] = {}
    out = []
    for request in requests:
        if request.seed is not None or request.stream:
            out.append(request)
            continue
        try:
            digest = keys.counts_key(request.circuit, target, as_written=request.as_written).digest
        except UnsupportedCircuit:
            out.append(request)
            continue
        skip = max(request.skip, used.get(digest, 0))
        used[digest] = skip + request.shots
        out.append(replace(request, skip=skip, exactly=True))
    return out


def grouped(keys: Sequence[Key | None]) -> list[list[int]]:
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


def needed(requests: Sequence[Request]) -> int:
    """Return the shots that the pool of these requests must have."""
    if requests[0].seed is not None:
        return requests[0].shots
    return max(request.skip for request in requests) + sum(request.shots for request in requests)


def deal(requests: Sequence[Request], keys: Sequence[Key | None], pool: Entry, ran: bool) -> list[Draw]:
    """Give each of the requests with one key its own range of the pool.

    Args:
        requests: those with this key.
        keys: their keys: the same, but for the bits they map to; None for a circuit that has none.
        pool: what is stored under it.
        ran: whether something was run for it in this call.
    """
    start = max(request.skip for request in requests)
    wanted = [request.shots for request in requests]
    seeded = requests[0].seed is not None
    if seeded:
        sizes = [wanted[0]] * len(requests)
    elif requests[0].stream and len(requests) == 1:
        sizes = [_whole_blocks(pool, start + wanted[0]) - start]
    elif requests[0].stream or any(request.exactly for request in requests):
        sizes = wanted
    else:
        sizes = shares(pool.shots - start, wanted)
    draws = []
    for key, size in zip(keys, sizes, strict=True):
        counts = take(pool.blocks, start, start + size)
        if key is not None:
            counts = from_canonical(counts, key.bits, key.inverted, key.num_bits)
        draws.append(Draw(counts, start, not ran, key.name if key else "", pool.provenance))
        if not seeded:
            start += size
    return draws


def _whole_blocks(pool: Entry, shots: int) -> int:
    """The first end of an execution at or after so many shots: a later top-up changes nothing for who asked before."""
    return next((end for end in accumulate(block.shots for block in pool.blocks) if end >= shots), pool.shots)
