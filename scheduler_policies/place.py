"""The one entry: from works and devices, through a policy, to a schedule that is checked and predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scheduler_policies.cost import why_not, work_seconds
from scheduler_policies.device import Work
from scheduler_policies.health import at
from scheduler_policies.placement import (
    Candidate,
    Decision,
    Goal,
    Policy,
    check_complete,
    evaluate,
    fitting,
)


@dataclass(frozen=True)
class Spent:
    """What a run has used up already, for bounds on the whole run.

    Attributes:
        error: predicted error of the final estimate from the pieces that are done or running.
        price: money they cost.
    """

    error: float = 0.0
    price: float = 0.0


_NO_BOUND = Goal()
# A device that was set aside more often than this in a row is not waited for.
_HOPEFUL = 6
_NOTHING_SPENT = Spent()


def place(
    policy: Policy,
    works: Sequence[Work],
    pool: Sequence[Candidate],
    goal: Goal = _NO_BOUND,
    now: float = 0.0,
    last_resort: Sequence[Candidate] = (),
    spent: Spent = _NOTHING_SPENT,
    aim: float | None = None,
) -> Decision:
    """Decides which device runs which work.

    Devices that rest get nothing, devices on trial one small piece each. Work that fits no device in use goes to a
    device of last resort (a CPU simulator, usually), or waits when one at rest or on trial could take it. Work also
    waits for such a device when the bound on the error can be kept only with it.

    Args:
        policy: the rule of choice.
        works: what is to be placed; call again with what is left when something changed.
        pool: all devices of the run, at rest or not.
        goal: bounds on the whole run.
        now: time on the clock of ``set_aside_until``.
        last_resort: devices to use only for work that fits none in use.
        spent: what is done or running already.
        aim: what the policy is to keep to instead of the budget, because more works come later: money for all works
            so far, those done or running among them. The budget itself is the bound (``beyond``).

    Raises:
        NoDeviceError: a work fits no device at all.
        PolicyError: the policy's answer is not a complete placement.
    """
    current = [Candidate(device, at(state, now)) for device, state in pool]
    in_use = [c for c in current if c.state.set_aside_until is None and not c.state.on_trial]
    idle_trials = [c for c in current if c.state.on_trial and not c.state.busy]
    trials, left = _trials(list(works), idle_trials)
    now_works, resort_works, waiting = [], [], []
    for work in left:
        if _fits(work, in_use):
            now_works.append(work)
        elif _fits(work, last_resort):
            resort_works.append(work)
        elif _fits(work, current):
            waiting.append(work)
        else:
            fitting(work, [*current, *last_resort])  # raises, with the reasons
    bound = goal.budget if aim is None else aim
    left_goal = replace(
        goal, max_error=_error_left(goal.max_error, spent.error), budget=_price_left(bound, spent.price)
    )
    choices = _complete(policy, now_works, in_use, left_goal)
    returning = [_when_back(c, now) for c in current if c not in in_use and c.state.set_aside_count <= _HOPEFUL]
    if goal.max_error is not None and returning and now_works:
        # Better devices that will be back soon may be worth waiting for when the bound cannot be kept without them.
        hopeful = [*in_use, *returning]
        with_them = _complete(policy, now_works, hopeful, left_goal)
        if _broken(evaluate(choices, in_use), left_goal) > _broken(evaluate(with_them, hopeful), left_goal):
            absent = {c.device.name for c in returning}
            choices = [choice for choice in with_them if choice[1] not in absent]
            waiting += [work for work, name in with_them if name in absent]
    if resort_works:
        choices = [*choices, *_complete(policy, resort_works, last_resort, left_goal)]
    schedule = evaluate([*trials, *choices], [*current, *last_resort], spent.error)
    retry = [c.state.set_aside_until for c in current if c.state.set_aside_until is not None]
    return replace(
        schedule,
        notes=_notes(schedule, goal),
        waiting=tuple(waiting),
        retry_at=min(retry) if retry else None,
    )


def _complete(
    policy: Policy, works: Sequence[Work], pool: Sequence[Candidate], goal: Goal
) -> Sequence[tuple[Work, str]]:
    """What the policy answers, checked."""
    if not works:
        return []
    choices = policy(works, pool, goal)
    check_complete(works, choices)
    return choices


def _when_back(candidate: Candidate, now: float) -> Candidate:
    """A device at rest or on trial as one whose units are all busy until it may be back."""
    device, state = candidate
    until = now if state.set_aside_until is None else state.set_aside_until
    delay = max(until - now, 0.0) + device.speed.job
    return Candidate(device, replace(state, free_units=0, busy=(delay,) * device.units))


def _broken(schedule: Decision, goal: Goal) -> float:
    """By how much the bound on the error is broken, relative to it, as far as it matters."""
    assert goal.max_error is not None
    if schedule.error <= goal.max_error * 1.01:
        return 0.0
    return schedule.error / goal.max_error if goal.max_error > 0 else schedule.error


def _trials(works: list[Work], trials: Sequence[Candidate]) -> tuple[list[tuple[Work, str]], list[Work]]:
    """One small piece for each device on trial, and the works without these pieces."""
    placed: list[tuple[Work, str]] = []
    for device, _ in trials:
        fits = [index for index, work in enumerate(works) if why_not(device, work) is None]
        if not fits:
            continue
        index = min(fits, key=lambda i: work_seconds(device, works[i].share(works[i].first, 1)))
        work = works.pop(index)
        # A lone variant of a fragment that a simulator could do whole would spoil the exact path for the rest of it.
        size = work.variants if device.exact else 1
        placed.append((work.share(work.first, size), device.name))
        if size < work.variants:
            works.insert(index, work.share(work.first + size, work.variants - size))
    return placed, works


def _fits(work: Work, pool: Sequence[Candidate]) -> bool:
    return any(why_not(device, work) is None for device, _ in pool)


def _error_left(bound: float | None, spent: float) -> float | None:
    return None if bound is None else max(bound**2 - spent**2, 0.0) ** 0.5


def _price_left(bound: float | None, spent: float) -> float | None:
    return None if bound is None else max(bound - spent, 0.0)


def _notes(schedule: Decision, goal: Goal) -> tuple[str, ...]:
    if goal.max_error is None or schedule.error <= goal.max_error * (1 + 1e-6):
        return ()
    return (
        f"the predicted error {schedule.error:.3g} is above the bound {goal.max_error:.3g}: use more shots, "
        f"better devices or a simulator",
    )


def beyond(price: float, goal: Goal, spent: Spent) -> str:
    """Why a budget does not hold a further price, in a sentence for the user; "" where it does."""
    if goal.budget is None or price + spent.price <= goal.budget * (1 + 1e-6):
        return ""
    paid = f" beside {spent.price:.4g} paid or promised" if spent.price else ""
    return (
        f"`budget`: {goal.budget:.4g} does not hold the {price:.4g} that this takes{paid}: give more, take "
        "fewer `shots`, or let `policy` balanced look for cheaper devices"
    )
