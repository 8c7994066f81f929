"""Cache benchmark 1: every hit compared with the exact distribution; and mqt.qcec asked about pairs that share a key.

A hit is a circuit whose key another circuit had before, with the same angles, as the cache compares them. The first
circuit's exact distribution is kept in canonical bits; each later one is mapped to canonical bits by its own key and
must agree to 1e-10. Circuits with equal bytes and other angles are turned away, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from qiskit import AncillaRegister, ClassicalRegister, QuantumCircuit, QuantumRegister

from tasks.execution.cache.semantic import CanonicalForm, canonical_form
from tasks.execution.cache.single_flight import same_angles
from tests.execution.cache.families import any_gates, padded, rebitted, relabelled, reordered
from tests.execution.cache.oracle import exact_distribution

Generator = np.random.Generator
Distribution = dict[tuple[int, ...], float]


def form_of(circuit: QuantumCircuit) -> CanonicalForm:
    """Return the canonical form of a circuit."""
    return canonical_form(circuit)


def random_small(rng: Generator) -> Iterator[QuantumCircuit]:
    """One small circuit over all gates, few angles: chance coincidences."""
    yield any_gates(rng, int(rng.integers(1, 4)), int(rng.integers(1, 9)), middle=False)


def measured_inside(rng: Generator) -> Iterator[QuantumCircuit]:
    """The same with measurements and resets inside."""
    yield any_gates(rng, int(rng.integers(1, 4)), int(rng.integers(1, 10)), middle=True)


def rewritten(rng: Generator) -> Iterator[QuantumCircuit]:
    """A circuit, itself rewritten in several ways, transposed and conjugated."""
    circuit = any_gates(rng, int(rng.integers(2, 4)), int(rng.integers(4, 16)), middle=bool(rng.random() < 0.4))
    if len(circuit.data) < 2:
        return
    yield circuit
    for rewrite in (reordered, padded, relabelled, rebitted):
        yield rewrite(circuit, rng)
    yield _mirrored(circuit, lambda gate: gate.inverse().transpose() if hasattr(gate, "transpose") else gate, False)
    yield _mirrored(circuit, lambda gate: gate.transpose() if hasattr(gate, "transpose") else gate, True)


def parameter_shifts(rng: Generator) -> Iterator[QuantumCircuit]:
    """A parameter-shift set over a uniform ansatz: all shifted circuits of one layout."""
    n, layers, angle = int(rng.integers(2, 5)), int(rng.integers(1, 4)), float(rng.choice([0.3, 0.4, np.pi / 4]))
    entangler = ("cz", "cx", "ring")[rng.integers(3)]
    for at in range(layers):
        for qubit in range(n):
            for shift in (np.pi / 2, -np.pi / 2):
                circuit = QuantumCircuit(n, n)
                for layer in range(layers):
                    for q in range(n):
                        circuit.ry(angle + (shift if (layer, q) == (at, qubit) else 0), q)
                    for q in range(n if entangler == "ring" and n > 2 else n - 1):
                        (circuit.cx if entangler == "cx" else circuit.cz)(q, (q + 1) % n)
                circuit.measure(range(n), range(n))
                yield circuit


def matchings(rng: Generator) -> Iterator[QuantumCircuit]:
    """Mid-layer matchings: equal rotation layers, entanglers on every choice of pairs; pairs differ, labels do not."""
    n, angle = 4, float(rng.choice([0.3, 0.7]))
    pairings = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)), ((0, 1),), ((2, 3),), ((1, 2),)]
    for first in pairings:
        for second in pairings:
            circuit = QuantumCircuit(n, n)
            for pairs in (first, second):
                for q in range(n):
                    circuit.rx(angle, q)
                for a, b in pairs:
                    circuit.cz(a, b) if angle == 0.3 else circuit.cx(a, b)
            for q in range(n):
                circuit.rx(angle, q)
            circuit.measure(range(n), range(n))
            yield circuit


def beside_special(rng: Generator) -> Iterator[QuantumCircuit]:
    """Angles beside multiples of pi/4, where cases change: a circuit, and twice the same a little off."""
    n, length = int(rng.integers(1, 4)), int(rng.integers(2, 9))
    steps = [(int(rng.integers(6)), [int(q) for q in rng.permutation(n)], float(rng.choice(_SPECIAL)))
             for _ in range(length)]  # fmt: skip
    for off in (0.0, float(rng.choice(_OFFSETS)), float(rng.choice(_OFFSETS))):
        circuit = QuantumCircuit(n, n)
        for kind, qubits, angle in steps:
            if kind < 4 or n == 1:
                (circuit.rx, circuit.ry, circuit.rz, circuit.p)[kind % 4](angle + off, qubits[0])
            elif kind == 4:
                circuit.rzz(angle - off, *qubits[:2])
            else:
                circuit.cx(*qubits[:2])
        circuit.measure(range(n), range(n))
        yield circuit


_SPECIAL = np.concatenate([np.arange(-4, 5) * np.pi / 4, [0.3]])
_OFFSETS = (0.0, 1e-15, -1e-15, 5e-14, -5e-14, 1e-13, 1e-12, -1e-11, 3e-11, -1e-10, 1e-9, -1e-9)

FAMILIES: dict[str, Callable[[Generator], Iterator[QuantumCircuit]]] = {
    "random, few angles": random_small,
    "measured and reset inside": measured_inside,
    "rewritten, permuted, transposed, conjugated": rewritten,
    "parameter-shift sets": parameter_shifts,
    "mid-layer matchings": matchings,
    "angles beside special ones": beside_special,
}


def soundness(family: str, hits: int, seed: int) -> dict[str, float]:
    """Make circuits until there are so many hits.

    Returns:
        circuits, hits, false hits, the largest difference of a probability, keys, and circuits turned away for their
        angles.
    """
    known: dict[bytes, tuple[np.ndarray, Distribution]] = {}
    count = false = circuits = turned_away = 0
    worst = 0.0
    number = 0
    while count < hits:
        rng = np.random.default_rng([seed, number])
        number += 1
        for circuit in FAMILIES[family](rng):
            circuits += 1
            form = form_of(circuit)
            canonical = _canonical_distribution(form, exact_distribution(circuit))
            if form.data not in known:
                known[form.data] = (form.angles, canonical)
                continue
            angles, other = known[form.data]
            if not same_angles(angles, form.angles):
                turned_away += 1
                continue
            count += 1
            off = max(abs(canonical.get(k, 0.0) - other.get(k, 0.0)) for k in canonical.keys() | other.keys())
            worst = max(worst, off)
            false += off > 1e-10
    return {"circuits": circuits, "hits": count, "false": false, "worst": worst, "keys": len(known),
            "turned away": turned_away}  # fmt: skip


def second_oracle(pairs: int, seed: int) -> dict[str, int]:
    """Ask mqt.qcec (decision diagrams, partial equivalence from |0...0>) about pairs with and without a common key.

    Returns:
        how many pairs shared a key and how many of those QCEC calls equivalent; how many pairs of different keys
        QCEC was asked about and how many of those it calls equivalent (missed, no error).
    """
    from mqt import qcec

    def same(a: QuantumCircuit, b: QuantumCircuit) -> bool:
        result = qcec.verify(
            _prepared(a), _prepared(b), check_partial_equivalence=True, run_construction_checker=True,
            run_alternating_checker=False, run_simulation_checker=False, run_zx_checker=False,
        )  # fmt: skip
        return bool(result.considered_equivalent())

    known: dict[bytes, tuple[CanonicalForm, QuantumCircuit]] = {}
    out = {"common key": 0, "equivalent": 0, "different keys": 0, "missed": 0}
    number = 0
    previous: QuantumCircuit | None = None
    while out["common key"] < pairs:
        rng = np.random.default_rng([seed, number])
        number += 1
        n = int(rng.integers(2, 4))
        circuit = QuantumCircuit(n, n)
        for _ in range(int(rng.integers(2, 8))):
            a, b = (int(q) for q in rng.choice(n, 2, replace=False))
            kind = int(rng.integers(7))
            (circuit.h, circuit.s, circuit.t, circuit.x)[kind](a) if kind < 4 else None
            if kind == 4:
                circuit.ry(float(rng.choice([0.3, np.pi / 2])), a)
            elif kind > 4:
                (circuit.cx, circuit.cz)[kind - 5](a, b)
        circuit.measure(range(n), range(n))
        form = form_of(circuit)
        key = form.data + bytes([n])
        if key in known:
            other_form, other = known[key]
            mapped = _with_bits(circuit, form, other_form)
            out["common key"] += 1
            out["equivalent"] += same(other, mapped)
        elif previous is not None and previous.num_qubits == n and out["different keys"] < pairs:
            out["different keys"] += 1
            out["missed"] += same(previous, circuit)
        known.setdefault(key, (form, circuit))
        previous = circuit
    return out


def _canonical_distribution(form: CanonicalForm, exact: Distribution) -> Distribution:
    out: Distribution = {}
    for bits, p in exact.items():
        key = tuple(bits[bit] ^ flip for bit, flip in zip(form.bits, form.inverted, strict=True))
        out[key] = out.get(key, 0.0) + p
    return out


def _mirrored(circuit: QuantumCircuit, change: Callable, backwards: bool) -> QuantumCircuit:
    """Change every gate; ``backwards`` also turns their order round (measurements stay where they are: at the end)."""
    items = list(circuit.data)
    gates = [item for item in items if item.operation.name not in ("measure", "reset")]
    inside = any(item.operation.name in ("measure", "reset") for item in items[: len(gates)])
    out = circuit.copy_empty_like()
    if inside or not backwards:
        for item in items:
            plain = item.operation.name in ("measure", "reset")
            out.append(item.operation if plain else change(item.operation), item.qubits, item.clbits)
        return out
    for item in reversed(gates):
        out.append(change(item.operation), item.qubits)
    for item in items[len(gates) :]:
        out.append(item)
    return out


def _with_bits(circuit: QuantumCircuit, form: CanonicalForm, like: CanonicalForm) -> QuantumCircuit:
    """The circuit with its outcome bits permuted and inverted as the two keys say."""
    n = circuit.num_qubits
    out = QuantumCircuit(n, n)
    for item in circuit.data:
        if item.operation.name != "measure":
            out.append(item)
    for k, bit in enumerate(form.bits):
        if form.inverted[k] != like.inverted[k]:
            out.x(bit)
    for k, bit in enumerate(form.bits):
        out.measure(bit, like.bits[k])
    return out


def _prepared(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit on ancillas (which start in |0>) beside one idle data qubit, as QCEC wants state preparation said."""
    n = circuit.num_qubits
    idle, ancillas = QuantumRegister(1, "idle"), AncillaRegister(n, "q")
    out = QuantumCircuit(idle, ancillas, ClassicalRegister(n + 1, "c"))
    measures = []
    for item in circuit.data:
        qubits = [1 + circuit.find_bit(q).index for q in item.qubits]
        if item.operation.name == "measure":
            measures.append((qubits[0], circuit.find_bit(item.clbits[0]).index))
        else:
            out.append(item.operation, qubits)
    # outputs are compared by place, so the measured qubits are brought to the place of their bit
    place = {bit: qubit for qubit, bit in measures}
    order = [place[bit] for bit in range(n)]
    moved = QuantumCircuit(idle, ancillas, ClassicalRegister(n + 1, "c"))
    to = {qubit: bit + 1 for bit, qubit in enumerate(order)}
    for item in out.data:
        moved.append(item.operation, [to[out.find_bit(q).index] for q in item.qubits])
    for bit in range(n):
        moved.measure(bit + 1, bit)
    moved.measure(0, n)
    return moved
