"""The cache as execution uses it: counts of variants and exact arrays, stored where possible, run where needed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.as_written import fragment_digest, glimpse
from tasks.execution.cache.cost_benefit import (
    LOOK_SECONDS,
    claiming_pays,
    finding_pays,
    keyed_gates,
    meaning_of_gates_pays,
    meaning_pays,
    meaning_seconds,
)
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import open_entries
from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.fragment_key import fragment_key
from tasks.execution.cache.keys import BY_MEANING, Key, KeyMaker, Target
from tasks.execution.cache.new_entries import array_entry, counts_entry, topped_up
from tasks.execution.cache.payoff import Payoff
from tasks.execution.cache.recent import Ran, Recent
from tasks.execution.cache.requests import ArrayAnswer, CountsAnswer, CountsRequest, MissingShots, NewCounts, Tally
from tasks.execution.cache.shot_pool import allotted, needed, same_key_groups
from tasks.execution.cache.single_flight import Produce, SingleFlight, Want
from tasks.execution.errors import UnsupportedCircuit
from tasks.model.tensor import VariantCounts

logger = logging.getLogger(__name__)

OFF = "off"


Run = Callable[[list[MissingShots]], Sequence[VariantCounts | NewCounts | None]]
Compute = Callable[[list[int]], Sequence[np.ndarray | None]]


@dataclass
class Cache:
    """A cache over one store, or over none ("off"): then everything is run, with the same results.

    Attributes:
        opened: store access and single flight, what opens it at its first use, or None when off.
        lifetime: seconds until an entry expires, 0 for never.
        keys: the key maker, with its memo.
        tally: what happened.
        looking: whether looking into the store pays.
        meaning: whether keys by meaning do, beside those of circuits as they are written.
        recent: what was run.
        clock: seconds.
    """

    opened: SingleFlight | Callable[[], SingleFlight | None] | None
    lifetime: float = 0.0
    keys: KeyMaker = field(default_factory=KeyMaker)
    tally: Tally = field(default_factory=Tally)
    looking: Payoff = field(default_factory=Payoff)
    meaning: Payoff = field(default_factory=Payoff)
    recent: Recent = field(default_factory=Recent)
    clock: Callable[[], float] = time.perf_counter

    @property
    def flight(self) -> SingleFlight | None:
        """Store access and single flight, opened now if it was not yet; None when off."""
        if callable(self.opened):
            self.opened = self.opened()
        return self.opened

    def counts(self, requests: Sequence[CountsRequest], target: Target, run: Run) -> list[CountsAnswer | None]:
        """Return counts for every request; what must be run is handed to ``run`` in as few lists as possible.

        Requests of one call that share a key get disjoint shots of one pool, so they stay independent.

        Args:
            requests: variants with shots.
            target: where they run.
            run: runs jobs and returns their counts in order, None for one that failed; counts of circuits without a
                key are run last. It may be called several times, once others that were waited for are known.

        Returns:
            one answer a request, None where running failed.
        """
        self.tally.requests += len(requests)
        began, meant = self.clock(), self.tally.meaning_keys
        glimpses = [self._glimpse(request, target) for request in requests]
        again = [self._equal(*own, target) for own in zip(requests, glimpses, strict=True)]
        keys = [
            key or self._key(request, target, own) for key, request, own in zip(again, requests, glimpses, strict=True)
        ]
        keying = 0.0 if self.tally.meaning_keys > meant else self.clock() - began  # meaning is weighed by itself
        members = same_key_groups(keys)
        seconds = [max(requests[i].seconds for i in group) for group in members]

        def shots_of(g: int) -> int:
            return needed([requests[i] for i in members[g]])

        def produce_group(g: int, stored: Entry | None) -> MissingShots:
            first = requests[members[g][0]]
            return MissingShots(first.circuit, shots_of(g) - (stored.shots if stored else 0), first.seed, members[g][0])

        def run_groups(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
            jobs = [produce_group(g, stored) for g, stored in todo]
            began = self.clock()
            results = run(jobs) if jobs else []
            cost = (self.clock() - began) / max(1, len(jobs))
            self.tally.executed += len(jobs)
            self.tally.topped_up += sum(stored is not None for _, stored in todo)
            out: list[Entry | None] = []
            for (g, stored), found in zip(todo, results, strict=True):
                i = members[g][0]
                made = NewCounts(found) if isinstance(found, VariantCounts) else found
                if made is None:
                    out.append(None)
                elif stored is not None:
                    out.append(topped_up(_present(keys[i]), stored, made, cost))
                else:
                    out.append(counts_entry(keys[i], made, cost, self._expires(), requests[i].circuit, target))
                    if glimpses[i] and made.keep:
                        written = "" if (key := keys[i]) is None else key.written
                        self.recent.add(glimpses[i], Ran(requests[i], made, cost, written))
            return out

        first = [keys[group[0]] for group in members]
        wants = [
            None if key is None else Want(key, shots_of(g), claiming_pays(seconds[g])) for g, key in enumerate(first)
        ]
        weighed = [math.inf if again[group[0]] else own for group, own in zip(members, seconds, strict=True)]
        pools, ran = self._obtained(wants, weighed, run_groups, keying / max(1, sum(key is not None for key in keys)))
        answers: list[CountsAnswer | None] = [None] * len(requests)
        for group, pool, new in zip(members, pools, ran, strict=True):
            if pool is not None:
                own = allotted([requests[i] for i in group], [keys[i] for i in group], pool, new)
                for i, answer in zip(group, own, strict=True):
                    answers[i] = answer
                self._note_hits(keys, group, pool, new)
        return answers

    def arrays(
        self,
        keys: Sequence[Key],
        compute: Compute,
        *,
        provenance: Mapping[str, str] | None = None,
        written: Sequence[str] = (),
        seconds: float = math.inf,
    ) -> list[ArrayAnswer | None]:
        """Return the array of every key; missing ones are computed in one call, what is not looked for in another.

        Args:
            keys: of the arrays, e.g. from ``tensor_key``.
            compute: gets indices into ``keys`` and returns their arrays, None for one that failed.
            provenance: put into new entries.
            written: (key,) digests of what is computed as it is written, to know which hits meaning has brought.
            seconds: predicted for computing one; by default it is worth any look.
        """
        self.tally.requests += len(keys)
        about = [{**(provenance or {}), **({"written": written[i]} if written else {})} for i in range(len(keys))]
        if self.flight is None:
            self.tally.executed += len(keys)
            made = compute(list(range(len(keys))))
            return [None if a is None else ArrayAnswer(a, False, about[i]) for i, a in enumerate(made)]
        members = same_key_groups(keys)
        first = [group[0] for group in members]

        def produce(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
            began = self.clock()
            results = compute([first[g] for g, _ in todo])
            cost = (self.clock() - began) / max(1, len(todo))
            self.tally.executed += len(todo)
            return [
                None if a is None else array_entry(keys[first[g]], a, cost, self._expires(), about[first[g]])
                for (g, _), a in zip(todo, results, strict=True)
            ]

        wants = [Want(keys[i], 0) if self._looks(partial(getattr, keys[i], "digest"), seconds) else None for i in first]
        entries, ran = self._obtained(wants, [seconds] * len(first), produce)
        out: list[ArrayAnswer | None] = [None] * len(keys)
        for group, entry, new in zip(members, entries, ran, strict=True):
            if entry is None or entry.array is None:
                continue
            self.tally.shared += len(group) - 1
            for i in group:
                out[i] = ArrayAnswer(entry.array, not new, entry.provenance)
                if written and keys[i].level == BY_MEANING:
                    self._note_meaning(None if new and i == group[0] else entry, written[i])
        return out

    def tensor_key(self, fragment: Fragment, target: Target, seconds: float) -> tuple[Key, str]:
        """Return a fragment's key and the digest of the fragment as written.

        By meaning where making that key costs little beside computing the fragment (``meaning_pays``).

        Args:
            fragment: the fragment.
            target: what computes its tensor.
            seconds: predicted, for that.
        """
        written = fragment_digest(fragment)
        predicted = meaning_seconds(keyed_gates(fragment))
        if (
            self.flight is None
            or not meaning_pays(fragment, seconds)
            or not self.meaning.looks(lambda: bytes.fromhex(written), seconds, predicted)
        ):
            return fragment_key(fragment, target, meaning=False), written
        began = self.clock()
        key = fragment_key(fragment, target)
        self._note_key(self.clock() - began, predicted)
        return key, written

    def describe(self) -> dict[str, object]:
        """Return what the run record says about the cache."""
        store = OFF if self.flight is None else self.flight.store.describe()
        return {"store": store, **self.numbers()}

    def numbers(self) -> dict[str, float]:
        """What happened so far, in numbers that can be added up over processes."""
        used = self.opened if isinstance(self.opened, SingleFlight) else None
        return {
            **vars(self.tally),
            "unsound_entries": used.unsound if used else 0,
            "store_failures": used.failures if used else 0,
        }

    def notes(self) -> list[str]:
        """Return, once, what the user has to be told about the store."""
        return self.opened.store.notes() if isinstance(self.opened, SingleFlight) else []

    def close(self) -> None:
        """Close the store."""
        if isinstance(self.opened, SingleFlight):
            self.opened.store.close()

    def _glimpse(self, request: CountsRequest, target: Target) -> bytes:
        """A glimpse at the circuit, and all else that is asked for; b"" where everything is looked for, or nothing."""
        if self.opened is None or math.isinf(request.seconds) or not finding_pays(request.seconds):
            return b""
        others = (request.seed and request.shots, request.seed, request.stream, request.as_written)
        return glimpse(request.circuit) + repr(others).encode() + target.material

    def _equal(self, request: CountsRequest, seen: bytes, target: Target) -> Key | None:
        """The key of a circuit that was run before, under which its counts are stored, now if they were not."""
        found = self.recent.equal(seen, request, partial(self._counts_key, target=target, works_out=False))
        if found is None or self.flight is None:
            return None
        key, one = found
        entry = counts_entry(key, one.made, one.cost, self._expires(), one.request.circuit, target)
        self.flight.obtain([Want(key, 0, claimed=False)], lambda todo: [entry])
        return key

    def _key(self, request: CountsRequest, target: Target, seen: bytes) -> Key | None:
        """The key of what is looked for; ``seen``: see ``_glimpse``."""
        if self.opened is None or not finding_pays(request.seconds):
            return None
        return self._counts_key(request, target) if not seen or self._looks(lambda: seen, request.seconds) else None

    def _counts_key(self, request: CountsRequest, target: Target, works_out: bool = True) -> Key | None:
        flight = self.flight
        if flight is None:
            return None
        began = self.clock()
        predicted = meaning_seconds(len(request.circuit.data))
        try:
            key = self.keys.counts_key(
                request.circuit,
                target,
                as_written=request.as_written or not meaning_of_gates_pays(len(request.circuit.data), request.seconds),
                reproducible=None if request.seed is None else (request.shots, request.seed),
                stream=request.stream,
                recall=flight.recall,
                work_out=lambda digest: works_out and self.meaning.looks(lambda: digest, request.seconds, predicted),
            )
        except UnsupportedCircuit as error:
            logger.warning("%s", error)
            return None
        while self.keys.worked_out:
            exact, form = self.keys.worked_out.popleft()
            self._note_key(self.clock() - began, predicted)
            if form is not None:
                flight.remember(exact, form, self._expires())
        return key

    def _looks(self, name: Callable[[], bytes], seconds: float) -> bool:
        looks = self.looking.looks(name, seconds, LOOK_SECONDS)
        self.tally.passed_over += not looks
        return looks

    def _obtained(
        self, wants: Sequence[Want | None], seconds: Sequence[float], produce: Produce, keying: float = 0.0
    ) -> tuple[list[Entry | None], list[bool]]:
        """What ``SingleFlight.obtain`` gives; what is not wanted of it is produced last. ``keying``: seconds a key."""
        found: list[Entry | None] = [None] * len(wants)
        produced = [True] * len(wants)
        sought = [(k, want) for k, want in enumerate(wants) if want is not None]
        if sought and self.flight is not None:
            took, waited = 0.0, self.flight.waited

            def timed(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
                nonlocal took
                began = self.clock()
                made = produce([(sought[i][0], stored) for i, stored in todo])
                took += self.clock() - began
                return made

            began = self.clock()
            entries, new = self.flight.obtain([want for _, want in sought], timed)
            each = keying + (self.clock() - began - took) / len(sought)
            for (k, _), entry, made in zip(sought, entries, new, strict=True):
                found[k], produced[k] = entry, made
                if math.isfinite(seconds[k]):
                    self.looking.note(not made)
                    if self.flight.waited == waited:  # for no other worker
                        self.looking.spent(each, LOOK_SECONDS)
        rest = sorted(set(range(len(wants))) - {k for k, _ in sought})
        if rest:
            for k, entry in zip(rest, produce([(k, None) for k in rest]), strict=True):
                found[k] = entry
        return found, produced

    def _note_key(self, seconds: float, predicted: float) -> None:
        self.tally.meaning_keys += 1
        self.tally.meaning_key_seconds += seconds
        self.meaning.spent(seconds, predicted)

    def _note_meaning(self, entry: Entry | None, written: str) -> None:
        """A circuit found an entry by its meaning, or none; it counts where another circuit had made it."""
        brought = entry is not None and entry.provenance.get("written") != written
        self.meaning.note(brought)
        if entry is not None and brought:
            self.tally.meaning_hits += 1
            self.tally.meaning_saved_seconds += entry.cost

    def _expires(self) -> float:
        return time.time() + self.lifetime if self.lifetime else 0.0

    def _note_hits(self, keys: Sequence[Key | None], group: list[int], pool: Entry, ran: bool) -> None:
        self.tally.shared += len(group) - 1
        for _ in group[1:]:
            self.looking.note(True)
        for i in group:
            key = keys[i]
            if key is not None and key.level == BY_MEANING:
                self._note_meaning(None if ran and i == group[0] else pool, key.written)


def open_cache(where: str, *, lifetime: float = 0.0, max_bytes: int = 1 << 30, lease: float = 10.0) -> Cache:
    """Return the cache that ``--cache DIR|URL|off`` names.

    Its store is opened when something is first looked for, which a run of quick executions never does. One that cannot
    be opened is a warning then, and no cache.

    Args:
        where: ``off``, a directory, a ``redis://`` or ``rediss://`` URL, or ``DIRECTORY,URL``.
        lifetime: seconds until an entry expires, 0 for never.
        max_bytes: size bound of a directory.
        lease: seconds after which a worker that stopped renewing its claim is taken for dead.
    """

    def opened() -> SingleFlight | None:
        try:
            return SingleFlight(open_entries(where, max_bytes=max_bytes), lease=lease)
        except StoreUnavailable as error:
            logger.warning("%s; going on without a cache", error)
            return None

    return Cache(None if where == OFF else opened, lifetime)


def _present(key: Key | None) -> Key:
    assert key is not None
    return key
