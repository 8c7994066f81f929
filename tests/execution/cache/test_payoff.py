"""Looking for results that are seldom found: how often it is done is counted, and what comes out stays the same."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.execution.as_written import circuit_digest, glimpse
from tasks.execution.cache.cache import Cache
from tasks.execution.cache.entry_store import EntryStore
from tasks.execution.cache.keys import AS_WRITTEN, KeyMaker, Target, make_key
from tasks.execution.cache.payoff import Payoff
from tasks.execution.cache.requests import CountsRequest, MissingShots
from tasks.execution.cache.seal import Seal
from tasks.execution.cache.semantic import canonical_form
from tasks.execution.cache.single_flight import SingleFlight
from tasks.model.tensor import VariantCounts
from tests.execution.cache.families import any_gates
from tests.execution.cache.memory_store import MemoryStore
from tests.execution.cache.test_cache import Sampler, as_dict, bell

IDEAL = Target("exact sampler", "1")
LOOK, RUN = 3e-4, 0.014  # seconds of this file's clock


class Clock:
    """Seconds that pass where they are said to, and nowhere else."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class CostlyStore(MemoryStore):
    """A look takes as long as it is said to."""

    def __init__(self, clock: Clock, look: float = LOOK) -> None:
        super().__init__()
        self.clock, self.look = clock, look

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """As any store, and the clock goes on."""
        self.clock.now += self.look
        return super().get(key, fresh=fresh)


def made(look: float = LOOK) -> tuple[Cache, CostlyStore, Clock]:
    clock = Clock()
    store = CostlyStore(clock, look)
    return Cache(SingleFlight(EntryStore(store, Seal(b"s" * 32))), clock=clock), store, clock


class Slow(Sampler):
    """Runs take their time by the clock."""

    def __init__(self, clock: Clock, seconds: float = RUN) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def __call__(self, jobs: Sequence[MissingShots]) -> list[VariantCounts]:
        self.clock.now += self.seconds * len(jobs)
        return super().__call__(jobs)


def ask(cache: Cache, circuit: QuantumCircuit, run: Sampler, seconds: float = RUN, seed: int = 5) -> dict:
    (answer,) = cache.counts([CountsRequest(circuit, 50, seed=seed, seconds=seconds)], IDEAL, run)
    assert answer is not None
    return as_dict(answer.counts)


def test_what_is_never_found_is_looked_for_at_first_and_then_seldom():
    cache, store, clock = made()
    run = Slow(clock)
    looks = []
    for number in range(1200):
        ask(cache, bell(0.001 * number), run)
        looks.append(store.calls.count("get"))
    assert looks[25] == 26, "as long as one execution may take"
    late = looks[-1] - looks[200]
    assert 0.15 * 1000 < late < 0.32 * 1000, "one in two hundred of an execution's seconds: of the looks, 23 %"
    assert len(run.jobs) == 1200 and cache.tally.passed_over == 1200 - looks[-1]
    assert store.calls.count("put") == looks[-1], "what is not looked for is not kept"


def test_hits_are_noticed_when_they_begin_and_when_they_end():
    cache, store, clock = made()
    run = Slow(clock)
    for number in range(600):
        ask(cache, bell(0.001 * number), run)
    begin = len(run.jobs)
    for number in range(600):
        ask(cache, bell(0.9 + 0.001 * (number % 40)), run)
    assert len(run.jobs) - begin < 120, "of 600, of which 40 are distinct"
    before = store.calls.count("get")
    for number in range(2000):
        ask(cache, bell(2 + 0.0005 * number), run)
    assert store.calls.count("get") - before < 1300
    before = store.calls.count("get")
    for number in range(500):
        ask(cache, bell(-1 - 0.001 * number), run)
    assert store.calls.count("get") - before < 0.32 * 500


@pytest.mark.parametrize("seconds", [0.2, 1.0, math.inf])
def test_what_takes_long_is_always_looked_for(seconds):
    cache, _store, clock = made()
    for number in range(300):
        ask(cache, bell(0.001 * number), Slow(clock), seconds)
    assert cache.tally.passed_over == 0


@pytest.mark.parametrize("look", [0.0, LOOK, 1.0])
def test_counts_are_the_same_whatever_is_looked_for(look):
    rng = np.random.default_rng(3)
    circuits = [bell(0.01 * int(angle)) for angle in rng.integers(0, 150, 300)]
    cache, _store, clock = made(look)
    off = Cache(None)
    for circuit in circuits:
        assert ask(cache, circuit, Slow(clock)) == ask(off, circuit, Sampler())
    passed = cache.tally.passed_over
    distinct = len({circuit_digest(circuit) for circuit in circuits})
    assert (passed == 0) is (look == 0.0) and cache.tally.executed == distinct, f"{passed} of 300"


def test_an_equal_circuit_is_found_where_looking_does_not_pay():
    rng = np.random.default_rng(7)
    cache, _store, clock = made(look=1.0)  # as long as 70 executions
    run, off = Slow(clock), Cache(None)
    for angle in rng.integers(0, 40, 300):
        assert ask(cache, bell(0.01 * int(angle)), run) == ask(off, bell(0.01 * int(angle)), Sampler())
    assert len(run.jobs) == 40 and cache.tally.passed_over > 25
    wanted = [CountsRequest(bell(0.01), 50, seed=5, seconds=RUN), CountsRequest(bell(0.01), 60, seed=5, seconds=RUN)]
    cache.counts([wanted[0]], IDEAL, run)
    assert len(run.jobs) == 40
    cache.counts([wanted[1]], IDEAL, run)
    assert len(run.jobs) == 41, "other shots of the same seed are other counts"
    cache.counts([wanted[0]], Target("another"), run)
    assert len(run.jobs) == 42


def test_circuits_that_only_look_alike_are_told_apart_and_then_left_alone(monkeypatch):
    monkeypatch.setattr("tasks.execution.cache.cache.glimpse", lambda circuit: b"all the same")
    digests = []
    cache, _store, clock = made(look=1.0)
    made_key = KeyMaker.counts_key
    monkeypatch.setattr(KeyMaker, "counts_key", lambda *own, **how: (digests.append(1), made_key(*own, **how))[1])
    run = Slow(clock)
    for number in range(400):
        assert ask(cache, bell(0.001 * number), run) == ask(Cache(None), bell(0.001 * number), Sampler())
    assert len(run.jobs) == 400 and 40 <= len(digests) < 200


def test_what_ran_lately_is_forgotten_when_it_takes_too_much_room(monkeypatch):
    monkeypatch.setattr("tasks.execution.cache.recent._ROOM_BYTES", 20_000)
    cache, _store, clock = made(look=1.0)
    run = Slow(clock)
    for number in range(60):
        ask(cache, bell(0.01 * number), run)
    assert 5 < sum(map(len, cache.recent.ran.values())) < 40
    ask(cache, bell(0.0), run)
    ask(cache, bell(0.59), run)
    assert len(run.jobs) == 61, "the first is run again, the last is not"


def test_equal_requests_of_one_call_are_what_looking_finds():
    cache, _store, clock = made()
    run = Slow(clock)
    for number in range(400):
        request = CountsRequest(bell(0.001 * number), 60, seconds=RUN)
        first, second = cache.counts([request, request], IDEAL, run)
        assert (first.start, second.start) == (0, 60) and run.jobs[-1].shots == 120
    assert len(run.jobs) == 400 and cache.tally.passed_over == 0


def test_arrays_that_are_not_looked_for_are_computed_and_not_kept():
    cache, store, _clock = made(look=1.0)
    rng = np.random.default_rng(1)
    for number in range(200):
        key, wanted = make_key(AS_WRITTEN, [b"%d" % number]), rng.normal(size=3)
        (found,) = cache.arrays([key], lambda todo, own=wanted: [own], seconds=RUN)
        np.testing.assert_array_equal(found.array, wanted)
        assert not found.from_cache
    assert cache.tally.executed == 200 and cache.tally.passed_over > 150
    assert store.calls.count("put") == 200 - cache.tally.passed_over
    kept = store.calls.count("get")
    keys = [make_key(AS_WRITTEN, [b"%d" % number]) for number in range(200, 203)]
    both = cache.arrays([*keys, keys[0]], lambda todo: [np.array([float(i)]) for i in todo], seconds=math.inf)
    assert store.calls.count("get") > kept, "worth any look"
    assert [float(own.array[0]) for own in both] == [0.0, 1.0, 2.0, 0.0]


def test_keys_by_meaning_that_find_nothing_more_are_made_seldom(monkeypatch):
    cache, _store, clock = made()

    def timed(circuit: QuantumCircuit) -> object:
        clock.now += 0.02
        return canonical_form(circuit)

    monkeypatch.setattr("tasks.execution.cache.keys.canonical_form", timed)
    run = Slow(clock, 1.0)
    for number in range(600):
        ask(cache, bell(0.002 * number), run, 1.0, seed=None)
    early = cache.tally.meaning_keys
    assert cache.tally.passed_over == 0 and early < 0.7 * 600
    for number in range(300):
        ask(cache, bell(0.001 + 0.002 * number), run, 1.0, seed=None)
    assert cache.tally.meaning_keys - early < 0.4 * 300


def test_looking_in_vain_costs_little_however_long_looks_and_executions_take():
    rng = np.random.default_rng(2)
    for _ in range(40):
        look, run, wanted = 10 ** rng.uniform(-5, -2), 10 ** rng.uniform(-2, 1), int(rng.integers(50, 3000))
        payoff, lost = Payoff(), 0.0
        for digest in rng.bytes(8 * wanted)[: 8 * wanted].hex(" ", 8).split():
            if payoff.looks(lambda own=digest: bytes.fromhex(own), run, LOOK):
                payoff.note(False)
                payoff.spent(look, LOOK)
                lost += look
        bound = 1.1 * run + 20 * look + 0.005 * wanted * run
        assert lost <= bound + 4 * math.sqrt(0.005 * wanted * run * look), f"{look:.2g} s a look, {run:.2g} s a run"


def test_a_glimpse_is_the_same_for_equal_circuits_and_spreads_the_others():
    seen = {}
    for number in range(300):
        circuit = any_gates(np.random.default_rng(number), 4, 40, middle=False)
        assert glimpse(circuit) == glimpse(circuit.copy())
        seen[circuit_digest(circuit)] = glimpse(circuit)
    assert len(set(seen.values())) > 0.9 * len(seen)
    low = sum(int.from_bytes(own, "big") < 2**62 for own in seen.values()) / len(seen)
    assert 0.15 < low < 0.35, "a quarter of them"
    assert len(glimpse(QuantumCircuit(1))) == 8
