"""Parts of the cache by themselves: room in a store, and gates taken apart."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import unitary_group

from tasks.execution.cache.semantic.rotations import matrix_of, pair_matrix, quaternion_of, weyl_error, weyl_parts
from tasks.execution.cache.stores import lmdb_store
from tasks.execution.cache.stores.lmdb_store import LmdbStore


def test_a_store_that_is_full_forgets_its_oldest_entries_and_no_newer_ones(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "cache", 1 << 20)
    names = [b"%032d" % number for number in range(40)]
    for name in names:
        store.put(name, [name * 2048], time.time() + 3600)
    kept = set(store.keys())
    assert store.size() <= 1 << 20
    assert 4 <= len(kept) < 40
    assert kept == set(names[-len(kept) :])
    assert all(store.get(name) == name * 2048 for name in kept)
    store.delete(names[-1])
    assert store.get(names[-1]) is None and set(store.keys()) == kept - {names[-1]}
    store.close()


def test_what_is_stored_in_blocks_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "_BLOCK", 1000)
    store = LmdbStore(tmp_path / "cache", 1 << 20)
    key, other = b"k" * 32, b"k" * 31 + b"l"
    array = np.random.default_rng(5).bytes(4321)
    store.put(other, [b"other"], 0)
    empty = store.size()
    for parts in ([b"head", memoryview(array), b"tail"], [array[:2500]], [array, array], [b"small"]):
        store.put(key, parts, 0)
        assert store.get(key) == b"".join(parts) and set(store.keys()) == {key, other}
    store.put(key, [array], 0)
    store.delete(key)
    assert (store.get(key), store.get(other), store.size()) == (None, b"other", empty), "no block is left behind"
    store.close()


@pytest.fixture
def at_third_block(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen once, when a store that writes ten bytes at a time comes to an entry's third block."""

    def once(act: Callable[[], None]) -> None:
        monkeypatch.setattr(lmdb_store, "_BLOCK", 10)

        class Place(struct.Struct):
            def pack(self, place: int) -> bytes:
                if place == 2:
                    monkeypatch.setattr(lmdb_store, "_PLACE", struct.Struct(">I"))
                    act()
                return super().pack(place)

        monkeypatch.setattr(lmdb_store, "_PLACE", Place(">I"))

    return once


def test_of_two_who_write_an_entry_in_blocks_the_later_wins(tmp_path: Path, at_third_block) -> None:
    store, key = LmdbStore(tmp_path / "cache", 1 << 20), b"k" * 32
    at_third_block(lambda: store.put(key, [b"later" * 9], 0))
    store.put(key, [b"first" * 50], 0)
    assert store.get(key) == b"later" * 9
    store.delete(key)
    assert store.size() == LmdbStore(tmp_path / "empty", 1 << 20).size(), "no block is left behind"
    store.close()


def test_half_an_entry_of_a_killed_process_is_none_and_makes_room(tmp_path: Path, at_third_block) -> None:
    key = b"k" * 32

    def dies() -> None:
        at_third_block(lambda: os.kill(os.getpid(), signal.SIGKILL))
        LmdbStore(tmp_path, 100_000).put(key, [b"half" * 50], 0)

    process = multiprocessing.get_context("fork").Process(target=dies)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    store = LmdbStore(tmp_path, 100_000)
    assert store.get(key) is None and not store.notes, "the file is sound"
    for number in range(30):
        store.put(b"%032d" % number, [b"x" * 5000], 0)
    assert b"k" * 32 not in set(store.keys()) and store.size() <= 100_000
    store.put(key, [b"whole" * 5], 0)
    assert store.get(key) == b"whole" * 5
    store.close()


def test_a_gate_of_two_qubits_is_its_parts() -> None:
    for seed in range(5):
        gate = unitary_group.rvs(4, random_state=seed)
        angles, before, after = weyl_parts(gate)
        error = weyl_error(gate, angles, before, after)
        assert error < 1e-12, f"seed {seed}"
        one = unitary_group.rvs(2, random_state=seed)
        inside = matrix_of(quaternion_of(one))
        np.testing.assert_allclose(abs(np.trace(inside.conj().T @ one)), 2, atol=1e-12)


def test_the_error_of_parts_that_are_not_the_gate() -> None:
    one = (1.0, 0.0, 0.0, 0.0)
    gate = np.diag([1, 1, 1, -1]).astype(complex)
    assert weyl_error(gate, (0, 0, 0), (one, one), (one, one)) == 1.5  # nearest multiple of 1: 1/2
    assert weyl_error(1j * np.eye(4), (0, 0, 0), (one, one), (one, one)) < 1e-15
    turned = pair_matrix(2, 2, 0.3)
    np.testing.assert_allclose(np.diag(turned), np.exp(-0.15j * np.array([1, -1, -1, 1])), atol=1e-15)
