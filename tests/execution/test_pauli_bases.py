"""Paulis taken in turned bases: their expectations, and what passes they save."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from qiskit.quantum_info import Pauli

from tasks.cutting import make_plan, pauli_bases
from tasks.cutting.pauli_bases import chosen_bases
from tasks.execution.simulators import turns
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.gram import set_apart
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.passes import passes_of
from tasks.execution.simulators.products import Workers
from tasks.execution.simulators.turns import turn
from tests.oracles import brickwork, problem_of


def pairs_of(width, letters):
    """All products of two letters on two of the qubits, and each letter alone."""
    found = []
    for places in [*combinations(range(width), 2), *((q,) for q in range(width))]:
        for own in product(letters, repeat=len(places)):
            label = ["I"] * width
            for q, letter in zip(places, own, strict=True):
                label[q] = letter
            found.append("".join(label))
    return found


def masks_of(labels):
    paulis = [Pauli(label) for label in labels]
    weights = 1 << np.arange(len(labels[0]))
    return np.array([p.x for p in paulis]) @ weights, np.array([p.z for p in paulis]) @ weights


@pytest.mark.parametrize("part", [1 << 15, 8, 64])
@pytest.mark.parametrize("width, branches", [(6, 1), (5, 3), (7, 2)])
def test_a_pauli_is_what_its_frame_says_in_the_turned_state(width, branches, part, monkeypatch):
    monkeypatch.setattr(turns, "PART", part)
    monkeypatch.setattr(pauli_bases, "TURN_S", 0.0)
    monkeypatch.setattr(pauli_bases, "_passes", lambda masks_x, most: len(np.unique(masks_x)))
    rng = np.random.default_rng([44, width])
    state = rng.normal(size=(1 << width, branches)) + 1j * rng.normal(size=(1 << width, branches))
    labels = [*pairs_of(width, "XYZ"), *("".join(rng.choice(list("IXYZ"), width)) for _ in range(20))]
    found = chosen_bases(*masks_of(labels), width, branches, most=1000)
    assert sorted(k for basis in found for k in basis.members.tolist()) == list(range(len(labels)))
    apart, done = set_apart(state.copy()), 0
    with Workers() as workers:
        for basis in found:
            turn(apart, range(done, basis.turns), workers)
            done, own = basis.turns, apart[:, :branches] + 1j * apart[:, branches:]
            bits = np.arange(width)
            for k, x, z, sign in zip(basis.members, basis.masks_x, basis.masks_z, basis.signs, strict=True):
                turned = Pauli(((z >> bits & 1).astype(bool), (x >> bits & 1).astype(bool))).to_matrix()
                expected = state.conj().T @ Pauli(labels[k]).to_matrix() @ state
                np.testing.assert_allclose(
                    sign * own.conj().T @ turned @ own, expected, atol=1e-11, err_msg=f"{labels[k]}, seed 44"
                )
    assert done == 2


def test_pairs_of_equal_letters_take_no_x_part_where_that_pays():
    masks = masks_of(pairs_of(12, "X") + pairs_of(12, "Y") + pairs_of(12, "Z"))
    found = chosen_bases(*masks, 12, 16, most=1000)
    assert [basis.turns for basis in found] == [0, 1, 2]
    assert not any(basis.masks_x.any() for basis in found)
    few = chosen_bases(*(mask[:3] for mask in masks), 12, 1, most=1000)
    assert [basis.turns for basis in few] == [0], "a turn takes longer than three passes"
    assert [basis.turns for basis in chosen_bases(*masks, 12, 16, most=1000, turns=0)] == [0]


@pytest.mark.parametrize("width, branches", [(16, 16), (12, 16), (18, 8), (20, 16)])
def test_products_of_two_letters_take_a_pass_for_each_qubit_and_basis(width, branches):
    """Beside the three of each basis that give all products Z Z."""
    masks = masks_of(pairs_of(width, "XYZ"))
    members, ordered, done = [], [], 0
    for basis in chosen_bases(*masks, width, branches, most=1000):
        plan = passes_of(basis.masks_x, basis.masks_z, width, branches, most=1000, done=done)
        done += max(plan)
        ordered += [one for own in plan.values() for one in own]
        members += [basis.members[k] for own in plan.values() for one in own for k in one.members]
    assert sorted(members) == list(range(len(masks[0])))
    assert sum(one.mask_x > 0 for one in ordered) <= 3 * width
    assert sum(one.mask_x == 0 for one in ordered) <= 3 * (width // 5 + 1)
    told_apart = sum(one.inside.bit_count() for one in ordered if one.mask_x)
    assert told_apart == 3 * width * (width - 1) // 2, "one of two qubits tells rows apart by the other's bit"
    assert all(one.inside & (one.pivot - 1) == 0 for one in ordered if one.mask_x), "all rows below a bit are one run"


@pytest.mark.parametrize("gate", ["cz", "swap"])
def test_tensors_are_the_same_in_all_bases(gate, monkeypatch):
    labels = pairs_of(8, "XYZ")
    circuit = brickwork(8, 5, np.random.default_rng(45), gate=gate)
    plan = make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), max_qubits=5)
    for fragment in plan.fragments:
        monkeypatch.setattr(pauli_bases, "TURN_S", 0.0)
        monkeypatch.setattr(pauli_bases, "_passes", lambda masks_x, most: len(np.unique(masks_x)))
        turned = exact_tensor(fragment, open_state(fragment), threads=2)
        with monkeypatch.context() as patch:
            patch.setattr(
                pauli_bases, "chosen_bases", lambda *masks, **options: chosen_bases(*masks, **{**options, "turns": 0})
            )
            np.testing.assert_allclose(turned, exact_tensor(fragment, open_state(fragment)), atol=1e-13)
