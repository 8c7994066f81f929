"""The standard error that the benchmark says the peer's shots give is the spread of the peer's values."""

from __future__ import annotations

import numpy as np
import pytest

from results.benchmarks.speed_peers import addon_error, outcomes
from results.benchmarks.speed_problems import gate_case, wire_case
from tests.oracles import uncut_values
from tests.peers.addon import peer_problem


@pytest.mark.parametrize("case", [gate_case(2, 1), wire_case(1)], ids=["gate", "wire"])
def test_the_peers_standard_error_is_its_spread(case):
    """2,000 repetitions, each sub-experiment with 512 shots of its own, drawn from its exact distribution."""
    rng, shots, repeats = np.random.default_rng(3), 512, 2_000
    peer = peer_problem(case.circuit, case.cuts, case.paulis)
    product = np.ones((repeats, len(peer.coefficients), len(case.labels)))
    for fragment in peer.fragments:
        known = {key: outcomes(fragment, key, circuit) for key, circuit in fragment.distinct().items()}
        for sample, key in enumerate(fragment.keys):
            probabilities, signs = known[key]
            drawn = rng.multinomial(shots, np.clip(probabilities, 0, None) / probabilities.sum(), size=repeats)
            product[:, sample] *= drawn @ signs.T / shots
    coefficients = np.array([value for value, _ in peer.coefficients])
    values = np.einsum("s,rst,t->r", coefficients, product, case.weights)
    spread = values.std(ddof=1)
    exact = uncut_values(case.problem)[0]
    assert abs(values.mean() - exact) < 4 * spread / np.sqrt(repeats), "seed 3"
    assert abs(spread / addon_error(case, shots) - 1) < 4 / np.sqrt(2 * repeats), f"seed 3: {spread}"
