"""The distributions that a fragment's variants are drawn from, and the counts drawn, against the amplitudes' own.

``variant_distributions`` takes them from all amplitudes; tests/truth holds it against Aer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.drawn_bytes import Room, table_length
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.packed_counts import unpack_counts
from tasks.execution.simulators import first_laws, later_bits, sampled
from tasks.execution.simulators.drawing import draw_places, draw_within
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import sample_open, variant_distributions
from tasks.model.streams import Streams, random_stream
from tests.oracles import brickwork, random_problem

# How bits are drawn: all at once, the legs' after the qubits' from the table or the amplitudes, the lower qubits' too.
WAYS = {"joint": (11, 1 << 26), "in turn": (0, 1 << 26), "highest bits first": (0, 1)}


def mixed_plan(seed: int, qubits: int = 5):
    rng = np.random.default_rng([8, seed])
    circuit = brickwork(qubits, 3, rng, gate=["cz", "rzz", "swap", "cx"][seed % 4])
    problem = random_problem(circuit, rng)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    wire = int(rng.choice(two[3:]))
    cuts = (GateCut(int(rng.choice(two))), WireCut(wire, circuit.find_bit(circuit.data[wire].qubits[1]).index))
    return make_plan(problem, cuts=cuts, shots=10**9), rng


def law_of_counts(counts) -> np.ndarray:
    seen = np.zeros(1 << counts.num_bits, dtype=np.int64)
    raw = np.zeros((len(counts.outcomes), 8), dtype=np.uint8)
    raw[:, : counts.outcomes.shape[1]] = counts.outcomes
    np.add.at(seen, raw.view("<u8").reshape(-1).astype(np.int64), counts.counts)
    return seen


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    monkeypatch.setattr(first_laws, "JOINT_BITS", WAYS[request.param][0])
    return request.param


def room_of(way: str) -> Room:
    """As small a table as the state allows, which is less than all bits where legs are open, or a large one."""
    return Room(WAYS[way][1])


@pytest.mark.parametrize("part", [1 << 19, 1], ids=["together", "place by place"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_drawn_first_is_the_distribution_or_its_marginal(seed, part, way, monkeypatch):
    monkeypatch.setattr(first_laws, "LAW_PART", part)
    plan, rng = mixed_plan(seed)
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        state = open_state(fragment)
        variants = enumerate_variants(fragment, schemes)
        some = [variants[i] for i in rng.permutation(len(variants))[: max(1, 2 * len(variants) // 3)]]
        rows = sampled.setting_rows(fragment, schemes)
        builder = VariantBuilder(fragment, schemes)
        for group in {variant.group for variant in some}:
            own = [variant for variant in some if variant.group == group]
            settings = np.array([v.settings for v in own], dtype=np.int64).reshape(len(own), len(rows))
            seen = sampled._Seen(fragment, state, group, rows, settings, room_of(way))
            whole = list(variant_distributions(fragment, schemes, state, own))
            met = []
            bits = seen.bits(settings)
            for drawing in seen.first.each(settings):
                for place, (k, law) in enumerate(zip(drawing.members.tolist(), drawing.laws, strict=True)):
                    assert bits[k] == builder.meaning(own[k]).num_bits
                    one = replace(drawing, reads=drawing.reads[place : place + 1])
                    outcomes = one.outcomes(np.array([len(law)]), np.arange(len(law)))
                    assert not law[np.diff(outcomes, append=-1) == 0].any(), "a bit that is not read is 1"
                    found = np.bincount(outcomes, weights=law)
                    expected = whole[k].reshape(len(found), -1).sum(axis=1)
                    np.testing.assert_allclose(found, expected, atol=1e-13, err_msg=f"seed {seed}, {own[k]}")
                    met.append(k)
            assert sorted(met) == list(range(len(own)))


@pytest.mark.parametrize("shots", [40, 20_000])
@pytest.mark.parametrize("seed", range(3))
def test_counts_follow_the_distributions(seed, shots, way):
    """Chi-square over all variants: few shots are searched for one by one, many are multinomial numbers."""
    plan, _ = mixed_plan(seed, qubits=7)
    statistic, freedom = 0.0, 0
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        state = open_state(fragment)
        variants = enumerate_variants(fragment, schemes)
        names = [f"{seed}:{way}:{shots}:{fragment.index}:{v}" for v in variants]
        arrays = sample_open(fragment, schemes, state, variants, [shots] * len(variants), names, room_of(way))
        counts = unpack_counts(arrays)
        laws = variant_distributions(fragment, schemes, state, variants)
        for variant, found, law in zip(variants, counts, laws, strict=True):
            seen = law_of_counts(found)
            assert seen.sum() == shots and len(seen) == len(law)
            assert (np.diff(seen.nonzero()[0]) > 0).all() and (found.counts > 0).all()
            assert not seen[law < 1e-20].any(), f"{variant}: an outcome that it never gives"
            expected = law * shots
            rare = expected < 5
            observed, wanted = (
                np.append(seen[~rare], seen[rare].sum()),
                np.append(expected[~rare], expected[rare].sum()),
            )
            kept = wanted > 1e-6
            statistic += float(((observed - wanted)[kept] ** 2 / wanted[kept]).sum())
            freedom += int(kept.sum()) - 1
    assert freedom > 50
    chance = chi2.sf(statistic, freedom)
    assert 1e-4 < chance < 1 - 1e-6, f"seed {seed}: chi-square {statistic:.0f} for {freedom} degrees of freedom"


@pytest.mark.parametrize("shots", [10, 10_000])
def test_places_without_weight_are_never_drawn(shots):
    law = np.array([0, 0.25, 0, 0, 0.75, 0, 0, 0] + [0] * 56)
    places, found = draw_places(law, shots, np.random.default_rng(1))
    assert set(places.tolist()) <= {1, 4} and found.sum() == shots
    laws = np.stack([law, law[::-1], np.eye(64)[63]])
    inner, drawn = draw_within(laws, np.array([shots, 3, 2]), np.random.default_rng(2))
    assert set(inner.tolist()) <= {1, 4, 64 + 59, 64 + 62, 191}
    assert [drawn[inner // 64 == row].sum() for row in range(3)] == [shots, 3, 2]


@pytest.mark.parametrize("gate", ["cz", "swap"])
def test_settings_applied_once_for_many_variants_draw_what_they_draw_one_by_one(gate, monkeypatch):
    rng = np.random.default_rng(31)
    circuit = brickwork(6, 4, rng, gate=gate)
    middle = set(circuit.qubits[2:4])
    two = [i for i, item in enumerate(circuit.data) if set(item.qubits) == middle]
    plan = make_plan(random_problem(circuit, rng), cuts=tuple(map(GateCut, two)), shots=10**6)
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        variants = enumerate_variants(fragment, schemes)[:400]
        found = []
        for least in (0, 10**9):
            monkeypatch.setattr(later_bits, "SHARED", least)
            monkeypatch.setattr(first_laws, "JOINT_BITS", 0)
            names = [f"{k}" for k in range(len(variants))]
            state = open_state(fragment)
            room = room_of("highest bits first")
            drawn = sample_open(fragment, schemes, state, variants, [50] * len(variants), names, room)
            found.append([(c.outcomes.tolist(), c.counts.tolist()) for c in unpack_counts(drawn)])
        assert len(fragment.legs) > 1 and found[0] == found[1], "seed 31"


@pytest.mark.parametrize("width", [32, 64, 1024])
@pytest.mark.parametrize("seed", range(4))
def test_a_shot_finds_the_place_where_the_running_sum_passes_it(seed, width):
    """Against the definition, shot by shot; a third of the weights are none, and whole blocks and ends of rows."""
    rng = np.random.default_rng([seed, width])
    laws = rng.random((23, width)) * (rng.random((23, width)) < 0.66)
    laws[3, 16:] = laws[5, :-16] = laws[7, 8:24] = 0.0
    counts = rng.integers(1, 4, size=23)
    found, drawn = draw_within(laws.copy(), counts, np.random.default_rng(seed))
    expected = []
    uniform = iter(np.random.default_rng(seed).random(int(counts.sum())))
    for row, (law, shots) in enumerate(zip(laws, counts, strict=True)):
        for _ in range(shots):
            expected.append(row * width + int(np.flatnonzero(law.cumsum() > next(uniform) * law.sum())[0]))
    assert np.repeat(found, drawn).tolist() == sorted(expected), f"seed {seed}"
    assert (laws.reshape(-1)[found] > 0).all()


def test_no_shots_draw_nothing():
    places, counts = draw_places(np.full(1 << 7, 2.0**-7), 0, np.random.default_rng(0))
    assert places.size == counts.size == 0


def test_the_end_of_a_row_is_its_last_place_with_weight():
    class Ends:
        def random(self, shots):
            return np.resize([1 - 2.0**-53, 0.0], shots)

    laws = np.zeros((20_000, 32))
    laws[:, 3] = laws[:, 20] = 0.1
    found, drawn = draw_within(laws, np.full(20_000, 2), Ends())
    assert (found.reshape(-1, 2) % 32 == [3, 20]).all() and (drawn == 1).all()


def test_a_generator_that_is_set_gives_the_streams_of_new_ones():
    streams = Streams()
    for name in ("a", "b", "a"):
        ours, new = streams.at(name), random_stream(name)
        assert ours.random() == new.random()
        assert (ours.integers(7, dtype=np.int32, size=3) == new.integers(7, dtype=np.int32, size=3)).all()
        ours.bit_generator.random_raw(3)


def test_few_bits_are_drawn_in_one_although_amplitudes_would_be_as_quick_to_go_through_in_turn():
    # 6 qubits, 6 legs, 2 of the qubits measured: 4^6 entries of legs and as many amplitudes.
    assert table_length(4, 1 << 12, 1 << 12, 3375, read=6) == 4
    assert table_length(4, 1 << 12, 1 << 12, 3375, read=10) < 4, "16 bits would be a law too long for each variant"
