"""Counts and tensors through the cache: valid, independent, merged, reproducible where asked, and the same when off."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from scipy.stats import chi2

from tasks.execution.cache import shots as shot_pools
from tasks.execution.cache.cache import Cache, open_cache
from tasks.execution.cache.cost_benefit import finding_pays, meaning_of_gates_pays
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import open_entries
from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.keys import KeyMaker, Target
from tasks.execution.cache.maintenance import Imported, export_entries, import_entries, prune, statistics, verify
from tasks.execution.cache.requests import CountsRequest, MissingShots
from tasks.execution.cache.stores import registry
from tasks.model.counts import merge_counts
from tasks.model.tensor import VariantCounts
from tests.execution.cache import memory_store
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
        self.jobs: list[MissingShots] = []
        self._rng = np.random.default_rng(seed)

    def __call__(self, jobs: Sequence[MissingShots]) -> list[VariantCounts]:
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


def test_what_takes_next_to_nothing_is_not_looked_for_and_what_takes_little_only_as_written(tmp_path: Path) -> None:
    cache = open_cache(str(tmp_path / "cache"))
    circuit, other = bell(), bell_otherwise()
    length = len(other.data)

    def executed(asked: QuantumCircuit, seconds: float) -> int:
        before = cache.tally.executed
        (answer,) = cache.counts([CountsRequest(asked, 100, seconds=seconds)], IDEAL, Sampler())
        assert answer is not None and answer.counts.shots >= 100
        return cache.tally.executed - before

    assert [executed(circuit, 0.009) for _ in range(2)] == [1, 1] and cache.tally.meaning_keys == 0
    assert [executed(circuit, 0.01) for _ in range(2)] == [1, 0] and cache.tally.meaning_keys == 0
    assert executed(other, 0.01) == 1, "not by what it means"
    assert executed(circuit, 1.0) == 0, "this process ran it before"
    cache = open_cache(str(tmp_path / "cache"))
    assert executed(circuit, 1.0) == 1 and executed(other, 1.0) == 0 and cache.tally.meaning_keys == 2
    costs = 3e-4 + length * 6e-5
    for seconds, pays in ((20.1 * costs, True), (19.9 * costs, False)):
        assert meaning_of_gates_pays(length, seconds) is pays and finding_pays(seconds)


@pytest.mark.parametrize(("seconds", "claims"), [(0.049, 0), (0.05, 2)])
def test_what_takes_little_is_not_claimed_and_two_who_want_it_at_once_both_get_it(seconds, claims, tmp_path) -> None:
    caches = [open_cache(str(tmp_path / "cache")) for _ in range(2)]
    asked, made = CountsRequest(bell(), 100, seconds=seconds), []
    claimed: list[bytes] = []
    store = caches[0].flight.store
    claim = store.claim
    store.claim = lambda digest, *more: claimed.append(digest) or claim(digest, *more)

    def meanwhile(jobs: Sequence[MissingShots]) -> list[VariantCounts]:
        if not claims:  # the same is wanted elsewhere while this runs
            made.extend(caches[1].counts([asked], IDEAL, Sampler(2)))
        return Sampler(1)(jobs)

    made.extend(caches[0].counts([asked], IDEAL, meanwhile))
    made.extend(caches[0].counts([replace(asked, shots=150)], IDEAL, Sampler(3)))
    assert all(fits(answer.counts, bell()) > 1e-6 for answer in made) and len(claimed) == claims
    assert [answer.counts.shots for answer in made] == ([100] if not claims else []) + [100, 150]
    assert as_dict(caches[1].counts([asked], IDEAL, Sampler(4))[0].counts) == as_dict(made[-1].counts)


def test_hits_are_valid_counts_of_the_circuit_that_asked(tmp_path: Path) -> None:
    cache = open_cache(str(tmp_path))
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        circuit = any_gates(rng, int(rng.integers(2, 5)), 20, middle=seed % 2 == 0)
        run = Sampler(seed)
        for variant in (circuit, relabelled(circuit, rng), rebitted(circuit, rng)):
            draw = cache.counts([CountsRequest(variant, 2000)], IDEAL, run)[0]
            assert draw is not None and draw.counts.shots >= 2000
            assert draw.counts.num_bits == variant.num_clbits
            assert fits(draw.counts, variant) > 1e-6, f"seed {seed}"
            hits += draw.from_cache
    assert hits >= 40, hits
    cache.close()


def test_more_shots_run_the_difference_and_fewer_return_all(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    first = cache.counts([CountsRequest(bell(), 1000)], IDEAL, run)[0]
    more = cache.counts([CountsRequest(bell_otherwise(), 1500)], IDEAL, run)[0]
    fewer = cache.counts([CountsRequest(bell(), 10)], IDEAL, run)[0]
    assert [job.shots for job in run.jobs] == [1000, 500]
    assert first and more and fewer
    assert (first.counts.shots, more.counts.shots, fewer.counts.shots) == (1000, 1500, 1500)
    assert fits(more.counts, bell_otherwise()) > 1e-6
    assert {(b, 1 - a): n for (a, b), n in as_dict(more.counts).items()} == as_dict(fewer.counts)
    cache.close()


def test_equal_variants_of_one_call_get_disjoint_shots(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    draws = cache.counts(
        [CountsRequest(bell(), 300), CountsRequest(bell_otherwise(), 100), CountsRequest(bell(), 200)], IDEAL, run
    )
    assert [job.shots for job in run.jobs] == [600]
    ranges = [(d.start, d.start + d.counts.shots) for d in draws if d]
    assert ranges == [(0, 300), (300, 400), (400, 600)]
    again = cache.counts([CountsRequest(bell(), 100), CountsRequest(bell(), 100)], IDEAL, run)
    assert len(run.jobs) == 1 and [d.counts.shots for d in again if d] == [300, 300]
    cache.close()


def test_disjoint_ranges_of_a_pool_are_independent_and_make_up_the_pool() -> None:
    rng = np.random.default_rng(5)
    products = []
    for _ in range(400):
        pool = sample(bell(np.pi / 2), 100, rng)
        a, b = shot_pools.take([pool], 0, 50), shot_pools.take([pool], 50, 100)
        assert as_dict(merge_counts([a, b])[0]) == as_dict(pool)
        assert as_dict(a) == as_dict(shot_pools.take([pool], 0, 50))
        products.append((as_dict(a).get((0, 0), 0) - 25) * (as_dict(b).get((0, 0), 0) - 25) / 12.5)
    assert abs(np.mean(products)) < 5 / np.sqrt(400), "seed 5: halves of a pool are correlated"


def test_seeded_counts_are_the_same_cold_warm_and_off(where: str) -> None:
    requests = [
        CountsRequest(bell(), 500, seed=7),
        CountsRequest(bell_otherwise(), 500, seed=8),
        CountsRequest(bell(), 500, seed=9),
    ]
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
    assert not same(IDEAL, Target("exact sampler", "2"), bell())
    assert not same(IDEAL, Target("exact sampler", "1", method="float32"), bell())
    assert not same(IDEAL, Target("exact sampler", "1", options=(("layout", "0,1"),)), bell())


def test_a_failed_job_gives_none_and_is_tried_again(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    failed = cache.counts(
        [CountsRequest(bell(), 100), CountsRequest(bell(0.1), 100)], IDEAL, lambda jobs: [None for _ in jobs]
    )
    assert failed == [None, None]
    assert cache.counts([CountsRequest(bell(), 100)], IDEAL, run)[0] is not None
    cache.close()


def test_a_run_that_raises_gives_its_claims_back(where: str) -> None:
    cache, run = open_cache(where), Sampler()

    def explode(jobs: list[MissingShots]) -> list[VariantCounts]:
        raise RuntimeError("device on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        cache.counts([CountsRequest(bell(), 100)], IDEAL, explode)
    other = open_cache(where)
    assert other.counts([CountsRequest(bell(), 100)], IDEAL, run)[0] is not None
    cache.close()
    other.close()


def test_circuits_that_cannot_be_keyed_are_run(tmp_path: Path) -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.x(0)
    circuit.measure(0, 0)
    seen: list[MissingShots] = []

    def run(jobs: list[MissingShots]) -> list[VariantCounts]:
        seen.extend(jobs)
        return [VariantCounts(np.array([[1]], dtype=np.uint8), np.array([job.shots]), 1) for job in jobs]

    cache = open_cache(str(tmp_path))
    for _ in range(2):
        draw = cache.counts([CountsRequest(circuit, 5)], IDEAL, run)[0]
        assert draw is not None and as_dict(draw.counts) == {(1,): 5}
    assert len(seen) == 2
    cache.close()


def test_entries_expire(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path), lifetime=1e-6), Sampler()
    for _ in range(2):
        cache.counts([CountsRequest(bell(), 10)], IDEAL, run)
    assert len(run.jobs) == 2
    cache.close()


def test_maintenance_counts_verifies_prunes_exports_and_imports(where: str, tmp_path: Path) -> None:
    cache, run = open_cache(where), Sampler()
    cache.counts([CountsRequest(bell(angle), 100) for angle in (0.1, 0.2, 0.3)], IDEAL, run)
    store = open_entries(where)
    assert (statistics(store).entries, statistics(store).remembered_forms, statistics(store).shots) == (3, 3, 300)
    assert verify(store) == {}
    assert export_entries(store, tmp_path / "out") == 6
    victim, data, _ = next(item for item in store.stored() if isinstance(item[2], Entry) and item[2].shots)
    store.store.put(victim, [data[:-1] + b"?"], 0)
    other, _, _ = next(item for item in store.stored() if item[0] != victim)
    store.store.put(other, [data], 0)
    unsound = verify(store)
    assert set(unsound) == {victim.hex(), other.hex()}
    assert "seal" in unsound[victim.hex()] and "content is another key's" in unsound[other.hex()]
    assert prune(store) == 2 and store.store.get(victim) is None
    assert import_entries(store, tmp_path / "out") == Imported(2, there_already=4, refused=0)
    assert cache.counts([CountsRequest(bell(0.2), 100)], IDEAL, run)[0] is not None and len(run.jobs) == 3
    cache.close()
    store.close()


def test_the_record_says_what_happened(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    cache.counts([CountsRequest(bell(), 10), CountsRequest(bell_otherwise(), 10)], IDEAL, run)
    said = cache.describe()
    assert (said["requests"], said["executed"], said["shared"], said["meaning_keys"]) == (2, 1, 1, 2)
    assert said["meaning_hits"] == 1 and said["meaning_saved_seconds"] > 0 and cache.numbers()["requests"] == 2
    json.dumps(said)
    cache.close()


def test_who_closes_a_folder_is_no_longer_among_its_users(tmp_path: Path) -> None:
    entries = open_entries(str(tmp_path))
    assert statistics(entries).entries == 0
    during = set(tmp_path.rglob("*"))
    entries.close()
    assert len(during - set(tmp_path.rglob("*"))) == 1, "the file that says that this process uses it"


def test_without_a_store_nothing_of_one_is_counted() -> None:
    cache = open_cache("off")
    cache.counts([CountsRequest(bell(), 10)], IDEAL, Sampler())
    said = cache.numbers()
    assert [said[name] for name in ("requests", "executed", "unsound_entries", "store_failures")] == [1, 1, 0, 0]


def test_angles_that_agree_only_when_rounded_share_nothing_in_a_call_either(where: str) -> None:
    """3e-11 apart: the same bytes, another circuit; what one call groups is held to what a hit is held to."""
    keys = KeyMaker()
    near, far = bell(0.6), bell(0.6 + 3e-11)
    assert keys.counts_key(near, IDEAL).digest == keys.counts_key(far, IDEAL).digest
    cache, run = open_cache(where), Sampler()
    draws = cache.counts([CountsRequest(near, 100), CountsRequest(far, 100), CountsRequest(near, 100)], IDEAL, run)
    assert sorted(job.shots for job in run.jobs) == [100, 200] and all(draws)
    both = [keys.counts_key(c, Target("values")) for c in (near, far)]
    found = cache.arrays(both, lambda indices: [np.array([float(i)]) for i in indices])
    assert [f.array[0] for f in found if f] == [0.0, 1.0]
    cache.close()


def test_counts_of_other_bits_than_the_key_says_are_run_again(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    cache.counts([CountsRequest(bell(), 100)], IDEAL, run)
    key = cache.keys.counts_key(bell(), IDEAL)
    wrong = VariantCounts(np.array([[1]], dtype=np.uint8), np.array([100]), 1)
    store = open_entries(str(tmp_path))
    store.put(key.digest, Entry(key.material, key.angles, (wrong,)))
    draw = cache.counts([CountsRequest(bell(), 100)], IDEAL, run)[0]
    assert draw is not None and draw.counts.num_bits == 2 and len(run.jobs) == 2
    assert cache.flight is not None and cache.flight.unsound > 0
    cache.close()
    store.close()


def test_another_process_need_not_work_a_meaning_out_again(where: str) -> None:
    first, run = open_cache(where), Sampler()
    first.counts([CountsRequest(bell(), 100)], IDEAL, run)
    first.close()
    second = open_cache(where)
    draw = second.counts([CountsRequest(bell(), 100)], IDEAL, run)[0]
    assert draw is not None and draw.from_cache and second.tally.meaning_keys == 0
    other = second.counts([CountsRequest(bell_otherwise(), 100)], IDEAL, run)[0]
    assert other is not None and other.from_cache and second.tally.meaning_keys == 1
    second.close()


@pytest.mark.parametrize("near", ["", "in front"])
def test_a_new_kind_of_store_is_one_file_and_its_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: str
) -> None:
    monkeypatch.setitem(registry.STORES, "memory", ("tests.execution.cache.memory_store", "MemoryStore", "memory"))
    where = f"{tmp_path},memory://{near}" if near else "memory://"
    run = Sampler()
    answers = [open_cache(where).counts([CountsRequest(bell(), 100)], IDEAL, run)[0] for _ in range(2)]
    assert len(run.jobs) == 1 and [answer.from_cache for answer in answers if answer] == [False, True]
    assert memory_store.STORES[f"memory://{near}"].entries and (tmp_path / "data.mdb").exists() == bool(near)


def test_a_place_of_a_kind_that_is_not_known_or_not_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable, match="begins with one of redis://, rediss://, unix://, or off"):
        registry.open_store("gopher://127.0.0.1")
    monkeypatch.setitem(registry.STORES, "absent", ("no_such_package.store", "Store", "no-such-package"))
    with pytest.raises(StoreUnavailable, match="pip install no-such-package"):
        registry.open_store("absent://")
