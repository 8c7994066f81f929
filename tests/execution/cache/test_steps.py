"""Look, claim, look again, run, store, release: each step by itself, with what others may do in between."""

import struct
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import PauliGate, UnitaryGate

from tasks.execution.as_written import circuit_material
from tasks.execution.cache import single_flight
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import EntryStore
from tasks.execution.cache.keys import AS_WRITTEN, Key, KeyMaker, Target, make_key
from tasks.execution.cache.seal import Seal
from tasks.execution.cache.single_flight import SingleFlight, Want, same_angles
from tasks.model.tensor import VariantCounts
from tests.execution.cache.memory_store import MemoryStore
from tests.execution.cache.test_cache import IDEAL, bell

KEY = make_key(AS_WRITTEN, [b"one"], num_bits=2)
OTHER = make_key(AS_WRITTEN, [b"other"], num_bits=2)


def entry_of(key: Key, shots: int = 10) -> Entry:
    counts = VariantCounts(np.array([[2]], dtype=np.uint8), np.array([shots]), 2)
    return Entry(key.material, key.angles, (counts,), None, 0.1, 1.0, 0.0, {"by": "test"})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def flight(store: MemoryStore) -> SingleFlight:
    return SingleFlight(EntryStore(store, Seal(b"s" * 32)), lease=5.0)


def refuse(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
    raise AssertionError(f"{todo} is there already")


def test_what_another_worker_stores_between_the_two_looks_is_taken_and_the_claim_given_back(
    flight: SingleFlight, store: MemoryStore
) -> None:
    store.on_claim = lambda _: flight.store.put(KEY.digest, entry_of(KEY))
    found, produced = flight.obtain([Want(KEY, 10)], refuse)
    assert found[0] is not None and found[0].shots == 10 and produced == [False]
    assert store.claims == {} and store.calls == ["get", "claim", "put", "get fresh", "release"]


def test_a_pool_with_too_few_shots_is_handed_over_to_be_topped_up_under_a_claim(
    flight: SingleFlight, store: MemoryStore
) -> None:
    flight.store.put(KEY.digest, entry_of(KEY, 10))
    seen = []

    def produce(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
        seen.append(([(i, held.shots if held else 0) for i, held in todo], len(store.claims)))
        return [entry_of(KEY, 30)]

    assert flight.obtain([Want(KEY, 10)], refuse)[1] == [False]
    found, produced = flight.obtain([Want(KEY, 11)], produce)
    assert seen == [([(0, 10)], 1)] and produced == [True] and found[0] is not None and found[0].shots == 30
    assert store.claims == {} and flight.obtain([Want(KEY, 30)], refuse)[1] == [False]


def test_what_may_not_be_kept_is_used_and_not_stored(flight: SingleFlight, store: MemoryStore) -> None:
    found, _ = flight.obtain([Want(KEY, 1)], lambda todo: [replace(entry_of(KEY), keep=False)])
    assert found[0] is not None and not store.entries and not store.claims
    assert flight.obtain([Want(KEY, 1), Want(OTHER, 1)], lambda todo: [None, entry_of(OTHER)])[0][0] is None
    assert len(store.entries) == 1 and not store.claims


def test_claims_are_renewed_while_something_runs(store: MemoryStore) -> None:
    flight = SingleFlight(EntryStore(store, Seal(b"s" * 32)), lease=0.06)
    ends = []

    def produce(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
        for _ in range(2):
            ends.append(next(iter(store.claims.values()))[1])
            time.sleep(0.15)
        return [entry_of(KEY)]

    flight.obtain([Want(KEY, 1)], produce)
    assert ends[1] > ends[0] + 0.05 and "renew" in store.calls


def test_one_thread_renews_the_claims_of_all_and_ends_with_the_last(store: MemoryStore) -> None:
    flight = SingleFlight(EntryStore(store, Seal(b"s" * 32)), lease=0.06)
    renewed = {KEY.digest: threading.Event(), OTHER.digest: threading.Event()}
    seen: set[int | None] = set()
    renew = flight.store.renew

    def renewing(digests: list[bytes], token: str, lease: float) -> None:
        seen.add(threading.current_thread().ident)
        renew(digests, token, lease)
        for digest in digests:
            renewed[digest].set()

    flight.store.renew = renewing  # type: ignore[method-assign]

    def produce(key: Key) -> list[Entry | None]:
        assert all(event.wait(30) for event in renewed.values()), "both are in work, and both are renewed"
        return [entry_of(key)]

    others = [
        threading.Thread(target=lambda key=key: flight.obtain([Want(key, 1)], lambda todo: produce(key)))
        for key in (KEY, OTHER)
    ]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert len(seen) == 1 and not store.claims and len(store.entries) == 2
    thread = flight._renewer
    if thread is not None:
        thread.join(30)
    assert flight._renewer is None
    renewed[KEY.digest].clear()
    flight.obtain([Want(KEY, 20)], lambda todo: produce(KEY))  # it begins again
    assert renewed[KEY.digest].is_set()


def test_whoever_waits_long_enough_runs_it_himself(store: MemoryStore) -> None:
    flight = SingleFlight(EntryStore(store, Seal(b"s" * 32)), lease=60.0, patience=0.05)
    other = flight.store.new_token("other")
    assert flight.store.claim(KEY.digest, other, 60.0)
    assert flight.obtain([Want(KEY, 1)], lambda todo: [entry_of(KEY)])[1] == [True]
    assert flight.waited > 0 and [token for token, _ in store.claims.values()] == [other], "his is left alone"


def test_others_results_are_waited_for_while_ones_own_are_run(flight: SingleFlight, store: MemoryStore) -> None:
    other = flight.store.new_token("other")
    assert flight.store.claim(KEY.digest, other, 60.0)
    ran = []

    def produce(todo: list[tuple[int, Entry | None]]) -> list[Entry | None]:
        ran.extend(i for i, _ in todo)
        flight.store.put(KEY.digest, entry_of(KEY))  # the other worker is done meanwhile
        flight.store.release(KEY.digest, other)
        return [entry_of(OTHER)]

    found, produced = flight.obtain([Want(KEY, 1), Want(OTHER, 1)], produce)
    assert ran == [1] and produced == [False, True] and all(found)


@pytest.mark.parametrize("broken", ["get", "get fresh", "claim", "put", "release"])
def test_a_store_that_breaks_at_any_step_costs_one_warning_and_is_left_alone_for_a_while(
    flight: SingleFlight, store: MemoryStore, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.broken.add(broken)
    found, produced = flight.obtain([Want(KEY, 10)], lambda todo: [entry_of(KEY)])
    assert found[0] is not None and produced == [True] and flight.failures == 1
    store.broken.clear()
    store.calls.clear()
    assert flight.obtain([Want(KEY, 10)], lambda todo: [entry_of(KEY)])[1] == [True] and store.calls == []
    later = time.monotonic() + single_flight._RETRY_AFTER + 0.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    store.claims.clear()
    flight.obtain([Want(KEY, 10)], lambda todo: [entry_of(KEY)])
    assert store.calls


def test_an_entry_of_other_material_angles_bits_or_time_is_no_hit(flight: SingleFlight) -> None:
    good = entry_of(KEY)
    wide = VariantCounts(np.array([[2]], dtype=np.uint8), np.array([10]), 3)
    for wrong in (
        replace(good, angles=np.array([0.1])),
        replace(good, blocks=(wide,)),
        replace(good, expires=time.time() - 1),
    ):
        flight.store.put(KEY.digest, wrong)
        assert flight.obtain([Want(KEY, 10)], lambda todo: [good])[1] == [True]
    flight.store.put(KEY.digest, replace(good, expires=time.time() + 100))
    assert flight.obtain([Want(KEY, 10)], refuse)[1] == [False]


def test_angles_agree_within_what_moves_a_probability_by_1e_12_and_no_more() -> None:
    one = np.array([0.3, 0.2])
    assert same_angles(one, one + np.array([1.9e-12, 0.0])) and same_angles(one, one - np.array([0.9e-12, 1e-12]))
    assert not same_angles(one, one + 1.1e-12) and not same_angles(one, one - np.array([0.0, 2.2e-12]))
    assert not same_angles(one, np.array([0.3])) and same_angles(np.empty(0), np.empty(0))


def test_parts_of_a_key_are_told_apart_wherever_their_border_is() -> None:
    together = {make_key(AS_WRITTEN, parts).digest for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""])}
    assert len(together) == 4
    frame = struct.pack("<I", 2)
    assert make_key(AS_WRITTEN, [b"ab"]).digest != make_key(AS_WRITTEN, [frame + b"ab"]).digest
    assert make_key("as writte", [b"n"]).digest != make_key("as written", [b""]).digest


def test_everything_that_a_result_depends_on_is_in_the_key() -> None:
    keys = KeyMaker()

    def written(circuit: QuantumCircuit, **how: object) -> bytes:
        return keys.counts_key(circuit, IDEAL, as_written=True, **how).digest  # type: ignore[arg-type]

    base = written(bell())
    assert base == written(bell())
    others = [
        written(bell(), stream="a"), written(bell(), stream="b"), written(bell(), reproducible=(100, 1)),
        written(bell(), reproducible=(100, 2)), written(bell(), reproducible=(101, 1)), written(bell(0.61)),
        keys.counts_key(bell(), Target("exact sampler", "1", noise="n"), as_written=True).digest,
    ]  # fmt: skip
    assert len({base, *others}) == len(others) + 1


def circuits_written_alike() -> list[QuantumCircuit]:
    """Circuits that differ in one thing each."""
    out = []
    for qubits, bits in ((2, 2), (3, 2), (2, 3)):
        circuit = QuantumCircuit(qubits, bits)
        circuit.h(0)
        out.append(circuit)
    plain = QuantumCircuit(2, 2)
    for change in (
        lambda c: c.h(1),
        lambda c: c.s(0),
        lambda c: c.rx(0.1, 0),
        lambda c: c.rx(np.nextafter(0.1, 1), 0),
        lambda c: c.u(0.1, 0.2, 0.3, 0),
        lambda c: c.u(0.1, 0.3, 0.2, 0),
        lambda c: c.cx(0, 1),
        lambda c: c.cx(1, 0),
        lambda c: c.measure(0, 1),
        lambda c: c.measure(0, 0),
        lambda c: c.reset(0),
        lambda c: c.barrier(0),
        lambda c: c.barrier(0, 1),
        lambda c: c.delay(10, 0),
        lambda c: c.delay(11, 0),
        lambda c: c.delay(10, 0, unit="ns"),
        lambda c: c.append(PauliGate("XY"), [0, 1]),
        lambda c: c.append(PauliGate("YX"), [0, 1]),
        lambda c: c.append(UnitaryGate(np.eye(2)), [0]),
        lambda c: c.append(UnitaryGate(np.diag([1, -1])), [0]),
        lambda c: c.append(UnitaryGate(np.eye(4)), [0, 1]),
    ):
        circuit = plain.copy()
        change(circuit)
        out.append(circuit)
    return out


def test_circuits_that_differ_in_anything_are_written_differently() -> None:
    materials = [circuit_material(circuit) for circuit in circuits_written_alike()]
    assert len(set(materials)) == len(materials)
