"""The devices of a run, how they do and what they have cost: plain data and decisions, told what time it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import hypot, sqrt

from scheduler_policies import (
    CPU_SPEED,
    POLICIES,
    Candidate,
    Decision,
    Device,
    DeviceState,
    Goal,
    Kind,
    Policy,
    Rules,
    Spent,
    Work,
    after_failure,
    after_success,
    beyond,
    place,
    usual_bound,
    why_not,
    work_price,
    work_seconds,
)
from scheduler_policies.cost import squared_error
from scheduler_policies.jobs import SHOT_LEVELS
from tasks.execution.pieces import Piece

LAST_RESORT = "cpu-last-resort"


class Pool:
    """Devices with their states, a policy, and what has been spent.

    Args:
        devices: of the run.
        policy: which device runs which work.
        goal: bounds on error and money.
        units: cores of this machine, for the simulator of last resort.
        readouts: by QPU, shots that it will take to measure its readout before its first result counts.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        policy: Policy,
        goal: Goal,
        *,
        units: int = 1,
        readouts: Mapping[str, int] | None = None,
    ):
        self.devices = {device.name: device for device in devices}
        self._policy, self._goal = policy, goal
        self._goal_error: float | None = None
        self._spent = Spent()
        self.aim: float | None = None  # what policies keep to instead of the budget, while more works come later
        self.rules = Rules()
        self._running: Counter[str] = Counter()
        self._promised: dict[int, float] = {}
        self._due = dict(readouts or {})
        self._measuring: dict[int, int] = {}
        self._jobs: set[tuple[str, str]] = set()  # (device, its name for the job) of those that are paid
        self._unseen: Counter[str] = Counter()  # shots that measured a readout, paid without knowing their job
        self.readout_price = 0.0
        resort = Device(LAST_RESORT, Kind.CPU, units=units, speed=CPU_SPEED)
        self._resort = [] if any(d.exact for d in devices) else [resort]
        self.devices |= {device.name: device for device in self._resort}
        self._states = {name: DeviceState(free_units=device.units) for name, device in self.devices.items()}

    @property
    def single(self) -> Device | None:
        """The only device, where there is nothing to choose and no budget to keep."""
        alone = len(self.devices) == 1 and self._goal.budget is None
        return next(iter(self.devices.values())) if alone else None

    def add(self, device: Device) -> None:
        """A device that was not there when the run began; what is placed from now on may run on it."""
        self.devices[device.name] = device
        self._states[device.name] = DeviceState(free_units=device.units)

    @property
    def price(self) -> float | None:
        """What was paid so far, None where no device has a price."""
        priced = any(device.priced for device in self.devices.values())
        return self._spent.price if priced else None

    @property
    def committed(self) -> float | None:
        """What was paid or is promised: where a run ends before its time, some of its tasks may still be on devices."""
        return None if self.price is None else self._with_promises.price

    @property
    def budget(self) -> float | None:
        """The most that may be spent."""
        return self._goal.budget

    @property
    def money_left(self) -> float | None:
        """What of the budget is neither paid nor promised; None where there is no budget."""
        return None if self._goal.budget is None else self._goal.budget - self._with_promises.price

    @property
    def noisy(self) -> bool:
        """Whether there is a QPU among the devices."""
        return any(not device.exact for device in self.devices.values())

    @property
    def late_binding(self) -> bool:
        """Whether the engine may choose among simulators: with the policy that takes whatever is free first."""
        return self._policy is POLICIES["availability"]

    def seen(self, read: Mapping[str, DeviceState]) -> None:
        """States that were read from the devices just now; failures that only the run knows of stay."""
        for name, state in read.items():
            known = self._states[name]
            self._states[name] = replace(
                state,
                consecutive_failures=known.consecutive_failures,
                set_aside_until=_later(known.set_aside_until, state.set_aside_until),
                pace=known.pace,
                set_aside_count=known.set_aside_count,
                on_trial=known.on_trial,
            )

    def place(self, works: Sequence[Work], now: float) -> Decision:
        """Where the works should run now.

        Raises:
            NoDeviceError: a work fits no device.
        """
        resort = [Candidate(device, self._states[device.name]) for device in self._resort]
        candidates = [
            Candidate(device, self._at_trial(name))
            for name, device in self.devices.items()
            if device not in self._resort
        ]
        if self._goal.max_error is None and self._goal_error is None:
            self._goal_error = usual_bound(works, [*candidates, *resort])  # of the whole run, so from its first works
        goal = self._goal if self._goal_error is None else replace(self._goal, max_error=self._goal_error)
        spent = self._with_promises
        found = place(self._policy, works, candidates, goal, now, resort, spent, aim=self.aim)
        due = self.readouts_due(found) if self._due else 0.0
        if due:  # what measuring the readout takes is not there for the works
            less = replace(spent, price=spent.price + due)
            found = place(self._policy, works, candidates, goal, now, resort, less, aim=self.aim)
        own_bound = self._goal.max_error is None and (
            self._goal.budget is not None or self._goal.cheapest
        )  # nobody asked for, and cannot be paid
        return replace(found, notes=()) if own_bound and found.notes else found

    def aim_lower(self, predicted: float, price: float) -> bool:
        """Tell policies to aim lower where the budget does not hold what they have chosen; whether that was so.

        They know neither each variant's shots nor which works share a job, so what they predict is another price.
        """
        left, budget = self.money_left, self._goal.budget
        if left is None or budget is None or price <= 0 or not self.beyond(price):
            return False
        aim = budget - left + 0.98 * max(left, 0.0) * predicted / price
        self.aim = aim if self.aim is None else min(aim, self.aim)
        return True

    def beyond(self, price: float) -> str:
        """Why the budget does not hold this much more, "" where it does."""
        return beyond(price, self._goal, self._with_promises)

    @property
    def _with_promises(self) -> Spent:
        return replace(self._spent, price=self._spent.price + sum(self._promised.values()))

    def _at_trial(self, name: str) -> DeviceState:
        """A device's state; one that was set aside and has its trial in work gets no second one."""
        state = self._states[name]
        return replace(state, busy=(0.0,)) if self._running[name] and state.set_aside_until is not None else state

    def state(self, name: str) -> DeviceState:
        """A device's state as it was when something was placed last."""
        return self._states[name]

    def elsewhere(self, name: str, work: Work, now: float) -> bool:
        """Whether another device than ``name`` is in use that could take a work, where cost counts for no more money.

        The last resort is none.
        """
        return any(
            device.name != name
            and device not in self._resort
            and ((until := self._states[device.name].set_aside_until) is None or until <= now)
            and why_not(device, work) is None
            and not (self._goal.cheapest and work_price(device, work) > work_price(self.devices[name], work))
            for device in self.devices.values()
        )

    def readouts_due(self, decision: Decision) -> float:
        """What measuring the readout of the QPUs that a decision uses will cost, of those not measured yet."""
        used = {placement.device for placement in decision.placements}
        return sum(self._readout_price(name, self._due.get(name, 0)) for name in used)

    def readout_due(self, name: str) -> int:
        """Shots that the next task on a device takes to measure its readout."""
        return self._due.get(name, 0)

    def read_out(self, name: str, shots: int, *, job_known: bool) -> None:
        """A result came from a device, and with it so many shots that measured its readout."""
        self._due.pop(name, None)
        if name in self.devices:
            price = self._readout_price(name, shots)
            self.readout_price += price
            self.pay(0.0 if job_known else price)

    def _readout_price(self, name: str, shots: int) -> float:
        return self.devices[name].price.per_shot * shots

    def submitted(self, number: int, name: str, price: float) -> None:
        """A task was submitted to a device: what it will cost, the readout that is due there included, is promised."""
        self._running[name] += 1
        self._measuring[number] = self._due.pop(name, 0)
        self._promised[number] = price

    def measures(self, number: int) -> bool:
        """Whether a task that was submitted would measure a readout for money."""
        return self._measuring[number] > 0

    def ended(self, number: int, name: str) -> int:
        """A task that was submitted to a device ended; returned are shots of the readout that it was to measure."""
        self._running[name] -= 1
        del self._promised[number]
        return self._measuring.pop(number)

    def told_nothing(self, name: str, shots: int, *, measured: bool) -> None:
        """Of a task that ended without a result: its readout was paid for, or is due again."""
        if measured:
            self.read_out(name, shots, job_known=False)
            self._unseen[name] += shots
            if self.devices[name].limits.common_shots:  # circuits of so many shots are a job of their own
                self.pay(self.devices[name].price.per_job)
        elif shots:
            self._due[name] = shots

    def succeeded(self, name: str, work: Work, seconds: float) -> None:
        """A work succeeded on a device and took so long, without its wait for others; 0 where that is not known."""
        self._states[name] = after_success(self._states[name], work_seconds(self.devices[name], work), seconds)

    def done(self, name: str, work: Work) -> None:
        """A work is done on a device: its part of the error."""
        error = squared_error(self.devices[name], self._states[name], work)
        self._spent = replace(self._spent, error=hypot(self._spent.error, sqrt(error)))

    def pay(self, price: float) -> None:
        """This was paid, now or in an earlier process of the run."""
        self._spent = replace(self._spent, price=self._spent.price + price)

    def pay_jobs(self, name: str, jobs: Mapping[str, tuple[int, int]]) -> None:
        """A QPU has run these jobs (``Report.jobs``); each is paid once, whoever tells of it."""
        for job, (shots, unwanted) in jobs.items():
            if (name, job) in self._jobs or name not in self.devices:
                continue
            self._jobs.add((name, job))
            known = min(unwanted, self._unseen[name])
            self._unseen[name] -= known
            self.pay(self.devices[name].price.per_job + self._readout_price(name, shots - known))

    def failed(self, name: str, now: float) -> None:
        """A task failed on a device."""
        self._states[name] = after_failure(self._states[name], now, self.rules)


def _later(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


def work_of(piece: Piece, whole: Work, norm: float, avoid: Sequence[str] = (), *, counted: bool = False) -> Work:
    """What a policy needs to know of a piece.

    Args:
        piece: the piece.
        whole: the work that its whole fragment is (``works_of``).
        norm: of the observables' coefficients.
        avoid: devices not to use for it.
        counted: whether shots of its fragment were taken already: then a simulator adds shots to them, as an exact
            tensor would take the place of counts that are paid.
    """
    count = piece.count or whole.variants
    return replace(
        whole,
        variants=count,
        shots=max(1, -(-sum(piece.shots) // count)),  # rounded up: what is paid is never more than what it says
        weight=norm * whole.weight * sqrt(count / whole.variants),
        first=piece.first,
        exact=piece.exact,
        whole=piece.exact or (count == whole.variants and not counted),
        avoid=tuple(avoid),
        uneven=len(whole.shares) * len(set(piece.shots)) > SHOT_LEVELS,
    )
