"""Qdislib 1.0.1 beside the cache's workloads: its own wire cutting with its own cache, and its keys on our circuits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import qiskit.qasm2
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from results.benchmarks.cache_keys import ask_peer, peer_keys
from tasks.execution.as_written import circuit_material

# One wire cut, 16 circuits of 20,000 shots: half a sum of 8 products, each with an error of at most 0.01.
SIX_DEVIATIONS = 6 * 0.5 * np.sqrt(8 * 2 / 20_000)


def peer_keys_on(peer: str, circuits: Sequence[QuantumCircuit]) -> dict[str, float]:
    """What a cache with these keys would do: executions, and hits on a circuit of another <Z...Z> (wrong values)."""
    bare: dict[bytes, QuantumCircuit] = {}
    requests = []
    for circuit in circuits:
        unitary = QuantumCircuit(circuit.num_qubits)
        for item in circuit.data:
            if item.operation.name not in ("measure", "barrier"):
                unitary.append(item.operation, [circuit.find_bit(q).index for q in item.qubits])
        written = circuit_material(unitary)
        bare.setdefault(written, unitary)
        requests.append(written)
    keys = dict(zip(bare, peer_keys(peer, list(bare.values())), strict=True))
    values = {written: float(Statevector(c).expectation_value(SparsePauliOp("Z" * c.num_qubits)).real)
              for written, c in bare.items()}  # fmt: skip
    first: dict[str, float] = {}
    executed = wrong = 0
    for written in requests:
        key = keys[written][0]
        if key is None or key not in first:
            executed += 1
            first[key or ""] = values[written]
        else:
            wrong += abs(first[key] - values[written]) > 1e-6
    seconds = float(np.median([seconds for _, seconds in keys.values()]))
    return {"requests": len(requests), "distinct as written": len(bare), "executed": executed, "wrong": wrong,
            "key_ms": 1e3 * seconds}  # fmt: skip


def peer_wire_cutting(peer: str) -> dict:
    """Qdislib's wire cutting with its own cache on a circuit like the first workload's, and the exact value."""
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
        wrong = abs(answer["on"]["value"] - exact) > SIX_DEVIATIONS
        out[f"circuit {seed}"] = {**answer, "exact": exact, "wrong": int(wrong)}
    return out
