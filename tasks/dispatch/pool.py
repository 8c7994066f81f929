"""The devices of a run: which job goes where, what failed, and when to try elsewhere. The application's side of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from math import hypot, sqrt

from scheduler_policies import (
    CPU_SPEED,
    POLICIES,
    POLICY_GROUP,
    Candidate,
    Device,
    DeviceState,
    Goal,
    Kind,
    Rules,
    Schedule,
    Spent,
    Work,
    after_failure,
    after_success,
    find_policy,
    place,
    usual_bound,
    why_not,
    work_price,
    work_seconds,
)
from scheduler_policies.cost import squared_error
from tasks.execution.jobs import FragmentJob

LAST_RESORT = "cpu-last-resort"


class Pool:
    """Devices with their states, a policy, and what has been spent.

    Args:
        devices: of the run.
        policy: its name.
        goal: bounds on error and money.
        refresh: reads the states of devices whose state lives outside (QPUs); called before each placement.
        units: cores of this machine, for the simulator of last resort.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        policy: str,
        goal: Goal,
        *,
        refresh: Callable[[Device], DeviceState] | None = None,
        units: int = 1,
    ):
        self.devices = {device.name: device for device in devices}
        self._states = {device.name: DeviceState(free_units=device.units) for device in devices}
        self._policy = find_policy(policy, entry_points(group=POLICY_GROUP))
        self._goal, self._refresh = goal, refresh
        self._goal_error: float | None = None
        self._spent = Spent()
        self.rules = Rules()
        self._flying: Counter[str] = Counter()
        self._promised: dict[int, float] = {}
        self._launches = 0
        resort = Device(LAST_RESORT, Kind.CPU, units=units, speed=CPU_SPEED)
        self._resort = [] if any(d.exact for d in devices) else [resort]
        for device in self._resort:
            self.devices[device.name] = device
            self._states[device.name] = DeviceState(free_units=device.units)

    @property
    def single(self) -> Device | None:
        """The only device, where there is nothing to choose."""
        return next(iter(self.devices.values())) if len(self.devices) == 1 else None

    @property
    def late_binding(self) -> bool:
        """Whether the runtime may choose among simulators: with the policy that takes whatever is free first."""
        return self._policy is POLICIES["availability"]

    def place(self, works: Sequence[Work]) -> Schedule:
        """Where the works should run now.

        Raises:
            NoDeviceError: a work fits no device.
        """
        resort_names = {device.name for device in self._resort}
        if self._refresh is not None:
            for name, device in self.devices.items():
                if device.kind is Kind.QPU:
                    self._states[name] = self._seen(self._states[name], self._refresh(device))
        candidates = [
            Candidate(device, self._now(name)) for name, device in self.devices.items() if name not in resort_names
        ]
        resort = [Candidate(device, self._states[device.name]) for device in self._resort]
        if self._goal.max_error is None and self._goal_error is None:
            self._goal_error = usual_bound(works, [*candidates, *resort])  # of the whole run, so from its first works
        goal = self._goal if self._goal_error is None else replace(self._goal, max_error=self._goal_error)
        spent = replace(self._spent, price=self._spent.price + sum(self._promised.values()))
        return place(self._policy, works, candidates, goal, time.monotonic(), resort, spent)

    def _now(self, name: str) -> DeviceState:
        """A device's state; one that comes back from a rest and has its trial job in flight gets no second one."""
        state = self._states[name]
        return replace(state, busy=(0.0,)) if self._flying[name] and state.set_aside_until is not None else state

    def state(self, name: str) -> DeviceState:
        """A device's state as it was when something was placed last."""
        return self._states[name]

    def elsewhere(self, name: str, work: Work) -> bool:
        """Whether another device than ``name`` is in use that could take a piece; the last resort does not count."""
        now = time.monotonic()
        return any(
            device.name != name
            and device not in self._resort
            and ((until := self._states[device.name].set_aside_until) is None or until <= now)
            and why_not(device, work) is None
            for device in self.devices.values()
        )

    def launched(self, name: str, works: Sequence[Work] = ()) -> int:
        """A task with these pieces was submitted to a device; the launch's number, for ``landed``."""
        self._flying[name] += 1
        self._launches += 1
        self._promised[self._launches] = sum(work_price(self.devices[name], work) for work in works)
        return self._launches

    def landed(self, name: str, launch: int) -> None:
        """A task that was submitted to a device came back."""
        self._flying[name] -= 1
        del self._promised[launch]

    def succeeded(self, name: str, work: Work, seconds: float) -> None:
        """A piece succeeded on a device and took so long, without its wait for others; 0 where that is not known."""
        self._states[name] = after_success(self._states[name], work_seconds(self.devices[name], work), seconds)

    def done(self, name: str, work: Work, *, paid: bool) -> None:
        """A piece is done on a device: its part of the error, and its price unless it was found in the cache."""
        error = squared_error(self.devices[name], self._states[name], work)
        self._spent = replace(self._spent, error=hypot(self._spent.error, sqrt(error)))
        if paid:
            self.paid(name, work)

    def paid(self, name: str, work: Work) -> None:
        """A piece was paid for, now or in an earlier process of the run; of a device not in use no price is known."""
        if name in self.devices:
            self._spent = replace(self._spent, price=self._spent.price + work_price(self.devices[name], work))

    def failed(self, name: str) -> None:
        """A piece failed on a device."""
        self._states[name] = after_failure(self._states[name], time.monotonic(), self.rules)

    @staticmethod
    def _seen(known: DeviceState, read: DeviceState) -> DeviceState:
        """What was read just now, with the failures that only we know of."""
        return replace(
            read,
            consecutive_failures=known.consecutive_failures,
            set_aside_until=_later(known.set_aside_until, read.set_aside_until),
            pace=known.pace,
            set_aside_count=known.set_aside_count,
            on_trial=known.on_trial,
        )


def _later(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


def work_of(job: FragmentJob, whole: Work, norm: float, avoid: Sequence[str] = (), *, counted: bool = False) -> Work:
    """What a policy needs to know of a job.

    Args:
        job: the job.
        whole: the work that its whole fragment is (``works_of``).
        norm: of the observables' coefficients.
        avoid: devices not to use for it.
        counted: whether shots of its fragment were taken already: then a simulator adds shots to them, as an exact
            tensor would take the place of counts that are paid.
    """
    count = len(job.variants) or whole.variants
    return replace(
        whole,
        variants=count,
        shots=max(1, sum(job.shots) // len(job.shots)) if job.shots else 1,
        weight=norm * whole.weight * sqrt(count / whole.variants),
        first=job.first,
        whole=job.exact or (count == whole.variants and not counted),
        avoid=tuple(avoid),
    )
