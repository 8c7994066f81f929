"""Settings: what a device can prepare or measure at a cut end, and how these span the leg basis.

Each setting is a few standard gates, with or without a measured bit in between. From its Kraus operators follows its
row in the leg basis (two rows where a bit is measured: outcomes summed, and outcomes weighted by (-1)**bit). The
left inverse of least norm turns estimated rows into leg-basis entries; with more settings than the rank needs, it
spreads every entry over all settings that know something about it, which is what keeps the variance low: six
preparation states with it cost 4.0 per wire end (shots for a given error, arbitrary units) where six with the
textbook QPD coefficients cost 6.0 and four states 6.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from qiskit.circuit import Gate
from qiskit.circuit.library import HGate, RYGate, SdgGate, SGate, SXdgGate, SXGate, XGate, YGate, ZGate

from tasks.cutting.plan import Leg, LegKind, Scheme
from tasks.cutting.schmidt import PAULIS, basis_change, schmidt_operators
from tasks.model.tensor import LegSettings

GATES: dict[str, Gate] = {
    "h": HGate(),
    "x": XGate(),
    "y": YGate(),
    "z": ZGate(),
    "s": SGate(),
    "sdg": SdgGate(),
    "sx": SXGate(),
    "sxdg": SXdgGate(),
    "ry+": RYGate(np.pi / 2),
    "ry-": RYGate(-np.pi / 2),
}


@dataclass(frozen=True)
class Setting:
    """One preparation or measurement at a cut end.

    Attributes:
        name: short and unique within its leg.
        before: gates (keys of ``GATES``) in time order, before the measurement if there is one.
        measured: whether a bit is read.
        after: gates in time order after the measurement.
    """

    name: str
    before: tuple[str, ...] = ()
    measured: bool = False
    after: tuple[str, ...] = ()


_WIRE_OUT = (
    Setting("X", ("h",), True),
    Setting("Y", ("sdg", "h"), True),
    Setting("Z", (), True),
)
_WIRE_IN = {
    "minimal": (Setting("0"), Setting("1", ("x",)), Setting("+", ("h",)), Setting("+i", ("h", "s"))),
    "full": (
        Setting("0"),
        Setting("1", ("x",)),
        Setting("+", ("h",)),
        Setting("-", ("x", "h")),
        Setting("+i", ("h", "s")),
        Setting("-i", ("h", "sdg")),
    ),
}
_GATE_2 = {
    "minimal": (Setting("I"), Setting("S", ("s",)), Setting("M", (), True)),
    "full": (
        Setting("I"),
        Setting("Z", ("z",)),
        Setting("S", ("s",)),
        Setting("Sdg", ("sdg",)),
        Setting("M", (), True),
    ),
}
# Measure along an axis and turn back; a Pauli after it reaches R-_jk of the two other axes.
_MEASURED = (
    Setting("Mx", ("h",), True, ("h",)),
    Setting("My", ("sdg", "h"), True, ("h", "s")),
    Setting("Mz", (), True),
    Setting("Mx.Y", ("h",), True, ("h", "y")),
    Setting("My.Z", ("sdg", "h"), True, ("h", "s", "z")),
    Setting("Mz.X", (), True, ("x",)),
)
_ROTATED = (Setting("rx", ("sx",)), Setting("ry", ("ry+",)), Setting("rz", ("s",)))
_HADAMARDS = (Setting("XZ", ("h",)), Setting("XY", ("sdg", "x")), Setting("YZ", ("h", "s", "x", "h")))
_GATE_4 = {
    "minimal": (Setting("I"), *_MEASURED, *_ROTATED, *_HADAMARDS),
    "full": (
        Setting("I"),
        Setting("X", ("x",)),
        Setting("Y", ("y",)),
        Setting("Z", ("z",)),
        *_MEASURED,
        *_ROTATED,
        Setting("rx-", ("sxdg",)),
        Setting("ry-", ("ry-",)),
        Setting("rz-", ("sdg",)),
        *_HADAMARDS,
        Setting("XZ-", ("x", "h", "x")),
        Setting("XY-", ("s", "x")),
        Setting("YZ-", ("h", "sdg", "x", "h")),
    ),
}


def settings_of(kind: LegKind, rank: int, scheme: Scheme) -> tuple[Setting, ...]:
    """The settings of a leg, in the order that variants index them."""
    if kind == "wire_out":
        return _WIRE_OUT
    if kind == "wire_in":
        return _WIRE_IN[scheme]
    return (_GATE_2 if rank == 2 else _GATE_4)[scheme]


def leg_settings(leg: Leg, scheme: Scheme) -> LegSettings:
    """How the settings of ``leg`` span its basis (see ``tasks.model.tensor.LegSettings``)."""
    return _spanning(leg.kind, leg.rank, scheme)[1]


@lru_cache(maxsize=32)
def _spanning(kind: LegKind, rank: int, scheme: Scheme) -> tuple[np.ndarray, LegSettings]:
    settings = settings_of(kind, rank, scheme)
    rows, columns = [], []
    for index, setting in enumerate(settings):
        plain, signed = setting_rows(kind, rank, setting)
        rows.append(plain)
        columns.append((index, 0))
        if signed is not None:
            rows.append(signed)
            columns.append((index, 1))
    matrix = np.array(rows)
    inverse = np.linalg.pinv(matrix)
    inverse[np.abs(inverse) < 1e-14] = 0.0
    return matrix, LegSettings(np.array(columns), inverse, len(settings))


def setting_rows(kind: LegKind, rank: int, setting: Setting) -> tuple[np.ndarray, np.ndarray | None]:
    """One setting in the leg basis: the row of its summed outcomes, and that of its signed outcomes if it measures.

    Returns:
        two (leg,) float64 arrays, the second None where no bit is measured.
    """
    before, after = gate_product(setting.before), gate_product(setting.after)
    if kind == "wire_in":
        state = before[:, 0]
        return 0.5 * np.einsum("i,pij,j->p", state.conj(), PAULIS, state).real, None
    if kind == "wire_out":
        rows = []
        for effect in (np.eye(2), np.diag([1.0, -1.0])):
            seen = before.conj().T @ effect @ before
            rows.append(0.5 * np.einsum("pij,ji->p", PAULIS, seen).real)
        return rows[0], rows[1]
    if not setting.measured:
        return _channel_row(rank, (before,), (1.0,)), None
    kraus = tuple(after @ np.diag(bit).astype(complex) @ before for bit in ([1, 0], [0, 1]))
    return _channel_row(rank, kraus, (1.0, 1.0)), _channel_row(rank, kraus, (1.0, -1.0))


def gate_product(names: tuple[str, ...]) -> np.ndarray:
    """(2, 2) complex, the unitary of gates (keys of ``GATES``) in time order."""
    matrix = np.eye(2, dtype=complex)
    for name in names:
        matrix = GATES[name].to_matrix() @ matrix
    return matrix


def _channel_row(rank: int, kraus: tuple[np.ndarray, ...], weights: tuple[float, ...]) -> np.ndarray:
    """Components of sum_b w_b K_b . K_b^dagger in the gate leg basis."""
    sigmas = schmidt_operators(rank)
    pairs = np.zeros((rank, rank), dtype=complex)  # coefficient of sigma_j . sigma_k
    for operator, weight in zip(kraus, weights, strict=True):
        v = np.einsum("jab,ba->j", sigmas, operator) / 2
        pairs += weight * np.outer(v, v.conj())
    # The basis elements' entries are combinations of the sigma_j . sigma_k entries, so components transform inversely.
    row = np.linalg.solve(basis_change(rank).T, pairs.reshape(-1))
    return row.real


def end_cost(leg: Leg, bond: np.ndarray, scheme: Scheme) -> float:
    """Shots that one cut end costs for a given error, relative to no cut there (a guide for choosing settings).

    With equal shots for each of S settings the variance is at most S times the squared raw gradient; the gradient is
    taken for a far side whose entries are independent and of the size that an entry of that kind typically has.
    """
    spanning = leg_settings(leg, scheme)
    weight = bond if leg.end == 0 else bond.T  # (this leg, far leg)
    typical = np.ones(weight.shape[1])
    if leg.kind != "gate":
        typical[1:] = 1 / np.sqrt(3)  # a random Bloch vector
    gradient = (spanning.inverse.T @ weight) * typical
    return float(spanning.num_settings * (gradient**2).sum())
