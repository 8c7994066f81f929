"""A severed gate, put together again from its Schmidt form, is the gate; its kappa is the published one."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CXGate,
    CZGate,
    DCXGate,
    ECRGate,
    RXXGate,
    RZZGate,
    SwapGate,
    UnitaryGate,
    iSwapGate,
)
from qiskit.quantum_info import random_unitary
from qiskit_addon_cutting.qpd import QPDBasis

from tasks.cutting.kinds.hadamard_gate import HadamardEnd
from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.wire import WireIn, WireOut
from tasks.cutting.schmidt import basis_change, schmidt_form

GATES = [
    CXGate(),
    CZGate(),
    ECRGate(),
    CRXGate(0.3),
    CPhaseGate(-1.2),
    RZZGate(0.7),
    RXXGate(1e-3),
    RZZGate(np.pi),
    SwapGate(),
    iSwapGate(),
    DCXGate(),
    UnitaryGate(random_unitary(4, seed=1)),
    UnitaryGate(np.asfortranarray(random_unitary(4, seed=2).data)),
]


def superoperator(unitary):
    return np.kron(unitary, unitary.conj())


@pytest.mark.parametrize("gate", GATES, ids=lambda g: g.name)
def test_the_bond_and_leg_basis_rebuild_the_channel(gate):
    """sum_ab W[a, b] R_a x R_b between the local unitaries equals U . U^dagger, element by element."""
    form = schmidt_form(gate)
    # Leg-basis maps as 4 x 4 superoperators on one qubit: R_a = sum_jk inverse(basis_change)[jk, a] sigma_j . sigma_k,
    # since entries of R_a are combinations of entries of sigma_j . sigma_k.
    pairs = np.array([np.kron(j, k.conj()) for j in form.sigmas for k in form.sigmas])
    maps = np.einsum("ap,pxy->axy", basis_change(form.rank), pairs)
    total = np.zeros((16, 16), dtype=complex)
    for a, b in np.argwhere(np.abs(form.bond()) > 0):
        total += form.bond()[a, b] * two_qubit(maps[a], maps[b])
    after, before = np.kron(form.after[1], form.after[0]), np.kron(form.before[1], form.before[0])
    rebuilt = superoperator(after) @ total @ superoperator(before)
    np.testing.assert_allclose(rebuilt, superoperator(gate.to_matrix()), atol=1e-9)


def two_qubit(on_zero, on_one):
    """The superoperator of a product map; qubit 0 is the right factor of the Kronecker product."""
    # Rows and columns of a superoperator are (ket, bra) pairs; those of two qubits are (ket 1, ket 0, bra 1, bra 0).
    a, b = on_zero.reshape(2, 2, 2, 2), on_one.reshape(2, 2, 2, 2)
    return np.einsum("kbKB,lcLC->lkcbLKCB", a, b).reshape(16, 16)


@pytest.mark.parametrize("gate", [CXGate(), CZGate(), RZZGate(0.7), SwapGate(), iSwapGate(), CRXGate(0.3)])
def test_kappa_is_that_of_the_peers_decomposition(gate):
    assert schmidt_form(gate).kappa() == pytest.approx(QPDBasis.from_instruction(gate).kappa, abs=1e-9)


@pytest.mark.parametrize("scheme", ["full", "minimal"])
@pytest.mark.parametrize(
    "kind", [WireIn(), WireOut(), GateEnd(2), GateEnd(4), HadamardEnd(2), HadamardEnd(4)], ids=lambda kind: kind.name
)
def test_settings_span_the_leg_basis(kind, scheme):
    """The inverse times the settings' rows is the identity, for every kind of leg and both schemes."""
    rows = []
    for setting in kind.settings(scheme):
        plain, signed = kind.rows(setting)
        rows.append(plain)
        if signed is not None:
            rows.append(signed)
    spanning = kind.spanning(scheme)
    np.testing.assert_allclose(spanning.inverse @ np.array(rows), np.eye(kind.rank**2), atol=1e-12)
    assert len(spanning.columns) == len(rows)
