"""When a device is set aside, tried again, and when a placed piece should go elsewhere: functions of states and time.

A device in use that fails ``Rules.failures`` times in a row rests for a while; then it is on trial: it gets one small
piece, and nothing else until that succeeds. Each rest in a row is longer than the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scheduler_policies.device import DeviceState

# How much of the (logarithm of the) pace the latest piece decides.
_NEWS = 0.4


@dataclass(frozen=True)
class Rules:
    """Bounds of patience.

    Attributes:
        failures: this many failures in a row set a device aside.
        rest: seconds of its first rest.
        growth: each rest in a row is this many times the one before.
        longest_rest: seconds no rest exceeds.
        drift: a piece leaves a device whose error rates grew by more than this since it was placed (1 = doubled).
        wait_growth: a piece leaves a queue whose wait grew to more than this many times what was expected...
        least_wait: ...and is longer than this many seconds.
        moves: pieces of one fragment leave queues at most this often, or a policy blind to queues would never start.
    """

    failures: int = 3
    rest: float = 60.0
    growth: float = 2.0
    longest_rest: float = 3600.0
    drift: float = 0.5
    wait_growth: float = 3.0
    least_wait: float = 30.0
    moves: int = 8


def after_success(state: DeviceState, predicted: float = 0.0, taken: float = 0.0) -> DeviceState:
    """The state after a piece succeeded: failures are forgotten, a trial is passed, and its pace is learned.

    Args:
        state: the state before.
        predicted: seconds the speed model gave the piece (``work_seconds``); 0 where nothing is to be learned.
        taken: seconds it took, without its wait for others' jobs.
    """
    pace = state.pace
    if predicted > 0.0 and taken > 0.0:
        pace *= (taken / predicted / pace) ** _NEWS
    return replace(state, consecutive_failures=0, set_aside_until=None, set_aside_count=0, on_trial=False, pace=pace)


def after_failure(state: DeviceState, now: float, rules: Rules = Rules()) -> DeviceState:
    """The state after a piece failed at ``now``: one failure more, and a rest when that is too many or on trial."""
    failures = state.consecutive_failures + 1
    if failures < rules.failures and not state.on_trial:
        return replace(state, consecutive_failures=failures)
    rest = min(rules.rest * rules.growth**state.set_aside_count, rules.longest_rest)
    return replace(
        state,
        consecutive_failures=failures,
        set_aside_until=now + rest,
        set_aside_count=state.set_aside_count + 1,
        on_trial=False,
    )


def at(state: DeviceState, now: float) -> DeviceState:
    """The state at a later time: a device whose rest is over is on trial."""
    if state.set_aside_until is not None and now >= state.set_aside_until:
        return replace(state, set_aside_until=None, on_trial=True)
    return state


def why_leave(placed: DeviceState, state: DeviceState, waited: float, rules: Rules = Rules()) -> str | None:
    """Why a piece that has not started yet should be placed anew, in words, or None when it should stay.

    Args:
        placed: the device's state when the piece was placed.
        state: its state now.
        waited: seconds since it was placed.
        rules: the bounds.
    """
    if state.set_aside_until is not None:
        return f"the device is set aside after {state.consecutive_failures} failures"
    if 1.0 + state.drift > (1.0 + placed.drift) * (1.0 + rules.drift):
        return f"its error rates grew {(1 + state.drift) / (1 + placed.drift):.2f} times since the piece was placed"
    longest = max(rules.least_wait, rules.wait_growth * placed.expected_wait)
    if waited + state.expected_wait > longest and state.expected_wait > rules.wait_growth * placed.expected_wait:
        return f"its queue grew: {state.expected_wait:.0f} s more to wait, {placed.expected_wait:.0f} s were expected"
    return None
