"""Each distinct key executes once among all workers: look, claim, look again, run, store, release; others wait."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import OLDEST_CLAIM, EntryStore
from tasks.execution.cache.errors import CorruptEntry, StoreUnavailable
from tasks.execution.cache.form_memo import memo_entry, memo_key, remembered_form
from tasks.execution.cache.keys import Key
from tasks.execution.cache.semantic import CanonicalForm
from tasks.execution.cache.stores.store import LONGEST_LEASE

logger = logging.getLogger(__name__)

_RETRY_AFTER = 15.0  # seconds a store that failed is left alone
_ANGLES_AGREE = 1e-12


@dataclass(frozen=True)
class Want:
    """One key to be obtained.

    Attributes:
        key: of the result.
        shots: how many must be stored for it to suffice; 0 for exact values.
        claimed: whether it is claimed before it is produced. Not where that costs more than to produce it twice, when
            two workers want it at the same time: then the store keeps what came last.
    """

    key: Key
    shots: int
    claimed: bool = True


Produce = Callable[[list[tuple[int, Entry | None]]], list[Entry | None]]


class SingleFlight:
    """Obtains entries from a store, and lets the caller produce what is missing, once among all workers.

    A store that fails is left alone for a while with one warning, and everything is then produced here: the answer is
    the same, only later.

    Args:
        store: where entries and claims are.
        lease: seconds after which a holder that stopped renewing is taken for dead, at most LONGEST_LEASE.
        patience: seconds after which a waiter stops waiting and produces for itself.
    """

    def __init__(self, store: EntryStore, *, lease: float = 10.0, patience: float = OLDEST_CLAIM) -> None:
        self.store = store
        self.unsound = 0
        self.failures = 0
        self.waited = 0
        self._lease = min(lease, LONGEST_LEASE)
        self._patience = patience
        self._silent_until = 0.0
        self._lock = threading.Lock()
        self._held: dict[str, list[bytes]] = {}  # digests of the claims of each call that produces now
        self._renewer: threading.Thread | None = None

    def obtain(self, wants: Sequence[Want], produce: Produce) -> tuple[list[Entry | None], list[bool]]:
        """Return an entry for every want, and whether it was produced by this call.

        Args:
            wants: with distinct keys.
            produce: gets (index, what is stored already) of all that is to be produced now, in one list, and returns
                the new entries in that order, None where production failed.
        """
        found: list[Entry | None] = [None] * len(wants)
        produced = [False] * len(wants)
        open_wants = list(range(len(wants)))
        token = self.store.new_token(uuid.uuid4().hex) if any(want.claimed for want in wants) else ""
        deadline = time.monotonic() + self._patience
        pause = 0.002
        while open_wants:
            mine: list[tuple[int, Entry | None]] = []
            waiting = []
            for i in open_wants:
                entry = self._read(wants[i])
                if entry is None or entry.shots < wants[i].shots:
                    if not wants[i].claimed:
                        mine.append((i, entry))
                        continue
                    if not self._claim(wants[i].key, token) and time.monotonic() < deadline:
                        waiting.append(i)
                        continue
                    entry = self._read(wants[i], fresh=True)
                    if entry is None or entry.shots < wants[i].shots:
                        mine.append((i, entry))
                        continue
                    self._release(wants[i].key, token)
                found[i] = entry
            if mine:
                self._produce_mine(wants, mine, produce, token, found, produced)
                pause = 0.002
            elif waiting:
                self.waited += 1
                time.sleep(pause)
                pause = min(0.1, pause * 1.5)
            open_wants = waiting
        return found, produced

    def recall(self, exact: bytes) -> CanonicalForm | None:
        """Return what a circuit as written means, if the store knows."""
        if not self._usable():
            return None
        try:
            entry = self.store.get(memo_key(exact))
            return None if entry is None else remembered_form(entry, exact)
        except StoreUnavailable as error:
            self._failed(error)
        except (CorruptEntry, KeyError, ValueError) as error:
            self.unsound += 1
            logger.warning("what a circuit means: %s", error)
        return None

    def remember(self, exact: bytes, form: CanonicalForm, expires: float) -> None:
        """Keep what a circuit as written means."""
        if self._usable():
            try:
                self.store.put(memo_key(exact), memo_entry(exact, form, expires))
            except StoreUnavailable as error:
                self._failed(error)

    def _produce_mine(
        self,
        wants: Sequence[Want],
        mine: list[tuple[int, Entry | None]],
        produce: Produce,
        token: str,
        found: list[Entry | None],
        produced: list[bool],
    ) -> None:
        keys = [wants[i].key for i, _ in mine if wants[i].claimed]
        if keys:
            self._hold(token, keys)
        try:
            for (i, _), entry in zip(mine, produce(mine), strict=True):
                found[i] = entry
                produced[i] = True
                if entry is not None and entry.keep:
                    self._write(wants[i].key, entry)
        finally:
            with self._lock:  # nothing is renewed any more
                self._held.pop(token, None)
            for key in keys:
                self._release(key, token)

    def _hold(self, token: str, keys: list[Key]) -> None:
        """Have claims renewed by a thread that stays a while: to start one takes as long as a small circuit."""
        with self._lock:
            self._held[token] = [key.digest for key in keys]
            if self._renewer is None or not self._renewer.is_alive():
                self._renewer = threading.Thread(target=self._keep_claims, daemon=True)
                self._renewer.start()

    def _keep_claims(self) -> None:
        while True:
            time.sleep(self._lease / 3)
            with self._lock:
                if not self._held:
                    self._renewer = None
                    return
                held = list(self._held.items())
            for token, digests in held:  # of a claim that was given up meanwhile the store renews nothing
                if self._usable():
                    try:
                        self.store.renew(digests, token, self._lease)
                    except StoreUnavailable as error:
                        self._failed(error)

    def _read(self, want: Want, *, fresh: bool = False) -> Entry | None:
        if not self._usable():
            return None
        key = want.key
        try:
            entry = self.store.get(key.digest, fresh=fresh)
        except StoreUnavailable as error:
            self._failed(error)
            return None
        except CorruptEntry as error:
            self.unsound += 1
            logger.warning("%s (key %s)", error, key.name)
            return None
        if entry is None or (entry.expires and entry.expires < time.time()):
            return None
        if entry.material != key.material or not same_angles(entry.angles, key.angles):
            return None  # a digest collision, or angles that only agree when rounded
        if any(block.num_bits != len(key.bits) for block in entry.blocks):
            self.unsound += 1
            logger.warning("cache entry with other bits than its key says (key %s); it is run again", key.name)
            return None
        return entry

    def _write(self, key: Key, entry: Entry) -> None:
        if self._usable():
            try:
                self.store.put(key.digest, entry)
            except StoreUnavailable as error:
                self._failed(error)

    def _claim(self, key: Key, token: str) -> bool:
        if not self._usable():
            return True
        try:
            return self.store.claim(key.digest, token, self._lease)
        except StoreUnavailable as error:
            self._failed(error)
            return True

    def _release(self, key: Key, token: str) -> None:
        if self._usable():
            try:
                self.store.release(key.digest, token)
            except StoreUnavailable as error:
                self._failed(error)

    def _usable(self) -> bool:
        return time.monotonic() >= self._silent_until

    def _failed(self, error: StoreUnavailable) -> None:
        self.failures += 1
        self._silent_until = time.monotonic() + _RETRY_AFTER
        logger.warning("%s; going on without the cache for %.0f s", error, _RETRY_AFTER)


def same_angles(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two forms differ by less than 1e-12 in any probability (each angle moves one by at most half)."""
    return a.shape == b.shape and float(np.abs(a - b).sum()) <= _ANGLES_AGREE * (2 + 0.01 * a.size)
