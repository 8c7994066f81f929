"""A state driven by a script: what happened is said, what is to be done is read, nothing runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from scheduler_policies import CPU_SPEED, Device, DeviceState, Goal, Kind, Work, find_policy
from tasks.dispatch.instructions import Instruction, Submit
from tasks.dispatch.pool import Pool
from tasks.dispatch.state import State
from tasks.execution.pieces import Done, Piece, Report
from tasks.runtime.outcome import Failure, Outcome, Reason
from tests.scheduler_policies.instances import qpu, work

CPU = Device("cpu", Kind.CPU, units=2, speed=CPU_SPEED)


def a_qpu(name: str, price: float = 0.0) -> Device:
    """A QPU of twenty qubits."""
    return replace(qpu(name, 20, 0.01, 1e-3, price=price).device, name=name)


def counts(fragment: int, variants: int = 6, round_index: int = 0) -> Piece:
    """Shots of the variants of a fragment."""
    return Piece(fragment, round_index, 0, (100,) * variants)


@dataclass
class Script:
    """What has happened so far.

    Attributes:
        state: the state machine.
        now: the time that events say.
        told: every instruction so far.
        running: tasks in work, by number.
    """

    state: State
    now: float = 0.0
    told: list[Instruction] = field(default_factory=list)
    running: dict[int, Submit] = field(default_factory=dict)

    def place(self, **seen: DeviceState) -> list[Submit]:
        """Place what waits; the tasks to submit."""
        return self._do(self.state.place(seen, self.now))

    def end(self, number: int, outcome: Outcome) -> list[Instruction]:
        """A task has ended."""
        del self.running[number]
        before = len(self.told)
        self._do(self.state.end(number, outcome, self.now))
        return self.told[before:]

    def succeed(self, number: int, **meta: str) -> list[Instruction]:
        """A task has done all of its pieces."""
        submit = self.running[number]
        done = tuple(Done(piece, str(piece.key), meta, True) for piece in submit.pieces)
        return self.end(number, Outcome(Report(done), device=submit.device.name, seconds=1.0))

    def fail(self, number: int, reason: Reason = Reason.KILLED) -> list[Instruction]:
        """A task has failed."""
        device = self.running[number].device.name
        return self.end(number, Outcome(failure=Failure(reason, "it broke"), device=device, seconds=1.0))

    def leave(self, number: int, done: int = 0) -> list[Instruction]:
        """A task's pieces were taken back from the queue after the first ``done`` variants of each."""
        submit = self.running[number]
        first = tuple(Done(piece.share(piece.first, done), str(piece.key), {}, True) for piece in submit.pieces if done)
        return self.end(number, Outcome(Report(first, left="its queue grew"), device=submit.device.name, seconds=1.0))

    def all(self, kind: type[Instruction]) -> list[Instruction]:
        """Every instruction of a kind so far."""
        return [instruction for instruction in self.told if isinstance(instruction, kind)]

    def _do(self, instructions: list[Instruction]) -> list[Submit]:
        self.told += instructions
        submits = [instruction for instruction in instructions if isinstance(instruction, Submit)]
        self.running |= {submit.number: submit for submit in submits}
        return submits


def script(
    *devices: Device,
    policy: str | Callable[..., list[tuple[Work, str]]] = "fastest",
    goal: Goal = Goal(),  # noqa: B008 (frozen)
    fragments: int = 4,
    variants: int = 6,
    seconds: float = 1e-5,
    readouts: dict[str, int] | None = None,
) -> Script:
    """A state with these devices and fragments; every variant takes ``seconds``."""
    chosen = find_policy(policy, []) if isinstance(policy, str) else policy
    works = [work(fragment, variants=variants) for fragment in range(fragments)]
    pool = Pool(list(devices) or [CPU], chosen, goal, readouts=readouts)
    return Script(State(pool, works, 1.0, lambda piece: seconds * max(1, piece.count), 0.001))
