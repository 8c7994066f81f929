"""Settings: what a device can prepare or measure at a cut end, in a few standard gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from qiskit.circuit import Gate
from qiskit.circuit.library import (
    CXGate,
    CYGate,
    CZGate,
    HGate,
    RYGate,
    SdgGate,
    SGate,
    SXdgGate,
    SXGate,
    XGate,
    YGate,
    ZGate,
)

Scheme = Literal["full", "minimal"]
SCHEMES: tuple[Scheme, ...] = ("full", "minimal")

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
    "cx": CXGate(),
    "cy": CYGate(),
    "cz": CZGate(),
}


@dataclass(frozen=True)
class Setting:
    """One preparation or measurement at a cut end.

    Attributes:
        name: short and unique within its leg.
        before: gates (keys of ``GATES``) in time order, before the measurement if there is one.
        measured: whether a bit is read: the leg's qubit in the Z basis, or its ancilla where there is a coupling.
        after: gates in time order after that.
        coupling: gates on an ancilla that starts in |0> and is read at the end of the circuit: on it alone, or (two
            qubits) controlled by it and acting on the leg's qubit.
    """

    name: str
    before: tuple[str, ...] = ()
    measured: bool = False
    after: tuple[str, ...] = ()
    coupling: tuple[str, ...] = ()

    def kraus(self) -> tuple[np.ndarray, ...]:
        """What it does to the leg's qubit: one (2, 2) complex operator, or one for each value of the bit it reads."""
        before, after = gate_product(self.before), gate_product(self.after)
        if not self.measured:
            return (after @ before,)
        if not self.coupling:
            return tuple(after @ np.diag(bit).astype(complex) @ before for bit in ([1, 0], [0, 1]))
        both = np.eye(4, dtype=complex)  # (leg's qubit, ancilla), the ancilla the right factor
        for name in self.coupling:
            matrix = GATES[name].to_matrix()
            both = (matrix if len(matrix) == 4 else np.kron(np.eye(2), matrix)) @ both
        kept = both.reshape(2, 2, 2, 2)[:, :, :, 0]  # (qubit out, bit, qubit in)
        return tuple(after @ kept[:, bit] @ before for bit in (0, 1))


def gate_product(names: tuple[str, ...]) -> np.ndarray:
    """(2, 2) complex, the unitary of one-qubit gates (keys of ``GATES``) in time order."""
    matrix = np.eye(2, dtype=complex)
    for name in names:
        matrix = GATES[name].to_matrix() @ matrix
    return matrix
