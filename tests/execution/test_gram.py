"""Gram matrices of many Paulis, whatever passes give them, against the Paulis' own matrices."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.quantum_info import Pauli

from tasks.execution.simulators import gram, signed_sums
from tasks.execution.simulators.gram import half_grams, set_apart
from tasks.execution.simulators.passes import order_anew, passes_of

WIDTH = 9


def labels_of(rng: np.random.Generator) -> list[str]:
    """All Paulis on one and two qubits, dense ones, and dense ones of one X part."""
    found = ["I" * WIDTH]
    for a in range(WIDTH):
        for b in range(a + 1):
            for p in "XYZ":
                for q in "XYZ" if a != b else "I":
                    letters = ["I"] * WIDTH
                    letters[b], letters[a] = q, p
                    found.append("".join(letters))
    found += ["".join(rng.choice(list("IXYZ"), WIDTH)) for _ in range(40)]
    found += ["".join(rng.choice(list("XY"), WIDTH)) for _ in range(40)]
    return found


@pytest.mark.parametrize("branches", [1, 3, 8])
@pytest.mark.parametrize("sizes", ["usual", "one row", "few rows"])
def test_gram_matrices_are_those_of_the_paulis(branches, sizes, monkeypatch):
    if sizes != "usual":
        for module in (gram, signed_sums):
            monkeypatch.setattr(module, "GRAM_PRODUCTS", 1 if sizes == "one row" else 64 * branches**2)
        monkeypatch.setattr(gram, "PART", 1 if sizes == "one row" else 16 * branches)
        monkeypatch.setattr(gram, "_RUN", 0 if sizes == "one row" else 4)
    monkeypatch.setattr(gram, "ADDED_FROM", 8)
    rng = np.random.default_rng([17, branches])
    state = rng.normal(size=(1 << WIDTH, branches)) + 1j * rng.normal(size=(1 << WIDTH, branches))
    labels = labels_of(rng)
    paulis = [Pauli(label) for label in labels]
    weights = 1 << np.arange(WIDTH)
    masks_x, masks_z = np.array([p.x for p in paulis]) @ weights, np.array([p.z for p in paulis]) @ weights
    own, met = set_apart(state.copy()), []
    plan = passes_of(masks_x, masks_z, WIDTH, branches, most=50)
    assert len(plan) == 3, "two orders of the rows besides their own"
    for number, (after, passes) in enumerate(plan.items()):
        assert after == number
        if after:
            order_anew(own)
        for one in passes:
            for k, half in zip(one.members.tolist(), half_grams(own, one), strict=True):
                turned = 1j ** int((paulis[k].x & paulis[k].z).sum()) * half
                expected = (state.conj().T @ (paulis[k].to_matrix(sparse=True) @ state)).T
                np.testing.assert_allclose(turned + turned.conj().T, expected, atol=1e-9, err_msg=labels[k])
                met.append(k)
    assert sorted(met) == list(range(len(labels)))


@pytest.mark.parametrize("width", range(8))
@pytest.mark.parametrize("branches", [1, 2, 16, 33, 64, 150])
def test_gram_matrices_of_small_states_of_many_branches(width, branches):
    """Products of several blocks of rows are held at once, more than the state has amplitudes."""
    rng = np.random.default_rng([23, width, branches])
    state = rng.normal(size=(1 << width, branches)) + 1j * rng.normal(size=(1 << width, branches))
    masks = np.unique(rng.integers(0, 1 << width, size=(60, 2)), axis=0)
    paulis = [Pauli(([bool(z >> q & 1) for q in range(width)], [bool(x >> q & 1) for q in range(width)]))
              for x, z in masks.tolist()] if width else []  # fmt: skip
    own, met = set_apart(state.copy()), []
    ordered = 0
    for after, passes in passes_of(masks[:, 0], masks[:, 1], width, branches, most=50).items():
        for _ in range(after - ordered):
            order_anew(own)
        ordered = after
        for one in passes:
            for k, half in zip(one.members.tolist(), half_grams(own, one), strict=True):
                turned = 1j ** int(masks[k, 0] & masks[k, 1]).bit_count() * half
                shown = paulis[k].to_matrix(sparse=True) @ state if width else state
                expected = (state.conj().T @ shown).T
                np.testing.assert_allclose(turned + turned.conj().T, expected, atol=1e-10, err_msg=f"{masks[k]}")
                met.append(k)
    assert sorted(met) == list(range(len(masks)))
