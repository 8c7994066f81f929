"""Parts of the cache by themselves: room in a store, and gates taken apart."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from scipy.stats import unitary_group

from tasks.execution.cache.semantic.rotations import matrix_of, pair_matrix, quaternion_of, weyl_error, weyl_parts
from tasks.execution.cache.stores.lmdb_store import LmdbStore


def test_a_store_that_is_full_forgets_its_oldest_entries_and_no_newer_ones(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "cache", 1 << 20)
    names = [b"%032d" % number for number in range(40)]
    for name in names:
        store.put(name, name * 2048, time.time() + 3600)
    kept = set(store.keys())
    assert store.size() <= 1 << 20
    assert 4 <= len(kept) < 40
    assert kept == set(names[-len(kept) :])
    assert all(store.get(name) == name * 2048 for name in kept)
    store.delete(names[-1])
    assert store.get(names[-1]) is None and set(store.keys()) == kept - {names[-1]}
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
