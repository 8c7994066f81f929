"""The exact path agrees with the uncut statevector to 1e-9: families, random circuits, wire, gate and mixed cuts."""

from __future__ import annotations

import numpy as np
import pytest
from mqt.bench import BenchmarkLevel, get_benchmark
from mqt.bench.benchmarks import create_circuit
from qiskit import QuantumCircuit
from qiskit.circuit.random import random_circuit
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import RemoveBarriers, RemoveFinalMeasurements

from tasks.cutting import CuttingError, GateCut, WireCut, make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job
from tasks.reconstruction import estimate_values
from tests.oracles import brickwork, problem_of, random_problem, uncut_values

FAMILIES = [
    ("ghz", 8, 4),
    ("ghz", 20, 6),
    ("graphstate", 8, 5),
    ("graphstate", 12, 6),
    ("graphstate", 16, 9),
    ("vqe_real_amp", 6, 3),
    ("vqe_real_amp", 10, 5),
    ("vqe_real_amp", 12, 7),
    ("vqe_su2", 6, 3),
    ("vqe_su2", 10, 6),
    ("wstate", 6, 3),
    ("wstate", 10, 5),
    ("wstate", 14, 8),
    ("qaoa", 4, 2),
    ("qaoa", 5, 3),
    ("qft", 4, 3),
    ("qft", 5, 4),
    ("qftentangled", 5, 4),
    ("qnn", 8, 4),
    ("bv", 8, 4),
    ("bv", 12, 7),
]


def benchmark_circuit(family, qubits):
    drawn = {"seed": qubits} if family == "graphstate" else {}  # else a graph of its own in every process
    circuit = get_benchmark(create_circuit(family, qubits, **drawn), BenchmarkLevel.INDEP)
    return PassManager([RemoveBarriers(), RemoveFinalMeasurements()]).run(circuit)


def random_case(seed, kind):
    """A random problem and cuts at random places of it."""
    rng = np.random.default_rng([seed, ["gates", "wires", "mixed"].index(kind)])
    qubits = int(rng.integers(4, 9))
    circuit = random_circuit(qubits, int(rng.integers(3, 7)), max_operands=2, seed=int(rng.integers(1 << 30)))
    problem = random_problem(circuit, rng)
    return problem, random_cuts(circuit, rng, gates=kind != "wires", wires=kind != "gates")


def computed(problem, plan):
    structure = structure_of(problem, plan)
    tensors = [
        fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
        for job, schemes in zip(exact_jobs(plan), plan.schemes, strict=True)
    ]
    values, errors = estimate_values(structure, tensors)
    assert not errors.any(), "the exact path has no statistical error"
    return values


@pytest.mark.parametrize("family, qubits, width", FAMILIES)
def test_benchmark_families_in_fragments(family, qubits, width):
    seed = 1000 + qubits
    problem = random_problem(benchmark_circuit(family, qubits), np.random.default_rng(seed))
    plan = make_plan(problem, max_qubits=width)
    assert len(plan.fragments) > 1 or not plan.cuts
    assert max(f.width for f in plan.fragments) <= width
    np.testing.assert_allclose(computed(problem, plan), uncut_values(problem), atol=1e-9, err_msg=f"seed {seed}")


@pytest.mark.parametrize("seed", range(12))
def test_brickwork_in_fragments(seed):
    rng = np.random.default_rng(seed)
    qubits = int(rng.integers(6, 17))
    circuit = brickwork(qubits, int(rng.integers(2, 5)), rng, gate=["cz", "cx", "rzz", "ecr"][seed % 4])
    problem = random_problem(circuit, rng)
    plan = make_plan(problem, max_qubits=(qubits + 1) // 2)
    np.testing.assert_allclose(computed(problem, plan), uncut_values(problem), atol=1e-9, err_msg=f"seed {seed}")


@pytest.mark.parametrize("kind", ["gates", "wires", "mixed"])
@pytest.mark.parametrize("seed", range(14))
def test_random_circuits_with_cuts_anywhere(seed, kind):
    """Cuts at random places: several legs a fragment, both ends on one fragment, cuts that separate nothing."""
    problem, cuts = random_case(seed, kind)
    plan = make_plan(problem, cuts=cuts)
    np.testing.assert_allclose(
        computed(problem, plan), uncut_values(problem), atol=1e-9, err_msg=f"seed {seed}, {kind}, cuts {cuts}"
    )


def random_cuts(circuit, rng, *, gates, wires):
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    # At most two gates: a general one has a leg of dimension 16.
    cuts = [GateCut(int(i)) for i in rng.choice(two, min(len(two), 2), replace=False)] if gates and two else []
    seen, severable = set(), []
    for i, item in enumerate(circuit.data):
        for qubit in (circuit.find_bit(q).index for q in item.qubits):
            if qubit in seen:
                severable.append((i, qubit))
            seen.add(qubit)
    if wires and severable:
        chosen = rng.choice(len(severable), min(len(severable), 4 if not gates else 3), replace=False)
        cuts += [WireCut(*severable[k]) for k in chosen]
    return tuple(cuts)


def test_a_plan_that_needs_no_cut_runs_the_circuit_whole():
    rng = np.random.default_rng(5)
    problem = random_problem(brickwork(5, 3, rng), rng)
    plan = make_plan(problem, max_qubits=5)
    assert plan.cuts == () and len(plan.fragments) == 1
    np.testing.assert_allclose(computed(problem, plan), uncut_values(problem), atol=1e-9)


def test_many_diagonal_terms_take_the_transform_and_agree():
    """More Z masks on one fragment than the Gram matrices are worth: the Walsh-Hadamard branch."""
    rng = np.random.default_rng(9)
    circuit = brickwork(8, 3, rng)
    problem = random_problem(circuit, rng, terms=1, observables=1)
    labels = sorted({"".join(rng.choice(list("IZ"), 8)) for _ in range(120)} | {"XIIIIIII", "XZZIZZIZ"})
    from tests.oracles import problem_of

    problem = problem_of(circuit, labels, rng.normal(size=(4, len(labels))))
    plan = make_plan(problem, max_qubits=4)
    np.testing.assert_allclose(computed(problem, plan), uncut_values(problem), atol=1e-9)


def test_no_plan_is_said_in_one_line():
    rng = np.random.default_rng(3)
    problem = random_problem(brickwork(4, 2, rng), rng)
    with pytest.raises(CuttingError, match="`max_qubits` 0"):
        make_plan(problem, max_qubits=0)


def test_many_cuts_on_one_wire_share_its_branches():
    """Ten ends on one stretch of a wire: joined leg by leg, not by a matrix of all their entries (16 TiB)."""
    circuit = QuantumCircuit(11)
    cuts = []
    for q in range(10):
        circuit.ry(0.3 + 0.2 * q, q)
        cuts.append(GateCut(len(circuit.data)))
        circuit.cx(q, 10)
    labels = ["Z" * 11, "Z" + "I" * 10, "XZ" + "I" * 9]
    problem = problem_of(circuit, labels, np.eye(3))
    plan = make_plan(problem, cuts=tuple(cuts))
    values = [run_job(job)["values"] for job in exact_jobs(plan) if len(job.fragment.legs) == 10]
    assert len(values) == 1 and values[0].shape[:-1] == (4,) * 10
    np.testing.assert_allclose(computed(problem, plan), uncut_values(problem), atol=1e-12)
