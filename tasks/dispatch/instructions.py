"""What the state tells the driver to do."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_policies import Device, DeviceState
from tasks.execution.pieces import Piece
from tasks.runtime.outcome import Outcome


@dataclass(frozen=True)
class Submit:
    """Run these pieces in one task.

    Attributes:
        number: of the task; the driver says it again when the task has ended.
        device: where.
        pieces: what.
        attempt: how often one of them has failed.
        late: let the engine choose among simulators.
        placed: how the device did when this was placed, where the pieces may leave its queue again; None: they stay.
    """

    number: int
    device: Device
    pieces: tuple[Piece, ...]
    attempt: int
    late: bool
    placed: DeviceState | None


@dataclass(frozen=True)
class Look:
    """Nothing is in work and nothing can be placed now: call ``place`` again in so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Move:
    """A piece goes to another device, and why."""

    piece: Piece
    source: str
    target: str
    why: str


@dataclass(frozen=True)
class Warn:
    """Something the user should read."""

    text: str


@dataclass(frozen=True)
class GiveUp:
    """The run cannot go on: why, the outcome that ended it where it was one, and whether it is for want of money."""

    text: str
    outcome: Outcome | None = None
    budget: bool = False


Instruction = Submit | Look | Move | Warn | GiveUp
