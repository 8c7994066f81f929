"""Cross-checks against qiskit-addon-cutting: its counts through our reconstruction, our counts beside its estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.primitives import SamplerResult
from qiskit.quantum_info import PauliList, Statevector
from qiskit.result import QuasiDistribution
from qiskit_addon_cutting import reconstruct_expectation_values
from qiskit_addon_cutting.utils.simulation import simulate_statevector_outcomes
from qiskit_aer.primitives import SamplerV2

from tasks.cutting import Cut, GateCut, WireCut, make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.model.problem import Problem
from tasks.reconstruction import estimate_values
from tests.oracles import problem_of
from tests.peers.addon import PeerProblem, peer_problem, peer_structure, peer_tensors, peer_values

OBSERVABLES = ["ZZZZ", "ZIIZ", "IZZI", "XXII", "IXXI", "IIYY", "XYZX", "IIIX", "ZIXI"]


@dataclass(frozen=True)
class Case:
    """A circuit of four qubits and where it is cut."""

    name: str
    circuit: QuantumCircuit
    cuts: tuple[Cut, ...]

    @property
    def problem(self) -> Problem:
        """Every observable of its own, so that none can hide in a sum."""
        return problem_of(self.circuit, OBSERVABLES, np.eye(len(OBSERVABLES)))


def rotated(circuit: QuantumCircuit, rng: np.random.Generator) -> None:
    for q in range(circuit.num_qubits):
        circuit.u(*rng.uniform(0, np.pi, 3), q)


def gate_case(name: str, gates: list[str]) -> Case:
    """Two pairs of qubits with the named gates between them, all cut."""
    rng = np.random.default_rng([11, len(gates), sum(map(ord, name))])
    circuit = QuantumCircuit(4)
    cuts = []
    rotated(circuit, rng)
    for gate in gates:
        circuit.cx(0, 1)
        circuit.cz(2, 3)
        cuts.append(GateCut(len(circuit.data)))
        if gate == "rzz":
            circuit.rzz(float(rng.uniform(0.3, 2.5)), 1, 2)
        elif gate == "rxx_ryy":  # no name the peer knows: both sides fall back on KAK
            both = QuantumCircuit(2, name="kak")
            both.rxx(0.7, 0, 1)
            both.ryy(0.4, 0, 1)
            both.rzz(1.1, 0, 1)
            circuit.append(both.to_gate(), [1, 2])
        else:
            getattr(circuit, gate)(1, 2)
        rotated(circuit, rng)
    return Case(name, _kak_as_unitary(circuit), tuple(cuts))


def _kak_as_unitary(circuit: QuantumCircuit) -> QuantumCircuit:
    from qiskit.circuit.library import UnitaryGate
    from qiskit.quantum_info import Operator

    out = circuit.copy_empty_like()
    for item in circuit.data:
        known = item.operation.name != "kak"
        out.append(item.operation if known else UnitaryGate(Operator(item.operation.definition)), item.qubits)
    return out


def wire_case(name: str, wires: int) -> Case:
    """Two blocks that share ``wires`` qubits, cut between them; 4 qubits in all."""
    rng = np.random.default_rng([13, wires])
    circuit = QuantumCircuit(4)
    shared = range(2 - wires // 2, 2 - wires // 2 + wires)
    first = range(0, shared.stop)
    second = range(shared.start, 4)
    rotated(circuit, rng)
    for a in first[:-1]:
        circuit.cx(a, a + 1)
    rotated(circuit, rng)
    cuts = []
    for a in second[:-1]:
        index = len(circuit.data)
        cuts += [WireCut(index, q) for q in (a, a + 1) if q in shared and not any(c.qubit == q for c in cuts)]
        circuit.cz(a, a + 1)
    for q in second:
        circuit.u(*rng.uniform(0, np.pi, 3), q)
    return Case(name, circuit, tuple(cuts))


CASES = [
    gate_case("one cx", ["cx"]),
    gate_case("one cz", ["cz"]),
    gate_case("cx, rzz", ["cx", "rzz"]),
    gate_case("cz, cx, rzz", ["cz", "cx", "rzz"]),
    gate_case("ecr, rzz", ["ecr", "rzz"]),
    gate_case("a general gate", ["rxx_ryy"]),
    gate_case("swap", ["swap"]),
    wire_case("one wire", 1),
    wire_case("two wires", 2),
]
ids = [case.name for case in CASES]


def sampled_by_peer(peer: PeerProblem, shots: int, seed: int) -> dict:
    """Every distinct sub-experiment once, in Aer, through the primitive that the peer's users call."""
    sampler = SamplerV2(seed=seed, options={"backend_options": {"max_parallel_threads": 1}})
    results = {}
    for fragment in peer.fragments:
        distinct = fragment.distinct()
        results[fragment.label] = dict(
            zip(distinct, sampler.run(list(distinct.values()), shots=shots).result(), strict=True)
        )
    return results


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_same_cuts_and_same_shot_results_give_the_same_values(case):
    peer = peer_problem(case.circuit, case.cuts, PauliList(OBSERVABLES))
    for fragment in peer.fragments:
        distinct = fragment.distinct()
        assert all(distinct[key] == circuit for key, circuit in zip(fragment.keys, fragment.experiments, strict=True))
    results = sampled_by_peer(peer, shots=37, seed=5)
    theirs = peer_values(peer, results)
    ours, errors = estimate_values(peer_structure(peer), peer_tensors(peer, results))
    assert np.abs(theirs).max() > 0.05 and (errors > 0).all()
    np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=0, err_msg="seed 5")


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_exact_path_is_the_peers_exact_result(case):
    peer = peer_problem(case.circuit, case.cuts, PauliList(OBSERVABLES))
    listed = {}
    for fragment in peer.fragments:
        exact = {
            key: QuasiDistribution(simulate_statevector_outcomes(circuit))
            for key, circuit in fragment.distinct().items()
        }
        listed[fragment.label] = SamplerResult([exact[key] for key in fragment.keys], [{} for _ in fragment.keys])
    theirs = np.array(reconstruct_expectation_values(listed, peer.coefficients, peer.subobservables))
    plan = make_plan(case.problem, cuts=case.cuts)
    assert len(plan.cuts) == len(case.cuts) and len(plan.fragments) == len(peer.fragments)
    tensors = [fragment_tensor(job.fragment, (), [(job, run_job(job))]) for job in exact_jobs(plan)]
    ours, errors = estimate_values(structure_of(case.problem, plan), tensors)
    state = Statevector(case.circuit)
    uncut = np.array([state.expectation_value(p).real for p in PauliList(OBSERVABLES)])
    assert not errors.any()
    np.testing.assert_allclose(ours, uncut, atol=1e-9, rtol=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["cx, rzz", "one wire", pytest.param("a general gate", marks=pytest.mark.slow)])
def test_our_own_settings_and_the_peers_estimate_agree_within_their_error_bars(name):
    case = next(case for case in CASES if case.name == name)
    seed, shots = 17, 2_000
    peer = peer_problem(case.circuit, case.cuts, PauliList(OBSERVABLES))
    results = sampled_by_peer(peer, shots, seed)
    theirs = peer_values(peer, results)
    _, their_errors = estimate_values(peer_structure(peer), peer_tensors(peer, results))
    total = shots * peer.num_distinct
    plan = make_plan(case.problem, cuts=case.cuts, shots=total)
    tensors = [
        fragment_tensor(job.fragment, job.schemes, [(job, run_job(job))])
        for job in sampled_jobs(plan, uniform_shots(plan, total), seed)
    ]
    ours, our_errors = estimate_values(structure_of(case.problem, plan), tensors)
    pulls = (ours - theirs) / np.hypot(our_errors, their_errors)
    assert np.abs(pulls).max() < 4.0, f"seed {seed}: {pulls}"
    assert (our_errors < 0.5).all() and (their_errors < 0.5).all()
