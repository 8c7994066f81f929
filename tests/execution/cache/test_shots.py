"""Pools of shots: who gets which, bits there and back, and what upkeep removes."""

import time
from pathlib import Path

import numpy as np
import pytest

from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import EntryStore
from tasks.execution.cache.form_memo import memo_entry, memo_key, remembered_form
from tasks.execution.cache.keys import AS_WRITTEN, make_key
from tasks.execution.cache.maintenance import Imported, export_entries, import_entries, prune, statistics
from tasks.execution.cache.seal import Seal
from tasks.execution.cache.semantic import canonical_form
from tasks.execution.cache.shots import from_canonical, shares, take, to_canonical
from tasks.model.tensor import VariantCounts
from tests.execution.cache.memory_store import MemoryStore
from tests.execution.cache.test_cache import as_dict, bell


def counts(rows: dict[int, int], num_bits: int = 3) -> VariantCounts:
    return VariantCounts(np.array([[row] for row in rows], dtype=np.uint8), np.array(list(rows.values())), num_bits)


def test_more_shots_than_asked_for_are_shared_in_proportion_and_all_given_out() -> None:
    assert shares(10, [3, 2]) == [6, 4] and shares(5, [3, 2]) == [3, 2] and shares(7, [7]) == [7]
    assert shares(11, [1, 1, 1]) == [3, 4, 4]


def test_bits_go_there_and_back_permuted_and_inverted_and_those_not_stored_are_0() -> None:
    seen = counts({0b001: 5, 0b101: 2, 0b100: 1})
    stored = to_canonical(seen, (2, 0), (False, True))
    assert as_dict(stored) == {(0, 0): 5, (1, 0): 2, (1, 1): 1}
    assert as_dict(from_canonical(stored, (2, 0), (False, True), 3)) == as_dict(seen)
    again = to_canonical(counts({0b100: 1, 0b001: 5, 0b101: 2}), (2, 0), (False, True))
    assert np.array_equal(again.outcomes, stored.outcomes) and np.array_equal(again.counts, stored.counts)


def test_a_range_of_a_pool_spans_its_executions() -> None:
    blocks = [counts({1: 4, 2: 6}), counts({2: 5})]
    assert as_dict(take(blocks, 0, 15)) == {(1, 0, 0): 4, (0, 1, 0): 11}
    parts = [take(blocks, low, high) for low, high in ((0, 7), (7, 12), (12, 15))]
    assert [part.shots for part in parts] == [7, 5, 3]
    total = sum(as_dict(part).get((1, 0, 0), 0) for part in parts)
    assert total == 4 and as_dict(take(blocks, 10, 15)) == {(0, 1, 0): 5}
    for low, high in ((0, 16), (15, 15)):
        with pytest.raises(ValueError, match="of a pool of 15"):
            take(blocks, low, high)


def test_what_a_circuit_means_is_remembered_for_that_circuit_only() -> None:
    form = canonical_form(bell())
    entry = memo_entry(b"as written", form, 0.0)
    again = remembered_form(entry, b"as written")
    assert again is not None and again.data == form.data and np.array_equal(again.angles, form.angles)
    assert (again.bits, again.inverted, again.num_bits) == (form.bits, form.inverted, form.num_bits)
    assert remembered_form(entry, b"otherwise") is None and memo_key(b"as written") != memo_key(b"otherwise")


def test_upkeep_removes_what_is_old_or_expired_and_import_replaces_nothing_that_has_more(tmp_path: Path) -> None:
    store = EntryStore(MemoryStore(), Seal(b"s" * 32))
    now = time.time()
    keys = {name: make_key(AS_WRITTEN, [name.encode()], num_bits=3) for name in ("new", "old", "expired", "few")}

    def put(name: str, shots: int, created: float, expires: float = 0.0) -> None:
        key = keys[name]
        store.put(key.digest, Entry(key.material, key.angles, (counts({1: shots}),), None, 2.0, created, expires))

    put("new", 10, now)
    put("old", 20, now - 3 * 86_400)
    put("expired", 30, now, now - 1)
    put("few", 40, now, now + 1000)
    found = statistics(store)
    assert (found.entries, found.expired, found.shots, found.cost) == (4, 1, 100, 8.0)
    assert export_entries(store, tmp_path / "out") == 4
    put("few", 5, now)
    put("new", 11, now)
    assert prune(store) == 1 and prune(store, older_than=4 * 86_400) == 0 and prune(store, older_than=2 * 86_400) == 1
    assert import_entries(store, tmp_path / "out") == Imported(3, 1, 0), "all but what has more shots here"
    shots = {name: store.get(key.digest) for name, key in keys.items()}
    assert {name: entry.shots for name, entry in shots.items() if entry} == {
        "new": 11,
        "old": 20,
        "expired": 30,
        "few": 40,
    }


def test_bits_that_keep_their_places_are_sorted_as_any_others_are() -> None:
    rng = np.random.default_rng(5)
    for num_bits in (1, 3, 8, 11):
        plain = np.unique(rng.integers(0, 2, (20, num_bits), dtype=np.uint8), axis=0)
        packed = np.packbits(plain[rng.permutation(len(plain))], axis=1, bitorder="little")
        counts = VariantCounts(packed, rng.integers(1, 9, len(plain)), num_bits)
        own, none = list(range(num_bits)), [False] * num_bits
        found = to_canonical(counts, own, none)
        there = to_canonical(counts, own[::-1], [True] * num_bits)
        back = from_canonical(there, own[::-1], [True] * num_bits, num_bits)
        for other in (back, from_canonical(found, own, none, num_bits)):
            assert (found.outcomes == other.outcomes).all() and (found.counts == other.counts).all()
