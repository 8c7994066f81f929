"""What can go wrong while cutting, each with what to do about it."""

from __future__ import annotations

from tasks.errors import QompassError


class CuttingError(QompassError):
    """A cut that cannot be made, or no plan within the limits given."""


class TooFewShotsError(CuttingError):
    """A plan with more distinct variants than shots.

    Attributes:
        variants: of the plan.
    """

    def __init__(self, message: str, *, field: str | None = None, variants: int = 0) -> None:
        super().__init__(message, field=field)
        self.variants = variants


class NoRoomError(CuttingError):
    """A plan with a fragment that no device has the memory or the qubits for.

    Attributes:
        lack: which fragment, and what each device has, in words.
        qubits: that a fragment of another plan may have at most, if this one tells.
        needed: bytes of memory that the fragment takes.
    """

    def __init__(self, lack: str, advice: str, *, qubits: int, needed: int) -> None:
        super().__init__(f"{lack}; {advice}")
        self.lack, self.qubits, self.needed = lack, qubits, needed
