"""The cache as execution uses it: counts of variants and exact arrays, stored where possible, run where needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.cache.cost_benefit import Worth
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import open_entries
from tasks.execution.cache.errors import StoreUnavailable, UnsupportedCircuit
from tasks.execution.cache.fragment_key import fragment_digest, fragment_key
from tasks.execution.cache.keys import AS_WRITTEN, BY_DISTRIBUTION, Key, KeyMaker, Target, exact_digest
from tasks.execution.cache.new_entries import array_entry, counts_entry, topped_up
from tasks.execution.cache.requests import Draw, Found, Job, Made, Request, Tally
from tasks.execution.cache.shot_pool import deal, grouped, needed
from tasks.execution.cache.single_flight import SingleFlight, Want
from tasks.model.tensor import VariantCounts

logger = logging.getLogger(__name__)

OFF = "off"


Run = Callable[[list[Job]], Sequence[VariantCounts | Made | None]]
Compute = Callable[[list[int]], Sequence[np.ndarray | None]]


@dataclass
class Cache:
    """A cache over one store, or over none ("off"): then everything is run, with the same results.

    Attributes:
        flight: store access and single flight, or None when off.
        lifetime: seconds until an entry expires, 0 for never.
        keys: the key maker, with its memo.
        worth: whether keys by meaning pay.
        worth_distribution: whether keys by distribution pay.
        tally: what happened.
    """

    flight: SingleFlight | None
    lifetime: float = 0.0
    keys: KeyMaker = field(default_factory=KeyMaker)
    worth: Worth = field(default_factory=Worth)
    worth_distribution: Worth = field(default_factory=Worth)
    tally: Tally = field(default_factory=Tally)

    def counts(self, requests: Sequence[Request], target: Target, run: Run) -> list[Draw | None]:
        """Return counts for every request; what must be run is handed to ``run`` in as few lists as possible.

        Requests of one call that share a key get disjoint shots of one pool, so they stay independent.

        Args:
            requests: variants with shots.
            target: where they run.
            run: runs jobs and returns their counts in order, None for one that failed; counts of circuits without a
                key are run last. It may be called several times, once others that were waited for are known.

        Returns:
            one Draw per request, None where running failed.
        """
        self.tally.requests += len(requests)
        keys = [self._counts_key(request, target) for request in requests]
        # What has no key has no pool in which earlier shots could be skipped.
        requests = [r if key is not None else replace(r, skip=0) for r, key in zip(requests, keys, strict=True)]
        members = grouped(keys)
        pools: list[Entry | None] = [None] * len(members)
        ran = [False] * len(members)
        keyed = [g for g, group in enumerate(members) if self.flight is not None and keys[group[0]] is not None]

        def shots_of(g: int) -> int:
            return needed([requests[i] for i in members[g]])

        def produce_group(g: int, stored: Entry | None) -> Job:
            first = requests[members[g][0]]
            return Job(first.circuit, shots_of(g) - (stored.shots if stored else 0), first.seed, members[g][0])

        def run_groups(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
            jobs = [produce_group(g, stored) for g, stored in todo]
            began = time.perf_counter()
            results = run(jobs) if jobs else []
            cost = (time.perf_counter() - began) / max(1, len(jobs))
            self.tally.executed += len(jobs)
            self.tally.topped_up += sum(stored is not None for _, stored in todo)
            out: list[Entry | None] = []
            for (g, stored), found in zip(todo, results, strict=True):
                i = members[g][0]
                made = Made(found) if isinstance(found, VariantCounts) else found
                if made is None:
                    out.append(None)
                elif stored is not None:
                    out.append(topped_up(_present(keys[i]), stored, made, cost))
                else:
                    out.append(counts_entry(keys[i], made, cost, self._expires(), requests[i].circuit, target))
            return out

        if self.flight is not None and keyed:
            wants = [Want(_present(keys[members[g][0]]), shots_of(g)) for g in keyed]
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
                own = deal([requests[i] for i in group], [keys[i] for i in group], pool, new)
                for i, draw in zip(group, own, strict=True):
                    draws[i] = draw
                self._note_hits(requests, keys, group, pool, new)
        return draws

    def arrays(
        self,
        keys: Sequence[Key],
        compute: Compute,
        *,
        provenance: Mapping[str, str] | None = None,
        written: Sequence[str] = (),
    ) -> list[Found | None]:
        """Return the array of every key; missing ones are computed in one call.

        Args:
            keys: of the arrays, e.g. from ``tensor_key``.
            compute: gets indices into ``keys`` and returns their arrays, None for one that failed.
            provenance: put into new entries.
            written: (key,) digests of what is computed as it is written, to know which hits meaning has brought.
        """
        self.tally.requests += len(keys)
        about = [{**(provenance or {}), **({"written": written[i]} if written else {})} for i in range(len(keys))]
        if self.flight is None:
            self.tally.executed += len(keys)
            made = compute(list(range(len(keys))))
            return [None if a is None else Found(a, False, about[i]) for i, a in enumerate(made)]
        members = grouped(keys)
        first = [group[0] for group in members]

        def produce(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
            began = time.perf_counter()
            results = compute([first[g] for g, _ in todo])
            cost = (time.perf_counter() - began) / max(1, len(todo))
            self.tally.executed += len(todo)
            return [
                None if a is None else array_entry(keys[first[g]], a, cost, self._expires(), about[first[g]])
                for (g, _), a in zip(todo, results, strict=True)
            ]

        entries, ran = self.flight.obtain([Want(keys[i], 0) for i in first], produce)
        out: list[Found | None] = [None] * len(keys)
        for group, entry, new in zip(members, entries, ran, strict=True):
            if entry is None or entry.array is None:
                continue
            self.tally.shared += len(group) - 1
            for i in group:
                out[i] = Found(entry.array, not new, entry.provenance)
                if written and keys[i].level != AS_WRITTEN and not (new and i == group[0]):
                    self.worth.hit(entry, written[i])
        return out

    def tensor_key(self, fragment: Fragment, target: Target) -> tuple[Key, str]:
        """A fragment's key, by meaning while that pays, and the digest of the fragment as written."""
        written = fragment_digest(fragment)
        plain = fragment_key(fragment, target, meaning=False)
        if self.flight is None or self.flight.holds(plain):
            return plain, written
        if not self.worth.pays():
            return plain, written
        began = time.perf_counter()
        key = fragment_key(fragment, target)
        self.worth.spent(time.perf_counter() - began)
        return key, written

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
            "by_meaning": self.worth.describe("meaning"),
            "by_distribution": self.worth_distribution.describe("distribution"),
        }

    def numbers(self) -> dict[str, float]:
        """What happened so far, in numbers that can be added up over processes."""
        flight = self.flight
        out: dict[str, float] = {
            "requests": self.tally.requests,
            "executed": self.tally.executed,
            "topped_up": self.tally.topped_up,
            "corrupt_entries": flight.corrupt if flight else 0,
            "store_failures": flight.failures if flight else 0,
        }
        for kind, worth in (("meaning", self.worth), ("distribution", self.worth_distribution)):
            out |= {f"{kind}_{name}": number for name, number in vars(worth).items()}
        return out

    def notes(self) -> list[str]:
        """Return, once, what the user has to be told about the store."""
        return [] if self.flight is None else self.flight.store.notes()

    def close(self) -> None:
        """Close the store."""
        if self.flight is not None:
            self.flight.store.close()

    def _counts_key(self, request: Request, target: Target) -> Key | None:
        if self.flight is None:
            return None
        reproducible = None if request.seed is None else (request.shots, request.seed)
        shared = reproducible is None and not request.as_written and (target.ideal or target.share_meaning)
        distribution = shared and target.by_distribution and self.worth_distribution.pays()
        began = time.perf_counter()
        try:
            key = self.keys.counts_key(
                request.circuit,
                target,
                meaning=shared and self.worth.pays(),
                distribution=distribution,
                as_written=request.as_written,
                reproducible=reproducible,
                stream=request.stream,
                recall=self.flight.recall,
                stored=self.flight.holds,
            )
        except UnsupportedCircuit as error:
            logger.warning("%s", error)
            return None
        seconds = time.perf_counter() - began
        if distribution:
            self.worth_distribution.spent(seconds)
        while self.keys.worked_out:
            exact, form = self.keys.worked_out.popleft()
            self.worth.spent(seconds)
            if form is not None:
                self.flight.remember(exact, form, self._expires())
        return key

    def _expires(self) -> float:
        return time.time() + self.lifetime if self.lifetime else 0.0

    def _note_hits(
        self, requests: Sequence[Request], keys: Sequence[Key | None], group: list[int], pool: Entry, ran: bool
    ) -> None:
        self.tally.shared += len(group) - 1
        for i in group[1:] if ran else group:
            key = keys[i]
            if key is not None and key.level != AS_WRITTEN:
                worth = self.worth_distribution if key.level == BY_DISTRIBUTION else self.worth
                worth.hit(pool, exact_digest(requests[i].circuit))


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
        store = open_entries(where, max_bytes=max_bytes)
    except StoreUnavailable as error:
        logger.warning("%s; going on without a cache", error)
        return Cache(None)
    return Cache(SingleFlight(store, lease=lease), lifetime)


def _present(key: Key | None) -> Key:
    assert key is not None
    return key
