"""Circuits of one structure, as a loop asks for them: another vector of angles is another value, or equally good."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.execution.cache.keys import KeyMaker, Target
from tasks.execution.cache.single_flight import same_angles
from tests.execution.cache.oracle import difference, exact_distribution

IDEAL = Target("exact", "1")


def loop_circuit(angles: np.ndarray, rows: int) -> QuantumCircuit:
    """Layers as QAOA and hardware-efficient loops have them, an angle a gate; the last rotations change no bit."""
    circuit = QuantumCircuit(3, 3)
    circuit.h(range(3))
    for layer in angles.reshape(rows, 3, 3):
        for q in range(3):
            circuit.rzz(layer[0, q], q, (q + 1) % 3)
        for q in range(3):
            circuit.rx(layer[1, q], q)
        for q in range(3):
            circuit.rz(layer[2, q], q)
    circuit.measure(range(3), range(3))
    return circuit


def moved(angles: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The angles and others beside them: shifted, negated, exchanged, a turn on, a rounding away."""
    one = int(rng.integers(angles.size))
    unit = np.eye(angles.size)[one]
    by = [np.pi, np.pi / 2, -np.pi / 2, 2 * np.pi, 1e-6, 1e-9, 3e-11]
    return [angles, -angles, rng.permutation(angles), np.roll(angles, 1), *(angles + step * unit for step in by)]


@pytest.mark.parametrize("seed", range(4))
def test_two_vectors_of_angles_share_a_key_only_where_their_distributions_are_equal(seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng([17, seed])
    rows = 1 + seed % 2
    drawn = np.where(rng.random(9 * rows) < 0.3, 0.4, rng.uniform(-3, 3, 9 * rows))
    vectors = [own for _ in range(3) for own in moved(drawn, rng)]
    circuits = [loop_circuit(own, rows) for own in vectors]
    keys = KeyMaker()
    written = [keys.counts_key(own, IDEAL, as_written=True) for own in circuits]
    meant = [keys.counts_key(own, IDEAL) for own in circuits]
    exact = [
        {tuple(bits[b] ^ f for b, f in zip(key.bits, key.inverted, strict=True)): p
         for bits, p in exact_distribution(own).items()}
        for own, key in zip(circuits, meant, strict=True)
    ]  # fmt: skip
    shared = apart = 0
    for a, b in combinations(range(len(vectors)), 2):
        assert (written[a].digest == written[b].digest) == np.array_equal(vectors[a], vectors[b])
        if meant[a].digest == meant[b].digest and same_angles(meant[a].angles, meant[b].angles):
            assert difference(exact[a], exact[b]) < 1e-11, (seed, a, b)
            shared += not np.array_equal(vectors[a], vectors[b])
        else:
            apart += 1
    assert shared >= 3 and apart >= 100, (shared, apart)
