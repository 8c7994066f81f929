"""Counts of a QPU in the cache: not paid twice in one calibration, never shared by two rounds, gone with the epoch."""

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.execution.cache.cache import open_cache
from tasks.execution.mitigation.extrapolation import NO_MITIGATION, Mitigation
from tasks.execution.qpu import QpuError
from tests.execution.qpu.circuits import distance, frequencies, ghz, ideal, run_mitigated
from tests.execution.qpu.client import PROCESSES

ROUNDS = ("0:0:1,2:0", "4294967296:0:1,2:0")  # one variant in two rounds of one run


@pytest.fixture
def keeping(options, tmp_path):
    """Streams, and options with a cache and a journal of its own each time: only the cache remembers."""
    made = []

    def make(*streams, **more):
        number = len(made)
        made.append(open_cache(str(tmp_path / "cache"), lease=more.pop("lease", 10.0)))
        journal = tmp_path / f"journal-{number}"
        return {"options": replace(options, cache=made[-1], journal=journal, **more), "streams": streams}

    yield make
    for cache in made:
        cache.close()


def shots_of(running):
    return sum(shots for job in running.jobs() for _, shots in job.work)


def same(first, second):
    return all(
        np.array_equal(a.outcomes, b.outcomes)
        and np.array_equal(a.counts, b.counts)
        and (a.readings is None or np.array_equal(a.readings, b.readings))
        and (a.weights is None or np.array_equal(a.weights, b.weights))
        for a, b in zip(first.counts, second.counts, strict=True)
    )


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
@pytest.mark.parametrize(
    "mitigation", [NO_MITIGATION, Mitigation(), Mitigation(noise_factors=(1, 3))], ids=["none", "readout", "zne"]
)
def test_a_second_run_in_one_calibration_costs_nothing_and_gets_the_same_counts(service, keeping, kind, mitigation):
    running = service(kind)
    circuits, shots = [ghz(3), ghz(2)], [3000, 1500]
    first = run_mitigated(running.resource(), circuits, shots, mitigation, **keeping("a", "b"))
    paid = shots_of(running)
    assert paid >= 4500 and first.origins == [{}, {}]
    second = run_mitigated(running.resource(), circuits, shots, mitigation, **keeping("a", "b"))
    assert shots_of(running) == paid and not second.jobs
    assert same(first, second)
    assert [origin["device"] for origin in second.origins] == ["QPU_A", "QPU_A"]
    assert set(second.origins[0]["provider_jobs"].split(",")) == {job.job for job in first.jobs}
    assert any("paid earlier" in note for note in second.notes)


def test_two_rounds_and_two_variants_never_get_the_same_shots(service, keeping):
    running = service("ibm")
    circuits = [ghz(3), ghz(3)]
    first = run_mitigated(running.resource(), circuits, [2000, 2000], **keeping(ROUNDS[0], "0:1:1,2:0"))
    later = run_mitigated(running.resource(), circuits, [2000, 2000], **keeping(ROUNDS[1], "x:1:1,2:0"))
    assert shots_of(running) == 8000
    found = [*first.counts, *later.counts]
    tables = {(c.outcomes.tobytes(), c.counts.tobytes()) for c in found}
    assert len(tables) == 4, "equal counts of 2000 noisy shots are the same shots"


def test_more_shots_pay_the_difference_and_change_nothing_for_who_asked_before(service, keeping):
    running = service("ibm")
    first = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    more = run_mitigated(running.resource(), [ghz(3)], [1600], **keeping("a"))
    assert (shots_of(running), more.counts[0].shots) == (1600, 1600)
    assert more.origins == [{}]  # not all of it is from the cache
    again = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    fewer = run_mitigated(running.resource(), [ghz(3)], [10], **keeping("a"))
    assert shots_of(running) == 1600
    assert same(first, again) and same(first, fewer)
    whole = run_mitigated(running.resource(), [ghz(3)], [1600], **keeping("a"))
    assert same(more, whole) and whole.origins[0]["provider_jobs"].count(",") == 1


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_another_calibration_is_another_device(service, keeping, kind):
    running = service(kind)
    run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    paid = shots_of(running)
    running.emulator.devices["QPU_A"].chip.calibrate()
    run = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    assert shots_of(running) >= paid + 1000 and run.origins == [{}]


def test_what_was_measured_while_the_device_was_recalibrated_is_used_and_not_kept(service, keeping):
    running = service("ibm")
    running.fault("job:calibrate")
    run = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    assert run.counts[0].shots == 1000
    run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    assert shots_of(running) == 2000


def test_nothing_is_kept_while_the_service_does_not_say_which_calibration_is_in_force(service, keeping):
    """Every such time looks like the one before, however often the device was recalibrated in between."""
    running = service("ibm")
    for paid in (1000, 2000):
        running.fault("properties:500x100000")
        run = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a", patience=0.2))
        assert run.counts[0].shots == 1000 and not run.target.calibrated
        assert shots_of(running) == paid
        running.emulator.devices["QPU_A"].chip.calibrate()


def spelled_otherwise():
    circuit = ghz(3).copy_empty_like()
    circuit.rz(0.4, 0)  # a phase on |0>
    for item in ghz(3).data:
        circuit.append(item)
        if item.operation.name == "ry":
            circuit.z(1)
    return circuit


def test_circuits_of_equal_meaning_share_only_where_it_is_chosen(service, keeping):
    running = service("ibm", noise=0.1)

    def ask(circuit, **more):
        run = run_mitigated(running.resource(), [circuit], [1000], **keeping("a", **more))
        return run, shots_of(running)

    assert [ask(circuit)[1] for circuit in (ghz(3), spelled_otherwise())] == [1000, 2000]
    assert ask(ghz(3), share_meaning=True)[1] == 3000  # what was kept as it runs has no meaning to go by
    run, paid = ask(spelled_otherwise(), share_meaning=True)
    assert paid == 3000 and run.origins[0]["device"] == "QPU_A"
    assert distance(frequencies(run.counts[0]), ideal(ghz(3))) < 0.1


def test_folded_circuits_are_run_even_where_meaning_is_shared(service, keeping):
    """A folded circuit means what the plain one does; shared, it would extrapolate noise from itself."""
    running = service("ibm", noise=4.0)
    zne = Mitigation(readout=False, noise_factors=(1, 3))
    run_mitigated(running.resource(), [ghz(4)], [4000], **keeping("a", share_meaning=True))
    run = run_mitigated(running.resource(), [ghz(4)], [4000], zne, **keeping("a", share_meaning=True))
    assert shots_of(running) == 8000 and sum(job.circuits for job in run.jobs) == 2, "the plain and the folded one"


def measure_once(resource, options, where, found):
    cache = open_cache(where, lease=0.6)
    run = run_mitigated(resource, [ghz(3)], [1000], options=replace(options, cache=cache), streams=("a",))
    found.put((run.counts[0].outcomes.tobytes(), run.counts[0].counts.tobytes()))
    cache.close()


def test_two_processes_at_once_pay_once_however_long_the_job_waits(service, options, tmp_path):
    """The queue is five times as long as a claim lasts, which is renewed while the job waits."""
    running = service("ibm", queue=3.0)
    found = PROCESSES.Queue()
    processes = [
        PROCESSES.Process(
            target=measure_once,
            args=(running.resource(), replace(options, journal=tmp_path / f"j{n}"), str(tmp_path / "cache"), found),
        )
        for n in range(2)
    ]
    for process in processes:
        process.start()
    first, second = found.get(timeout=90), found.get(timeout=90)
    for process in processes:
        process.join(30)
    assert first == second and shots_of(running) == 1000


def test_a_job_that_fails_leaves_no_entry_and_gives_its_claim_back(service, keeping):
    running = service("ibm")
    running.fault("job:fail")
    failed = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    assert failed.counts == [None] and isinstance(failed.failures[0], QpuError)
    again = run_mitigated(running.resource(), [ghz(3)], [1000], **keeping("a"))
    assert again.counts[0].shots == 1000


def test_no_unit_of_the_device_is_held_while_nothing_runs(service, keeping):
    running = service("ibm")
    reserved = []

    class Unit:
        def __enter__(self):
            reserved.append(len(running.jobs()))

        def __exit__(self, *_):
            pass

    for _ in range(2):
        run_mitigated(running.resource(), [ghz(3)], [500], **keeping("a", reserve=Unit))
    assert reserved == [0]


def of_one_meaning(kind):
    """The same meaning, with its bits in another order, or one of them inverted where it is read."""
    circuit = QuantumCircuit(2, 2)
    first, second = (1, 0) if kind == "swapped" else (0, 1)
    circuit.ry(0.7, first)
    circuit.cx(first, second)
    circuit.rx(0.4, second)
    if kind == "inverted":
        circuit.x(first)
    circuit.measure([first, second], [1, 0] if kind == "bits" else [0, 1])
    return circuit


@pytest.mark.parametrize("kind", ["plain", "swapped", "inverted", "bits"])
def test_shared_counts_are_mitigated_for_the_qubits_that_read_them(service, keeping, kind):
    """One qubit reads far worse than the other here: its correction on the other's bit is wrong several times over."""
    running = service("ibm", noise=0.2, readout=15.0)
    asked = [of_one_meaning(name) for name in ("plain", kind)]
    runs = [
        run_mitigated(running.resource(), [circuit], [40_000], Mitigation(), **keeping("a", share_meaning=True))
        for circuit in asked
    ]
    for circuit, run in zip(asked, runs, strict=True):
        (found,), wanted = run.counts, ideal(circuit)
        bits = np.unpackbits(found.outcomes, axis=1, count=2, bitorder="little")
        for bit in range(2):
            value = found.readings[bit, bits[:, bit]] @ found.counts / found.shots
            exact = sum(p * (-1) ** (x >> bit & 1) for x, p in enumerate(wanted))
            assert value == pytest.approx(exact, abs=0.05)
