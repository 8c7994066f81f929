"""Variants as circuits that run: several bits read in the middle, deferred or in place, have one distribution."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit_aer import AerSimulator

from tasks.cutting import GateCut, make_plan
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tests.oracles import brickwork, problem_of


@pytest.fixture(scope="module")
def fragment():
    """Two qubits, each with gates severed in the middle of the circuit."""
    circuit = brickwork(4, 4, np.random.default_rng(8))
    pairs = [tuple(circuit.find_bit(q).index for q in item.qubits) for item in circuit.data]
    cuts = [GateCut(number) for number, pair in enumerate(pairs) if pair == (1, 2)]
    plan = make_plan(problem_of(circuit, ["ZZZZ"], np.ones((1, 1))), cuts=cuts)
    return plan.fragments[0]


def test_every_bit_read_in_the_middle_has_an_ancilla_of_its_own(fragment):
    schemes = ("full",) * len(fragment.legs)
    deferred, placed = VariantBuilder(fragment, schemes), VariantBuilder(fragment, schemes, defer=False)
    most = 0
    for variant in enumerate_variants(fragment, schemes):
        circuit, here = deferred.circuit(variant), placed.circuit(variant)
        read = sum(bit >= 0 for bit in deferred.meaning(variant).leg_bits)
        ends = [
            [circuit.find_bit(b).index for b in (*i.qubits, *i.clbits)]
            for i in circuit
            if i.operation.name == "measure"
        ]
        most = max(most, read)
        assert circuit.num_qubits == fragment.num_qubits + read and here.num_qubits == fragment.num_qubits
        assert sorted(qubit for qubit, _ in ends) == list(range(circuit.num_qubits))
        assert sorted(bit for _, bit in ends) == list(range(circuit.num_clbits)) == list(range(here.num_clbits))
    assert most >= 2


def test_deferred_bits_have_the_distribution_of_those_read_in_place(fragment):
    schemes = ("full",) * len(fragment.legs)
    builders = [VariantBuilder(fragment, schemes, defer=defer) for defer in (True, False)]
    variants = [v for v in enumerate_variants(fragment, schemes) if min(builders[0].meaning(v).leg_bits) >= 0]
    simulator = AerSimulator(seed_simulator=1)
    assert variants
    for variant in variants[:2]:
        shots, found = 4000, []
        for builder in builders:
            counts = simulator.run(builder.circuit(variant), shots=shots).result().get_counts()
            found.append(counts)
        keys = {*found[0], *found[1]}
        distance = sum(abs(found[0].get(key, 0) - found[1].get(key, 0)) for key in keys) / (2 * shots)
        assert distance < 3 * np.sqrt(len(keys) / shots) / 2, f"seeds 8 and 1: {found}"
