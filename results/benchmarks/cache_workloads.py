"""Cache benchmark 4: executions avoided, wall time and wrong values on whole workloads; both stores, 1 and 8 workers.

A workload is a list of rounds; a round is a list of circuits of which counts are wanted, as a caller that does not
look for repetitions would ask. Every answer is compared with the exact distribution: wrong is an outcome that cannot
occur, or a parity more than six standard deviations off.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator

from results.benchmarks.cache_keys import ask_peer
from tasks.cutting.plan import GateCut
from tasks.cutting.planner import make_plan
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.draws import Job, Request
from tasks.execution.cache.keys import KeyMaker, Target
from tasks.execution.sampled import run_circuits
from tasks.inputs import make_problem
from tasks.tensor import VariantCounts
from tests.execution.cache.conftest import RedisServer

logger = logging.getLogger(__name__)

SHOTS = 1024
TARGET = Target("aer", "statevector")
Rounds = list[list[QuantumCircuit]]


@dataclass
class Runner:
    """Runs jobs on Aer, each at least ``pace`` seconds long, as a QPU would."""

    pace: float = 0.0
    seed: int = 0

    def __call__(self, jobs: Sequence[Job]) -> list[VariantCounts]:
        simulator = AerSimulator(method="statevector", max_parallel_threads=1)
        out = []
        for job in jobs:
            self.seed += 1
            out += run_circuits([job.circuit], [job.shots], [self.seed], simulator)
            time.sleep(self.pace)
        return out


def ansatz(n: int, layers: int, rng: np.random.Generator, angles: np.ndarray | None = None) -> QuantumCircuit:
    """RY, RZ layers and a CZ ladder."""
    circuit = QuantumCircuit(n)
    values = rng.uniform(-3, 3, (layers, n, 2)) if angles is None else angles
    for layer in range(layers):
        for q in range(n):
            circuit.ry(values[layer, q, 0], q)
            circuit.rz(values[layer, q, 1], q)
        for q in range(n - 1):
            circuit.cz(q, q + 1)
    return circuit


def naive_wire_cutting(cuts: int, seed: int = 1) -> Rounds:
    """Peng et al.'s sum with 8 terms a cut, both sides run for each term: 2 x 8^k circuits, most of them repeated."""
    rng = np.random.default_rng(seed)
    up, down = ansatz(5, 3, rng), ansatz(5, 3, rng)
    observables = "zzxxyyzz"  # I comes with Z
    states = ["0", "1", "+", "-", "+i", "-i", "0", "1"]
    circuits = []
    for terms in itertools.product(range(8), repeat=cuts):
        first, second = QuantumCircuit(5, 5), QuantumCircuit(5, 5)
        first.compose(up, inplace=True)
        for wire, term in enumerate(terms):
            q = 4 - wire
            if observables[term] == "y":
                first.sdg(q)
            if observables[term] != "z":
                first.h(q)
            if states[term] in ("1", "-", "-i"):
                second.x(wire)
            if states[term] not in "01":
                second.h(wire)
            if "i" in states[term]:
                second.s(wire)
        second.compose(down, inplace=True)
        for circuit in (first, second):
            circuit.measure(range(5), range(5))
            circuits.append(circuit)
    return [circuits]


def cut_circuit(circuit: QuantumCircuit, labels: list[str], width: int) -> list[QuantumCircuit]:
    """Qompass's own distinct variants, with every gate between the first ``width`` qubits and the others severed."""
    problem = make_problem(circuit, SparsePauliOp(labels))
    cuts = []
    for index, item in enumerate(problem.circuit.data):
        sides = {problem.circuit.find_bit(q).index < width for q in item.qubits}
        if len(sides) == 2:
            cuts.append(GateCut(index))
    plan = make_plan(problem, cuts=tuple(cuts), shots=SHOTS)
    out = []
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        builder = VariantBuilder(fragment, schemes)
        out += [builder.circuit(v) for v in enumerate_variants(fragment, schemes)]
    return [c for c in out if c.num_clbits]


def distinct_variants(seed: int = 1) -> Rounds:
    """Distinct variants of a random ansatz: nothing repeats as written; the fair baseline."""
    return [cut_circuit(ansatz(8, 2, np.random.default_rng(seed)), ["ZZZZZZZZ", "XIIIIIIX"], 4)]


def qaoa_circuit(n: int, gammas: Sequence[float], betas: Sequence[float]) -> QuantumCircuit:
    """One layer of QAOA for max-cut on a ring; an angle an edge and an angle a qubit."""
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for edge in range(n):
        circuit.rzz(gammas[edge], edge, (edge + 1) % n)
    for q in range(n):
        circuit.rx(betas[q], q)
    return circuit


def ring_terms(n: int) -> list[str]:
    """The ZZ terms of a ring."""
    labels = []
    for edge in range(n):
        letters = ["I"] * n
        letters[edge] = letters[(edge + 1) % n] = "Z"
        labels.append("".join(letters))
    return labels


def gate_cut_qaoa(seed: int = 1) -> Rounds:
    """QAOA on a ring of 8, cut in two: fragments alike up to names of qubits."""
    gamma, beta = np.random.default_rng(seed).uniform(0.2, 1.3, 2)
    return [cut_circuit(qaoa_circuit(8, [gamma] * 8, [beta] * 8), ring_terms(8), 4)]


def differential_evolution(seed: int = 1, generations: int = 5) -> Rounds:
    """Differential Evolution over the angles of multi-angle QAOA on the cut ring: crossover repeats fragments."""
    rng = np.random.default_rng(seed)
    n, size = 6, 6
    population = rng.uniform(-1.5, 1.5, (size, 2 * n))
    rounds = [[c for x in population for c in cut_circuit(qaoa_circuit(n, x[:n], x[n:]), ring_terms(n), 3)]]
    for _ in range(generations):
        trials = []
        for i in range(size):
            a, b, c = population[rng.choice(size, 3, replace=False)]
            crossed = rng.random(2 * n) < 0.3
            trials.append(np.where(crossed, a + 0.6 * (b - c), population[i]))
        rounds.append([c for x in trials for c in cut_circuit(qaoa_circuit(n, x[:n], x[n:]), ring_terms(n), 3)])
        accepted = rng.random(size) < 0.4
        population = np.where(accepted[:, None], np.array(trials), population)
    return rounds


def parameter_shift(seed: int = 1) -> Rounds:
    """The circuits of twelve entries of a gradient of a cut ansatz; a shift in one fragment leaves the other alone."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-3, 3, (2, 6, 2))
    circuits = []
    for index in np.ndindex(2, 6, 1):
        for shift in (np.pi / 2, -np.pi / 2):
            moved = angles.copy()
            moved[index] += shift
            circuits += cut_circuit(ansatz(6, 2, rng, moved), ["ZZZZZZ"], 3)
    return [circuits]


WORKLOADS: dict[str, Callable[[], Rounds]] = {
    "wire cutting, 2 cuts, naive 8^k": lambda: naive_wire_cutting(2),
    "wire cutting, 3 cuts, naive 8^k": lambda: naive_wire_cutting(3),
    "distinct variants of a plan": distinct_variants,
    "gate-cut QAOA, ring of 8": gate_cut_qaoa,
    "Differential Evolution, cut multi-angle QAOA": differential_evolution,
    "parameter-shift gradient, cut ansatz": parameter_shift,
}


def measure(quick: bool, peer: str | None) -> dict:
    """All workloads without a cache, with it cold and after a restart, on both stores, in 1 and 8 processes."""
    out: dict = {}
    for name, make in WORKLOADS.items():
        if quick and name != "wire cutting, 2 cuts, naive 8^k":
            continue
        logger.info("%s", name)
        rounds = make()
        circuits = [c for part in rounds for c in part]
        row: dict = {"requests": len(circuits), **_distinct(circuits)}
        row["off, 1 worker"] = _timed("off", rounds, 1)
        for store in ("LMDB", "Redis"):
            for workers in (1, 8):
                with tempfile.TemporaryDirectory() as directory:
                    server = RedisServer(Path(directory)) if store == "Redis" else None
                    where = server.url if server else f"{directory}/cache"
                    row[f"{store}, {workers} worker{'s' * (workers > 1)}"] = _timed(where, rounds, workers)
                    if workers == 1:
                        row[f"{store}, after a restart"] = _timed(where, rounds, 1)
                    if server:
                        server.stop()
        row["off, 8 workers"] = _timed("off", rounds, 8)
        out[name] = row
    out["at a QPU's pace"] = _paced(naive_wire_cutting(2), 0.05 if quick else 0.3)
    if peer:
        out["qdislib"] = _peer_workload(peer)
    return out


def _distinct(circuits: Sequence[QuantumCircuit]) -> dict[str, int]:
    keys = KeyMaker()
    written = {keys.counts_key(c, TARGET, meaning=False).digest for c in circuits}
    meaning = {keys.counts_key(c, TARGET).digest for c in circuits}
    return {"distinct as written": len(written), "distinct by meaning": len(meaning)}


def _timed(where: str, rounds: Rounds, workers: int, pace: float = 0.0) -> dict[str, float]:
    """Executions, wall seconds and wrong values. Equal circuits share counts here, as in the published caches."""
    began = time.perf_counter()
    if workers == 1:
        results = [_work(where, rounds, 0, 1, pace)]
    else:
        context = multiprocessing.get_context("fork")
        with context.Pool(workers) as pool:
            results = pool.starmap(_work, [(where, rounds, k, workers, pace) for k in range(workers)])
    seconds = time.perf_counter() - began
    answers = [answer for _, own in results for answer in own]
    return {
        "executions": sum(executed for executed, _ in results),
        "seconds": seconds,
        "wrong": sum(_wrong(circuit, counts) for circuit, counts in answers),
    }


def _work(
    where: str, rounds: Rounds, worker: int, workers: int, pace: float
) -> tuple[int, list[tuple[QuantumCircuit, VariantCounts]]]:
    cache, run = open_cache(where), Runner(pace, 10_000 * worker)
    answers = []
    for part in rounds:
        mine = part[worker::workers]
        for start in range(0, len(mine), 8):
            for circuit in mine[start : start + 8]:
                draw = cache.counts([Request(circuit, SHOTS)], TARGET, run)[0]
                assert draw is not None
                answers.append((circuit, draw.counts))
    cache.close()
    return cache.tally.executed, answers


def _wrong(circuit: QuantumCircuit, counts: VariantCounts) -> bool:
    bare = circuit.remove_final_measurements(inplace=False)
    qubit_of = {}
    for item in circuit.data:
        if item.operation.name == "measure":
            qubit_of[circuit.find_bit(item.clbits[0]).index] = circuit.find_bit(item.qubits[0]).index
    order = [qubit_of[bit] for bit in range(circuit.num_clbits)]
    exact = Statevector(_unitary_part(circuit, bare)).probabilities(order)
    rows = np.unpackbits(counts.outcomes, axis=1, count=counts.num_bits, bitorder="little").astype(np.int64)
    index = rows @ (1 << np.arange(counts.num_bits))
    if (exact[index] < 1e-12).any():
        return True
    signs = 1 - 2 * (np.bitwise_count(np.arange(len(exact))) & 1).astype(float)
    expected = float(exact @ signs)
    seen = float((counts.counts * signs[index]).sum() / counts.shots)
    return bool(abs(seen - expected) > 6 * np.sqrt(max(1 - expected**2, 1e-9) / counts.shots) + 1e-9)


def _unitary_part(circuit: QuantumCircuit, bare: QuantumCircuit) -> QuantumCircuit:
    out = QuantumCircuit(circuit.num_qubits)
    for item in circuit.data:
        if item.operation.name not in ("measure", "barrier"):
            out.append(item.operation, [circuit.find_bit(q).index for q in item.qubits])
    return out if bare.num_qubits <= out.num_qubits else bare


def _paced(rounds: Rounds, pace: float) -> dict[str, float]:
    """The first workload where every execution takes as long as on a QPU."""
    circuits = [rounds[0][:128]]
    with tempfile.TemporaryDirectory() as directory:
        cached = _timed(f"{directory}/cache", circuits, 1, pace)
    plain = _timed("off", circuits, 1, pace)
    return {
        "seconds an execution": pace,
        "requests": len(circuits[0]),
        "executions": cached["executions"],
        "ratio": plain["seconds"] / cached["seconds"],
        "wrong": cached["wrong"],
    }


def _peer_workload(peer: str) -> dict:
    """Qdislib's wire cutting with its own cache on a circuit like the first workload's, and the exact value."""
    import qiskit.qasm2

    out = {}
    for seed in range(3):
        circuit = QuantumCircuit(6)
        rng = np.random.default_rng(seed)
        for q in range(6):
            circuit.ry(float(rng.uniform(0.2, 1.4)), q)
        for q in range(2):
            circuit.cz(q, q + 1)
        circuit.rx(0.4, 2)
        for q in range(2, 5):
            circuit.cz(q, q + 1)
        for q in range(6):
            circuit.ry(0.5, q)
        exact = float(Statevector(circuit).expectation_value(SparsePauliOp("ZZZZZZ")).real)
        request = {
            "qasm": qiskit.qasm2.dumps(circuit), "cuts": [["RX_9", "CZ_10"]], "shots": 20_000, "observable": "ZZZZZZ",
        }  # fmt: skip
        answer = ask_peer(peer, {"wire_cut": request})
        assert isinstance(answer, dict)
        out[f"circuit {seed}"] = {**answer, "exact": exact}
    return out
