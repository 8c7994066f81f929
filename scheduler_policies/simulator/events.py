"""A discrete-event simulation of a run on a pool of devices: the judge of the policies.

The policy under test sees what a run would show it (declared speed and calibration, reported queues, drift as far as
it is noticed); what then happens follows each device's hidden `Behaviour`. All of that is drawn from the scenario's
seed by device and event number, never by order of events across devices, so every policy meets the same world.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import simpy

from scheduler_policies.cost import expected_fidelity, runs_exact, work_price, work_seconds
from scheduler_policies.device import Device, DeviceState, Kind, Work
from scheduler_policies.errors import PolicyError
from scheduler_policies.health import Rules, after_failure, after_success, at, why_leave
from scheduler_policies.place import Spent, place
from scheduler_policies.placement import Candidate, Goal, Placement, Policy
from scheduler_policies.simulator.scenario import Scenario, SimulatedRun, give_variants_back, take_variants
from scheduler_policies.simulator.world import World

_NO_BOUND = Goal()
_RULES = Rules()
_POLL = 30.0


@dataclass
class _Running:
    """Pieces submitted together to one unit, those done left out; on a QPU they wait once."""

    works: list[Work]
    device: int
    placed: DeviceState
    since: float
    predicted_end: float
    starts: float
    process: simpy.Process | None = None


@dataclass
class _Run:
    environment: simpy.Environment
    scenario: Scenario
    world: World
    rules: Rules
    states: list[DeviceState]
    number: dict[int, int]
    running: list[_Running] = field(default_factory=list)
    pending: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    squares: float = 0.0
    squares_seen: float = 0.0
    price: float = 0.0
    qpu_seconds: float = 0.0
    failures: int = 0
    moved: int = 0
    moves: dict[int, int] = field(default_factory=dict)
    decisions: int = 0
    completed: dict[str, int] = field(default_factory=dict)
    last_done: float = 0.0


def simulate_run(
    scenario: Scenario,
    policy: Policy,
    goal: Goal = _NO_BOUND,
    rules: Rules = _RULES,
    most_decisions: int = 20_000,
) -> SimulatedRun:
    """Runs a scenario under a policy to its end.

    The policy is asked again whenever a unit is done, a device comes back, or a queue is left, with all that has not
    been submitted. Only units that are free now get anything: a QPU all that it was given, a simulator one piece.

    Args:
        scenario: the pool and the work.
        policy: the policy under test.
        goal: bounds on the run.
        rules: when devices are set aside and queues are left.
        most_decisions: a run that asks the policy more often than this is taken to be stuck in failures.

    Raises:
        PolicyError: the run does not end, or the policy's answers are not complete.
    """
    environment = simpy.Environment()
    devices = [device for device, _ in scenario.devices]
    run = _Run(
        environment,
        scenario,
        World(scenario.devices, scenario.seed, scenario.start),
        rules,
        [DeviceState(free_units=device.units) for device in devices],
        {work.fragment: index for index, work in enumerate(scenario.works)},
        pending={index: [(work.first, work.variants)] for index, work in enumerate(scenario.works)},
    )
    environment.process(_master(run, policy, goal, most_decisions))
    environment.run()
    units = sum(device.units for device in devices if device.kind is Kind.QPU)
    busy = run.qpu_seconds / (units * run.last_done) if units and run.last_done > 0 else 0.0
    return SimulatedRun(
        makespan=run.last_done,
        error=math.sqrt(run.squares),
        price=run.price,
        qpu_busy=busy,
        pieces=sum(run.completed.values()),
        failures=run.failures,
        moved=run.moved,
        decisions=run.decisions,
        by_device=tuple(sorted(run.completed.items())),
    )


def _master(run: _Run, policy: Policy, goal: Goal, most: int) -> Generator[simpy.Event, None, None]:
    while any(run.pending.values()) or run.running:
        retry_at = _decide(run, policy, goal) if any(run.pending.values()) else None
        if run.decisions > most:
            raise PolicyError(f"scenario {run.scenario.name} does not end: {run.decisions} decisions")
        now = run.environment.now
        events: list[simpy.Event] = [r.process for r in run.running if r.process is not None]
        if retry_at is not None:
            events.append(run.environment.timeout(max(retry_at - now, 1e-3)))
        if any(r.starts > now for r in run.running) or not events:
            events.append(run.environment.timeout(_POLL))
        yield run.environment.any_of(events)
        run.running = [r for r in run.running if r.process is not None and r.process.is_alive]
        _leave_grown_queues(run)


def _observe(run: _Run) -> list[Candidate]:
    now = run.environment.now
    busy: dict[int, list[float]] = {}
    for piece in run.running:
        # A piece that is overdue is expected to take another twentieth of what it was predicted to take.
        left = max(piece.predicted_end - now, 0.05 * (piece.predicted_end - piece.since))
        busy.setdefault(piece.device, []).append(left)
    pool = []
    for index, (device, _) in enumerate(run.scenario.devices):
        held = tuple(sorted(busy.get(index, ())))
        state = at(run.states[index], now)
        run.states[index] = state
        seen = run.world.seen(index, now)
        pool.append(
            Candidate(
                device,
                replace(
                    state,
                    busy=held,
                    free_units=device.units - len(held),
                    queue_length=seen.queue_length,
                    expected_wait=seen.wait,
                    drift=seen.drift,
                ),
            )
        )
    return pool


def _decide(run: _Run, policy: Policy, goal: Goal) -> float | None:
    works = []
    for index, ranges in run.pending.items():
        for first, count in ranges:
            works.append(run.scenario.works[index].share(first, count))
    pool = _observe(run)
    spent = Spent(_predicted_error(run), run.price + _running_price(run))
    schedule = place(policy, works, pool, goal, run.environment.now, spent=spent)
    run.decisions += 1
    devices = {candidate.device.name: index for index, candidate in enumerate(pool)}
    begun: dict[tuple[int, int], list[Placement]] = {}
    for placement in schedule.placements:
        index = devices[placement.device]
        if placement.unit < pool[index].state.free_units:
            begun.setdefault((index, placement.unit), []).append(placement)
    for (index, _), placements in begun.items():
        # Waiting once for all makes QPUs take all they were given; on a simulator the rest may be placed anew.
        together = placements if pool[index].device.kind is Kind.QPU else placements[:1]
        for placement in together:
            work = placement.work
            take_variants(run.pending[run.number[work.fragment]], work.first, work.variants)
        _start(run, together, index, pool[index].state)
    return schedule.retry_at


def _start(run: _Run, placements: Sequence[Placement], index: int, state: DeviceState) -> None:
    now = run.environment.now
    wait = run.world.queue(index, now)
    seconds = state.expected_wait + sum(placement.seconds for placement in placements)
    works = [placement.work for placement in placements]
    running = _Running(works, index, state, now, now + seconds, now + wait)
    run.running.append(running)
    running.process = run.environment.process(_execute(run, running, wait))


def _execute(run: _Run, running: _Running, wait: float) -> Generator[simpy.Event, None, None]:
    left = running.works
    try:
        yield run.environment.timeout(wait)
    except simpy.Interrupt:
        run.moved += 1
    else:
        while left:
            begun = run.environment.now
            device = run.scenario.devices[running.device][0]
            circuits = 1 if runs_exact(device, left[0]) else left[0].variants
            fate = run.world.fate(running.device, begun, work_seconds(device, left[0]), circuits)
            yield run.environment.timeout(fate.run)
            work = left.pop(0)
            if fate.succeeds:
                _succeed(run, running, work, begun)
            else:
                _fail(run, running, work, begun)
            if fate.gone:
                break
    for work in left:
        give_variants_back(run.pending[run.number[work.fragment]], work)


def _succeed(run: _Run, running: _Running, work: Work, begun: float) -> None:
    device, now = run.scenario.devices[running.device][0], run.environment.now
    state = run.states[running.device]
    run.states[running.device] = after_success(state, work_seconds(device, work), now - begun)
    run.price += work_price(device, work)
    run.squares += _squares(device, run.world.drift(running.device, begun), work)
    run.squares_seen += _squares(device, running.placed.drift, work)
    run.completed[device.name] = run.completed.get(device.name, 0) + 1
    run.last_done = now
    run.qpu_seconds += now - begun if device.kind is Kind.QPU else 0.0


def _fail(run: _Run, running: _Running, work: Work, begun: float) -> None:
    device, now = run.scenario.devices[running.device][0], run.environment.now
    run.failures += 1
    planned = work_seconds(device, work)
    run.price += work_price(device, work) * min(1.0, (now - begun) / planned if planned > 0 else 1.0)
    run.states[running.device] = after_failure(run.states[running.device], now, run.rules)
    run.qpu_seconds += now - begun if device.kind is Kind.QPU else 0.0
    give_variants_back(run.pending[run.number[work.fragment]], work)


def _squares(device: Device, drift: float, work: Work) -> float:
    infidelity = 1.0 - expected_fidelity(device, DeviceState(drift=drift), work)
    shot_noise = 0.0 if runs_exact(device, work) else 1.0 / work.shots
    return work.weight**2 * (shot_noise + infidelity**2)


def _predicted_error(run: _Run) -> float:
    squares = run.squares_seen
    for running in run.running:
        device = run.scenario.devices[running.device][0]
        squares += sum(_squares(device, running.placed.drift, work) for work in running.works)
    return math.sqrt(squares)


def _running_price(run: _Run) -> float:
    return sum(work_price(run.scenario.devices[r.device][0], work) for r in run.running for work in r.works)


def _leave_grown_queues(run: _Run) -> None:
    now = run.environment.now
    for piece in run.running:
        if piece.process is None or not piece.process.is_alive or piece.starts <= now:
            continue
        state = replace(
            run.states[piece.device],
            expected_wait=piece.starts - now,
            drift=run.world.seen(piece.device, now).drift,
        )
        fragment = piece.works[0].fragment  # nothing of it is done: it still waits
        moves = run.moves.get(fragment, 0)
        if moves < run.rules.moves and why_leave(piece.placed, state, now - piece.since, run.rules) is not None:
            run.moves[fragment] = moves + 1
            piece.process.interrupt()
    waiting = [p for p in run.running if p.process is not None and p.process.is_alive]
    run.running = waiting
