"""Cache benchmark 9: what keys by structure would avoid: counted, nothing is executed.

*By structure*: circuits that are one another's up to names of qubits and the order of what does not share a qubit, with
equal angles. It is counted by a hash of the instructions as a graph (Weisfeiler and Leman's), which may take two for
one but never one for two: so no such key executes fewer. *By outcomes*: circuits whose exact distributions have the
same probabilities, whatever their order: no key at all that permutes or inverts bits could execute fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector

from results.benchmarks.cache_circuits import EVOLUTIONS, distinct_variants, gate_cut_qaoa, parameter_shift
from results.benchmarks.cache_workloads import TARGET
from tasks.execution.cache.keys import KeyMaker
from tests.execution.cache.oracle import exact_distribution

_WORKLOADS = {
    "distinct variants of a plan": distinct_variants,
    "gate-cut QAOA, ring of 8": gate_cut_qaoa,
    **EVOLUTIONS,
    "parameter-shift gradient, cut ansatz": parameter_shift,
}
_DIGITS = 9
_ROUNDS = 6


def measure(quick: bool) -> dict[str, Any]:
    """For each workload its requests and the fewest executions by each kind of key."""
    out: dict[str, Any] = {}
    for name, make in _WORKLOADS.items():
        circuits = [circuit for part in make() for circuit in part][: 40 if quick else None]
        keys = KeyMaker()
        out[name] = {
            "requests": len(circuits),
            "written": len({keys.counts_key(c, TARGET, as_written=True).digest for c in circuits}),
            "structure": len({structure(c) for c in circuits}),
            "meaning": len({keys.counts_key(c, TARGET).digest for c in circuits}),
            "outcomes": outcomes(circuits),
        }
    return out


def structure(circuit: QuantumCircuit) -> str:
    """The same for circuits that are one another's up to names of qubits and bits."""
    graph = nx.DiGraph()
    last: dict[object, tuple[int, int]] = {}
    for number, item in enumerate(circuit.data):
        angles = [round(float(value), _DIGITS) + 0.0 for value in item.operation.params]
        graph.add_node(number, label=f"{item.operation.name} {angles}")
        symmetric = item.operation.name in ("cz", "rzz", "swap")
        for place, qubit in enumerate(item.qubits):
            if qubit in last:
                before, port = last[qubit]
                graph.add_edge(before, number, label=f"{port} {0 if symmetric else place}")
            last[qubit] = number, 0 if symmetric else place
    return nx.weisfeiler_lehman_graph_hash(graph, edge_attr="label", node_attr="label", iterations=_ROUNDS)


def outcomes(circuits: Sequence[QuantumCircuit]) -> int:
    """How many lists of probabilities there are, each in ascending order, to 1e-9."""
    found: list[np.ndarray] = []
    for circuit in circuits:
        own = np.sort([p for p in _distribution(circuit) if p > 10.0**-_DIGITS])
        if not any(len(own) == len(other) and np.abs(own - other).max(initial=0.0) < 1e-9 for other in found):
            found.append(own)
    return len(found)


def _distribution(circuit: QuantumCircuit) -> Sequence[float]:
    bare = circuit.remove_final_measurements(inplace=False)
    if bare.num_clbits == 0 and circuit.num_clbits == circuit.num_qubits:
        return Statevector(bare).probabilities().tolist()
    return list(exact_distribution(circuit).values())
