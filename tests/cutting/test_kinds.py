"""Cut kinds, and the Hadamard-test cut among them: values, circuits, and where the planner takes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import library
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import random_unitary
from qiskit_aer import AerSimulator

from tasks.cutting import CuttingError, GateCut, WireCut, make_plan, structure_of
from tasks.cutting.cuts import cuts_document, cuts_from
from tasks.cutting.kinds import GATES, KINDS, cheapest_kind, cut_kind
from tasks.cutting.kinds.hadamard_gate import HadamardEnd
from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.wire import PAULI
from tasks.cutting.objectives import OBJECTIVES
from tasks.cutting.partition import partition
from tasks.cutting.schmidt import PAULIS, basis_change, schmidt_form, schmidt_operators
from tasks.cutting.search.sketch import sketch_of
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.errors import InputError
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.execution.simulators.as_circuits import run_circuits
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import variant_distributions
from tasks.execution.works import works_of
from tasks.inputs.validation import read_cuts
from tasks.reconstruction import estimate_values
from tests.oracles import brickwork, random_problem, uncut_values

GATE_KINDS = [kind for kind in KINDS if not kind.takes(None)]
CUT_GATES = [library.CZGate(), library.RZZGate(0.4), library.SwapGate(), UnitaryGate(random_unitary(4, seed=3))]


def cut_once(gate, seed=5):
    """Four qubits with the gate between the halves twice, the first of them cut by Hadamard tests."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(4)
    for layer in range(2):
        for q in range(4):
            circuit.u(*rng.uniform(0, np.pi, 3), q)
        circuit.cx(0, 1)
        circuit.cz(2, 3)
        if layer == 0:
            circuit.append(gate, [2, 1])
    return random_problem(circuit, rng)


@pytest.mark.parametrize("gate", CUT_GATES, ids=lambda gate: gate.name)
def test_every_kind_of_gate_cut_has_the_uncut_values(gate):
    problem = cut_once(gate)
    for name in [kind.name for kind in KINDS if kind.takes(schmidt_form(gate))]:
        plan = make_plan(problem, cuts=(GateCut(6, name),))
        assert [leg.kind for f in plan.fragments for leg in f.legs] == list(cut_kind(schmidt_form(gate), name).ends)
        tensors = [
            fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
            for job, schemes in zip(exact_jobs(plan), plan.schemes, strict=True)
        ]
        values, _ = estimate_values(structure_of(problem, plan), tensors)
        np.testing.assert_allclose(values, uncut_values(problem), atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    "gate, scheme",
    [(CUT_GATES[0], "full"), (CUT_GATES[1], "minimal"), (CUT_GATES[2], "full")],
    ids=["cz", "rzz", "swap"],
)
def test_circuits_of_hadamard_tests_measure_at_their_end_what_the_open_state_says(gate, scheme):
    plan = make_plan(cut_once(gate), cuts=(GateCut(6, "hadamard"),))
    simulator = AerSimulator(method="statevector")
    for fragment in plan.fragments:
        variants = enumerate_variants(fragment, (scheme,))
        builder = VariantBuilder(fragment, (scheme,), defer=False)
        distributions = variant_distributions(fragment, (scheme,), open_state(fragment), variants)
        for variant, ours in zip(variants, distributions, strict=True):
            circuit = builder.circuit(variant)
            names = [item.operation.name for item in circuit]
            assert "measure" not in names[: -circuit.num_clbits], "nothing is measured before the end"
            assert circuit.num_qubits == fragment.num_qubits + (builder.choices[0][variant.settings[0]].measured)
            (counts,) = run_circuits([circuit], [4000], [11], simulator)
            seen = np.zeros(len(ours))
            seen[(counts.outcomes.astype(int) << (8 * np.arange(counts.outcomes.shape[1]))).sum(axis=1)] = counts.counts
            assert np.abs(seen / 4000 - ours).max() < 5 * np.sqrt(0.25 / 4000), f"{variant}, seed 11"


@pytest.mark.parametrize("gate", [CUT_GATES[1], CUT_GATES[2]], ids=lambda gate: gate.name)
def test_sampled_values_of_hadamard_tests_are_within_their_errors(gate):
    problem = cut_once(gate)
    plan = make_plan(problem, cuts=(GateCut(6, "hadamard"),), shots=60_000)
    jobs = sampled_jobs(plan, uniform_shots(plan, 60_000), 5)
    tensors = [
        fragment_tensor(f, s, [(job, run_job(job)) for job in jobs if job.fragment.index == f.index])
        for f, s in zip(plan.fragments, plan.schemes, strict=True)
    ]
    values, errors = estimate_values(structure_of(problem, plan), tensors)
    assert (np.abs(values - uncut_values(problem)) < 4 * errors).all(), (values, errors)


@pytest.mark.parametrize("rank", [2, 4])
def test_a_hadamard_test_reads_the_cross_term_of_its_two_paulis(rank):
    """Signed, Re or Im of a cross term; unsigned, the mean of both diagonal terms."""
    for setting in HadamardEnd(rank).settings("minimal"):
        if not setting.coupling:
            continue
        first = PAULIS["ixyz".index(setting.after[0] if setting.after else "i")]
        second = first @ PAULIS["ixyz".index(setting.coupling[1][1])]
        zero, one = setting.kraus()
        rho = random_unitary(2, seed=7).data @ np.diag([0.8, 0.2]) @ random_unitary(2, seed=7).data.conj().T
        apart = zero @ rho @ zero.conj().T - one @ rho @ one.conj().T
        cross = first @ rho @ second.conj().T
        part = (cross + cross.conj().T) / 2 if setting.coupling[2:] == ("h",) else (cross - cross.conj().T) / 2j
        assert min(np.abs(apart - part).max(), np.abs(apart + part).max()) < 1e-12, setting
        both = zero @ rho @ zero.conj().T + one @ rho @ one.conj().T
        diagonal = first @ rho @ first.conj().T + second @ rho @ second.conj().T
        np.testing.assert_allclose(both, diagonal / 2, atol=1e-12)


def test_devices_without_mid_circuit_measurement_get_the_kind_of_least_variance():
    rng = np.random.default_rng(4)
    problem = random_problem(brickwork(6, 2, rng), rng)
    asked = {"max_qubits": 3, "shots": 10**5}
    usual = make_plan(problem, **asked)
    assert {leg.kind for f in usual.fragments for leg in f.legs} == {GateEnd(2)}
    other = make_plan(problem, **asked, mid_circuit_measurement=False)
    assert {leg.kind for f in other.fragments for leg in f.legs} == {HadamardEnd(2)}
    assert sum(c.variants for c in other.costs) < sum(c.variants for c in usual.costs)
    assert make_plan(problem, max_qubits=3, mid_circuit_measurement=False).cuts == make_plan(problem, max_qubits=3).cuts
    assert [w.ancillas for w in works_of(other, 1)] == [len(f.legs) for f in other.fragments]
    assert [w.mid_circuit_measurements for w in works_of(other, 1)] == [0] * len(other.fragments)
    assert [w.mid_circuit_measurements for w in works_of(usual, 1)] == [len(f.legs) for f in usual.fragments]
    # The cuts that a record keeps make the same plan again, and those that name a kind keep it.
    document = cuts_document(other.cuts)
    assert document["gates"] == [{"instruction": cut.instruction, "kind": "hadamard"} for cut in other.cuts]
    assert make_plan(problem, cuts=cuts_from(document), shots=10**5).fragments[0].legs == other.fragments[0].legs
    named = tuple(GateCut(cut.instruction, "measured") for cut in other.cuts)
    again = make_plan(problem, cuts=named, shots=10**5, mid_circuit_measurement=False)
    assert {leg.kind for f in again.fragments for leg in f.legs} == {GateEnd(2)}


@pytest.mark.parametrize(
    "gate, name",
    [(library.CZGate(), "hadamard"), (library.SwapGate(), "hadamard"), (library.XXPlusYYGate(0.7), "measured")],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_cheapest_kind_is_that_of_least_predicted_variance(gate, name):
    form = schmidt_form(gate)
    kinds = [kind for kind in KINDS if kind.takes(form)]
    assert cheapest_kind(form).name == name
    assert cheapest_kind(form).cost(form.bond()) == min(kind.cost(form.bond()) for kind in kinds)


@pytest.mark.parametrize("kind", GATE_KINDS, ids=lambda kind: f"{kind.name}{kind.ends[0].rank}")
def test_a_setting_is_the_sum_of_leg_basis_maps_that_its_rows_say(kind):
    """Summed and signed outcomes as superoperators: sum_b w_b K_b . K_b^dagger = sum_a row[a] R_a."""
    end = kind.ends[0]
    sigmas = schmidt_operators(end.rank)
    pairs = np.array([np.kron(j, k.conj()) for j in sigmas for k in sigmas])
    maps = np.einsum("ap,pxy->axy", basis_change(end.rank), pairs)
    for setting in {*end.settings("full"), *end.settings("minimal")}:
        plain, signed = end.rows(setting)
        for row, weights in ((plain, (1, 1)), (signed, (1, -1))):
            if row is not None:
                done = sum(w * np.kron(k, k.conj()) for w, k in zip(weights, setting.kraus(), strict=False))
                np.testing.assert_allclose(np.einsum("a,axy->xy", row, maps), done, atol=1e-12, err_msg=setting.name)
        assert (signed is None) == (not setting.measured)


def test_an_unknown_objective_is_refused_with_those_there_are():
    with pytest.raises(CuttingError, match="no objective 'luck': name one of error, overhead, work"):
        make_plan(cut_once(library.CZGate()), max_qubits=2, objective="luck")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_takes_the_plan_of_its_least_score(objective):
    """Of a cut at a wire, at one rzz(.1) and at two CZs, each objective takes what it scores lowest."""
    rng = np.random.default_rng(9)
    problem = random_problem(brickwork(6, 3, rng, gate="rzz"), rng)
    aim = OBJECTIVES[objective]
    plan = make_plan(problem, max_qubits=4, shots=10**5, objective=objective)
    mine = aim.score(sketch_of(partition(problem, plan.cuts)), 10**5)
    for other in OBJECTIVES:
        rival = make_plan(problem, max_qubits=4, shots=10**5, objective=other)
        assert mine <= aim.score(sketch_of(partition(problem, rival.cuts)), 10**5) + 1e-9


def test_the_error_objective_predicts_the_variance_of_one_and_of_few_fragments():
    """One fragment without ends: variance v / n = 1 / shots; two with one CZ: the product formula by hand."""
    problem = cut_once(library.CZGate())
    whole = sketch_of(partition(problem, ()))
    work = 0.02 * np.log2(whole.seconds)
    assert OBJECTIVES["error"].score(whole, 1000) - work == pytest.approx(np.log2(1e-3), abs=1e-6)
    cut = sketch_of(partition(problem, (GateCut(6),)))
    work = 0.02 * np.log2(cut.seconds)
    for shots in (50, 10**6):
        expected = (1 + 9.25 * 2 / shots) ** 2 - 1
        assert OBJECTIVES["error"].score(cut, shots) - work == pytest.approx(np.log2(expected), abs=1e-6)


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(CuttingError, match=r"no kind 'teleported' cuts a gate of 2 terms; .* measured, hadamard"):
        make_plan(cut_once(library.CZGate()), cuts=(GateCut(6, "teleported"),))


def test_the_kind_of_less_predicted_cost_has_less_variance():
    """A CZ by either kind: the one of less predicted cost has the smaller variance at equal shots."""
    problem = cut_once(library.CZGate())
    spread = {}
    for name in ("measured", "hadamard"):
        plan = make_plan(problem, cuts=(GateCut(6, name),), shots=20_000)
        variances = []
        for seed in range(8):
            jobs = sampled_jobs(plan, uniform_shots(plan, 20_000), seed)
            tensors = [
                fragment_tensor(f, s, [(job, run_job(job)) for job in jobs if job.fragment.index == f.index])
                for f, s in zip(plan.fragments, plan.schemes, strict=True)
            ]
            variances.append(estimate_values(structure_of(problem, plan), tensors)[1] ** 2)
        spread[name] = np.mean(variances)
    assert spread["hadamard"] < spread["measured"]


def test_a_cuts_file_may_name_the_kind_of_a_gate(tmp_path):
    circuit = brickwork(4, 2, np.random.default_rng(1))
    (two, *_) = (i for i, item in enumerate(circuit) if len(item.qubits) == 2)
    path = tmp_path / "cuts.json"
    path.write_text(json.dumps({"gates": [{"instruction": two, "kind": "hadamard"}]}))
    assert read_cuts(path, circuit) == (GateCut(two, "hadamard"),)
    path.write_text(json.dumps({"gates": [two, {"instruction": two, "kind": "hadamard"}]}))
    with pytest.raises(InputError, match="named twice"):
        read_cuts(path, circuit)
    for entry in ({"kind": "hadamard"}, {"instruction": two, "kind": 3}, {"instruction": two, "kind": "x", "more": 1}):
        path.write_text(json.dumps({"gates": [entry]}))
        with pytest.raises(InputError, match="is malformed"):
            read_cuts(path, circuit)


def test_a_cuts_file_may_name_the_kind_of_a_wire(tmp_path):
    circuit = brickwork(4, 2, np.random.default_rng(1))
    (*_, last) = (i for i, item in enumerate(circuit) if len(item.qubits) == 2)
    wire = {"instruction": last, "qubit": circuit.find_bit(circuit.data[last].qubits[0]).index}
    path = tmp_path / "cuts.json"
    path.write_text(json.dumps({"wires": [wire | {"kind": "pauli"}]}))
    (cut,) = read_cuts(path, circuit)
    assert cut == WireCut(**wire, kind="pauli") and cuts_from(cuts_document([cut])) == (cut,)
    for more in ({"kind": None}, {"kind": "pauli", "more": 1}, {"qubit": "0"}):
        path.write_text(json.dumps({"wires": [wire | more]}))
        with pytest.raises(InputError, match=r"is malformed|is not one of"):
            read_cuts(path, circuit)


def test_kinds_keep_what_the_rest_of_the_house_asks():
    """What a new kind has to answer, asked of all: settings span, names differ, gates are known, axes add up."""
    ends = [end for kind in KINDS for end in kind.ends]
    for end in ends:
        for scheme in ("full", "minimal"):
            settings = end.settings(scheme)
            assert len({setting.name for setting in settings}) == len(settings)
            assert all(gate in GATES for s in settings for gate in (*s.before, *s.after, *s.coupling))
            assert end.spanning(scheme).num_settings == len(settings)
            assert end.spanning(scheme).inverse.shape == (end.rank**2, len(end.spanning(scheme).columns))
            for setting in settings:
                assert end.operator(setting).shape[1] == end.rank
                assert not setting.coupling or end.ancillas == 1
        assert end.basis_change().shape == (end.rank**2, end.rank**2)
        for own in end.basis_change().reshape(-1, end.rank, end.rank):  # real and symmetric, or i times antisymmetric
            assert not (own.real.any() and own.imag.any())
            np.testing.assert_array_equal(own, own.T if not own.imag.any() else -own.T)
        assert end.opens_qubit or 2**end.open_ancillas == end.rank
        assert end.prepares or 2 ** len(end.marks) == end.rank * (2 if end.opens_qubit else 1)
    assert WireCut(3, 1).kind == ""
    assert {end.rank for end in PAULI.ends} == {GateEnd().rank, HadamardEnd().rank} == {2}


@pytest.mark.parametrize("objective", ["error", "overhead"])
def test_objectives_of_sampled_runs_weigh_wires_and_gates_by_their_sampling_factors(objective):
    """log2 of kappa**2, and a tenth for every cut so that of equal plans the one with fewer cuts is taken."""
    aim = OBJECTIVES[objective]
    assert aim.wire == pytest.approx(2 * np.log2(PAULI.kappa()) + 0.1)
    for gate, kappa in (
        (library.CZGate(), 3.0),
        (library.SwapGate(), 7.0),
        (library.RZZGate(0.3), 1 + 2 * np.sin(0.3)),
    ):
        assert aim.gate(schmidt_form(gate)) == pytest.approx(2 * np.log2(kappa) + 0.1)


def test_the_objective_of_exact_runs_weighs_the_dimensions_of_legs():
    """A wire and a gate of rank 2 have legs of 4, two bits each; sampling factors tell equal ones apart."""
    aim = OBJECTIVES["work"]
    assert aim.wire == pytest.approx(2 + 0.05 * 2 * np.log2(PAULI.kappa()))
    assert aim.gate(schmidt_form(library.CZGate())) == pytest.approx(2 + 0.1 * np.log2(3))
    assert aim.gate(schmidt_form(library.SwapGate())) == pytest.approx(4 + 0.1 * np.log2(7))
