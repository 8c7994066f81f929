"""Which rotations a named gate is, up to its phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tasks.execution.cache.semantic.rotations import PI, X, Y, Z

# single-qubit gates as rotations (axis, angle) in order of application, up to a global phase
ONE_QUBIT: dict[str, Callable[[Sequence[float]], tuple[tuple[int, float], ...]]] = {
    "id": lambda _: (),
    "x": lambda _: ((X, PI),),
    "y": lambda _: ((Y, PI),),
    "z": lambda _: ((Z, PI),),
    "h": lambda _: ((Y, PI / 2), (X, PI)),
    "s": lambda _: ((Z, PI / 2),),
    "sdg": lambda _: ((Z, -PI / 2),),
    "t": lambda _: ((Z, PI / 4),),
    "tdg": lambda _: ((Z, -PI / 4),),
    "sx": lambda _: ((X, PI / 2),),
    "sxdg": lambda _: ((X, -PI / 2),),
    "rx": lambda p: ((X, p[0]),),
    "ry": lambda p: ((Y, p[0]),),
    "rz": lambda p: ((Z, p[0]),),
    "p": lambda p: ((Z, p[0]),),
    "u1": lambda p: ((Z, p[0]),),
    "u2": lambda p: ((Z, p[1]), (Y, PI / 2), (Z, p[0])),
    "u3": lambda p: ((Z, p[2]), (Y, p[0]), (Z, p[1])),
    "u": lambda p: ((Z, p[2]), (Y, p[0]), (Z, p[1])),
    "r": lambda p: ((Z, -p[1]), (X, p[0]), (Z, p[1])),
}

# two-qubit gates: rotations in order of application, each ((place, axis), ..., angle)
Step = tuple[tuple[tuple[int, int], ...], float]


def controlled_pauli(axis: int) -> tuple[Step, ...]:
    """Return the steps of CX (0), CY (1) or CZ (2)."""
    return ((((0, Z), (1, axis)), -PI / 2), (((0, Z),), PI / 2), (((1, axis),), PI / 2))


def _controlled_rotation(axis: int, theta: float) -> tuple[Step, ...]:
    return ((((1, axis),), theta / 2), (((0, Z), (1, axis)), -theta / 2))


def _controlled_phase(theta: float) -> tuple[Step, ...]:
    return ((((0, Z), (1, Z)), -theta / 2), (((0, Z),), theta / 2), (((1, Z),), theta / 2))


TWO_QUBIT: dict[str, Callable[[Sequence[float]], tuple[Step, ...]]] = {
    "cx": lambda _: controlled_pauli(X),
    "cy": lambda _: controlled_pauli(Y),
    "cz": lambda _: controlled_pauli(Z),
    "rxx": lambda p: ((((0, X), (1, X)), p[0]),),
    "ryy": lambda p: ((((0, Y), (1, Y)), p[0]),),
    "rzz": lambda p: ((((0, Z), (1, Z)), p[0]),),
    "rzx": lambda p: ((((0, Z), (1, X)), p[0]),),
    "crx": lambda p: _controlled_rotation(X, p[0]),
    "cry": lambda p: _controlled_rotation(Y, p[0]),
    "crz": lambda p: _controlled_rotation(Z, p[0]),
    "cp": lambda p: _controlled_phase(p[0]),
    "cu1": lambda p: _controlled_phase(p[0]),
    "cs": lambda _: _controlled_phase(PI / 2),
    "csdg": lambda _: _controlled_phase(-PI / 2),
    "csx": lambda _: ((((0, Z), (1, X)), -PI / 4), (((0, Z),), PI / 4), (((1, X),), PI / 4)),
    "ecr": lambda _: ((((0, Z), (1, X)), PI / 2), (((0, X),), PI)),
}
