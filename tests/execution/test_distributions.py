"""Variants of a small fragment, many at a time, have the distributions that each has alone."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.variants import enumerate_variants
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import distributions_together, variant_distributions
from tests.oracles import brickwork, random_problem


@pytest.mark.parametrize("seed", range(4))
def test_many_variants_at_a_time_have_the_distributions_of_each_alone(seed):
    rng = np.random.default_rng([8, seed])
    circuit = brickwork(5, 3, rng, gate=["cz", "rzz", "swap", "cx"][seed])
    problem = random_problem(circuit, rng)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    wire = int(rng.choice(two[3:]))
    cuts = (GateCut(int(rng.choice(two))), WireCut(wire, circuit.find_bit(circuit.data[wire].qubits[1]).index))
    plan = make_plan(problem, cuts=cuts, shots=10**9)
    seen = 0
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        state = open_state(fragment)
        variants = enumerate_variants(fragment, schemes)
        some = [variants[i] for i in rng.permutation(len(variants))[: max(1, len(variants) // 2)]]
        alone = list(variant_distributions(fragment, schemes, state, some))
        for members, table in distributions_together(fragment, schemes, state, some):
            for i, distribution in zip(members, table, strict=True):
                np.testing.assert_allclose(distribution, alone[i], atol=1e-13, err_msg=f"seed {seed}, {some[i]}")
                seen += 1
        assert seen >= len(some), f"seed {seed}: a variant is missing"
        seen -= len(some)
    assert seen == 0
