"""How many Paulis are followed, as a few factors tell it, against all of them followed."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, make_plan
from tasks.cutting.pauli_program import _bounded, _Sample
from tasks.cutting.pauli_rows import Rows
from tasks.cutting.plan import Fragment
from tests.oracles import problem_of


def a_fragment(seed: int, layers: int, observables: int) -> Fragment:
    """QAOA on a ring of 14, one of whose nodes is severed from another fragment in the first layer."""
    rng, edges = np.random.default_rng(seed), [(q, (q + 1) % 14) for q in range(14)]
    circuit, severed = QuantumCircuit(15), int(rng.integers(14))
    circuit.h(range(14))
    for layer in range(layers):
        for a, b in edges:
            circuit.rzz(0.4 + 0.1 * layer, a, b)
        if layer == 0:
            cut = GateCut(len(circuit.data))
            circuit.rzz(0.5, severed, 14)
        circuit.rx(0.7, range(14))
    labels = ["".join("Z" if q in edge else "I" for q in reversed(range(15))) for edge in edges[:observables]]
    plan = make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=(cut,))
    return max(plan.fragments, key=lambda fragment: fragment.num_qubits)


def followed(fragment: Fragment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(step,) Paulis of all factors that each step makes: as they are told, as they are, and at most."""
    letters = (fragment.factors_x + 2 * fragment.factors_z).T.astype(np.uint8)
    steps, bounds = _bounded(fragment, letters) or ([], [])
    shape = *(leg.dimension for leg in fragment.legs), fragment.num_factors
    rows, sample, made = Rows(letters.copy(), np.arange(fragment.num_factors)), _Sample(fragment, letters), []
    for step, bound in zip(steps, bounds, strict=True):
        compared = rows.compared
        rows.take(step.qubits, step.map, 0 if step.leg is None else prod(shape[step.leg + 1 :]))
        sample.take(step, bound)
        made.append((sample.made, rows.compared - compared or len(rows.places)))
    told, real = np.array(made, dtype=float).T
    return told, real, np.array([np.exp2(bound).sum() for bound in bounds])


@pytest.mark.parametrize("seed", range(4))
def test_few_factors_are_all_followed(seed):
    told, real, bounds = followed(a_fragment(seed, layers=1, observables=4))
    np.testing.assert_allclose(told, real, rtol=1e-9, err_msg=f"seed {seed}")
    assert real.max() > 3 * real[0] and bounds.sum() > 1.1 * real.sum(), "sums were followed, shorter than their bounds"


@pytest.mark.parametrize("seed", range(4))
def test_many_factors_are_told_by_some_of_them(seed):
    told, real, bounds = followed(a_fragment(seed, layers=2, observables=14))
    assert real.sum() / 1.5 < told.sum() < 1.5 * real.sum(), f"{told.sum()} told, {real.sum()} followed, seed {seed}"
    assert bounds.sum() > 2 * real.sum(), "bounds alone would not do"
