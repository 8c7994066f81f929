"""Which piece runs where and what happens when it fails: events in, instructions out, and nothing else.

A pure state machine: it knows no clock (events say what time it is), no disk, no log and no engine. The driver tells it
what happened and does what it says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from scheduler_policies import (
    Candidate,
    Decision,
    Device,
    DeviceState,
    Kind,
    NoDeviceError,
    Work,
    fitting,
    work_seconds,
)
from tasks.dispatch.batches import Predicted, provider_tasks, tasks_of
from tasks.dispatch.instructions import GiveUp, Instruction, Look, Move, Submit, Warn
from tasks.dispatch.pool import Pool, work_of
from tasks.dispatch.prices import task_price
from tasks.execution.pieces import Done, Piece, Report
from tasks.runtime.outcome import Next, Outcome, Reason, RetryPolicy, next_step

RETRY = RetryPolicy(attempts=6)
MOST_FAILURES = 200  # of tasks in one run: pieces are cut anew when they move, so their own counts end not every run
LONGEST_WAIT_S = 600.0  # for devices that are set aside, with nothing else to do
_FITTINGS = 4  # looks at what pieces cost, where the budget does not hold them
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.1, 5.0

_Key = tuple[int, int, int]  # fragment, round, first variant
_PartOf = Callable[[Work], tuple[Piece, Piece]]


class State:
    """Pieces to be placed, pieces in work, and what is known of their failures.

    Args:
        pool: the devices.
        works: one for each fragment of the plan (``works_of``).
        norm: of the observables' coefficients, for the weight of each fragment's error.
        predicted: how many seconds a piece takes on one core.
        overhead_s: what a task costs beside its work.
        retry: how often a piece is tried again.
    """

    def __init__(
        self,
        pool: Pool,
        works: Sequence[Work],
        norm: float,
        predicted: Predicted,
        overhead_s: float,
        retry: RetryPolicy = RETRY,
    ):
        self.pool = pool
        self.trouble: dict[str, str] = {}  # why a device last failed, by its name
        self._works, self._norm, self._predicted, self._overhead_s, self._retry = (
            works, norm, predicted, overhead_s, retry,
        )  # fmt: skip
        self._todo: list[Piece] = []
        self._running: dict[int, Submit] = {}
        self._history: dict[_Key, list[Outcome]] = {}
        self._moved: dict[_Key, tuple[str, str, bool]] = {}  # (device it came from, why, whether it left a queue)
        self._leaves: Counter[int] = Counter()  # how often pieces of each fragment left a queue
        self._refused: dict[int, set[str]] = {}  # devices that refused pieces of a fragment, however these are cut
        self._shots: dict[int, Counter[str]] = {}
        self._died: set[tuple[int, int]] = set()  # (fragment, round) of tasks that could not report what they had paid
        self._failures = 0
        self._submitted = 0
        self._idle_since: float | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to place and nothing in work."""
        return not self._todo and not self._running

    @property
    def waiting(self) -> set[int]:
        """Fragments with pieces that are to be placed."""
        return {piece.fragment for piece in self._todo}

    def shots_of(self, fragment: int) -> Mapping[str, int]:
        """Shots that each device has taken of a fragment's variants, in this process or an earlier one of the run."""
        return self._shots.get(fragment, {})

    def ask(self, pieces: Sequence[Piece]) -> None:
        """Event: these pieces are wanted."""
        self._todo += pieces

    def recall(self, done: Done, device: str) -> None:
        """Event: a result of an earlier process of this run was found."""
        self._count(device, done.piece)
        self._pay(device, [done], {})

    def place(self, seen: Mapping[str, DeviceState], now: float) -> list[Instruction]:
        """Event: time to place what waits; ``seen`` are states that were read from devices just now."""
        if not self._todo:
            return []
        self.pool.seen(seen)
        todo, self._todo = self._todo, []
        try:
            placed, retry_at, instructions = self._placed(todo, now)
        except NoDeviceError as error:
            return [GiveUp(str(error))]
        if any(isinstance(instruction, GiveUp) for instruction in instructions):
            return instructions
        for device, pieces in tasks_of(placed, self._predicted, self._overhead_s):
            attempt = max(len(self._history.get(piece.key, [])) for piece in pieces)
            submit = Submit(
                self._submitted,
                device,
                pieces,
                attempt,
                self.pool.late_binding and attempt == 0,
                self.pool.state(device.name) if self._may_leave(device, pieces, now) else None,
            )
            price = self._task_price(device, pieces, self.pool.readout_due(device.name))
            self.pool.submitted(submit.number, device.name, price)
            self._running[submit.number] = submit
            self._submitted += 1
            instructions.append(submit)
        if not self._running:
            return [*instructions, *self._rest(retry_at, now)]
        self._idle_since = None
        return instructions

    def price_of(self, pieces: Sequence[Piece], now: float) -> tuple[float, set[int]]:
        """What pieces would cost where the policy would place them now, and of which fragments; nothing is placed."""
        schedule, _, price = self._affordable(pieces, now)
        priced = {name for name, device in self.pool.devices.items() if device.priced}
        return price, {placed.work.fragment for placed in schedule.placements if placed.device in priced}

    def end(self, number: int, outcome: Outcome, now: float, *, measured: bool = False) -> list[Instruction]:
        """Event: a task has ended; the value of its outcome is a `Report`.

        ``measured``: one that died before it could report has measured the readout of its device.
        """
        submit = self._running.pop(number)
        readout = self.pool.ended(number, submit.device.name)
        device = self.pool.devices.get(outcome.device, submit.device)  # another one where the engine bound late
        report: Report = outcome.value if outcome.failure is None else Report(failure=outcome.failure.message)
        if report.readout_shots:
            self.pool.read_out(device.name, report.readout_shots, job_known=bool(report.jobs))
        elif not report.done:
            self.pool.told_nothing(submit.device.name, readout, measured=measured)
        if outcome.failure is not None:
            self._died |= {(piece.fragment, piece.round_index) for piece in submit.pieces}
        for done in report.done:
            self._count(device.name, done.piece)
            self.pool.done(device.name, self._work(done.piece))
        self._pay(device.name, report.done, report.jobs)
        missing = _missing(submit.pieces, [done.piece for done in report.done])
        if report.failure:
            return self._again(device, missing, outcome, report.failure, now)
        if report.left:
            for done in report.done:
                self.pool.succeeded(device.name, self._work(done.piece), 0.0)
            return self._leave(device, missing, report.left)
        seconds = (outcome.seconds - report.waited) / len(submit.pieces)
        found = any("cache" in done.meta for done in report.done)  # what is found says nothing of a device's speed
        for piece in submit.pieces:
            self.pool.succeeded(device.name, self._work(piece), 0.0 if found else seconds)
        return []

    def _placed(
        self, todo: Sequence[Piece], now: float
    ) -> tuple[list[tuple[Device, Piece]], float | None, list[Instruction]]:
        """What runs where now, when to look again, and what is to be told; what has to wait is to do again."""
        if (single := self.pool.single) is not None:
            for piece in todo:
                fitting(self._work(piece), [Candidate(single, self.pool.state(single.name))])
            return [(single, piece) for piece in todo], None, []
        schedule, part_of, price = self._affordable(todo, now)
        if beyond := self.pool.beyond(price):
            return [], None, [GiveUp(beyond, budget=True)]
        instructions: list[Instruction] = [Warn(note) for note in schedule.notes]
        placed = []
        for placement in schedule.placements:
            device = self.pool.devices[placement.device]
            owner, part = part_of(placement.work)
            source, why, _ = self._moved.get(owner.key, (device.name, "", False))
            if source != device.name:
                instructions.append(Move(part, source, device.name, why))
            if device.exact and placement.work.whole and self.pool.noisy:
                part = part.as_exact()  # beside QPUs, a simulator that has a whole fragment need not sample it
            placed.append((device, part))
        for work in schedule.waiting:
            owner, part = part_of(work)
            self._todo.append(part)
            if owner.key in self._moved:
                self._moved[part.key] = self._moved[owner.key]
        return placed, schedule.retry_at, instructions

    def _affordable(self, pieces: Sequence[Piece], now: float) -> tuple[Decision, _PartOf, float]:
        """``_scheduled``, and what it costs; the policy aims lower where the budget does not hold that."""
        for look in range(_FITTINGS):
            schedule, part_of = self._scheduled(pieces, now)
            price = 0.0 if self.pool.budget is None else self._price(schedule, part_of)
            predicted = schedule.price + self.pool.readouts_due(schedule)
            if look == _FITTINGS - 1 or not self.pool.aim_lower(predicted, price):
                break
        return schedule, part_of, price

    def _scheduled(self, pieces: Sequence[Piece], now: float) -> tuple[Decision, _PartOf]:
        """Where the policy places pieces, and the piece that a placed work is a part of, with that part."""
        owners: dict[int, list[Piece]] = {}
        for piece in sorted(pieces, key=lambda piece: piece.key):
            owners.setdefault(piece.fragment, []).append(piece)

        def part_of(work: Work) -> tuple[Piece, Piece]:
            own = owners[work.fragment]
            owner = own[bisect_right([piece.first for piece in own], work.first) - 1]
            return owner, owner.share(work.first, work.variants)

        return self.pool.place([self._work(piece, self._avoided(piece, now)) for piece in pieces], now), part_of

    def _price(self, schedule: Decision, part_of: _PartOf) -> float:
        """What the parts placed cost, as tasks: a policy knows neither each variant's shots nor what shares a job."""
        by_device: dict[str, list[Piece]] = {}
        for placement in schedule.placements:
            by_device.setdefault(placement.device, []).append(part_of(placement.work)[1])
        price = 0.0
        for name, parts in by_device.items():
            device, due = self.pool.devices[name], self.pool.readout_due(name)
            for task in [parts] if device.exact else provider_tasks(device, parts):
                price += self._task_price(device, task, due)
                due = 0
        return price

    def _task_price(self, device: Device, pieces: Sequence[Piece], readout_shots: int = 0) -> float:
        works, wholes = [self._work(piece) for piece in pieces], [self._works[piece.fragment] for piece in pieces]
        return task_price(device, pieces, works, wholes, readout_shots)

    def _pay(self, name: str, results: Sequence[Done], jobs: Mapping[str, tuple[int, int]]) -> None:
        """Pay the jobs that results of a device tell of, or what they ask for; one not in use has no known price.

        What is found after a task died is what that one had paid for, as far as anybody can tell.
        """
        self.pool.pay_jobs(name, jobs)
        owed, told = list[Piece](), list[Piece]()
        for done in results:
            known = done.jobs
            self.pool.pay_jobs(name, known or {})
            self.pool.read_out(name, done.readout_shots, job_known=known is not None)
            lost = "cache" in done.meta and (done.piece.fragment, done.piece.round_index) in self._died
            if lost or (known is None and done.paid):
                owed.append(done.piece)
            elif done.paid:
                told.append(done.piece)
        device = self.pool.devices.get(name)
        if device is not None:
            seconds = sum(work_seconds(device, self._work(piece)) for piece in told) if device.price.per_second else 0.0
            self.pool.pay(self._task_price(device, owed) + device.price.per_second * seconds)

    def _rest(self, retry_at: float | None, now: float) -> list[Instruction]:
        """All devices that could take the pieces are set aside: look again later, but not for ever."""
        fragment = self._todo[0].fragment
        told: list[Instruction] = []
        if self._idle_since is None:
            self._idle_since = now
            told = [Warn(f"fragment {fragment} waits for a device that is set aside")]
        elif now - self._idle_since > LONGEST_WAIT_S:
            why = f"no device that could take it came back within {LONGEST_WAIT_S:.0f} s"
            return [GiveUp(f"fragment {fragment}: {why}")]
        return [*told, Look(max(_SHORTEST_LOOK_S, min(_LONGEST_LOOK_S, (retry_at or 0.0) - now)))]

    def _leave(self, device: Device, missing: Sequence[Piece], why: str) -> list[Instruction]:
        self._leaves.update({piece.fragment for piece in missing})
        for piece in missing:
            self._moved[piece.key] = (device.name, why, True)
        self._todo += missing
        return [Warn(f"fragment {piece.fragment} leaves {device.name}: {why}") for piece in missing]

    def _again(
        self, device: Device, missing: Sequence[Piece], outcome: Outcome, why: str, now: float
    ) -> list[Instruction]:
        """Try again what failed, here or elsewhere, or give up."""
        self.pool.failed(device.name, now)
        self.trouble[device.name] = why
        self._failures += 1
        reason = None if outcome.failure is None else outcome.failure.reason
        if reason is Reason.REFUSED:
            for piece in missing:
                self._refused.setdefault(piece.fragment, set()).add(device.name)
        for piece in missing:
            history = self._history.setdefault(piece.key, [])
            history.append(outcome)
            self._moved[piece.key] = (device.name, why, False)
            others = len(self.pool.devices.keys() - {device.name, *self._avoided(piece, now)})
            if reason is None:  # part of it was done
                here = len(history) < self._retry.attempts_per_device
                step = Next.OTHER_DEVICE if others > 0 or here else Next.GIVE_UP
            elif reason is Reason.REFUSED:
                # A QPU or GPU that refuses says something of itself; a CPU that refuses says it of the work.
                step = Next.OTHER_DEVICE if others > 0 and device.kind is not Kind.CPU else Next.GIVE_UP
            else:
                step = next_step(history, self._retry, others)
            if step is Next.GIVE_UP or self._failures > MOST_FAILURES or len(history) >= self._retry.attempts:
                text = f"fragment {piece.fragment}: {why} (device {device.name}, try {len(history)})"
                return [GiveUp(text, outcome)]
        self._todo += missing
        return [Warn(f"fragment {piece.fragment} on {device.name}: {why}; trying again") for piece in missing]

    def _may_leave(self, device: Device, pieces: Sequence[Piece], now: float) -> bool:
        """Whether pieces may leave the queue of a QPU: where another device would take them, and not for ever."""
        return not device.exact and all(
            self._leaves[piece.fragment] < self.pool.rules.moves
            and self.pool.elsewhere(device.name, self._work(piece, self._failed_on(piece)), now)
            for piece in pieces
        )

    def _avoided(self, piece: Piece, now: float) -> list[str]:
        """Devices not to use for a piece: those that failed it, and the one whose queue it left if there is another."""
        failed = self._failed_on(piece)
        source, _, left = self._moved.get(piece.key, ("", "", False))
        if left and source not in failed and self.pool.elsewhere(source, self._work(piece, failed), now):
            return [*failed, source]
        return failed

    def _failed_on(self, piece: Piece) -> list[str]:
        """Devices that refused a piece or failed it as often as one may, and QPUs where exact numbers are asked for."""
        history = self._history.get(piece.key, [])
        refused = self._refused.get(piece.fragment, set())
        return [
            name
            for name, device in self.pool.devices.items()
            if (piece.exact and not device.exact)
            or name in refused
            or sum(o.device == name for o in history) >= self._retry.attempts_per_device
        ]

    def _count(self, device: str, piece: Piece) -> None:
        self._shots.setdefault(piece.fragment, Counter())[device] += sum(piece.shots)

    def _work(self, piece: Piece, avoid: Sequence[str] = ()) -> Work:
        counted = any(self.shots_of(piece.fragment).values())
        return work_of(piece, self._works[piece.fragment], self._norm, avoid, counted=counted)


def _missing(pieces: Sequence[Piece], done: Sequence[Piece]) -> list[Piece]:
    """What of a task's pieces has no result."""
    ranges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for piece in done:
        ranges.setdefault((piece.fragment, piece.round_index), []).append((piece.first, piece.count))
    return [part for piece in pieces for part in piece.missing(ranges.get((piece.fragment, piece.round_index), []))]
