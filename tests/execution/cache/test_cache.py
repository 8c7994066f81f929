"""Counts and tensors through the cache: valid, independent, merged, reproducible where asked, and the same when off."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from scipy.stats import chi2

from tasks.execution.cache import shots as shot_pools
from tasks.execution.cache.cache import Cache, open_cache
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import open_entries
from tasks.execution.cache.keys import BY_MEANING, KeyMaker, Target
from tasks.execution.cache.maintenance import export_entries, import_entries, prune, statistics, verify
from tasks.execution.cache.requests import Job, Request
from tasks.execution.cache.shot_pool import spread
from tasks.model.tensor import VariantCounts
from tests.execution.cache.families import any_gates, rebitted, relabelled
from tests.execution.cache.oracle import exact_distribution

IDEAL = Target("exact sampler", "1")
Bits = tuple[int, ...]


def sample(circuit: QuantumCircuit, shots: int, rng: np.random.Generator) -> VariantCounts:
    """Draw shots from the exact distribution."""
    exact = exact_distribution(circuit)
    outcomes = np.array(list(exact), dtype=np.uint8).reshape(len(exact), -1)
    drawn = rng.multinomial(shots, np.array(list(exact.values())) / sum(exact.values()))
    packed = np.packbits(outcomes, axis=1, bitorder="little")
    if not packed.shape[1]:
        packed = np.zeros((1, 1), dtype=np.uint8)
    seen = drawn > 0
    order = np.lexsort(packed[seen].T[::-1])
    return VariantCounts(packed[seen][order], drawn[seen][order], circuit.num_clbits)


class Sampler:
    """Runs jobs exactly and remembers them."""

    def __init__(self, seed: int = 1) -> None:
        self.jobs: list[Job] = []
        self._rng = np.random.default_rng(seed)

    def __call__(self, jobs: Sequence[Job]) -> list[VariantCounts]:
        self.jobs += jobs
        rngs = [self._rng if job.seed is None else np.random.default_rng(job.seed) for job in jobs]
        return [sample(job.circuit, job.shots, rng) for job, rng in zip(jobs, rngs, strict=True)]


def as_dict(counts: VariantCounts) -> dict[Bits, int]:
    rows = np.unpackbits(counts.outcomes, axis=1, count=counts.num_bits, bitorder="little")
    return {tuple(int(b) for b in row): int(n) for row, n in zip(rows, counts.counts, strict=True)}


def fits(counts: VariantCounts, circuit: QuantumCircuit) -> float:
    """Return the p-value of the counts under the circuit's exact distribution; 0 if an outcome is impossible."""
    exact = exact_distribution(circuit)
    seen = as_dict(counts)
    if any(bits not in exact for bits in seen):
        return 0.0
    expected = {bits: p * counts.shots for bits, p in exact.items()}
    statistic = sum((seen.get(bits, 0) - e) ** 2 / e for bits, e in expected.items() if e > 0)
    return float(chi2.sf(statistic, max(1, len(expected) - 1)))


def bell(angle: float = 0.6) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def bell_otherwise(angle: float = 0.6) -> QuantumCircuit:
    """The same distribution, bits exchanged and one inverted, on other qubits."""
    circuit = QuantumCircuit(3, 2)
    circuit.ry(angle, 2)
    circuit.cx(2, 0)
    circuit.x(0)
    circuit.rz(0.3, 0)
    circuit.measure([0, 2], [0, 1])
    return circuit


def test_hits_are_valid_counts_of_the_circuit_that_asked(tmp_path: Path) -> None:
    cache = open_cache(str(tmp_path))
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        circuit = any_gates(rng, int(rng.integers(2, 5)), 20, middle=seed % 2 == 0)
        run = Sampler(seed)
        for variant in (circuit, relabelled(circuit, rng), rebitted(circuit, rng)):
            draw = cache.counts([Request(variant, 2000)], IDEAL, run)[0]
            assert draw is not None and draw.counts.shots >= 2000
            assert draw.counts.num_bits == variant.num_clbits
            assert fits(draw.counts, variant) > 1e-6, f"seed {seed}"
            hits += draw.from_cache
    assert hits >= 40, hits
    cache.close()


def test_more_shots_run_the_difference_and_fewer_return_all(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    first = cache.counts([Request(bell(), 1000)], IDEAL, run)[0]
    more = cache.counts([Request(bell_otherwise(), 1500)], IDEAL, run)[0]
    fewer = cache.counts([Request(bell(), 10)], IDEAL, run)[0]
    assert [job.shots for job in run.jobs] == [1000, 500]
    assert first and more and fewer
    assert (first.counts.shots, more.counts.shots, fewer.counts.shots) == (1000, 1500, 1500)
    assert fits(more.counts, bell_otherwise()) > 1e-6
    assert {(b, 1 - a): n for (a, b), n in as_dict(more.counts).items()} == as_dict(fewer.counts)
    cache.close()


def test_equal_variants_of_one_call_get_disjoint_shots(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    draws = cache.counts([Request(bell(), 300), Request(bell_otherwise(), 100), Request(bell(), 200)], IDEAL, run)
    assert [job.shots for job in run.jobs] == [600]
    ranges = [(d.start, d.start + d.counts.shots) for d in draws if d]
    assert ranges == [(0, 300), (300, 400), (400, 600)]
    again = cache.counts([Request(bell(), 100), Request(bell(), 100)], IDEAL, run)
    assert len(run.jobs) == 1 and [d.counts.shots for d in again if d] == [300, 300]
    cache.close()


def test_disjoint_ranges_of_a_pool_are_independent_and_make_up_the_pool() -> None:
    rng = np.random.default_rng(5)
    products = []
    for _ in range(400):
        pool = sample(bell(np.pi / 2), 100, rng)
        a, b = shot_pools.take([pool], 0, 50), shot_pools.take([pool], 50, 100)
        assert as_dict(shot_pools.merge([a, b])) == as_dict(pool)
        assert as_dict(a) == as_dict(shot_pools.take([pool], 0, 50))
        products.append((as_dict(a).get((0, 0), 0) - 25) * (as_dict(b).get((0, 0), 0) - 25) / 12.5)
    assert abs(np.mean(products)) < 5 / np.sqrt(400), "seed 5: halves of a pool are correlated"


def test_spread_gives_equal_variants_of_different_calls_disjoint_shots(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    planned = spread([Request(bell(), 300), Request(bell_otherwise(), 100), Request(bell(0.9), 50)], IDEAL, KeyMaker())
    draws = [cache.counts([request], IDEAL, run)[0] for request in reversed(planned)]
    assert [(d.start, d.counts.shots) for d in draws if d] == [(0, 50), (300, 100), (0, 300)]
    cache.close()


def test_seeded_counts_are_the_same_cold_warm_and_off(where: str) -> None:
    requests = [Request(bell(), 500, seed=7), Request(bell_otherwise(), 500, seed=8), Request(bell(), 500, seed=9)]
    off = Cache(None).counts(requests, IDEAL, Sampler())
    cache, run = open_cache(where), Sampler()
    cold = cache.counts(requests, IDEAL, run)
    warm = cache.counts(requests, IDEAL, run)
    assert len(run.jobs) == 3
    for a, b, c in zip(off, cold, warm, strict=True):
        assert a and b and c and as_dict(a.counts) == as_dict(b.counts) == as_dict(c.counts)
    cache.close()


def test_noisy_targets_share_only_what_is_written_the_same_in_the_same_epoch() -> None:
    keys = KeyMaker()

    def same(a: Target, b: Target, other: QuantumCircuit) -> bool:
        return keys.counts_key(bell(), a).digest == keys.counts_key(other, b).digest

    noisy, later = Target("qpu", calibration="monday"), Target("qpu", calibration="tuesday")
    chosen = Target("qpu", calibration="monday", share_meaning=True)
    assert same(IDEAL, IDEAL, bell_otherwise())
    assert same(noisy, noisy, bell()) and not same(noisy, noisy, bell_otherwise())
    assert not same(noisy, later, bell())
    spelled = QuantumCircuit(2, 2)
    spelled.rz(0.3, 0)  # a phase on |0>
    spelled.compose(bell(), clbits=[0, 1], inplace=True)
    assert same(chosen, chosen, spelled) and not same(noisy, noisy, spelled)
    assert not same(chosen, chosen, bell_otherwise()), "bits that change places are read by other qubits"
    by_distribution = replace(chosen, by_distribution=True)
    assert same(by_distribution, by_distribution, spelled)
    assert not same(by_distribution, by_distribution, bell_otherwise())
    assert not same(IDEAL, Target("exact sampler", "2"), bell())
    assert not same(IDEAL, Target("exact sampler", "1", method="float32"), bell())
    assert not same(IDEAL, Target("exact sampler", "1", options=(("layout", "0,1"),)), bell())


def test_a_failed_job_gives_none_and_is_tried_again(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    failed = cache.counts([Request(bell(), 100), Request(bell(0.1), 100)], IDEAL, lambda jobs: [None for _ in jobs])
    assert failed == [None, None]
    assert cache.counts([Request(bell(), 100)], IDEAL, run)[0] is not None
    cache.close()


def test_a_run_that_raises_gives_its_claims_back(where: str) -> None:
    cache, run = open_cache(where), Sampler()

    def explode(jobs: list[Job]) -> list[VariantCounts]:
        raise RuntimeError("device on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        cache.counts([Request(bell(), 100)], IDEAL, explode)
    other = open_cache(where)
    assert other.counts([Request(bell(), 100)], IDEAL, run)[0] is not None
    cache.close()
    other.close()


def test_circuits_that_cannot_be_keyed_are_run(tmp_path: Path) -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.x(0)
    circuit.measure(0, 0)
    seen: list[Job] = []

    def run(jobs: list[Job]) -> list[VariantCounts]:
        seen.extend(jobs)
        return [VariantCounts(np.array([[1]], dtype=np.uint8), np.array([job.shots]), 1) for job in jobs]

    cache = open_cache(str(tmp_path))
    for _ in range(2):
        draw = cache.counts([Request(circuit, 5)], IDEAL, run)[0]
        assert draw is not None and as_dict(draw.counts) == {(1,): 5}
    assert len(seen) == 2
    cache.close()


def test_entries_expire(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path), lifetime=1e-6), Sampler()
    for _ in range(2):
        cache.counts([Request(bell(), 10)], IDEAL, run)
    assert len(run.jobs) == 2
    cache.close()


def test_maintenance_counts_verifies_prunes_exports_and_imports(where: str, tmp_path: Path) -> None:
    cache, run = open_cache(where), Sampler()
    cache.counts([Request(bell(angle), 100) for angle in (0.1, 0.2, 0.3)], IDEAL, run)
    store = open_entries(where)
    assert (statistics(store).entries, statistics(store).spellings, statistics(store).shots) == (3, 3, 300)
    assert verify(store) == {}
    assert export_entries(store, tmp_path / "out") == 6
    victim, data, _ = next(item for item in store.stored() if isinstance(item[2], Entry) and item[2].shots)
    store.store.put(victim, data[:-1] + b"?", 0)
    other, _, _ = next(item for item in store.stored() if item[0] != victim)
    store.store.put(other, data, 0)
    unsound = verify(store)
    assert set(unsound) == {victim.hex(), other.hex()}
    assert "seal" in unsound[victim.hex()] and "content is another key's" in unsound[other.hex()]
    assert prune(store) == 2 and store.store.get(victim) is None
    assert import_entries(store, tmp_path / "out") == (2, 4)
    assert cache.counts([Request(bell(0.2), 100)], IDEAL, run)[0] is not None and len(run.jobs) == 3
    cache.close()
    store.close()


def test_the_record_says_what_happened(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    cache.counts([Request(bell(), 10), Request(bell_otherwise(), 10)], IDEAL, run)
    said = cache.describe()
    assert (said["requests"], said["executed"], said["shared_in_call"]) == (2, 1, 1)
    json.dumps(said)
    cache.close()


def test_meaning_is_skipped_when_it_does_not_pay(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    requests = [Request(bell(0.01 * k), 10) for k in range(1, 200)]
    for request in requests:
        cache.counts([request], IDEAL, run)
    assert cache.worth.skipped > 100
    assert "did not pay" in str(cache.describe()["by_meaning"])
    cache.close()


def test_distributions_are_skipped_when_they_do_not_pay(tmp_path: Path) -> None:
    target = Target("paid emulator", by_distribution=True)
    cache, run = open_cache(str(tmp_path)), Sampler()
    levels = []
    for k in range(1, 200):
        cache.counts([Request(bell(0.01 * k), 10)], target, run)
        levels.append(cache.worth_distribution.keys)
    assert cache.worth_distribution.skipped > 100 and levels[-1] < 80
    said = cache.describe()
    assert "keyed by distribution" in str(said["by_distribution"]) and "did not pay" in str(said["by_distribution"])
    assert cache.numbers()["distribution_skipped"] == cache.worth_distribution.skipped
    cache.close()


def test_what_was_kept_as_written_is_found_by_a_process_that_still_looks_for_meaning(tmp_path: Path) -> None:
    first, run = open_cache(str(tmp_path)), Sampler()
    first.worth.keys, first.worth.key_seconds = 1000, 1e9
    first.counts([Request(bell(), 100)], IDEAL, run)
    assert first.worth.keys == 1000
    first.close()
    second = open_cache(str(tmp_path))
    draw = second.counts([Request(bell(), 100)], IDEAL, run)[0]
    assert draw is not None and draw.from_cache and second.worth.keys == 0
    second.close()


def test_angles_that_agree_only_when_rounded_share_nothing_in_a_call_either(where: str) -> None:
    """3e-11 apart: the same bytes, another circuit; what one call groups is held to what a hit is held to."""
    keys = KeyMaker()
    near, far = bell(0.6), bell(0.6 + 3e-11)
    assert keys.counts_key(near, IDEAL).digest == keys.counts_key(far, IDEAL).digest
    cache, run = open_cache(where), Sampler()
    draws = cache.counts([Request(near, 100), Request(far, 100), Request(near, 100)], IDEAL, run)
    assert sorted(job.shots for job in run.jobs) == [100, 200] and all(draws)
    both = [keys.counts_key(c, Target("values")) for c in (near, far)]
    found = cache.arrays(both, lambda indices: [np.array([float(i)]) for i in indices])
    assert [f.array[0] for f in found if f] == [0.0, 1.0]
    cache.close()


def test_counts_of_other_bits_than_the_key_says_are_run_again(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    cache.counts([Request(bell(), 100)], IDEAL, run)
    key = cache.keys.counts_key(bell(), IDEAL)
    wrong = VariantCounts(np.array([[1]], dtype=np.uint8), np.array([100]), 1)
    store = open_entries(str(tmp_path))
    store.put(key.digest, Entry(key.material, key.angles, (wrong,)))
    draw = cache.counts([Request(bell(), 100)], IDEAL, run)[0]
    assert draw is not None and draw.counts.num_bits == 2 and len(run.jobs) == 2
    assert cache.flight is not None and cache.flight.corrupt > 0
    cache.close()
    store.close()


def test_without_a_cache_nothing_is_run_for_shots_that_others_take(tmp_path: Path) -> None:
    planned = spread([Request(bell(), 300), Request(bell_otherwise(), 100)], IDEAL, KeyMaker())
    run = Sampler()
    draws = [Cache(None).counts([request], IDEAL, run)[0] for request in planned]
    assert [job.shots for job in run.jobs] == [300, 100] and [d.counts.shots for d in draws if d] == [300, 100]


def test_another_process_need_not_work_a_meaning_out_again(where: str) -> None:
    first, run = open_cache(where), Sampler()
    first.counts([Request(bell(), 100)], IDEAL, run)
    first.close()
    second = open_cache(where)
    second.worth.keys, second.worth.key_seconds, second.worth.saved_seconds = 1000, 1e9, 0.0  # meaning does not pay
    draw = second.counts([Request(bell(), 100)], IDEAL, run)[0]
    assert draw is not None and draw.from_cache and second.worth.keys == 1000
    other = second.counts([Request(bell_otherwise(), 100)], IDEAL, run)[0]
    assert other is not None and not other.from_cache
    second.close()


def test_a_key_by_distribution_finds_what_rewriting_does_not(tmp_path: Path) -> None:
    target = Target("paid emulator", by_distribution=True)
    cache, run = open_cache(str(tmp_path)), Sampler()
    hits = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        circuit = any_gates(rng, int(rng.integers(2, 5)), 15, middle=False)
        rewritten = transpile(circuit, basis_gates=["rz", "sx", "cx"], optimization_level=2, seed_transpiler=seed)
        for variant in (circuit, rewritten, rebitted(rewritten, rng)):
            draw = cache.counts([Request(variant, 2000)], target, run)[0]
            assert draw is not None and fits(draw.counts, variant) > 1e-6, f"seed {seed}"
            hits += draw.from_cache
    assert hits >= 45, hits
    cache.close()


def test_circuits_measured_inside_are_keyed_by_meaning_even_where_distributions_are_asked_for() -> None:
    circuit = QuantumCircuit(1, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.h(0)
    circuit.measure(0, 1)
    key = KeyMaker().counts_key(circuit, Target("paid emulator", by_distribution=True))
    assert key.level == BY_MEANING
