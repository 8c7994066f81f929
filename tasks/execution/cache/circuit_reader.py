"""A Qiskit circuit as operations on Paulis: single-qubit runs fused, two-qubit gates as one Pauli-pair rotation.

Every two-qubit gate is exp(-i theta/2 P Q) with single-qubit gates around it (CX, CZ and CY have theta = -pi/2). A run
of single-qubit gates between two of them is one SU(2) element; it becomes at most three rotations, the first about the
letter that commutes with the gate before, the last about the letter that commutes with the gate after, so that
rotations which a rewrite moved across those gates come back to one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction
from qiskit.synthesis import TwoQubitWeylDecomposition

from tasks.execution.cache.errors import UnsupportedCircuit
from tasks.execution.cache.frame import ANGLE_TOLERANCE, Pauli, multiply, split_angle
from tasks.execution.cache.normal_form import DEPHASE, MARK, MEASURE, Builder

X, Y, Z = 0, 1, 2
Quaternion = tuple[float, float, float, float]  # w - i (x X + y Y + z Z)
PI = math.pi

# single-qubit gates as rotations (axis, angle) in order of application, up to a global phase
_ONE_QUBIT: dict[str, Callable[[Sequence[float]], tuple[tuple[int, float], ...]]] = {
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
_Step = tuple[tuple[tuple[int, int], ...], float]


def _controlled_pauli(axis: int) -> tuple[_Step, ...]:
    return ((((0, Z), (1, axis)), -PI / 2), (((0, Z),), PI / 2), (((1, axis),), PI / 2))


def _controlled_rotation(axis: int, theta: float) -> tuple[_Step, ...]:
    return ((((1, axis),), theta / 2), (((0, Z), (1, axis)), -theta / 2))


def _controlled_phase(theta: float) -> tuple[_Step, ...]:
    return ((((0, Z), (1, Z)), -theta / 2), (((0, Z),), theta / 2), (((1, Z),), theta / 2))


_TWO_QUBIT: dict[str, Callable[[Sequence[float]], tuple[_Step, ...]]] = {
    "cx": lambda _: _controlled_pauli(X),
    "cy": lambda _: _controlled_pauli(Y),
    "cz": lambda _: _controlled_pauli(Z),
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


def is_standard(operation: Instruction) -> bool:
    """Say whether the operation is Qiskit's own gate of that name, so that its name and parameters define it."""
    return getattr(operation, "_standard_gate", None) is not None


class Reader:
    """Feeds a circuit to a :class:`Builder`.

    Args:
        num_qubits: qubits of the circuit.
        num_fresh: how many further qubits resets and open inputs will need.

    Attributes:
        builder: what has been read.
    """

    def __init__(self, num_qubits: int, num_fresh: int) -> None:
        self.builder = Builder(num_qubits + num_fresh)
        self._frame = self.builder.frame
        self._at = list(range(num_qubits))  # qubit of the circuit -> row of the frame
        self._fresh = num_qubits
        self._pending: list[tuple[float, ...] | None] = [None] * num_qubits
        self._entered = [Z] * num_qubits  # the letter that commutes with the gate before

    def turn(self, axis: int, qubit: int, theta: float) -> None:
        """Append a single-qubit rotation."""
        held = self._pending[qubit]
        if held is None:
            self._pending[qubit] = (axis, theta)
        elif len(held) == 2 and held[0] == axis:
            self._pending[qubit] = (axis, held[1] + theta)
        else:
            first = _quaternion(int(held[0]), held[1]) if len(held) == 2 else held
            self._pending[qubit] = _compose(_quaternion(axis, theta), first)

    def turn_pair(self, axes: tuple[tuple[int, int], ...], theta: float) -> None:
        """Append exp(-i theta/2 P), P given as (axis, qubit) letters."""
        for axis, qubit in axes:
            self.flush(qubit, axis)
            self._entered[qubit] = axis
        self._emit(axes, theta)

    def flush(self, qubit: int, leaving: int) -> None:
        """Emit the single-qubit run that ends here; ``leaving`` is the letter that commutes with what comes next."""
        held = self._pending[qubit]
        if held is None:
            return
        self._pending[qubit] = None
        if len(held) == 2:
            self._emit(((int(held[0]), qubit),), held[1])
            return
        for axis, theta in _euler(held, self._entered[qubit], leaving):
            self._emit(((axis, qubit),), theta)

    def swap(self, a: int, b: int) -> None:
        """Append a SWAP: the qubits change names."""
        self._at[a], self._at[b] = self._at[b], self._at[a]
        self._pending[a], self._pending[b] = self._pending[b], self._pending[a]
        self._entered[a], self._entered[b] = self._entered[b], self._entered[a]

    def measure(self, qubit: int, bit: int | None) -> None:
        """Append a Z measurement into a bit, or one that nobody reads."""
        self.flush(qubit, Z)
        image = self._frame.zs[self._at[qubit]]
        if bit is None:
            self.builder.ask(DEPHASE, image)
        else:
            self.builder.ask(MEASURE, image, bit)
        self._entered[qubit] = Z

    def mark(self, letters: Sequence[tuple[int, int]], tag: int) -> None:
        """Append a mark: the product of the (axis, qubit) letters."""
        image: Pauli = (0, 0, 0)
        for axis, qubit in letters:
            self.flush(qubit, axis)
            image = multiply(image, self._frame.letter(axis, self._at[qubit]))
        self.builder.ask(MARK, image, tag)

    def reset(self, qubit: int) -> None:
        """Append a reset: the circuit goes on with a fresh qubit, nobody asks about the old one."""
        self._pending[qubit] = None
        self._entered[qubit] = Z
        self._at[qubit] = self._fresh
        self._fresh += 1

    def open_input(self, qubit: int, tag_x: int, tag_z: int) -> None:
        """Let the qubit start as one half of a Bell pair; X and Z of the other half are marks."""
        self.reset(qubit)
        partner = len(self._at)
        self._at.append(self._fresh)
        self._fresh += 1
        self._pending.append(None)
        self._entered.append(Z)
        self.turn(Y, partner, PI / 2)
        for letters, theta in _controlled_pauli(X):
            self._steps(letters, theta, (partner, qubit))
        self.mark(((X, partner),), tag_x)
        self.mark(((Z, partner),), tag_z)

    def gate(self, operation: Instruction, qubits: Sequence[int]) -> None:
        """Append a unitary gate.

        Raises:
            UnsupportedCircuit: parameters are not numbers, or the operation has no definition.
        """
        name = operation.name
        if is_standard(operation):
            if name in _ONE_QUBIT:
                for axis, theta in _ONE_QUBIT[name](_numbers(operation)):
                    self.turn(axis, qubits[0], theta)
                return
            if name in _TWO_QUBIT:
                for letters, theta in _TWO_QUBIT[name](_numbers(operation)):
                    self._steps(letters, theta, qubits)
                return
            if name == "swap":
                self.swap(qubits[0], qubits[1])
                return
        if name in ("barrier", "delay"):
            return
        if name == "unitary" and operation.num_qubits <= 2:
            self._matrix(np.asarray(operation.params[0], dtype=complex), qubits)
            return
        definition = getattr(operation, "definition", None)
        if definition is None or definition.num_clbits:
            raise UnsupportedCircuit(f"{name}: no unitary definition to read; the circuit is not shared by its meaning")
        places = {bit: i for i, bit in enumerate(definition.qubits)}
        for inner in definition.data:
            self.gate(inner.operation, [qubits[places[bit]] for bit in inner.qubits])

    def _steps(self, letters: tuple[tuple[int, int], ...], theta: float, qubits: Sequence[int]) -> None:
        if len(letters) == 1:
            self.turn(letters[0][1], qubits[letters[0][0]], theta)
        else:
            self.turn_pair(tuple((axis, qubits[place]) for place, axis in letters), theta)

    def _matrix(self, matrix: np.ndarray, qubits: Sequence[int]) -> None:
        if matrix.shape == (2, 2):
            self._one_qubit_matrix(matrix, qubits[0])
            return
        parts = TwoQubitWeylDecomposition(matrix, fidelity=None)
        low, high = qubits
        self._one_qubit_matrix(parts.K2r, low)
        self._one_qubit_matrix(parts.K2l, high)
        for axis, angle in ((X, parts.a), (Y, parts.b), (Z, parts.c)):
            self.turn_pair(((axis, low), (axis, high)), -2 * angle)
        self._one_qubit_matrix(parts.K1r, low)
        self._one_qubit_matrix(parts.K1l, high)

    def _one_qubit_matrix(self, matrix: np.ndarray, qubit: int) -> None:
        u = matrix / np.sqrt(complex(np.linalg.det(matrix)))
        quaternion = (
            float((u[0, 0] + u[1, 1]).real) / 2,
            -float((u[0, 1] + u[1, 0]).imag) / 2,
            float((u[1, 0] - u[0, 1]).real) / 2,
            -float((u[0, 0] - u[1, 1]).imag) / 2,
        )
        held = self._pending[qubit]
        if held is None:
            self._pending[qubit] = quaternion
        else:
            first = _quaternion(int(held[0]), held[1]) if len(held) == 2 else held
            self._pending[qubit] = _compose(quaternion, first)

    def _emit(self, axes: tuple[tuple[int, int], ...], theta: float) -> None:
        turns, rest = split_angle(theta)
        if not turns and abs(rest) <= ANGLE_TOLERANCE:
            return
        rows = tuple((axis, self._at[qubit]) for axis, qubit in axes)
        image = self._frame.letter(*rows[0])
        for row in rows[1:]:
            image = multiply(image, self._frame.letter(*row))
        if turns:
            self._frame.turn_physical(rows, image, turns)
        if abs(rest) > ANGLE_TOLERANCE:
            self.builder.rotate(image, rest)


def read_circuit(circuit: QuantumCircuit) -> Builder:
    """Read a circuit with measurements: the marks are none, the question is the distribution of its classical bits.

    Raises:
        UnsupportedCircuit: control flow, unbound parameters, gates without a definition.
    """
    data = circuit.data
    qubit_at = {bit: i for i, bit in enumerate(circuit.qubits)}
    bit_at = {bit: i for i, bit in enumerate(circuit.clbits)}
    last_write = {}
    resets = 0
    for i, item in enumerate(data):
        if item.clbits:
            last_write[item.clbits[0]] = i
        resets += item.name == "reset"
    reader = Reader(circuit.num_qubits, resets)
    for i, item in enumerate(data):
        operation = item.operation
        name = operation.name
        qubits = [qubit_at[bit] for bit in item.qubits]
        if name == "measure":
            bit = item.clbits[0]
            reader.measure(qubits[0], bit_at[bit] if last_write[bit] == i else None)
        elif name == "reset":
            reader.reset(qubits[0])
        elif item.clbits or getattr(operation, "blocks", None):
            raise UnsupportedCircuit(f"{name}: classical control is not read; the circuit is not shared by its meaning")
        else:
            reader.gate(operation, qubits)
    return reader.builder


def _numbers(operation: Instruction) -> list[float]:
    try:
        return [float(value) for value in operation.params]
    except TypeError as error:
        raise UnsupportedCircuit(f"{operation.name}: a parameter is not a number; bind it first") from error


def _quaternion(axis: int, theta: float) -> Quaternion:
    s = math.sin(theta / 2)
    return (math.cos(theta / 2), s if axis == X else 0.0, s if axis == Y else 0.0, s if axis == Z else 0.0)


def _compose(second: Sequence[float], first: Sequence[float]) -> Quaternion:
    """Return the rotation ``first`` followed by ``second``."""
    a, b, c, d = second
    e, f, g, h = first
    return (
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    )


def _euler(q: Sequence[float], entering: int, leaving: int) -> tuple[tuple[int, float], ...]:
    """Split an SU(2) element into rotations in order, the first about ``entering``, the last about ``leaving``."""
    if entering != leaving:
        middle = 3 - entering - leaving
        # R_leaving(a) = R_m(pi/2) R_entering(+-a) R_m(-pi/2): strip R_m(pi/2), split, and put it back
        inner = _compose(_quaternion(middle, -PI / 2), q)
        return (*_symmetric_euler(inner, entering, middle), (middle, PI / 2))
    return _symmetric_euler(q, entering, (entering + 1) % 3)


def _symmetric_euler(q: Sequence[float], outer: int, inner: int) -> tuple[tuple[int, float], ...]:
    third = 3 - outer - inner
    sign = 1.0 if (inner - outer) % 3 == 1 else -1.0
    w, o, i, t = q[0], q[1 + outer], q[1 + inner], sign * q[1 + third]
    plain, crossed = math.hypot(w, o), math.hypot(i, t)
    total = 2 * math.atan2(o, w) if plain > ANGLE_TOLERANCE else 0.0
    difference = 2 * math.atan2(t, i) if crossed > ANGLE_TOLERANCE else 0.0
    if plain <= ANGLE_TOLERANCE:
        total = -difference  # only one of the outer angles matters: the last is zero
    if crossed <= ANGLE_TOLERANCE:
        difference = -total
    last, first = (total + difference) / 2, (total - difference) / 2
    return ((outer, first), (inner, 2 * math.atan2(crossed, plain)), (outer, last))
