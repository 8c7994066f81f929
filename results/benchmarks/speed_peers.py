"""qiskit-addon-cutting as its users run it, timed within a budget; and the standard error that its shots give."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import PrimitiveResult, SamplerResult
from qiskit.result import QuasiDistribution
from qiskit_addon_cutting import generate_cutting_experiments, partition_problem, reconstruct_expectation_values
from qiskit_addon_cutting.utils.simulation import simulate_statevector_outcomes
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2

from results.benchmarks.speed_problems import Case
from tests.peers.addon import Key, PeerFragment, marked, peer_problem

_MOST_LISTED = 3_000  # sub-experiments; beyond, a random part of them is generated and timed
_GENERATED_SAMPLES = 100


@dataclass(frozen=True)
class PeerTimes:
    """Seconds of each stage, for all sub-experiments.

    Attributes:
        experiments: how many sub-experiments there are.
        ran: how many were run; fewer means that the seconds are extrapolated from these.
        generate, run, reconstruct: seconds.
    """

    experiments: int
    ran: int
    generate: float
    run: float
    reconstruct: float

    @property
    def total(self) -> float:
        """End to end."""
        return self.generate + self.run + self.reconstruct

    @property
    def extrapolated(self) -> bool:
        """Whether a part stands for the whole."""
        return self.ran < self.experiments


def addon_times(case: Case, shots: int | None, budget: float, seed: int) -> PeerTimes:
    """Time the peer: shots in Aer for a number of ``shots``, its ``ExactSampler``'s simulation for None.

    Args:
        case: what to run.
        shots: for each sub-experiment.
        budget: seconds for running and half as many for reconstructing; more work than that is extrapolated.
        seed: of the simulator and of the choice of what is run.
    """
    began = time.perf_counter()
    circuit, paulis = marked(case.circuit, case.cuts, case.paulis)
    parts = partition_problem(circuit, observables=paulis)
    samples = prod(len(basis.maps) for basis in parts.bases)
    listed = samples * len(parts.subcircuits)
    wanted = np.inf if listed <= _MOST_LISTED else _GENERATED_SAMPLES
    if wanted != np.inf:
        np.random.seed(seed)  # noqa: NPY002 - the peer draws its sample from numpy's global stream
    experiments, coefficients = generate_cutting_experiments(parts.subcircuits, parts.subobservables, wanted)
    generate = (time.perf_counter() - began) * samples / len(coefficients)

    sampler = SamplerV2(seed=seed)

    def sampled(sample: int) -> dict:
        return {f: sampler.run([c[sample]], shots=shots).result()[0] for f, c in experiments.items()}

    def exact(sample: int) -> dict:
        return {f: QuasiDistribution(simulate_statevector_outcomes(c[sample])) for f, c in experiments.items()}

    order = np.random.default_rng(seed).permutation(len(coefficients)).tolist()
    results, run = _within(budget, order, exact if shots is None else sampled)
    run *= samples / len(results)

    def combine(many: list[int]) -> None:
        rows = [results[k] for k in many]
        collected = {
            f: SamplerResult([row[f] for row in rows], [{} for _ in rows])
            if shots is None
            else PrimitiveResult([row[f] for row in rows])
            for f in experiments
        }
        reconstruct_expectation_values(collected, [coefficients[order[k]] for k in many], parts.subobservables)

    # A tenth at a time, so that the budget is kept; the work is linear in the samples.
    size = max(1, len(results) // 10)
    pieces = [list(range(a, min(a + size, len(results)))) for a in range(0, len(results), size)]
    done, reconstruct = _within(budget / 2, pieces, combine)
    reconstruct *= samples / sum(len(piece) for piece in pieces[: len(done)])
    return PeerTimes(listed, len(results) * len(experiments), generate, run, reconstruct)


def _within(budget: float, items: list, work: Callable) -> tuple[list, float]:
    """Work on items until the budget is spent (at least one); their results and the seconds they took."""
    began = time.perf_counter()
    results = []
    for item in items:
        results.append(work(item))
        if time.perf_counter() - began > budget:
            break
    return results, time.perf_counter() - began


def addon_error(case: Case, shots: int) -> float | None:
    """Standard error of the peer's value when every sub-experiment has ``shots`` of its own (delta method).

    From the exact outcome distributions of all distinct sub-experiments, covariances of the terms included; None where
    they are too many to list.
    """
    circuit, _ = marked(case.circuit, case.cuts, case.paulis)
    samples = prod(len(basis.maps) for basis in partition_problem(circuit).bases)
    if samples * 2 > _MOST_LISTED:
        return None
    peer = peer_problem(case.circuit, case.cuts, case.paulis)
    count = samples
    coefficients = np.array([value for value, _ in peer.coefficients])
    means, spreads = [], []  # (sample, term) and (sample, term, term) for each fragment
    for fragment in peer.fragments:
        distinct = {key: moments(fragment, key, c) for key, c in fragment.distinct().items()}
        means.append(np.array([distinct[key][0] for key in fragment.keys]))
        spreads.append(np.array([distinct[key][1] for key in fragment.keys]))
    variance = 0.0
    for f in range(len(means)):
        others = np.ones((count, len(case.labels)))
        for g in range(len(means)):
            if g != f:
                others = others * means[g]
        pull = coefficients[:, None] * case.weights[None, :] * others
        variance += float(np.einsum("st,stu,su->", pull, spreads[f], pull))
    return float(np.sqrt(variance / shots))


def moments(fragment: PeerFragment, key: Key, circuit: QuantumCircuit) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances (term,), (term, term) of the signs of one shot of a sub-experiment."""
    probabilities, signs = outcomes(fragment, key, circuit)
    mean = signs @ probabilities
    return mean, (signs * probabilities) @ signs.T - np.outer(mean, mean)


def outcomes(fragment: PeerFragment, key: Key, circuit: QuantumCircuit) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (outcome,) of one shot of a sub-experiment, and the sign (term, outcome) that each gives."""
    probabilities, qpd_bits = _distribution(circuit)
    index = np.arange(probabilities.size)
    qpd = _parity(index & ((1 << qpd_bits) - 1))
    group = fragment.observables.groups[key[1]]
    mask_of = dict(zip([p.to_label() for p in group.commuting_observables], group.pauli_bitmasks, strict=True))
    signs = np.array([1.0 - 2.0 * (qpd ^ _parity((index >> qpd_bits) & mask_of[f])) for f in fragment.factors])
    return probabilities, signs[fragment.factor_index]


def _parity(values: np.ndarray) -> np.ndarray:
    return np.bitwise_count(values) & 1


def _distribution(circuit: QuantumCircuit) -> tuple[np.ndarray, int]:
    """Outcome probabilities with the decomposition's bits lowest, from one state with every measurement deferred."""
    measured = [item for item in circuit.data if item.operation.name == "measure"]
    width = circuit.num_qubits
    bare = QuantumCircuit(width + len(circuit.data))
    qubit_of = {bit: i for i, bit in enumerate(circuit.qubits)}
    registers = {bit: register.name for register in circuit.cregs for bit in register}
    qpd, asked, spare = [], {}, width
    names = {register.name: register for register in circuit.cregs}
    for item in circuit.data:
        qubits = [qubit_of[q] for q in item.qubits]
        if item.operation.name == "measure":
            bit = item.clbits[0]
            if registers[bit] == "qpd_measurements":
                bare.cx(qubits[0], spare)
                qpd.append(spare)
                spare += 1
            else:
                asked[names["observable_measurements"].index(bit)] = qubits[0]
        elif item.operation.name == "reset":
            qubit_of[item.qubits[0]] = spare
            spare += 1
        else:
            bare.append(item.operation, qubits)
    assert len(qpd) + len(asked) == len(measured)
    used = QuantumCircuit(spare)
    for item in bare.data:
        used.append(item.operation, [bare.find_bit(q).index for q in item.qubits])
    used.save_probabilities([*qpd, *(asked[k] for k in sorted(asked))])
    data = AerSimulator(method="statevector", max_parallel_threads=1).run(used, shots=1).result().data(0)
    return np.asarray(data["probabilities"]), len(qpd)
