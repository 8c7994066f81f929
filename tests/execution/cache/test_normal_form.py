"""The canonical form is the circuit: its own distribution, mapped back, is the circuit's exact one."""

from itertools import permutations

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.execution.cache.semantic import canonical_form
from tasks.execution.cache.semantic.canonical import operations_of
from tasks.execution.errors import UnsupportedCircuit
from tests.execution.cache.families import FAMILIES, REWRITES, any_gates
from tests.execution.cache.oracle import difference, exact_distribution, form_distribution


@pytest.mark.parametrize("middle", [False, True], ids=["unitary", "measured inside"])
def test_the_form_has_the_distribution_of_any_circuit(middle: bool) -> None:
    for seed in range(250):
        rng = np.random.default_rng([seed, middle])
        circuit = any_gates(rng, int(rng.integers(1, 5)), int(rng.integers(1, 30)), middle=middle)
        form = canonical_form(circuit)
        off = difference(exact_distribution(circuit), form_distribution(operations_of(form), form))
        assert off < 1e-11, f"seed {seed}: off by {off}"


def test_angles_beside_the_special_ones_lose_no_digit() -> None:
    """Next to multiples of pi/4, where cases change, the form is as exact as elsewhere."""
    for seed in range(150):
        rng = np.random.default_rng(seed)
        circuit = QuantumCircuit(3, 3)
        for _ in range(14):
            a, b = (int(q) for q in rng.choice(3, 2, replace=False))
            beside = rng.choice([0, np.pi / 4, -np.pi / 4, np.pi / 2, np.pi], 3)
            one, two, three = beside + rng.choice([0, 1e-13, -1e-13, 1e-11, -1e-10, 3e-10, 3e-9, 1e-7], 3)
            kind = int(rng.integers(5))
            if kind == 0:
                circuit.u(one, two, three, a)
            elif kind == 1:
                circuit.cx(a, b)
            else:
                (circuit.rzz, circuit.rxx, circuit.crx)[kind - 2](one, a, b)
        circuit.measure(range(3), range(3))
        form = canonical_form(circuit)
        off = difference(exact_distribution(circuit), form_distribution(operations_of(form), form))
        assert off < 2e-12, f"seed {seed}: off by {off}"


@pytest.mark.parametrize("family", FAMILIES)
def test_rewrites_keep_distribution_and_form(family: str) -> None:
    found = tried = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        circuit = FAMILIES[family](rng, int(rng.integers(3, 6)), int(rng.integers(3, 6)))
        form = canonical_form(circuit)
        assert difference(exact_distribution(circuit), form_distribution(operations_of(form), form)) < 1e-11, (
            f"seed {seed}"
        )
        for name in ("reordered", "padded", "resynthesised"):
            other = canonical_form(REWRITES[name](circuit, rng))
            tried += 1
            found += other.data == form.data
            if name != "resynthesised":
                assert other.data == form.data, f"{family}, {name}, seed {seed}"
    assert found >= 0.85 * tried, f"{family}: {found} of {tried} equal pairs found"


def test_bits_that_only_angles_tell_apart_may_change_places() -> None:
    """Three lone qubits: no colour but that of their angles is left to say which is which."""
    forms = set()
    for angles in permutations((0.3, 0.7, 1.1)):
        circuit = QuantumCircuit(3, 3)
        for qubit, angle in enumerate(angles):
            circuit.ry(angle, qubit)
        circuit.measure(range(3), range(3))
        forms.add(canonical_form(circuit).data)
    assert len(forms) == 1


def test_the_published_counter_examples_are_told_apart() -> None:
    first, second = QuantumCircuit(2, 2), QuantumCircuit(2, 2)
    first.h(0)
    first.cx(0, 1)
    second.cx(0, 1)
    second.h(0)
    for circuit in (first, second):
        circuit.measure([0, 1], [0, 1])
    assert canonical_form(first).data != canonical_form(second).data


def test_a_parameter_shift_set_over_a_uniform_ansatz_has_no_false_hit() -> None:
    forms: dict[bytes, dict[tuple[int, ...], float]] = {}
    hits = 0
    for layer in range(3):
        for qubit in range(4):
            for shift in (np.pi / 2, -np.pi / 2, 0.0):
                circuit = QuantumCircuit(4, 4)
                for at in range(3):
                    for q in range(4):
                        circuit.ry(0.4 + (shift if (at, q) == (layer, qubit) else 0.0), q)
                    for q in range(4):
                        circuit.cz(q, (q + 1) % 4)
                circuit.measure(range(4), range(4))
                form = canonical_form(circuit)
                order = [form.bits.index(b) for b in range(4)]
                assert sorted(order) == [0, 1, 2, 3]
                canonical = {
                    tuple(bits[form.bits[k]] ^ form.inverted[k] for k in range(4)): p
                    for bits, p in exact_distribution(circuit).items()
                }
                if form.data in forms:
                    hits += 1
                    assert difference(forms[form.data], canonical) < 1e-11, (layer, qubit, shift)
                forms.setdefault(form.data, canonical)
    assert hits > 0


def test_idle_qubits_trailing_phases_and_dead_light_cones_fall_out() -> None:
    small, large = QuantumCircuit(1, 1), QuantumCircuit(4, 1)
    small.ry(0.7, 0)
    small.measure(0, 0)
    large.rz(0.3, 2)
    large.ry(0.7, 2)
    large.rz(0.9, 2)
    large.cz(2, 1)
    large.measure(2, 0)
    large.rx(0.2, 2)
    large.ry(1.2, 3)
    assert canonical_form(small).data == canonical_form(large).data


def test_conjugate_circuits_share_a_form() -> None:
    rng = np.random.default_rng(3)
    circuit = QuantumCircuit(3, 3)
    conjugate = QuantumCircuit(3, 3)
    for _ in range(4):
        for q in range(3):
            a, b = rng.uniform(-3, 3, 2)
            circuit.rx(a, q)
            circuit.rz(b, q)
            conjugate.rx(-a, q)
            conjugate.rz(-b, q)
        for q in range(2):
            circuit.cx(q, q + 1)
            conjugate.cx(q, q + 1)
    for c in (circuit, conjugate):
        c.measure(range(3), range(3))
    assert canonical_form(circuit).data == canonical_form(conjugate).data


def test_control_flow_is_refused() -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    with pytest.raises(UnsupportedCircuit, match="if_else"):
        canonical_form(circuit)


def test_gates_that_only_borrow_a_standard_name_are_read_by_their_definition() -> None:
    inner = QuantumCircuit(2, name="cx")
    inner.h(0)
    borrowed, plain = QuantumCircuit(2, 2), QuantumCircuit(2, 2)
    borrowed.append(inner.to_gate(), [0, 1])
    plain.h(0)
    for circuit in (borrowed, plain):
        circuit.measure([0, 1], [0, 1])
    assert canonical_form(borrowed).data == canonical_form(plain).data
