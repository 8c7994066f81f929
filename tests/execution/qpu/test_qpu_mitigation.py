"""Mitigation on the emulator: against what mthree makes of the same counts, and against the ideal value."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator
from scipy.sparse import csr_array

from tasks.execution.mitigation import Mitigation, extrapolate, fold, readings, run_mitigated
from tasks.execution.qpu import QpuError
from tasks.execution.qpu.asking import present_target
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.programs import make_programs
from tasks.reconstruction import estimate, tensor_values
from tasks.tensor import FragmentTensor, SampledData, Structure, VariantCounts, VariantData
from tests.execution.qpu.circuits import ghz

mthree = pytest.importorskip("mthree", reason="mthree has no wheel for this Python")

SHOTS = 6000


def parity(counts, mask):
    """Value and error of one parity through reconstruction, the only place where counts become numbers."""
    masks = np.array([mask], dtype=bool)
    samples = SampledData((), (VariantData((), (), np.array([0]), masks, counts),))
    tensor = FragmentTensor(0, tensor_values(samples, 1), samples)
    structure = Structure(((),), (), np.zeros((1, 1), dtype=np.int64), (1,), csr_array(np.ones((1, 1))))
    values, errors = estimate(structure, [tensor])
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
    assert error == pytest.approx(np.hypot(1.5 * parts[0][1], 0.5 * parts[1][1]))


@pytest.mark.parametrize("factors", [(), (3,), (1, 2), (1, 5, 3)])
def test_noise_factors_that_cannot_be_folded_are_refused(factors):
    with pytest.raises(QpuError, match="odd, rising"):
        Mitigation(noise_factors=factors)
