"""Cache benchmarks 2 and 3: which equivalent circuits share a key, and what a key costs beside an execution."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import qiskit.qasm2
from qiskit import QuantumCircuit, transpile
from qiskit_aer import AerSimulator

from tasks.execution.as_written import circuit_material
from tasks.execution.cache.semantic import CanonicalForm, canonical_form
from tests.execution.cache.families import FAMILIES, REWRITES, hardware_efficient
from tests.execution.cache.oracle import exact_distribution

_PEER = Path(__file__).with_name("cache_peer.py")


def ask_peer(peer: str, request: dict) -> list | dict:
    """Run the peer script in its own environment.

    Raises:
        subprocess.CalledProcessError: it failed; its words are on stderr.
    """
    done = subprocess.run([peer, str(_PEER)], input=json.dumps(request), capture_output=True, text=True, check=True)
    answer: list | dict = json.loads(done.stdout)
    return answer


def peer_keys(peer: str, circuits: Sequence[QuantumCircuit]) -> list[tuple[str | None, float]]:
    """Qdislib's key (None where it has none) and its CPU seconds, of circuits without their measurements."""
    answer = ask_peer(peer, {"circuits": peer_texts(circuits)})
    assert isinstance(answer, list)
    return [(key, seconds) for key, seconds in answer]


def peer_texts(circuits: Sequence[QuantumCircuit]) -> list[str]:
    """OpenQASM 2 of circuits without their measurements, in gates that Qdislib's key can be made of."""
    texts = []
    for circuit in circuits:
        bare = circuit.remove_final_measurements(inplace=False)
        bare = transpile(bare, basis_gates=["h", "s", "sdg", "t", "tdg", "x", "z", "rx", "ry", "rz", "cx", "cz"],
                         optimization_level=0)  # fmt: skip
        texts.append(qiskit.qasm2.dumps(bare))
    return texts


def own_form(circuit: QuantumCircuit) -> tuple[CanonicalForm, float]:
    """Canonical form and its CPU seconds."""
    began = time.process_time()
    form = canonical_form(circuit)
    return form, time.process_time() - began


def measure_recall(pairs: int, peer: str | None) -> dict:
    """Share of rewritten circuits whose key is the original's, by family and rewrite; 3 to 8 qubits, depth 3 to 10."""
    out: dict = {}
    shared: list[QuantumCircuit] = []
    places: list[tuple[str, str]] = []
    for family, make in FAMILIES.items():
        out[family] = {}
        for name, rewrite in REWRITES.items():
            found = 0
            for seed in range(pairs):
                rng = np.random.default_rng(seed)
                circuit = make(rng, int(rng.integers(3, 9)), int(rng.integers(3, 11)))
                other = rewrite(circuit, rng)
                a, b = own_form(circuit)[0], own_form(other)[0]
                close = a.angles.shape == b.angles.shape and float(np.abs(a.angles - b.angles).sum()) < 2e-12
                found += a.data == b.data and close
                if peer and seed < (3 if pairs < 20 else 15):
                    shared += [circuit, other]
                    places.append((family, name))
            out[family][name] = found / pairs
    if peer:
        keys = peer_keys(peer, shared)
        counts: dict[tuple[str, str], list[int]] = {}
        for k, place in enumerate(places):
            a, b = keys[2 * k][0], keys[2 * k + 1][0]
            counts.setdefault(place, []).append(int(a is not None and a == b))
        out["qdislib"] = {
            family: {name: float(np.mean(counts[family, name])) for name in REWRITES} for family in FAMILIES
        }
        out["qdislib"]["false hits"] = _peer_false_hits(peer)
        first, second = QuantumCircuit(2), QuantumCircuit(2)
        first.h(0)
        first.cx(0, 1)
        second.cx(0, 1)
        second.h(0)
        pair = peer_keys(peer, [first, second])
        out["qdislib"]["counter-example shares a key"] = pair[0][0] == pair[1][0]
    out["own false hits"] = _own_false_hits()
    return out


def shift_set() -> list[QuantumCircuit]:
    """A parameter-shift set over a uniform ansatz: 4 qubits, 3 layers of RY and a ring of CZ, all shifted circuits."""
    circuits = []
    for layer in range(3):
        for qubit in range(4):
            for shift in (np.pi / 2, -np.pi / 2):
                circuit = QuantumCircuit(4, 4)
                for at in range(3):
                    for q in range(4):
                        circuit.ry(0.4 + (shift if (at, q) == (layer, qubit) else 0.0), q)
                    for q in range(4):
                        circuit.cz(q, (q + 1) % 4)
                circuit.measure(range(4), range(4))
                circuits.append(circuit)
    return circuits


def _own_false_hits() -> dict[str, int]:
    known: dict[bytes, dict] = {}
    hits = false = 0
    for circuit in shift_set():
        form = own_form(circuit)[0]
        canonical = {
            tuple(bits[b] ^ f for b, f in zip(form.bits, form.inverted, strict=True)): p
            for bits, p in exact_distribution(circuit).items()
        }
        if form.data in known:
            hits += 1
            other = known[form.data]
            false += max(abs(other.get(k, 0) - canonical.get(k, 0)) for k in other.keys() | canonical.keys()) > 1e-9
        known.setdefault(form.data, canonical)
    return {"hits": hits, "false": false}


def _peer_false_hits(peer: str) -> dict[str, int]:
    """The same set by Qdislib's key: false is a hit whose <Z...Z> is not the first circuit's."""
    circuits = shift_set()
    known: dict[str, float] = {}
    hits = false = 0
    for circuit, (key, _) in zip(circuits, peer_keys(peer, circuits), strict=True):
        value = sum(p * (-1) ** sum(bits) for bits, p in exact_distribution(circuit).items())
        if key is not None and key in known:
            hits += 1
            false += abs(known[key] - value) > 1e-9
        elif key is not None:
            known[key] = value
    return {"hits": hits, "false": false}


def measure_cost(quick: bool, peer: str | None) -> dict:
    """CPU milliseconds: key as written, key by meaning, execution (Aer statevector, 1000 shots), Qdislib's key."""
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    rows = []
    circuits = []
    for n in (6, 10) if quick else (6, 8, 10, 12, 14):
        for depth in (4, 12) if quick else (4, 8, 12, 16, 20):
            circuit = hardware_efficient(np.random.default_rng([n, depth]), n, depth)
            circuits.append(circuit)
            written, meaning, run = [], [], []
            for _ in range(3 if quick else 15):
                began = time.process_time()
                circuit_material(circuit)
                written.append(time.process_time() - began)
                meaning.append(own_form(circuit)[1])
                began = time.process_time()
                simulator.run(circuit, shots=1000).result().get_counts()
                run.append(time.process_time() - began)
            operations = own_form(circuit)[0].num_operations
            row = {"qubits": n, "depth": depth, "operations": operations}
            for name, seconds in (("as written", written), ("by meaning", meaning), ("execution", run)):
                row[name] = 1e3 * float(np.median(seconds))
            rows.append(row)
    out: dict = {"rows": rows}
    if peer:
        out["qdislib"] = [1e3 * seconds for _, seconds in peer_keys(peer, circuits)]
    return out
