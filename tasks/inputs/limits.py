"""How large a circuit may be: looked at before anything of that size is made."""

from __future__ import annotations

from tasks.errors import InputError

MIN_QUBITS = 2
MAX_QUBITS = 1000
MAX_CLBITS = 100_000
MAX_GATES = 1_000_000  # one- and two-qubit gates, after definitions are replaced by what they are made of
MAX_LEVELS = 2_000  # of definitions within definitions


def checked_width(where: str, qubits: int, clbits: int = 0) -> None:
    """Refuse registers that are too wide, before they are made; ``where`` begins the message.

    Raises:
        InputError: more than 1,000 qubits, or more than 100,000 classical bits.
    """
    if qubits > MAX_QUBITS:
        raise InputError(f"{where}the circuit has {qubits} qubits: Qompass takes up to {MAX_QUBITS}")
    if clbits > MAX_CLBITS:
        raise InputError(f"{where}the circuit has more than {MAX_CLBITS:,} classical bits: declare fewer")
