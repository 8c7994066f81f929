"""Fragments with more than one leg, where axes of legs, outcomes and observables can be mistaken for each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from qiskit.quantum_info import Statevector
from scipy.stats import chisquare

from tasks.cutting import GateCut
from tasks.reconstruction.distribution.drawing import draw_strings
from tasks.reconstruction.distribution.likely import most_likely
from tasks.reconstruction.distribution.outputs import SampledOutputs
from tasks.reconstruction.distribution.whole import full_distribution
from tasks.reconstruction.statistics.allocation import shots_for_error
from tasks.reconstruction.statistics.gradient import LeafGradient
from tasks.reconstruction.statistics.influences import Influences
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.reconstruction.statistics.variant_uncertainty import variant_uncertainties
from tests.oracles import brickwork
from tests.reconstruction.networks import pauli_leg, preparation_leg, random_samples
from tests.reconstruction.test_distribution import counted, every_output


def two_legs(seed: int):
    """Counts of a fragment with three outputs, a leg of six raw columns and one of four, and a second of six."""
    rng = np.random.default_rng(seed)
    legs = (pauli_leg(), preparation_leg(), pauli_leg())
    return SampledOutputs((0, 1, 2), random_samples(legs, 1, rng, shots=60)), rng


def shots_of(variant, fixed):
    """(value of the fixed outputs, sign of each leg that has one) of every shot."""
    found = []
    for (row,), count in zip(variant.counts.outcomes.tolist(), variant.counts.counts.tolist(), strict=True):
        outputs = [(row >> bit) & 1 for bit in range(3)]
        code = sum(bit << place for place, bit in enumerate(b for b, kept in zip(outputs, fixed, strict=True) if kept))
        signs = [1 if bit < 0 else 1 - 2 * ((row >> bit) & 1) for bit in variant.leg_bits]
        found += [(code, signs)] * count
    return found


def entries_of(samples, variant):
    """Raw entries that a variant speaks of, and which of its legs' signs each takes."""
    for entry in np.ndindex(*(len(leg.columns) for leg in samples.legs)):
        columns = [leg.columns[raw] for leg, raw in zip(samples.legs, entry, strict=True)]
        if all(column[0] == setting for column, setting in zip(columns, variant.settings, strict=True)):
            yield entry, [bool(column[1]) for column in columns]


def sign_of(signs, taken):
    return np.prod([sign for sign, own in zip(signs, taken, strict=True) if own])


@pytest.mark.parametrize("fixed", [(True, True, True), (True, False, True), (False, True, False)])
def test_projectors_are_those_of_a_loop_over_shots(fixed) -> None:
    outputs, _ = two_legs(1)
    samples, codes = outputs.samples, np.arange(2 ** sum(fixed))[::-1]
    raw = np.zeros((*(len(leg.columns) for leg in samples.legs), len(codes)))
    behind = np.zeros(raw.shape[:-1])
    for variant in samples.variants:
        shots = shots_of(variant, fixed)
        for entry, taken in entries_of(samples, variant):
            behind[entry] += len(shots)
            for code, signs in shots:
                raw[(*entry, len(codes) - 1 - code)] += sign_of(signs, taken)
    one, two, three = (leg.inverse for leg in samples.legs)
    expected = np.einsum("ai,bj,ck,ijkp->abcp", one, two, three, raw / behind[..., None])
    np.testing.assert_allclose(outputs.projectors(np.array(fixed), codes), expected, atol=1e-12)


def test_the_variance_of_projectors_is_that_of_a_loop_over_shots() -> None:
    outputs, rng = two_legs(2)
    samples, fixed, codes = outputs.samples, (True, False, True), np.array([1, 3])
    gradient = LeafGradient(0, np.array([0, 2, 1]), np.array([0, 1, 1]), rng.normal(size=(3, 4, 4, 4)))
    total = Uncertainty.none(3)
    outputs.add_uncertainty(np.array(fixed), codes, gradient, total)
    one, two, three = (leg.inverse for leg in samples.legs)
    raw = np.einsum("pabc,ai,bj,ck->pijk", gradient.gradient, one, two, three)
    behind = np.zeros(raw.shape[1:])
    for variant in samples.variants:
        for entry, _ in entries_of(samples, variant):
            behind[entry] += variant.counts.shots
    for pair, (factor, observable) in enumerate(zip(gradient.factors, gradient.observables, strict=True)):
        spread, doubts = 0.0, []
        for variant in samples.variants:
            n = variant.counts.shots
            entries = [
                (raw[(pair, *entry)] * n / behind[entry], taken) for entry, taken in entries_of(samples, variant)
            ]

            def worth(signs, entries=entries):
                return sum(weight * sign_of(signs, taken) for weight, taken in entries)

            values = [worth(signs) if code == codes[factor] else 0.0 for code, signs in shots_of(variant, fixed)]
            signed = [bit >= 0 for bit in variant.leg_bits]
            inside = [worth(signs) for signs in product(*((1, -1) if own else (1,) for own in signed))]
            even = [0.0] * len(inside) + inside
            spread += np.var(values, ddof=1) / n
            away = np.mean(values) - np.mean(even)
            doubts.append((np.var(even) + n / (n + 1) * away**2) / n**2)
        assert total.seen[observable] == pytest.approx(spread, rel=1e-9), "seed 2"
        assert total.doubt[observable] == pytest.approx(max(doubts), rel=1e-9), "seed 2"


def chain_of_three(seed: int):
    """One, three and one qubits: the fragment in the middle has two legs and three outputs."""
    circuit = brickwork(5, 2, np.random.default_rng(seed))
    pairs = [tuple(circuit.find_bit(q).index for q in item.qubits) for item in circuit.data]
    return circuit, (GateCut(pairs.index((0, 1))), GateCut(pairs.index((3, 4))))


def test_strings_of_a_fragment_with_unequal_axes() -> None:
    circuit, cuts = chain_of_three(3)
    _, joined, outputs = every_output(circuit, cuts=cuts)
    assert sorted(one.values.shape for one in outputs)[-1] == (4, 4, 8)
    exact = Statevector(circuit).probabilities()
    np.testing.assert_allclose(full_distribution(joined, outputs, 5).quasi, exact, atol=1e-10)
    drawn = draw_strings(joined, outputs, 5, 20_000, seed=4)
    assert drawn.bits.dtype == np.uint8 and drawn.bits.max() == 1
    seen = counted(drawn, 5)
    likely = exact > 5 / 20_000
    assert chisquare(seen[likely], exact[likely] * seen[likely].sum() / exact[likely].sum()).pvalue > 1e-4, "seed 4"
    found = most_likely(joined, outputs, 5, 6, beam=32)
    assert found.bits.dtype == np.uint8
    np.testing.assert_allclose(found.probabilities, np.sort(exact)[::-1][:6], atol=1e-10)
    np.testing.assert_allclose(
        exact[found.bits.astype(np.int64) @ (1 << np.arange(5))], found.probabilities, atol=1e-10
    )


def test_factors_that_no_observable_asks_for_add_nothing() -> None:
    legs = (pauli_leg(), preparation_leg())
    samples = random_samples(legs, 4, np.random.default_rng(5))
    gradient = np.random.default_rng(6).normal(size=(1, 4, 4))
    found = {}
    for factor in (0, 1):
        asked = LeafGradient(0, np.array([7]), np.array([factor]), gradient)
        found[factor] = list(variant_uncertainties(samples, asked))
        for numbers, observables, own in found[factor]:
            assert all(factor in samples.variants[k].factors for k in numbers) and observables.tolist() == [7]
            assert own.seen.shape == own.doubt.shape == (len(numbers), 1)
            assert (own.seen >= 0).all() and (own.doubt > 0).all()
    met = [sorted(k for numbers, *_ in found[factor] for k in numbers.tolist()) for factor in (0, 1)]
    assert met[0] == list(range(len(samples.variants))), "every group asks for factor 0"
    assert len(set(met[1])) == len(met[1]) == len(samples.variants) // 2


def test_shots_for_an_error_cost_least_where_prices_differ() -> None:
    """(sqrt(1 * 4) + sqrt(1 * 1)) / 0.09 shots, in proportion sqrt(1 / 4) : sqrt(1 / 1)."""
    each = replace(Uncertainty.none(2, 1), seen=np.ones((2, 1)))
    known = Influences(np.zeros(2, dtype=np.int64), np.array([0]), each, np.ones(2, dtype=np.int64))
    nothing = np.zeros(2, dtype=np.int64)
    dear = shots_for_error(known, nothing, 0.3, np.array([4.0, 1.0]))
    assert np.abs(dear - np.array([16.7, 33.3])).max() <= 1 and (1 / dear).sum() <= 0.09
    same = shots_for_error(known, nothing, 0.3, np.array([3.0, 3.0]))
    np.testing.assert_array_equal(same, shots_for_error(known, nothing, 0.3))
    assert np.abs(same - 22.2).max() <= 1
