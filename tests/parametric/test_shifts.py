"""Gradients with shots against those of the exact path."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from tasks.cutting.cuts import GateCut
from tasks.parametric.sampled import SampledPlan
from tasks.parametric.shifts import shifted_slopes
from tests.parametric.circuits import parametric, random_circuit, random_operators


@pytest.mark.parametrize("seed", range(5))
def test_slopes_agree_with_reverse_mode_within_their_errors(seed):
    rng = np.random.default_rng(seed)
    circuit, operators = random_circuit(rng, 4, 12, 3), random_operators(rng, 4, 2)
    plan = parametric(circuit, operators, 3, shots=10**6)
    values = rng.uniform(-3, 3, (2, 3))
    exact, slopes = plan.gradients(values)
    sampled = SampledPlan(plan, seed)
    found = shifted_slopes(sampled, values, 2000 * sampled.variants)
    assert (abs(found.values - exact) <= 5 * found.std_errors + 1e-9).all(), f"seed {seed}"
    assert (abs(found.slopes - slopes) <= 5 * found.slope_errors + 1e-9).all(), f"seed {seed}"
    assert found.slope_errors.max() < 1, "they say something"


def test_slope_errors_are_as_large_as_they_say():
    rng = np.random.default_rng(11)
    circuit, operators = random_circuit(rng, 4, 12, 3), random_operators(rng, 4, 1)
    plan = parametric(circuit, operators, 3, shots=10**6)
    values = rng.uniform(-3, 3, (1, 3))
    slopes = plan.gradients(values)[1]
    off = []
    for seed in range(50):
        sampled = SampledPlan(plan, seed)
        found = shifted_slopes(sampled, values, 300 * sampled.variants)
        off.append(((found.slopes - slopes) / np.maximum(found.slope_errors, 1e-300)).ravel())
    mean, spread = np.mean(off, axis=0), np.std(off, axis=0)
    assert (abs(mean) < 0.7).all() and (spread < 1.4).all() and (spread > 0.5).all(), f"{mean} {spread}, seeds 0 to 49"


def test_only_the_shifted_fragment_runs_and_a_severed_gates_angle_takes_no_shots():
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(4)
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.rzz(b, 1, 2)
    circuit.cx(2, 3)
    circuit.rx(0.3, range(4))
    plan = parametric(circuit, random_operators(np.random.default_rng(1), 4, 1), None, (GateCut(2),), shots=10**5)
    sampled = SampledPlan(plan, 1)
    shifted_slopes(sampled, np.array([[0.4, 0.7]]), 10_000)
    assert sorted(plan.runs) == [1, 3]
