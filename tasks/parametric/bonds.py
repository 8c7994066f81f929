"""A severed gate with free angles: its bond matrix for any angles, while what its ends do stays as it is.

Between the one-qubit unitaries of its form at one point, the gate is sum_jk c_jk sigma_j x sigma_k for every angle:
of a gate of one angle along fixed axes with sigma = I, Z, of any other gate with all Paulis. So angles change c alone,
and with it the bond W, where U rho U^dagger = sum_ab W[a, b] R_a x R_b (see ``tasks.cutting.schmidt``): the counts and
tensors of the fragments answer every angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from qiskit.circuit import Gate

from tasks.cutting.schmidt import SchmidtForm, basis_change

_ROUNDING = 1e-9
_SAMPLES = np.array([0.0, 0.9, 1.9, 2.9, 4.1])  # as many as there are functions of an angle


class GateBond:
    """The bond of one severed gate.

    Args:
        gate: with numbers for its angles.
        form: of that gate.
        free: which of its parameters are free.
        angles: the circuit's numbers of these.

    Attributes:
        weights: (function of the angles, j, k) complex, of the Paulis between the one-qubit unitaries.
        change: from pairs of Paulis to leg entries.

    Raises:
        ValueError: the ends of such a gate depend on its angles.
    """

    def __init__(self, gate: Gate, form: SchmidtForm, free: Sequence[int], angles: Sequence[int]) -> None:
        self.angles = tuple(angles)
        rank = form.rank
        points = list(product(_SAMPLES, repeat=len(free)))
        sampled = np.array([_between(_with(gate, free, point), form) for point in points])  # (point, j, k), Paulis
        basis = _functions(np.array(points))[0]
        weights = np.linalg.lstsq(basis, sampled.reshape(len(points), -1), rcond=None)[0].reshape(-1, 4, 4)
        if rank == 2:
            others = [1, 2]
            if max(np.abs(weights[:, others]).max(), np.abs(weights[:, :, others]).max()) > _ROUNDING:
                raise ValueError(f"{gate.name}: what stays on its sides depends on its angles")
            weights = weights[:, [0, 3]][:, :, [0, 3]]
        elsewhere = np.random.default_rng(1).uniform(0, 6, (3, len(free)))
        for point, made in zip(elsewhere, np.tensordot(_functions(elsewhere)[0], weights, axes=1), strict=True):
            wanted = _between(_with(gate, free, point), form)
            wanted = wanted[np.ix_([0, 3], [0, 3])] if rank == 2 else wanted
            if np.abs(made - wanted).max() > _ROUNDING:
                raise ValueError(f"{gate.name}: its matrix is no trigonometric function of its angles")
        self.weights = weights.astype(complex)
        # sigma_j . sigma_l = sum_a change[(j, l), a] R_a
        self.change = np.linalg.inv(basis_change(rank))

    @property
    def form(self) -> tuple[int, ...]:
        """Bonds of the same form are computed together."""
        return self.weights.shape


def bonds_of(bonds: Sequence[GateBond], angles: np.ndarray) -> list[np.ndarray]:
    """(bond,) (set, leg of end 0, leg of end 1) float64 from (set, angle of the circuit)."""
    found: list[np.ndarray] = [np.empty(0)] * len(bonds)
    for places in _alike(bonds):
        own = [bonds[place] for place in places]
        terms = _terms(own, _functions(_angles(own, angles))[0])
        for place, made in zip(places, _bond(own, terms, terms), strict=True):
            found[place] = made
    return found


def bond_slopes(bonds: Sequence[GateBond], angles: np.ndarray) -> list[list[tuple[int, np.ndarray]]]:
    """(bond,) of (angle, (set, leg, leg) float64): the derivative of the bond by each of its angles."""
    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in bonds]
    for places in _alike(bonds):
        own = [bonds[place] for place in places]
        values, moved = _functions(_angles(own, angles))
        terms = _terms(own, values)
        for number, functions in enumerate(moved):
            slope = _terms(own, functions)
            both = _bond(own, slope, terms) + _bond(own, terms, slope)
            for place, bond, made in zip(places, own, both, strict=True):
                found[place].append((bond.angles[number], made))
    return found


def _alike(bonds: Sequence[GateBond]) -> list[list[int]]:
    found: dict[tuple[int, ...], list[int]] = {}
    for place, bond in enumerate(bonds):
        found.setdefault(bond.form, []).append(place)
    return list(found.values())


def _angles(bonds: Sequence[GateBond], angles: np.ndarray) -> np.ndarray:
    """(bond and set, angle)."""
    columns = np.array([bond.angles for bond in bonds])
    return np.moveaxis(angles[:, columns], 1, 0).reshape(-1, columns.shape[1])


def _terms(bonds: Sequence[GateBond], functions: np.ndarray) -> np.ndarray:
    """(bond, set, j, k) complex from (bond and set, function)."""
    weights = np.array([bond.weights for bond in bonds])
    rank = weights.shape[-1]
    values = functions.reshape(len(bonds), -1, 1, functions.shape[1])  # a product for each set
    made = np.matmul(values, weights.reshape(len(bonds), 1, -1, rank**2))
    return made.reshape(len(bonds), -1, rank, rank)


def _bond(bonds: Sequence[GateBond], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(bond, set, leg, leg) float64."""
    rank, change = left.shape[-1], bonds[0].change
    pairs = left[:, :, :, None, :, None] * right.conj()[:, :, None, :, None, :]  # j, l, k, m
    pairs = pairs.reshape(*left.shape[:2], rank**2, rank**2)
    return np.ascontiguousarray((change.T @ pairs @ change).real)


def _with(gate: Gate, free: Sequence[int], point: Sequence[float]) -> np.ndarray:
    values = [float(value) for value in gate.params]
    for place, angle in zip(free, point, strict=True):
        values[place] = float(angle)
    return np.asarray(gate.base_class(*values).to_matrix(), dtype=complex)


def _between(unitary: np.ndarray, form: SchmidtForm) -> np.ndarray:
    """(4, 4) complex: the Pauli components of a gate between the one-qubit unitaries of a form, qubit 0 first."""
    before = np.kron(form.before[1], form.before[0])
    after = np.kron(form.after[1], form.after[0])
    inner = (after.conj().T @ unitary @ before.conj().T).reshape(2, 2, 2, 2)
    paulis = np.array([np.eye(2), [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], np.diag([1, -1])], dtype=complex)
    return np.einsum("jab,kcd,dbca->jk", paulis, paulis, inner) / 4


def _functions(points: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """(point, function): products over the angles of 1, cos and sin of each and of its half, and their derivatives."""
    each, slopes = [], []
    for angle in points.T:
        half = angle / 2
        one = np.ones_like(angle)
        each.append(np.stack([one, np.cos(half), np.sin(half), np.cos(angle), np.sin(angle)], axis=1))
        slopes.append(np.stack([0 * one, -np.sin(half) / 2, np.cos(half) / 2, -np.sin(angle), np.cos(angle)], axis=1))

    def times(factors: Sequence[np.ndarray]) -> np.ndarray:
        made = np.ones((len(points), 1))
        for factor in factors:
            made = (made[:, :, None] * factor[:, None, :]).reshape(len(points), -1)
        return made

    moved = [times([*each[:k], slopes[k], *each[k + 1 :]]) for k in range(len(each))]
    return times(each), moved
