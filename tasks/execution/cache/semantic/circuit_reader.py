"""A Qiskit circuit as operations on Paulis: gates by name, definition or matrix, measurements, resets and marks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qiskit.circuit import Barrier, CircuitInstruction, Delay, Instruction
from qiskit.circuit.library import UnitaryGate

from tasks.execution.as_written import is_standard
from tasks.execution.cache.semantic.frame import Pauli, multiply
from tasks.execution.cache.semantic.fuser import Fuser, PairStep
from tasks.execution.cache.semantic.gate_table import ONE_QUBIT, TWO_QUBIT, controlled_pauli
from tasks.execution.cache.semantic.normal_form import DEPHASE, MARK, MEASURE
from tasks.execution.cache.semantic.rotations import PI, X, Y, Z, quaternion_of
from tasks.execution.errors import UnsupportedCircuit


class Reader(Fuser):
    """Reads a circuit's operations one by one; what has been read is in ``builder``."""

    def __init__(self, num_qubits: int, num_fresh: int) -> None:
        super().__init__(num_qubits, num_fresh)
        self._own: dict[str, bool] = {}  # by name: whether the gates that Qiskit calls its own are

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
        self._close_block(qubit)
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
        for letters, theta in controlled_pauli(X):
            self._steps(letters, theta, (partner, qubit))
        self.mark(((X, partner),), tag_x)
        self.mark(((Z, partner),), tag_z)

    def named(self, item: CircuitInstruction, qubits: Sequence[int]) -> bool:
        """Append a gate of Qiskit's own from its name and numbers; False where these do not say what it is.

        Raises:
            UnsupportedCircuit: parameters are not numbers.
        """
        name = item.name
        if name not in self._own:
            self._own[name] = is_standard(item.operation)
        return self._own[name] and self._standard(name, item.params, qubits)

    def _standard(self, name: str, parameters: Sequence[object], qubits: Sequence[int]) -> bool:
        if name in ONE_QUBIT:
            for axis, theta in ONE_QUBIT[name](_numbers(name, parameters)):
                self.turn(axis, qubits[0], theta)
        elif name in TWO_QUBIT:
            for letters, theta in TWO_QUBIT[name](_numbers(name, parameters)):
                self._steps(letters, theta, qubits)
        elif name == "swap":
            self.swap(qubits[0], qubits[1])
        else:
            return False
        return True

    def gate(self, operation: Instruction, qubits: Sequence[int]) -> None:
        """Append a unitary gate.

        Raises:
            UnsupportedCircuit: parameters are not numbers, or the operation has no definition.
        """
        name = operation.name
        if is_standard(operation) and self._standard(name, operation.params, qubits):
            return
        if isinstance(operation, Barrier | Delay):
            return
        if isinstance(operation, UnitaryGate) and operation.num_qubits <= 2:
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
            self._hold(qubits[0], quaternion_of(matrix))
            return
        a, b = qubits
        if a > b:  # lower qubit first
            matrix = matrix.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
        self._join_block(a, b, PairStep((), 0.0, matrix))


def _numbers(name: str, parameters: Sequence[object]) -> list[float]:
    try:
        return [float(value) for value in parameters]  # type: ignore[arg-type]
    except TypeError as error:
        raise UnsupportedCircuit(f"{name}: a parameter is not a number; bind it first") from error
