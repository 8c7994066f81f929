"""Several gates severed as one: runs on one pair of qubits, and gates that a copy of one qubit serves."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log2

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import n_local
from qiskit.quantum_info import Operator, SparsePauliOp
from qiskit.synthesis import synth_qft_full
from qiskit_aer import AerSimulator
from qompass import QompassEstimator

from scheduler_policies import Device, Kind
from scheduler_policies.cost import why_not
from scheduler_policies.machine import QPU_SPEED
from tasks.cutting import CuttingError, GateCut, WireCut, make_plan, make_plans, predicted_bytes, structure_of
from tasks.cutting.cuts import cuts_document, cuts_from
from tasks.cutting.joined import lasting_axes, run_matrix
from tasks.cutting.objectives import OBJECTIVES
from tasks.cutting.search.candidates import candidate_cuts
from tasks.cutting.search.seen import views
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.execution.works import works_of
from tasks.inputs.validation import read_cuts
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.template import Unsuited, template_of
from tasks.reconstruction import estimate_values
from tests.oracles import problem_of, random_problem, uncut_values


def exact_values(problem, plan):
    tensors = [
        fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
        for job, schemes in zip(exact_jobs(plan), plan.schemes, strict=True)
    ]
    return estimate_values(structure_of(problem, plan), tensors)[0]


def turned(circuit, rng):
    for q in range(circuit.num_qubits):
        circuit.u(*rng.uniform(0, 3, 3), q)


def between(middle, seed, qubits=5):
    """A circuit with ``middle(circuit)`` in it, and the number of its first instruction."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits)
    turned(circuit, rng)
    circuit.cx(3, 4)
    circuit.cx(0, 1)
    first = len(circuit.data)
    middle(circuit)
    turned(circuit, rng)
    circuit.cz(3, 4)
    circuit.cx(2, 3)
    circuit.cx(0, 1)
    turned(circuit, rng)
    return random_problem(circuit, rng), first


def controls(c):
    c.cx(1, 2)
    c.rz(0.3, 1)
    c.ry(0.4, 2)
    c.cp(0.7, 1, 3)
    c.cx(2, 3)
    c.crx(0.8, 1, 4)
    c.rzz(0.3, 0, 1)


def targets(c):
    c.cx(2, 1)
    c.rx(0.3, 1)
    c.rxx(0.7, 1, 3)
    c.cx(2, 3)
    c.cx(4, 1)


def along_y(c):
    c.cy(2, 1)
    c.ry(0.3, 1)
    c.ryy(0.7, 3, 1)
    c.cy(4, 1)


@pytest.mark.parametrize(
    "middle, members", [(controls, (0, 3, 5)), (targets, (0, 2, 4)), (along_y, (0, 2, 3))], ids=["z", "x", "y"]
)
@pytest.mark.parametrize("kind", ["", "hadamard"])
def test_a_copy_stands_for_all_gates_that_leave_a_qubit_diagonal(middle, members, kind):
    problem, first = between(middle, 7)
    cut = GateCut(first + members[0], kind, tuple(first + k for k in members[1:]))
    plan = make_plan(problem, cuts=(cut,))
    assert [(f.width, f.copies) for f in plan.fragments] == [(2, 0), (4, 1)]
    assert plan.sampling_overhead == pytest.approx(9)
    np.testing.assert_allclose(exact_values(problem, plan), uncut_values(problem), atol=1e-9)


def test_a_copy_may_outlive_a_wire_of_its_qubit():
    problem, first = between(controls, 8)
    cuts = (GateCut(first, "", (first + 3, first + 5)), WireCut(first + 6, 1))
    plan = make_plan(problem, cuts=cuts)
    np.testing.assert_allclose(exact_values(problem, plan), uncut_values(problem), atol=1e-9)


def kak(c):
    c.cx(1, 2)
    c.u(0.3, 0.4, 0.5, 1)
    c.ry(0.4, 2)
    c.cz(2, 1)
    c.rx(0.1, 1)
    c.crx(0.3, 1, 2)


def phases(c):
    c.rzz(0.3, 1, 2)
    c.cz(1, 0)
    c.rz(0.2, 2)
    c.cp(0.5, 2, 3)
    c.cz(2, 1)
    c.rzz(0.2, 0, 1)
    c.cp(0.4, 1, 2)


@pytest.mark.parametrize(
    "middle, members, overhead", [(kak, (0, 3, 5), 49), (phases, (0, 4, 6), 9)], ids=["one pair", "diagonal"]
)
def test_a_run_on_one_pair_is_severed_as_its_product(middle, members, overhead):
    problem, first = between(middle, 9)
    cut = GateCut(first + members[0], "", tuple(first + k for k in members[1:]))
    plan = make_plan(problem, cuts=(cut,))
    single = make_plan(problem, cuts=tuple(GateCut(i) for i in cut.instructions))
    assert plan.sampling_overhead < overhead + 1e-9 < single.sampling_overhead
    assert sum(f.copies for f in plan.fragments) == 0 and len(plan.bonds) == 1
    np.testing.assert_allclose(exact_values(problem, plan), uncut_values(problem), atol=1e-9)


def test_gates_that_are_no_run_and_share_no_diagonal_qubit_are_refused():
    problem, first = between(lambda c: (c.cx(1, 2), c.h(1), c.cx(2, 3), c.cx(1, 3)), 1)
    with pytest.raises(CuttingError, match=rf"instructions {first}, {first + 3} cannot be severed as one"):
        make_plan(problem, cuts=(GateCut(first, "", (first + 3,)),))
    with pytest.raises(CuttingError, match="in order, each once and in one cut only"):
        make_plan(problem, cuts=(GateCut(first, "", (first,)),))
    with pytest.raises(CuttingError, match="is not a two-qubit gate"):
        make_plan(problem, cuts=(GateCut(first, "", (first + 1,)),))


def test_cuts_files_and_records_name_all_gates_of_a_cut(tmp_path):
    problem, first = between(controls, 7)
    cut = GateCut(first, "", (first + 3, first + 5))
    document = cuts_document((cut, GateCut(3)))
    assert document["gates"][0] == {"instruction": first, "with": [first + 3, first + 5]}
    assert cuts_from(json.loads(json.dumps(document))) == (cut, GateCut(3))
    (tmp_path / "cuts.json").write_text(json.dumps({"gates": document["gates"][:1]}))
    assert read_cuts(tmp_path / "cuts.json", problem.circuit) == (cut,)
    assert cut.moved(10, 2) == GateCut(first + 10, "", (first + 13, first + 15))


def test_gates_that_no_observable_sees_are_left_out_of_a_cut():
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.cz(0, 1)
    circuit.cz(0, 2)
    circuit.cz(0, 3)
    problem = problem_of(circuit, ["IIXX"], np.ones((1, 1)))  # of qubits 0 and 1
    plan = make_plan(problem, cuts=(GateCut(4, "", (5, 6)),))
    assert plan.cuts == (GateCut(4, "", (5, 6)),)
    problem = problem_of(circuit, ["IIXI"], np.ones((1, 1)))
    plan = make_plan(problem, cuts=(GateCut(4, "", (5, 6)),))
    assert plan.cuts == (GateCut(4),), "the two others act after all that is seen"
    np.testing.assert_allclose(exact_values(problem, plan), uncut_values(problem), atol=1e-9)


def test_whether_a_gate_is_diagonal_holds_for_all_its_angles():
    circuit = QuantumCircuit(2)
    circuit.rx(0.0, 0)
    circuit.crx(0.0, 0, 1)
    circuit.rzz(0.3, 0, 1)
    rx, crx, rzz = (item.operation for item in circuit.data)
    assert lasting_axes(rx, 0) == (False, True, False)
    assert lasting_axes(crx, 0) == (True, False, False) and lasting_axes(crx, 1) == (False, True, False)
    assert lasting_axes(rzz, 0) == lasting_axes(rzz, 1) == (True, False, False)


def test_the_product_of_a_run_is_that_of_the_circuit():
    circuit = QuantumCircuit(2)
    kak_like = [lambda: circuit.cx(0, 1), lambda: circuit.ry(0.3, 0), lambda: circuit.cp(0.4, 1, 0)]
    for add in kak_like:
        add()
    circuit.s(1)
    acting = [(item.operation, [circuit.find_bit(q).index for q in item.qubits]) for item in circuit.data]
    np.testing.assert_allclose(run_matrix(acting, range(4), (0, 1)), Operator(circuit).data, atol=1e-12)


def mixture(qubits, gates, seed):
    """Gates that are diagonal along an axis and others, several on one pair, in an order of chance."""
    rng = np.random.default_rng([seed, qubits])
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        t = float(rng.uniform(0.2, 1.5))
        rng.choice(
            [
                lambda a=a, b=b: circuit.cx(a, b),
                lambda a=a, b=b, t=t: circuit.rzz(t, a, b),
                lambda a=a, b=b, t=t: circuit.cp(t, a, b),
                lambda a=a, b=b, t=t: circuit.rxx(t, a, b),
                lambda a=a, b=b: circuit.cz(a, b),
            ]
        )()
        one = int(rng.integers(qubits))
        rng.choice([lambda one=one, t=t: circuit.rz(t, one), lambda one=one, t=t: circuit.rx(t, one), lambda: None])()
    return random_problem(circuit, rng)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("objective", ["work", "overhead"])
def test_plans_with_gates_severed_as_one_have_the_uncut_values(seed, objective):
    problem = mixture(7, 18, seed)
    found = candidate_cuts(problem, 4, OBJECTIVES[objective])
    joined = [cuts for cuts in found if any(len(cut.instructions) > 1 for cut in cuts)]
    assert joined, f"seed {seed}"
    for cuts in joined[:3]:
        plan = make_plan(problem, cuts=cuts)
        if max(sum(log2(leg.dimension) for leg in f.legs) for f in plan.fragments) > 20:
            continue
        np.testing.assert_allclose(
            exact_values(problem, plan), uncut_values(problem), atol=1e-8, err_msg=f"seed {seed}: {cuts}"
        )
    assert len(views(problem, OBJECTIVES[objective], runs=False)) == 1


def test_sampled_values_of_a_copy_are_within_their_errors():
    problem, first = between(controls, 7)
    plan = make_plan(problem, cuts=(GateCut(first, "", (first + 3, first + 5)),), shots=40_000)
    truth, pulls = uncut_values(problem), []
    for seed in range(12):
        counts = uniform_shots(plan, 40_000)
        by_fragment = {}
        for job in sampled_jobs(plan, counts, seed=seed):
            by_fragment.setdefault(job.fragment.index, []).append((job, run_job(job)))
        tensors = [
            fragment_tensor(f, s, by_fragment[f.index]) for f, s in zip(plan.fragments, plan.schemes, strict=True)
        ]
        values, errors = estimate_values(structure_of(problem, plan), tensors)
        pulls.append((values - truth) / errors)
    pulls = np.array(pulls)
    assert np.abs(pulls).max() < 5 and 0.6 < np.sqrt((pulls**2).mean()) < 1.4, pulls


def test_the_searches_use_copies_where_they_save():
    full = n_local(10, "ry", "cx", entanglement="full", reps=1).decompose()
    full = full.assign_parameters(np.linspace(0.1, 3, full.num_parameters))
    problem = problem_of(full, ["Z" * 10], np.ones((1, 1)))
    plan = make_plan(problem, max_qubits=6, shots=10**8)
    assert log2(plan.sampling_overhead) <= 6 * 2 * log2(3) + 1e-9, "24 gates and more in six cuts"
    assert max(f.width for f in plan.fragments) <= 6
    np.testing.assert_allclose(exact_values(problem, plan), uncut_values(problem), atol=1e-8)
    qft = problem_of(synth_qft_full(12), ["Z" * 12], np.ones((1, 1)))
    plan = make_plan(qft, max_qubits=8)
    assert len(plan.cuts) <= 12 and max(f.width for f in plan.fragments) <= 8
    np.testing.assert_allclose(exact_values(qft, plan), uncut_values(qft), atol=1e-8)


def test_angles_of_gates_on_a_copy_vary_under_one_plan():
    circuit = QuantumCircuit(6)
    angles = [Parameter(f"t{k}") for k in range(12)]
    circuit.h(range(6))
    for k, (a, b) in enumerate([(0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (3, 4), (4, 5), (2, 3), (0, 3)]):
        circuit.rzz(angles[k], a, b)
    for q in range(3):
        circuit.rx(angles[9 + q], [q, q + 3])
    observable = SparsePauliOp(["ZZIIII", "IIIZZI", "ZIIIIX"], [1.0, 0.5, -0.3])
    rng = np.random.default_rng(3)
    points = rng.uniform(0.2, 1.4, (3, 12))
    found = QompassEstimator(max_qubits=3).run([(circuit, observable, points)]).result()[0].data.evs
    for point, value in zip(points, found, strict=True):
        labels = observable.paulis.to_labels()
        bound = problem_of(circuit.assign_parameters(point), labels, observable.coeffs.real[None])
        assert value == pytest.approx(uncut_values(bound)[0], abs=1e-8)


def test_the_product_of_gates_whose_angles_vary_is_no_cut():
    angle = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.cx(0, 1)
    circuit.ry(angle, 1)
    circuit.cx(0, 1)
    template = template_of(circuit, [SparsePauliOp("ZZ")])
    plan = make_plan(template.problem, cuts=(GateCut(2, "", (4,)),))
    with pytest.raises(Unsuited, match="severed as one"):
        ParametricPlan(template, plan)


def copies_in_turn():
    """Two qubits that one after the other control gates on three others."""
    rng = np.random.default_rng(4)
    circuit = QuantumCircuit(5)
    turned(circuit, rng)
    cuts = []
    for control in (3, 4):
        first = len(circuit.data)
        for target in range(3):
            circuit.cx(control, target)
        cuts.append(GateCut(first, "", (first + 1, first + 2)))
        turned(circuit, rng)
        circuit.cx(3, 4)
        circuit.cx(0, 1)
        circuit.cx(1, 2)
    turned(circuit, rng)
    return random_problem(circuit, rng), tuple(cuts)


def test_a_copy_that_is_measured_lends_its_qubit_to_the_next():
    problem, cuts = copies_in_turn()
    plan = make_plan(problem, cuts=cuts, max_qubits=4)
    shared = max(plan.fragments, key=lambda f: f.copies)
    assert (shared.num_qubits, shared.width, shared.copies, max(shared.homes) + 1) == (5, 4, 2, 4)
    with pytest.raises(CuttingError, match="leave a fragment of 4 qubits"):
        make_plan(problem, cuts=cuts, max_qubits=3)
    np.testing.assert_allclose(exact_values(problem, plan), uncut_values(problem), atol=1e-9)


def test_variants_whose_qubits_are_lent_have_the_same_distribution():
    problem, cuts = copies_in_turn()
    plan = make_plan(problem, cuts=cuts, shots=10**6)
    shared = max(plan.fragments, key=lambda f: f.copies)
    schemes = plan.schemes[shared.index]
    apart, lent = VariantBuilder(shared, schemes), VariantBuilder(shared, schemes, defer=False)
    simulator, shots = AerSimulator(seed_simulator=5), 4_000
    for variant in enumerate_variants(shared, schemes)[::5]:
        one, other = apart.circuit(variant), lent.circuit(variant)
        assert other.num_qubits == 4 < one.num_qubits and other.count_ops()["reset"] == 1
        wanted, found = (simulator.run(c, shots=shots).result().get_counts() for c in (one, other))
        away = sum(abs(wanted.get(k, 0) - found.get(k, 0)) for k in {*wanted, *found}) / (2 * shots)
        assert away < 2.5 * np.sqrt(2**one.num_clbits / (np.pi * shots)), variant


def test_a_device_that_resets_takes_a_fragment_that_another_has_no_room_for():
    problem, cuts = copies_in_turn()
    plan = make_plan(problem, cuts=cuts, shots=10**6)
    work = max(works_of(plan, 100), key=lambda w: w.width)
    qpu = Device("qpu", Kind.QPU, units=1, qubits=4, speed=QPU_SPEED)
    assert why_not(qpu, work) is None
    for limits in (replace(qpu.limits, reset=False), replace(qpu.limits, mid_circuit_measurement=False)):
        assert "5 needed" in str(why_not(replace(qpu, limits=limits), work))
    assert make_plan(problem, cuts=cuts, shots=10**6, devices=(qpu,)).cuts == plan.cuts
    with pytest.raises(CuttingError, match="takes 5 qubits"):
        still = replace(qpu, limits=replace(qpu.limits, reset=False))
        make_plan(problem, cuts=cuts, shots=10**6, devices=(still,))


def test_where_the_fewest_shots_take_too_much_memory_what_is_quick_to_join_is_planned():
    qft = problem_of(synth_qft_full(10), ["Z" * 10], np.ones((1, 1)))
    cheapest, *others = make_plans(qft, max_qubits=6, shots=10**12, most=8)
    bound = min(map(predicted_bytes, [cheapest, *others])) - 1
    plan = make_plan(qft, max_qubits=6, shots=10**12, memory_bytes=bound)
    assert predicted_bytes(plan) <= bound
    assert plan.sampling_overhead > cheapest.sampling_overhead
