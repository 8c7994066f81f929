"""Mitigation on the emulator: against what mthree makes of the same counts, and against the ideal value."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator
from scipy.sparse import csr_array

from tasks.execution.mitigation.extrapolation import Mitigation, extrapolate, fold
from tasks.execution.mitigation.readout import ReadoutCalibration, readings
from tasks.execution.qpu import Fault, QpuError
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.programs import make_programs
from tasks.execution.qpu.retry import present_target
from tasks.model.tensor import FragmentTensor, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction import estimate_values, tensor_values
from tests.execution.qpu.circuits import ghz, run_mitigated, run_variants
from tests.execution.qpu.conftest import until

mthree = pytest.importorskip("mthree", reason="mthree has no wheel for this Python")

SHOTS = 6000


def parity(counts, mask):
    """Value and error of one parity through reconstruction, the only place where counts become numbers."""
    masks = np.array([mask], dtype=bool)
    samples = SampledData((), (VariantData((), (), np.array([0]), masks, counts),))
    tensor = FragmentTensor(0, tensor_values(samples, 1), samples)
    structure = Structure(((),), (), np.zeros((1, 1), dtype=np.int64), (1,), csr_array(np.ones((1, 1))))
    values, errors = estimate_values(structure, [tensor])
    return float(values[0]), float(errors[0])


def ones(qubits):
    circuit = QuantumCircuit(qubits, qubits)
    circuit.x(range(qubits))
    circuit.measure(range(qubits), range(qubits))
    return circuit


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_readout_errors_are_taken_out_and_the_error_bar_pays_for_it(service, options, kind):
    resource = service(kind).resource()
    raw = run_mitigated(resource, [ones(4)], [SHOTS], options=options)
    mitigated = run_mitigated(resource, [ones(4)], [SHOTS], Mitigation(), options)
    before, error_before = parity(raw.counts[0], [1, 1, 1, 1])
    after, error_after = parity(mitigated.counts[0], [1, 1, 1, 1])
    assert before < 0.9 and error_after > error_before
    # Gates err too, by 0.03 % each; the calibration's own error is 0.5 % for each of four bits at most.
    assert abs(after - 1) < 4 * error_after + 0.02
    assert mitigated.counts[0].shots == SHOTS and len(mitigated.counts) == 1


def test_means_are_those_of_mthree():
    flips = [(0.03, 0.08), (0.05, 0.1), (0.02, 0.04)]
    rng = np.random.default_rng(11)
    counts = rng.multinomial(50_000, rng.dirichlet(np.full(8, 2.0)))
    found = VariantCounts(np.arange(8, dtype=np.uint8)[:, None], counts.astype(np.int64), 3, readings=readings(flips))
    judge = mthree.M3Mitigation()
    judge.cals_from_matrices([np.array([[1 - a, b], [a, 1 - b]]) for a, b in flips])
    named = {f"{outcome:03b}": int(count) for outcome, count in enumerate(counts)}
    quasi = judge.apply_correction(named, [0, 1, 2], return_mitigation_overhead=True)
    for label, mask in (("ZZZ", [1, 1, 1]), ("IZI", [0, 1, 0]), ("ZIZ", [1, 0, 1])):
        value, bound = quasi.expval_and_stddev(label)
        mine, error = parity(found, mask)
        assert mine == pytest.approx(float(value), abs=1e-5), label
        # mthree bounds the error by that of all bits together; ours is that of the bits in the parity.
        assert error < 1.1 * float(bound), label


def test_calibration_is_paid_once_for_a_calibration(service, options):
    running = service("ibm")
    for _ in range(2):
        run_mitigated(running.resource(), [ones(3)], [100], Mitigation(calibration_shots=500), options)
    assert [len(job.work) for job in running.jobs()] == [3, 1]


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
@pytest.mark.parametrize("factor", [3, 5])
def test_folding_multiplies_two_qubit_gates_and_does_nothing_else(service, options, kind, factor):
    with QpuClient(service(kind).resource()) as client:
        program = make_programs([ghz(3)], present_target(client))[0]
    folded = fold(program, factor)

    def entangling(circuit):
        return sum(len(entry.qubits) == 2 for entry in circuit.data)

    assert entangling(folded.circuit) == factor * entangling(program.circuit)
    plain, long = (one.circuit.remove_final_measurements(inplace=False) for one in (program, folded))
    assert Operator(plain).equiv(Operator(long))


def test_extrapolation_halves_the_bias_of_noisy_gates(service, options):
    # Rotations that the transpiler cannot merge away, and whose ideal parity is known from simulation without noise.
    circuit = QuantumCircuit(2, 2)
    for layer in range(6):
        circuit.ry(0.35 + 0.1 * layer, 0)
        circuit.rx(0.25 + 0.05 * layer, 1)
        circuit.cx(0, 1)
    ideal = float(np.abs(Operator(circuit).data[:, 0]) ** 2 @ [1, -1, -1, 1])
    circuit.measure([0, 1], [0, 1])
    running = service("ibm", noise=4.0, readout=0.25)
    raw = run_mitigated(running.resource(), [circuit], [40_000], Mitigation(), options)
    zero = run_mitigated(running.resource(), [circuit], [40_000], Mitigation(noise_factors=(1, 3)), options)
    before, _ = parity(raw.counts[0], [1, 1])
    after, error = parity(zero.counts[0], [1, 1])
    assert zero.counts[0].shots == pytest.approx(40_000, abs=2)
    assert abs(after - ideal) < 0.5 * abs(before - ideal) + 2 * error, (ideal, before, after, error)


def test_the_error_of_an_extrapolation_is_that_of_its_parts():
    rows = np.array([[0], [1]], dtype=np.uint8)
    counts = [VariantCounts(rows, np.array(pair), 1) for pair in ((700, 300), (200, 100))]
    value, error = parity(extrapolate(counts, np.array([1.5, -0.5])), [1])
    parts = [parity(one, [1]) for one in counts]
    assert value == pytest.approx(1.5 * parts[0][0] - 0.5 * parts[1][0])
    # To what the two more flips weigh that an error bar counts: once for the sum, and once for each part.
    assert error == pytest.approx(np.hypot(1.5 * parts[0][1], 0.5 * parts[1][1]), rel=5e-3)


@pytest.mark.parametrize("factors", [(), (3,), (1, 2), (1, 5, 3)])
def test_noise_factors_that_cannot_be_folded_are_refused(factors):
    with pytest.raises(QpuError, match="odd, rising"):
        Mitigation(noise_factors=factors)


def test_a_qubit_whose_readout_tells_nothing_is_avoided_not_mitigated(service, options):
    run = run_mitigated(service("ibm", readout=1000.0).resource(), [ones(2)], [500], Mitigation(), options)
    assert run.counts == [None]
    assert run.failures[0].fault is Fault.IMPLAUSIBLE and "hardly tells 0 from 1" in str(run.failures[0])


def worse(running, factor=3.0):
    """The device's error rates triple, and its next calibration says so."""
    chip = running.emulator.devices["QPU_A"].chip
    chip.worsen(factor)
    chip.publish()


def after(condition, act):
    """A thread that acts as soon as the condition holds."""

    def wait():
        until(condition, every=0.005)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_calibration_that_changes_while_a_job_waits_brings_its_own_rates(service, options):
    running = service("ibm", noise=0.2, readout=15.0)
    device, resource = running.emulator.devices["QPU_A"], running.resource()
    run_mitigated(resource, [ones(2)], [100], Mitigation(), options)  # this process knows the first calibration now
    device.options = replace(device.options, queue=1.0)
    thread = after(lambda: len(running.jobs()) == 2, lambda: worse(running))
    run = run_mitigated(resource, [ones(2)], [SHOTS], Mitigation(), replace(options, look=0.1))
    thread.join()
    value, error = parity(run.counts[0], [1, 1])
    assert abs(value - 1) < 4 * error + 0.02
    old, new = run.targets
    assert run.sources[0][0].epochs == (new,)
    # The two readout circuits of the new calibration are the third job.
    assert [len(job.work) for job in running.jobs()] == [3, 1, 2]
    assert len(list(options.journal.glob("*.result"))) == 2, "nothing is forgotten before it is handed over"
    stale = replace(run.counts[0], readings=readings([run.targets[old].readout[q] for q in run.sources[0][0].measured]))
    assert abs(parity(stale, [1, 1])[0] - 1) > 0.1, "the old rates would have been wrong"


def test_jobs_before_and_after_a_recalibration_are_each_read_with_their_own_rates(service, options):
    running = service("ibm", circuits=1, queue=2.0, noise=0.2, readout=15.0)

    read = [0]  # how often the calibration was read before there was a result

    def read_again():
        """The calibration is read once more right after the result; the next job waits for two seconds then."""
        requests = running.emulator.requests
        if not requests.get("result"):
            read[0] = requests.get("properties", 0)
        return requests.get("properties", 0) > read[0]

    thread = after(read_again, lambda: worse(running))
    run = run_mitigated(running.resource(), [ones(2)] * 3, [SHOTS] * 3, Mitigation(), replace(options, look=0.1))
    thread.join()
    assert [len(source.epochs) for (source,) in run.sources] == [1, 1, 1]
    assert len({source.epochs for (source,) in run.sources}) == 2
    for counts in run.counts:
        value, error = parity(counts, [1, 1])
        assert abs(value - 1) < 4 * error + 0.02


def test_a_recalibration_between_two_calls_of_a_process_leaves_no_doubt(service, options):
    running = service("ibm", noise=0.2, readout=5.0)
    run_variants(running.resource(), [ones(2)], [100], options)
    worse(running)
    run = run_variants(running.resource(), [ones(2)], [100], options)
    ((source,),) = run.sources
    assert source.epochs == (run.target.epoch,) and not run.notes


def test_a_job_that_ran_across_a_recalibration_takes_the_mean_of_both_and_says_so(service, options):
    running = service("ibm", noise=0.2, readout=5.0)
    resource = running.resource()
    run_mitigated(resource, [ones(2)], [100], Mitigation(), options)
    running.fault("job:publish=3")
    run = run_mitigated(resource, [ones(2), ones(2)], [SHOTS] * 2, Mitigation(), options)
    (source,) = run.sources[0]
    assert len(source.epochs) == 2 and any("recalibrated while job" in note for note in run.notes)
    known = [ReadoutCalibration(options.journal, "QPU_A", epoch).read() for epoch in source.epochs]
    mean = [np.mean([rates[qubit] for rates in known], axis=0) for qubit in source.measured]
    np.testing.assert_allclose(run.counts[0].readings, readings(mean))
    assert known[1][source.measured[0]][1] > 1.5 * known[0][source.measured[0]][1], "measured again after the change"
