"""The whole cycle through the unmodified client, for every type of resource there is an emulator for."""

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.execution.qpu import Fault, QpuError
from tests.execution.qpu.circuits import distance, frequencies, ghz, ideal, midway, run_variants

SHOTS = 4000
FAR = 0.05  # three standard errors of the distance at 4000 shots and 8 outcomes


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_counts_follow_the_ideal_distribution_on_a_noiseless_device(service, options, kind):
    running = service(kind, noise=0.0)
    circuits = [ghz(3), midway(), ghz(2, 2.1)]
    run = run_variants(running.resource(), circuits, [SHOTS] * 3, options)
    assert not run.failures
    for circuit, counts in zip(circuits, run.counts, strict=True):
        assert counts.shots == SHOTS
        assert distance(frequencies(counts), ideal(circuit)) < FAR
    assert not running.open_sessions()


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_the_device_is_as_noisy_as_its_calibration_says(service, options, kind):
    run = run_variants(service(kind).resource(), [ghz(3)], [SHOTS], options)
    far = distance(frequencies(run.counts[0]), ideal(ghz(3)))
    assert 0.03 < far < 0.5
    flipped = np.mean([sum(pair) / 2 for pair in run.target.readout])
    assert 0.005 < flipped < 0.2


def test_bits_beyond_the_first_byte_are_where_they_belong(service, options):
    circuit = QuantumCircuit(11, 11)
    circuit.x([0, 3, 8, 10])
    circuit.measure(range(11), range(11))
    run = run_variants(service("ibm", backend="hanoi", noise=0.0).resource(), [circuit], [20], options)
    assert run.counts[0].outcomes.tolist() == [[0b00001001, 0b101]]


def test_a_variant_that_measures_nothing_costs_nothing(service, options):
    running = service()
    run = run_variants(running.resource(), [QuantumCircuit(2), QuantumCircuit(1)], [7, 9], options)
    assert [counts.shots for counts in run.counts] == [7, 9]
    assert not running.jobs()


def test_as_few_jobs_as_the_limits_allow(service, options):
    running = service("ibm", circuits=4, shots=1000, noise=0.0)
    run = run_variants(running.resource(), [ghz(2, 0.1 * k) for k in range(6)], [2500] + [300] * 5, options)
    # 2500 shots are three pieces, so there are eight circuits: two jobs of four.
    assert [job.circuits for job in run.jobs] == [4, 4]
    assert [counts.shots for counts in run.counts] == [2500] + [300] * 5


def test_variants_with_many_numbers_of_shots_share_jobs_where_a_job_has_one_number(service, options):
    shots = [100, 105, 111, 118, 240, 250, 260, 275]
    running = service("iqm", noise=0.0)
    run = run_variants(running.resource(), [ghz(2, 0.1 * k) for k in range(8)], shots, options)
    assert len(run.jobs) == 2
    assert all(asked <= counts.shots <= 1.25 * asked for asked, counts in zip(shots, run.counts, strict=True))


def test_a_measurement_midway_needs_an_ancilla_where_the_device_has_none(service, options):
    running = service("ibm", dynamic=False, noise=0.0)
    run = run_variants(running.resource(), [midway()], [SHOTS], options)
    assert distance(frequencies(run.counts[0]), ideal(midway())) < FAR
    assert len(set(run.programs[0].measured)) == 3


def test_no_room_for_an_ancilla_is_told_before_anything_is_submitted(service, options):
    circuit = QuantumCircuit(7, 8)
    circuit.h(0)
    circuit.measure(0, 7)
    circuit.h(0)
    circuit.cx(range(6), range(1, 7))
    circuit.measure(range(7), range(7))
    running = service("ibm", dynamic=False)
    with pytest.raises(QpuError, match="8 qubits, 1 of them ancillas") as caught:
        run_variants(running.resource(), [circuit], [10], options)
    assert caught.value.fault is Fault.UNFIT
    assert not running.jobs() and not running.open_sessions()


def test_transpilation_is_done_once_for_a_calibration(service, options):
    running = service()
    circuits = [ghz(3, 0.01 * k) for k in range(5)]
    first = run_variants(running.resource(), circuits, [10] * 5, options)
    again = run_variants(running.resource(), circuits, [10] * 5, options)
    assert all(a is b for a, b in zip(first.programs, again.programs, strict=True))


def test_polling_waits_longer_and_longer(service, options):
    run = run_variants(service("ibm", queue=1.0).resource(), [ghz(2)], [10], options)
    # 20 ms growing by a tenth reach a second with the 19th poll; at a fixed 20 ms it would be 50.
    assert 2 <= run.jobs[0].polls <= 20


def test_jobs_that_ask_for_the_same_are_all_run(service, options):
    running = service("ibm", circuits=1, shots=1000, noise=0.0)
    run = run_variants(running.resource(), [ghz(2), ghz(2)], [3000, 1000], options)
    assert [counts.shots for counts in run.counts] == [3000, 1000]
    assert len(running.jobs()) == 4


def test_a_variant_some_of_whose_shots_are_missing_has_no_counts(service, options):
    running = service("ibm", circuits=1, shots=1000)
    running.fault("job:fail")
    run = run_variants(running.resource(), [ghz(2), ghz(2, 1.0)], [2000, 500], options)
    assert run.counts[0] is None and set(run.failures) == {0}
    assert run.counts[1].shots == 500
