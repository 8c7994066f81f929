"""Gates as fixed unitaries and diagonal phases: ``exp(i angle pattern)``, the only place where an angle acts.

RX and RY are RZ between fixed one-qubit gates, RXX and RYY likewise RZZ, a controlled rotation is a rotation and an RZZ
of half the angle: so every pattern takes two values only, and the two-point parameter-shift rule holds for each (Schuld
et al., Phys. Rev. A 99, 032331, 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Gate

_H = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
_S = np.diag([1, 1j]).astype(complex)
_HALF_Z = np.array([-0.5, 0.5])
_ONE = np.array([0.0, 1.0])
_HALF_ZZ = np.array([-0.5, 0.5, 0.5, -0.5])
_BOTH = np.array([0.0, 0.0, 0.0, 1.0])
# On (01, 10) as a Hadamard gate: the eigenbasis of XX + YY; on (00, 11): of XX - YY. The first qubit is the right one.
_PLUS, _MINUS = np.eye(4, dtype=complex), np.eye(4, dtype=complex)
_PLUS[1:3, 1:3] = _H
_MINUS[np.ix_([0, 3], [0, 3])] = _H


@dataclass(frozen=True)
class Fixed:
    """A unitary that no parameter changes.

    Attributes:
        qubits: the first one is the least significant of the matrix' index.
        matrix: (2**k, 2**k) complex.
    """

    qubits: tuple[int, ...]
    matrix: np.ndarray


@dataclass(frozen=True)
class Phase:
    """exp(i factor angle pattern) on the diagonal.

    Attributes:
        qubits: the first one is the least significant of the pattern's index.
        pattern: (2**k,) float64, of two different values.
        angle: which parameter of the gate it takes; the circuit's number of it once a program is made.
        factor: of the angle.
    """

    qubits: tuple[int, ...]
    pattern: np.ndarray
    angle: int
    factor: float = 1.0

    @property
    def gap(self) -> float:
        """Difference of the two values: the one frequency with which a value depends on the angle."""
        return float(self.factor * (self.pattern.max() - self.pattern.min()))


Part = Fixed | Phase
_Parts = list[Part]


def _rz(q: int, angle: int, factor: float = 1.0) -> _Parts:
    return [Phase((q,), _HALF_Z, angle, factor)]


def _turned(before: np.ndarray, inner: _Parts, q: int) -> _Parts:
    return [Fixed((q,), before), *inner, Fixed((q,), before.conj().T)]


def _rx(q: int, angle: int, factor: float = 1.0) -> _Parts:
    return _turned(_H, _rz(q, angle, factor), q)


def _ry(q: int, angle: int, factor: float = 1.0) -> _Parts:
    return _turned(_H @ _S.conj(), _rz(q, angle, factor), q)


def _p(q: int, angle: int) -> _Parts:
    return [Phase((q,), _ONE, angle)]


def _rzz(a: int, b: int, angle: int, factor: float = 1.0) -> _Parts:
    return [Phase((a, b), _HALF_ZZ, angle, factor)]


def _crz(c: int, t: int) -> _Parts:
    return [*_rz(t, 0, 0.5), *_rzz(c, t, 0, -0.5)]


def _xy(a: int, b: int, turn: np.ndarray, signs: tuple[float, float]) -> _Parts:
    """exp(-i angle/2 (XX +- YY)/2), in whose eigenbasis it is a rotation of each qubit by half the angle."""
    phases = [*_rz(a, 0, signs[0]), *_rz(b, 0, signs[1])]
    return [Fixed((a, b), turn), *phases, Fixed((a, b), turn.conj().T)]


# What a gate with free angles is made of, in time order; arguments are its qubits, angles its parameters by number.
PARTS: dict[str, Callable[..., _Parts]] = {
    "rz": lambda q: _rz(q, 0),
    "rx": lambda q: _rx(q, 0),
    "ry": lambda q: _ry(q, 0),
    "p": lambda q: _p(q, 0),
    "u1": lambda q: _p(q, 0),
    "u": lambda q: [*_p(q, 2), *_ry(q, 0), *_p(q, 1)],
    "u3": lambda q: [*_p(q, 2), *_ry(q, 0), *_p(q, 1)],
    "u2": lambda q: [*_p(q, 1), Fixed((q,), _H @ np.diag([1, -1])), *_p(q, 0)],
    "r": lambda q: [*_rz(q, 1, -1.0), *_rx(q, 0), *_rz(q, 1)],
    "rzz": lambda a, b: _rzz(a, b, 0),
    "rxx": lambda a, b: _turned(_H, _turned(_H, _rzz(a, b, 0), b), a),
    "ryy": lambda a, b: _turned(_H @ _S.conj(), _turned(_H @ _S.conj(), _rzz(a, b, 0), b), a),
    "rzx": lambda a, b: _turned(_H, _rzz(a, b, 0), b),
    "cp": lambda a, b: [Phase((a, b), _BOTH, 0)],
    "cu1": lambda a, b: [Phase((a, b), _BOTH, 0)],
    "crz": _crz,
    "crx": lambda c, t: _turned(_H, _crz(c, t), t),
    "cry": lambda c, t: _turned(_H @ _S.conj(), _crz(c, t), t),
    "xx_plus_yy": lambda a, b: [*_rz(a, 1), *_xy(a, b, _PLUS, (-0.5, 0.5)), *_rz(a, 1, -1.0)],
    "xx_minus_yy": lambda a, b: [*_rz(b, 1, -1.0), *_xy(a, b, _MINUS, (0.5, 0.5)), *_rz(b, 1)],
}


def parts_of(gate: Gate, qubits: Sequence[int], angles: dict[int, int]) -> list[Part]:
    """What a gate is made of.

    Args:
        gate: unitary, on one or two qubits.
        qubits: it acts on.
        angles: for each parameter that is free, the circuit's number of that angle; none for a fixed gate.
    """
    if not angles:
        return [Fixed(tuple(qubits), np.array(gate.to_matrix(), dtype=complex))]
    made: list[Part] = []
    for part in PARTS[gate.name](*qubits):
        if isinstance(part, Phase) and part.angle not in angles:
            phases = np.exp(1j * part.factor * float(gate.params[part.angle]) * part.pattern)
            made.append(Fixed(part.qubits, np.diag(phases)))
        elif isinstance(part, Phase):
            made.append(Phase(part.qubits, part.pattern, angles[part.angle], part.factor))
        else:
            made.append(part)
    return made
