"""What a plan shows on QPUs with errors, predicted before it runs, against shots with noise and exact distributions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import Pauli, Statevector, random_unitary
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from scheduler_policies import Device, Kind
from scheduler_policies.device import GateRate
from scheduler_policies.machine import QPU_SPEED
from tasks.cut import asked_of_plan, chosen_plan
from tasks.cutting import GateCut, WireCut, make_plan, structure_of
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.mitigation.extrapolation import extrapolate, mitigation_of
from tasks.execution.mitigation.readout import readings
from tasks.execution.qpu.devices import target_of
from tasks.execution.qpu.programs import make_programs
from tasks.execution.simulators.as_circuits import run_circuits
from tasks.forecast import forecast
from tasks.model.tensor import FragmentTensor, SampledData, VariantCounts, VariantData
from tasks.options import Options
from tasks.prediction import noise_biases, shot_variances
from tasks.prediction.noise import Noise, noise_of
from tasks.reconstruction import contract, estimate_values
from tasks.reconstruction.statistics.counts_to_tensor import tensor_values
from tests.oracles import brickwork, problem_of, uncut_values


def qpu(name, qubits, two, readout):
    gates = [GateRate("cz", (a, b), two) for a in range(qubits) for b in range(qubits) if a != b]
    gates += [GateRate("sx", (q,), two / 10) for q in range(qubits)]
    return Device(
        name, Kind.QPU, qubits=qubits, gates=tuple(gates), readout_errors=(readout,) * qubits, speed=QPU_SPEED
    )


def uneven(qubits, seed, two=0.02):
    """A line of qubits with errors that differ by up to ten times."""
    rng = np.random.default_rng(seed)
    pairs = [(q, q + 1) for q in range(qubits - 1)]
    errors = two * np.exp(rng.uniform(-1.2, 1.2, 3 * qubits))
    gates = [GateRate("cz", place, errors[k]) for k, pair in enumerate(pairs) for place in (pair, pair[::-1])]
    gates += [GateRate("sx", (q,), errors[qubits + q] / 10) for q in range(qubits)]
    gates += [GateRate("rz", (q,), 0.0) for q in range(qubits)]
    coupling = tuple(sorted(gate.qubits for gate in gates if len(gate.qubits) == 2))
    return Device(
        "QPU_A", Kind.QPU, qubits=qubits, basis_gates=("cz", "rz", "sx"), coupling=coupling, gates=tuple(gates),
        readout_errors=tuple(errors[2 * qubits :].tolist()), speed=QPU_SPEED,
    )  # fmt: skip


def transpiled(circuits, device):
    """As a run has them on a device whose pairs of qubits are told, else for any qubits."""
    if device.coupling is None:
        return transpile(circuits, basis_gates=["u", "cz"], optimization_level=1)
    return [program.circuit for program in make_programs(circuits, target_of(device))]


def noise_model(device, factor=1):
    """What a device's calibration says, its two-qubit gates' noise so many times."""
    if device.coupling is not None:
        noise = NoiseModel(basis_gates=["cz", "rz", "sx"])
        for gate in device.gates:
            states = 2 ** len(gate.qubits)
            if gate.error:
                error = depolarizing_error(states / (states - 1) * gate.error, len(gate.qubits))
                noise.add_quantum_error(error, gate.name, list(gate.qubits))
        for qubit, wrong in enumerate(device.readout_errors):
            noise.add_readout_error(ReadoutError([[1 - wrong, wrong], [wrong, 1 - wrong]]), [qubit])
        return noise
    noise, one, two = NoiseModel(), 2 * device.one_qubit_error, 4 / 3 * device.two_qubit_error
    noise.add_all_qubit_quantum_error(depolarizing_error(1 - (1 - two) ** factor, 2), ["cz"])
    noise.add_all_qubit_quantum_error(depolarizing_error(one, 1), ["u"])
    wrong = device.readout_error
    noise.add_all_qubit_readout_error(ReadoutError([[1 - wrong, wrong], [wrong, 1 - wrong]]))
    return noise


def shown_by(problem, plan, device, shots, seed, mitigation="none"):
    """Values of a plan whose variants run, with shots, under the noise that a device's calibration says."""
    against = mitigation_of(mitigation)
    each, tensors = shots // sum(cost.variants for cost in plan.costs), []
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        builder, variants = VariantBuilder(fragment, schemes), enumerate_variants(fragment, schemes)
        circuits = transpiled([builder.circuit(one) for one in variants], device)
        parts = []
        for factor, share in zip(against.noise_factors, abs(against.shares) / abs(against.shares).sum(), strict=True):
            simulator = AerSimulator(noise_model=noise_model(device, factor), method="density_matrix")
            seeds = range(seed + 1000 * factor, seed + 1000 * factor + len(variants))
            parts.append(run_circuits(circuits, [round(share * each)] * len(variants), seeds, simulator))
        counts = [own[0] if len(own) == 1 else extrapolate(own, against.shares) for own in zip(*parts, strict=True)]
        if against.readout:
            wrong = device.readout_error
            counts = [replace(own, readings=readings([(wrong, wrong)] * own.num_bits)) for own in counts]
        meanings = [builder.meaning(one) for one in variants]
        data = [
            VariantData(one.settings, own.leg_bits, own.factors, own.factor_masks, seen)
            for one, own, seen in zip(variants, meanings, counts, strict=True)
        ]
        legs = tuple(leg.kind.spanning(scheme) for leg, scheme in zip(fragment.legs, schemes, strict=True))
        samples = SampledData(legs, data)
        tensors.append(FragmentTensor(fragment.index, tensor_values(samples, fragment.num_factors), samples))
    return estimate_values(structure_of(problem, plan), tensors)


def law(circuit, wrong):
    """(outcome,) chances of what a circuit's bits read, each wrongly with a chance; its first bit counts least."""
    bits, plain = {}, circuit.copy_empty_like()
    for item in circuit.data:
        if item.name == "measure":
            bits[circuit.find_bit(item.clbits[0]).index] = circuit.find_bit(item.qubits[0]).index
        else:
            plain.append(item)
    chances = Statevector(plain).probabilities([bits[k] for k in range(len(bits))]) if bits else np.ones(1)
    for k in range(len(bits)):
        right = chances.reshape(-1, 2, 1 << k)
        chances = (1 - wrong) * right + wrong * right[:, ::-1]
    return chances.reshape(-1)


def exact_moments(problem, plan, wrong, mitigated):
    """(observable,) mean of the estimates, and the sum over variants of a shot's variance, outcome by outcome.

    The estimate is linear in a tensor, and that in what a variant shows: one outcome alone, beside the others' laws.
    """
    shots, structure = 1e9, structure_of(problem, plan)
    laws, builders = [], [VariantBuilder(*own) for own in zip(plan.fragments, plan.schemes, strict=True)]
    variants = [enumerate_variants(*own) for own in zip(plan.fragments, plan.schemes, strict=True)]
    for builder, own in zip(builders, variants, strict=True):
        laws.append([law(builder.circuit(one), wrong) for one in own])

    def tensor(fragment, schemes, builder, own, shown):
        data = []
        for one, chances in zip(own, shown, strict=True):
            meaning, bits = builder.meaning(one), len(chances).bit_length() - 1
            table = (np.arange(len(chances))[:, None] >> np.arange(max(1, bits))) & 1
            read = readings([(wrong, wrong)] * bits) if mitigated and bits else None
            counts = VariantCounts(np.packbits(table, axis=1, bitorder="little"), shots * chances, bits, read)
            data.append(VariantData(one.settings, meaning.leg_bits, meaning.factors, meaning.factor_masks, counts))
        samples = SampledData(tuple(leg.kind.spanning(s) for leg, s in zip(fragment.legs, schemes, strict=True)), data)
        return FragmentTensor(fragment.index, tensor_values(samples, fragment.num_factors))

    pieces = list(zip(plan.fragments, plan.schemes, builders, variants, strict=True))
    tensors = [tensor(*piece, shown) for piece, shown in zip(pieces, laws, strict=True)]
    variance = 0.0
    for k, (piece, shown) in enumerate(zip(pieces, laws, strict=True)):
        units = np.eye(tensors[k].values.size).reshape(-1, *tensors[k].values.shape)
        along = [contract(structure, [*tensors[:k], FragmentTensor(k, unit), *tensors[k + 1 :]]) for unit in units]
        for v, chances in enumerate(shown):
            alone = [tensor(*piece, [*shown[:v], one, *shown[v + 1 :]]).values for one in np.eye(len(chances))]
            found = np.reshape(alone, (len(alone), -1)) @ np.array(along)
            variance += chances @ np.square(found) - (chances @ found) ** 2
    return contract(structure, tensors), variance


@pytest.mark.parametrize("mitigation", ["none", "readout"])
@pytest.mark.parametrize(("kind", "wrong"), [("GHZ", 0.1), ("random", 0.05)])
def test_spread_and_bias_of_wrong_readouts_are_those_of_the_exact_laws(kind, wrong, mitigation):
    """Uncut, by a gate, by a wire: to first order the whole variance, and mended readouts shift nothing."""
    seed = round(100 * wrong)
    rng, circuit = np.random.default_rng(seed), QuantumCircuit(3)
    circuit.h(0)
    for q in range(2):
        if kind == "random":
            circuit.append(random_unitary(2, rng).to_instruction(), [q])
        circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["IZZ", "ZZZ", "XXX"], np.eye(3) + 0.3)
    device, last = qpu("QPU_A", 6, 0.0, wrong), len(problem.circuit.data) - 1
    for cuts in ((), (GateCut(last),), (WireCut(last, 1),)):
        plan = make_plan(problem, cuts=cuts, shots=10**6)
        mean, variance = exact_moments(problem, plan, wrong, mitigation == "readout")
        known = shot_variances(problem, plan, devices=[device], mitigation=mitigation)
        assert known.values.sum(axis=0) == pytest.approx(variance, rel=1e-5, abs=1e-5), f"{cuts}, seed {seed}"
        bias = noise_biases(problem, plan, [device], mitigation=mitigation)
        assert mean - uncut_values(problem) == pytest.approx(bias, abs=1e-6), f"{cuts}, seed {seed}"
        assert (mitigation == "none") == (np.abs(bias).max() > 0.01)


def two_clusters():
    """Six qubits, three and three dense, one gate between; large values."""
    circuit = QuantumCircuit(6)
    for layer in range(3):
        circuit.ry(0.25 + 0.1 * layer, range(6))
        for a, b in ((0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)):
            circuit.cz(a, b)
        if layer == 1:
            circuit.cz(2, 3)
    return problem_of(circuit, ["ZZIIII", "IIIIZZ", "IIZZII"], np.eye(3))


def test_bias_is_predicted_as_noisy_shots_show_it():
    problem = two_clusters()
    device, truth = qpu("QPU_A", 6, 0.02, 0.01), uncut_values(problem)
    for cuts in ((), (GateCut(next(i for i, g in enumerate(problem.circuit.data) if between_clusters(problem, g))),)):
        plan = make_plan(problem, cuts=cuts, shots=400_000)
        bias = noise_biases(problem, plan, [device])
        values, errors = shown_by(problem, plan, device, 400_000, 5)
        assert np.abs(bias).min() > 5 * errors.max(), "there is something to predict"
        assert np.abs(values - truth - bias).sum() < 0.2 * np.abs(bias).sum(), f"{cuts}: {values - truth}, not {bias}"


def test_bias_and_spread_are_those_of_the_qubits_that_are_used():
    """On a line whose qubits differ transpiling takes good ones, and gates of neighbours need no swaps."""
    seed, told, shown, by_mean = 5, [], [], []
    device, circuit = uneven(6, seed), brickwork(4, 2, np.random.default_rng([seed, 0]), gate="cx")
    problem = problem_of(circuit, ["IIZZ", "ZZII", "IXXI"], np.eye(3))
    places = [{circuit.find_bit(qubit).index for qubit in item.qubits} for item in circuit.data]
    middle, mean = places.index({1, 2}), Noise.of(device)
    for cuts in ((), (GateCut(middle),), (WireCut(middle, 1),)):
        plan = make_plan(problem, cuts=cuts, shots=10**6)
        values, errors = shown_by(problem, plan, device, 60_000, seed)
        shown.append(values - uncut_values(problem))
        told.append(noise_biases(problem, plan, [device]))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("tasks.prediction.noise_bias.noise_of", lambda plan, *_: [mean] * len(plan.costs))
            by_mean.append(noise_biases(problem, plan, [device]))
        known = shot_variances(problem, plan, devices=[device])
        ratios = errors / known.even_errors(60_000 // len(known.fragments))
        assert (ratios > 0.8).all() and (ratios < 1.25).all(), f"{cuts}, seed {seed}: {ratios}"
    size = np.abs(shown).sum()
    apart, by_the_mean = (np.abs(np.subtract(one, shown)).sum() / size for one in (told, by_mean))
    assert apart < 0.3 < 0.45 < by_the_mean, f"{apart} and {by_the_mean} of the bias, seed {seed}"
    assert 0.8 < np.abs(told).sum() / size < 1.2


def test_what_extrapolation_leaves_of_the_bias_and_adds_to_the_spread_is_predicted():
    """Shots of gates as they are and folded: 3/2 of the one less 1/2 of the other, 4 times the variance."""
    problem = two_clusters()
    device, truth = qpu("QPU_A", 6, 0.02, 0.05), uncut_values(problem)
    for cuts in ((), (GateCut(next(i for i, g in enumerate(problem.circuit.data) if between_clusters(problem, g))),)):
        plan, shots = make_plan(problem, cuts=cuts, shots=400_000), 400_000
        bias, before = (noise_biases(problem, plan, [device], mitigation=how) for how in ("readout+zne", "readout"))
        values, errors = shown_by(problem, plan, device, shots, 5, "readout+zne")
        known = shot_variances(problem, plan, devices=[device], mitigation="readout+zne")
        predicted = known.even_errors(shots // len(known.fragments))
        assert (errors / predicted > 0.8).all() and (errors / predicted < 1.25).all(), f"{errors / predicted}"
        assert (np.abs(values - truth - bias) < 4 * errors + 0.25 * np.abs(before)).all(), (values - truth, bias)
        assert (np.abs(bias) < 0.5 * np.abs(before)).all()


@pytest.mark.parametrize("two, readout", [(0.02, 0.01), (0.005, 0.0025)])
def test_bias_is_that_of_a_density_matrix(two, readout):
    """At errors of half a per cent as at two: an rzz is two CZ there, and paths meet a part of the gates in a cone."""
    device, told, shown = qpu("QPU_A", 6, two, readout), [], []
    labels = ["IIIIZZ", "IIZZII", "IIXXII"]
    drawn = [brickwork(6, 4, np.random.default_rng(seed), gate=gate) for seed in (1, 2, 3) for gate in ("cx", "rzz")]
    for problem in (two_clusters(), *(problem_of(circuit, labels, np.eye(3)) for circuit in drawn)):
        circuit = transpile(problem.circuit, basis_gates=["u", "cz"], optimization_level=1)
        circuit.save_density_matrix()
        state = (
            AerSimulator(noise_model=noise_model(device), method="density_matrix")
            .run(circuit)
            .result()
            .data()["density_matrix"]
        )
        told += noise_biases(problem, make_plan(problem, cuts=(), shots=10**6), [device]).tolist()
        for x, z, truth in zip(problem.terms.x, problem.terms.z, uncut_values(problem), strict=True):
            seen = (1 - 2 * readout) ** int((x | z).sum())
            shown.append(state.expectation_value(Pauli((z, x))).real * seen - truth)
    apart = np.abs(np.subtract(told, shown)).sum() / np.abs(shown).sum()
    assert apart < 0.2, f"{apart:.2f} of the bias"


def test_readout_that_is_mitigated_shifts_nothing():
    """As a run shows it (`test_readout_errors_of_a_backend_are_mitigated`)."""
    problem, device = two_clusters(), qpu("QPU_A", 6, 0.02, 0.05)
    plan = make_plan(problem, cuts=(), shots=40_000)
    plain, mended = (
        forecast(problem, plan, Options(shots=40_000, mitigation=how), [device]).biases for how in ("none", "readout")
    )
    assert plain == pytest.approx(noise_biases(problem, plan, [device]))
    assert mended == pytest.approx(noise_biases(problem, plan, [qpu("QPU_A", 6, 0.02, 0.0)]))
    assert np.abs(mended).max() < 0.8 * np.abs(plain).max()
    assert forecast(problem, plan, Options(shots=40_000), [qpu("QPU_A", 6, 0.0, 0.05)]).biases == ()


def certain(qubits, kind):
    """A GHZ state, or one of |0> and |1>, prepared by rotations; every value asked is 1 or -1 without noise."""
    circuit = QuantumCircuit(qubits)
    if kind == "GHZ":
        circuit.h(0)
        for q in range(qubits - 1):
            circuit.cx(q, q + 1)
        labels = ["I" * (qubits - 2) + "ZZ", "ZZ" + "I" * (qubits - 2), "X" * qubits]
    else:
        circuit.x([0, 3])
        for q in range(qubits - 1):
            circuit.rzz(0.4, q, q + 1)
        labels = ["I" * (qubits - 1) + "Z", "Z" * qubits, "ZZ" + "I" * (qubits - 2)]
    return problem_of(circuit, labels, np.eye(3))


@pytest.mark.parametrize("two, readout", [(0.02, 0.01), (0.004, 0.03)])
@pytest.mark.parametrize("kind", ["GHZ", "basis"])
def test_errors_are_those_of_what_noisy_qpus_show_where_a_value_is_certain(kind, two, readout):
    """Within a factor of two of the shots, uncut and cut; without noise an uncut value has no error at all."""
    problem, device = certain(6, kind), qpu("QPU_A", 6, two, readout)
    middle = [i for i, g in enumerate(problem.circuit.data) if len(g.qubits) == 2][2]
    for cuts in ((), (GateCut(middle),), (WireCut(middle, 2),)):
        plan, shots = make_plan(problem, cuts=cuts, shots=200_000), 200_000
        each = shots // sum(cost.variants for cost in plan.costs)
        shown = shown_by(problem, plan, device, shots, 3)[1]
        predicted = shot_variances(problem, plan, devices=[device]).even_errors(each)
        ratios = (predicted / shown) ** 2
        assert (ratios > 0.5).all() and (ratios < 2).all(), f"{kind}, {cuts}: {ratios} of the shots"
        if not cuts:
            assert shot_variances(problem, plan).even_errors(each) == pytest.approx(0, abs=1e-7)


def between_clusters(problem, item):
    qubits = [problem.circuit.find_bit(q).index for q in item.qubits]
    return len(qubits) == 2 and min(qubits) < 3 <= max(qubits)


def test_plans_are_chosen_with_the_spread_that_mitigation_adds():
    """A GHZ state read wrongly once in ten: in three pieces it is nearly free of bias, and much worse than whole."""
    circuit, shots = QuantumCircuit(4), 40_000
    circuit.h(0)
    for q in range(3):
        circuit.cx(q, q + 1)
    problem, device = problem_of(circuit, ["Z" * 4], np.eye(1)), qpu("QPU_A", 4, 0.001, 0.1)
    asked = asked_of_plan(Options(shots=shots, max_qubits=4, mitigation="readout"), [device])
    taken = chosen_plan(problem, None, asked)
    blind = chosen_plan(problem, None, {**asked, "devices": (replace(device, readout_errors=()),)})
    assert len(blind.cuts) > len(taken.cuts)
    errors = []
    for plan in (taken, blind):
        known = shot_variances(problem, plan, devices=[device], mitigation="readout")
        bias = noise_biases(problem, plan, [device], mitigation="readout")
        errors.append(float(np.hypot(known.even_errors(shots // len(known.fragments)), bias)[0]))
    values, shown = shown_by(problem, taken, device, shots, 5, "readout")
    assert abs(values[0] - 1) < 4 * errors[0] and shown[0] == pytest.approx(errors[0], rel=0.2)
    assert errors[0] < 0.5 * errors[1], f"{errors}"


@pytest.mark.parametrize("pays", [True, False])
def test_fragments_are_narrower_where_noise_makes_it_pay(pays):
    """A wide QPU beside a narrow one: where the wide one is much the worse, else not."""
    problem, shots = two_clusters(), 40_000
    wide, narrow = qpu("WIDE", 6, 0.02 if pays else 0.0005, 0.01 if pays else 0.0005), qpu("NARROW", 4, 0.0005, 0.0005)
    asked = asked_of_plan(Options(shots=shots), [wide, narrow])
    taken, full = chosen_plan(problem, None, asked), make_plan(problem, cuts=(), shots=shots)
    assert max(fragment.num_qubits for fragment in taken.fragments) == (3 if pays else 6)
    predicted = forecast(problem, taken, Options(shots=shots), [wide, narrow])
    assert len(predicted.biases) == 3
    if pays:
        truth, found = uncut_values(problem), []
        for plan, device in ((taken, narrow), (full, wide)):
            runs = [shown_by(problem, plan, device, shots, seed)[0] for seed in (1, 10_001, 20_001)]
            found.append(float(np.sqrt(((np.array(runs) - truth) ** 2).mean(axis=0)).max()))
        assert found[0] < 0.5 * found[1], f"measured errors {found}"


def test_a_fragment_that_another_plan_has_too_is_transpiled_once(monkeypatch):
    circuit = QuantumCircuit(6)
    for qubit in range(5):
        circuit.ry(0.3 + qubit, qubit)
        circuit.cz(qubit, qubit + 1)
    problems = [problem_of(circuit, ["ZZZZZZ"], np.ones((1, 1))) for _ in range(2)]
    one, other = (make_plan(problem, cuts=(GateCut(5),), shots=10**5) for problem in problems)
    device = uneven(7, 3)
    found = noise_of(one, [device], "none")
    monkeypatch.setattr("tasks.prediction.placed.VariantBuilder", lambda *_: pytest.fail("built again"))
    assert other.fragments[0] is not one.fragments[0] and noise_of(other, [device], "none") == found
    monkeypatch.undo()
    assert noise_of(one, [replace(device, readout_errors=(0.1,) * 7)], "none") != found, "at another calibration"
