"""The cache as execution uses it: counts of variants and exact arrays, stored where possible, run where needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.execution.cache.draws import Draw, Job, Request, Tally
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.errors import StoreUnavailable, UnsupportedCircuit
from tasks.execution.cache.keys import AS_WRITTEN, Key, KeyMaker, Target, exact_digest
from tasks.execution.cache.shots import from_canonical, shares, take, to_canonical
from tasks.execution.cache.single_flight import SingleFlight, Want
from tasks.execution.cache.store import open_store
from tasks.execution.cache.worth import Worth
from tasks.tensor import VariantCounts

logger = logging.getLogger(__name__)

OFF = "off"


Run = Callable[[list[Job]], Sequence[VariantCounts | None]]
Compute = Callable[[list[int]], Sequence[np.ndarray | None]]


@dataclass
class Cache:
    """A cache over one store, or over none ("off"): then everything is run, with the same results.

    Attributes:
        flight: store access and single flight, or None when off.
        lifetime: seconds until an entry expires, 0 for never.
        keys: the key maker, with its memo.
        worth: whether keys by meaning pay.
        tally: what happened.
    """

    flight: SingleFlight | None
    lifetime: float = 0.0
    keys: KeyMaker = field(default_factory=KeyMaker)
    worth: Worth = field(default_factory=Worth)
    tally: Tally = field(default_factory=Tally)

    def counts(self, requests: Sequence[Request], target: Target, run: Run) -> list[Draw | None]:
        """Return counts for every request; what must be run is handed to ``run`` in as few lists as possible.

        Requests of one call that share a key get disjoint shots of one pool, so they stay independent.

        Args:
            requests: variants with shots.
            target: where they run.
            run: runs jobs and returns their counts in order, None for one that failed.

        Returns:
            one Draw per request, None where running failed.
        """
        self.tally.requests += len(requests)
        keys = [self._counts_key(request, target) for request in requests]
        groups: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            groups.setdefault(key.digest if key else b"unkeyed %d" % i, []).append(i)
        members = list(groups.values())
        pools: list[Entry | None] = [None] * len(members)
        ran = [False] * len(members)
        keyed = [g for g, group in enumerate(members) if self.flight is not None and keys[group[0]] is not None]

        def produce_group(g: int, stored: Entry | None) -> Job:
            first = requests[members[g][0]]
            missing = _needed(requests, members[g]) - (stored.shots if stored else 0)
            return Job(first.circuit, missing, first.seed)

        def run_groups(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
            jobs = [produce_group(g, stored) for g, stored in todo]
            began = time.perf_counter()
            results = run(jobs) if jobs else []
            cost = (time.perf_counter() - began) / max(1, len(jobs))
            self.tally.executed += len(jobs)
            self.tally.topped_up += sum(stored is not None for _, stored in todo)
            out: list[Entry | None] = []
            for (g, stored), counts in zip(todo, results, strict=True):
                i = members[g][0]
                out.append(None if counts is None else self._entry(keys[i], stored, counts, cost, requests[i], target))
            return out

        if self.flight is not None and keyed:
            wants = [Want(_present(keys[members[g][0]]), _needed(requests, members[g])) for g in keyed]
            found, produced = self.flight.obtain(
                wants, lambda todo: run_groups([(keyed[i], stored) for i, stored in todo])
            )
            for g, entry, new in zip(keyed, found, produced, strict=True):
                pools[g], ran[g] = entry, new
        rest = [g for g in range(len(members)) if g not in set(keyed)]
        for g, entry in zip(rest, run_groups([(g, None) for g in rest]), strict=True):
            pools[g], ran[g] = entry, True
        draws: list[Draw | None] = [None] * len(requests)
        for group, pool, new in zip(members, pools, ran, strict=True):
            if pool is not None:
                self._deal(requests, keys, group, pool, new, draws)
        return draws

    def arrays(
        self, keys: Sequence[Key], compute: Compute, *, provenance: dict[str, str] | None = None
    ) -> list[np.ndarray | None]:
        """Return the array of every key; missing ones are computed in one call.

        Args:
            keys: of the arrays, e.g. from ``fragment_key``.
            compute: gets indices into ``keys`` and returns their arrays, None for one that failed.
            provenance: put into new entries.
        """
        self.tally.requests += len(keys)
        if self.flight is None:
            self.tally.executed += len(keys)
            return list(compute(list(range(len(keys)))))
        first: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            first.setdefault(key.digest, i)
        distinct = list(first.values())

        def produce(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
            began = time.perf_counter()
            results = compute([distinct[i] for i, _ in todo])
            cost = (time.perf_counter() - began) / max(1, len(todo))
            self.tally.executed += len(todo)
            return [
                None if array is None else self._array_entry(keys[distinct[i]], array, cost, provenance or {})
                for (i, _), array in zip(todo, results, strict=True)
            ]

        found, _ = self.flight.obtain([Want(keys[i], 0) for i in distinct], produce)
        arrays = {keys[i].digest: entry.array for i, entry in zip(distinct, found, strict=True) if entry is not None}
        self.tally.shared += len(keys) - len(distinct)
        return [arrays.get(key.digest) for key in keys]

    def describe(self) -> dict[str, object]:
        """Return what the run record says about the cache."""
        if self.flight is None:
            return {"store": OFF, "requests": self.tally.requests, "executed": self.tally.executed}
        return {
            "store": self.flight.store.describe(),
            "requests": self.tally.requests,
            "executed": self.tally.executed,
            "topped_up": self.tally.topped_up,
            "shared_in_call": self.tally.shared,
            "corrupt_entries": self.flight.corrupt,
            "store_failures": self.flight.failures,
            "by_meaning": self.worth.describe(),
        }

    def close(self) -> None:
        """Close the store."""
        if self.flight is not None:
            self.flight.store.close()

    def _counts_key(self, request: Request, target: Target) -> Key | None:
        if self.flight is None:
            return None
        reproducible = None if request.seed is None else (request.shots, request.seed)
        meaning = reproducible is None and self.worth.use_meaning()
        began = time.perf_counter()
        try:
            key = self.keys.counts_key(
                request.circuit, target, meaning=meaning, reproducible=reproducible, recall=self.flight.recall
            )
        except UnsupportedCircuit as error:
            logger.warning("%s", error)
            return None
        seconds = time.perf_counter() - began
        while self.keys.worked_out:
            exact, form = self.keys.worked_out.popleft()
            self.worth.keys += 1
            self.worth.key_seconds += seconds
            if form is not None:
                self.flight.remember(exact, form, time.time() + self.lifetime if self.lifetime else 0.0)
        return key

    def _entry(
        self, key: Key | None, stored: Entry | None, counts: VariantCounts, cost: float, first: Request, target: Target
    ) -> Entry:
        if key is None:
            return Entry(b"", np.empty(0), blocks=(counts,))
        block = to_canonical(counts, key.bits, key.inverted)
        if stored is not None:
            return replace(stored, blocks=(*stored.blocks, block), cost=stored.cost + cost)
        now = time.time()
        provenance = {
            "circuit": first.circuit.name,
            "written": exact_digest(first.circuit),
            "backend": f"{target.backend} {target.version}".strip(),
            "level": key.level,
        }
        expires = now + self.lifetime if self.lifetime else 0.0
        return Entry(key.material, key.angles, (block,), None, cost, now, expires, provenance)

    def _array_entry(self, key: Key, array: np.ndarray, cost: float, provenance: dict[str, str]) -> Entry:
        now = time.time()
        expires = now + self.lifetime if self.lifetime else 0.0
        about = {"level": key.level, **provenance}
        return Entry(key.material, key.angles, (), np.asarray(array), cost, now, expires, about)

    def _deal(
        self,
        requests: Sequence[Request],
        keys: Sequence[Key | None],
        group: list[int],
        pool: Entry,
        ran: bool,
        draws: list[Draw | None],
    ) -> None:
        """Give each request of a group its own range of the pool."""
        start = max(requests[i].skip for i in group)
        wanted = [requests[i].shots for i in group]
        if any(requests[i].exactly or requests[i].seed is not None for i in group):
            sizes = wanted
        else:
            sizes = shares(pool.shots - start, wanted)
        if len(group) > 1 and requests[group[0]].seed is not None:
            sizes = [wanted[0]] * len(group)
        for i, size in zip(group, sizes, strict=True):
            key = keys[i]
            counts = take(pool.blocks, start, start + size)
            if key is not None:
                counts = from_canonical(counts, key.bits, key.inverted, key.num_bits)
                self._note_hit(requests[i], key, pool, ran and i == group[0])
            draws[i] = Draw(counts, start, not ran, key.name if key else "")
            if requests[i].seed is None:
                start += size
        self.tally.shared += len(group) - 1

    def _note_hit(self, request: Request, key: Key, pool: Entry, ran: bool) -> None:
        if not ran and key.level != AS_WRITTEN and pool.provenance.get("written") != exact_digest(request.circuit):
            self.worth.extra_hits += 1
            self.worth.saved_seconds += pool.cost


def open_cache(where: str, *, lifetime: float = 0.0, max_bytes: int = 1 << 30, lease: float = 10.0) -> Cache:
    """Open the cache that ``--cache DIR|URL|off`` names. A store that cannot be opened is a warning, and no cache.

    Args:
        where: ``off``, a directory, a ``redis://`` or ``rediss://`` URL, or ``DIRECTORY,URL``.
        lifetime: seconds until an entry expires, 0 for never.
        max_bytes: size bound of a directory.
        lease: seconds after which a worker that stopped renewing its claim is taken for dead.
    """
    if where == OFF:
        return Cache(None)
    try:
        store = open_store(where, max_bytes=max_bytes)
    except StoreUnavailable as error:
        logger.warning("%s; going on without a cache", error)
        return Cache(None)
    return Cache(SingleFlight(store, lease=lease), lifetime)


def spread(requests: Sequence[Request], target: Target, keys: KeyMaker) -> list[Request]:
    """Give requests that will be made in different calls or processes disjoint shots where they mean the same.

    Call it where the variants of a run are planned; the requests it returns take exactly their shots, from ``skip`` on.
    """
    used: dict[bytes, int] = {}
    out = []
    for request in requests:
        if request.seed is not None:
            out.append(request)
            continue
        try:
            digest = keys.counts_key(request.circuit, target).digest
        except UnsupportedCircuit:
            out.append(request)
            continue
        skip = max(request.skip, used.get(digest, 0))
        used[digest] = skip + request.shots
        out.append(replace(request, skip=skip, exactly=True))
    return out


def _needed(requests: Sequence[Request], group: list[int]) -> int:
    """Return the shots a group's pool must have."""
    if requests[group[0]].seed is not None:
        return requests[group[0]].shots
    return max(requests[i].skip for i in group) + sum(requests[i].shots for i in group)


def _present(key: Key | None) -> Key:
    assert key is not None
    return key
