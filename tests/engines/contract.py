"""What every engine must do, as functions that raise AssertionError: the same source runs on all of them.

No bare assert: runcompss runs the program with ``python -O``.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.cutting import make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job
from tasks.reconstruct import RANKS, reconstruct_in_ranks, write_for_ranks
from tasks.reconstruction import estimate_values
from tasks.runtime import (
    Next,
    Outcome,
    Reason,
    RetryPolicy,
    Ticket,
    as_completed,
    cancel,
    engine_info,
    limits,
    next_step,
    release,
    wait_on,
)
from tests.engines import work
from tests.oracles import brickwork, random_problem, uncut_values

CPU_UNITS = 2
UNITS = {"CPU": CPU_UNITS, "QPU_A": 1, "QPU_B": 2}


def equal(found: object, wanted: object) -> None:
    """Fail unless equal."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def true(condition: bool, message: str) -> None:
    """Fail with the message unless true."""
    if not condition:
        raise AssertionError(message)


def _most_at_once(intervals: list[tuple[float, float, int]]) -> int:
    events = sorted([(start, 1) for start, _, _ in intervals] + [(end, -1) for _, end, _ in intervals])
    most = now = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


def dataflow_through_single_futures() -> None:
    """A chain of futures is followed without waiting in between."""
    total = work.plus(0, 1)
    for _ in range(9):
        total = work.plus(total, 1)
    equal(wait_on(total).value, 10)


def a_future_used_twice() -> None:
    """One future as two arguments of a task and of two tasks."""
    one = work.plus(1, 0)
    equal([outcome.value for outcome in wait_on([work.plus(one, one), work.plus_here(one, 5)])], [2, 6])


def collections_of_futures() -> None:
    """A declared list of futures arrives as the list of their values, in its order."""
    parts = [work.plus(i, 0) for i in range(7)]
    equal(wait_on(work.ordered([*parts, 40])).value, [0, 1, 2, 3, 4, 5, 6, 40])


def dictionaries_of_futures() -> None:
    """A declared dictionary of futures arrives with their values, and what needs a failed one fails with it."""
    equal(wait_on(work.weighted({"a": work.plus(1, 1), "bbb": work.plus(2, 3)})).value, 17)
    failed = wait_on(work.weighted({"a": work.do("raise", "the root", limits(), 0)})).failure
    equal(failed.reason, Reason.DEPENDENCY)
    true("the root" in failed.message, failed.message)


def several_returns() -> None:
    """returns=2 gives two futures, each of its own use."""
    first, second = work.both(3, 4)
    equal((wait_on(first).value, wait_on(work.plus(second, 1)).value), (7, 2))


def arrays_as_arguments() -> None:
    """Arrays come through a chain bit for bit, of every kind that Qompass uses."""
    generator = np.random.default_rng(11)
    for array in (
        generator.normal(size=(200, 30)),
        generator.normal(size=(3, 4)) + 1j * generator.normal(size=(3, 4)),
        generator.integers(0, 256, size=(50, 3), dtype=np.uint8),
        np.zeros((0, 5)),
        generator.normal(size=(1 << 17, 8)),
    ):
        back = wait_on(work.transposed(work.transposed(array))).value
        true(back.dtype == array.dtype and back.shape == array.shape, f"{back.dtype} {back.shape}")
        true(back.tobytes() == np.ascontiguousarray(array).tobytes(), "the array has changed on its way")


def what_is_deleted_or_released_is_not_missed() -> None:
    """An argument that goes with its task can be that of another, and results that are released leave others alone."""
    argument, other = np.arange(3.0), work.plus(1, 2)
    first = [work.doubled(argument) for _ in range(3)]
    equal([outcome.value.tolist() for outcome in wait_on(first[:2])], [[0.0, 2.0, 4.0]] * 2)
    release(first)
    again = work.doubled(argument)
    equal(wait_on(again).value.tolist(), [0.0, 2.0, 4.0])
    equal(argument.tolist(), [0.0, 1.0, 2.0])
    equal(wait_on(work.plus_here(other, 4)).value, 7)


def order_of_results() -> None:
    """wait_on keeps the order of the futures, whatever the order of completion."""
    times = [0.2, 0.0, 0.1, 0.0]
    intervals = [outcome.value for outcome in wait_on([work.busy(seconds) for seconds in times])]
    for seconds, (start, end, _) in zip(times, intervals, strict=True):
        true(end - start >= seconds, f"{end - start} for {seconds}")
    true(intervals[0][1] - intervals[0][0] > intervals[1][1] - intervals[1][0], "results have changed places")


def results_as_they_complete() -> None:
    """as_completed gives every future once, with its place; on the embedded engine whoever is first ends first."""
    places = []
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder) / "gate"
        if engine_info().name != "embedded":
            gate.touch()
        futures = [work.until_there(str(gate)), work.busy(0.0)]
        for place, outcome in as_completed(futures):
            true(outcome.ok, f"{place} failed: {outcome}")
            places.append(place)
            gate.touch()  # the first could not end before the second was seen
    equal(sorted(places), [0, 1])


def unit_limits_of_devices() -> None:
    """Tasks bound to a device never exceed its units, reach them, and devices do not wait for each other."""
    wait_on([work.HOLD[device.name](1.0) for device in work.DEVICES for _ in range(2)])  # start processes first
    held = {device.name: [work.HOLD[device.name](0.3) for _ in range(4)] for device in work.DEVICES}
    intervals = {name: [outcome.value for outcome in wait_on(futures)] for name, futures in held.items()}
    for device in work.DEVICES:
        equal((device.name, _most_at_once(intervals[device.name])), (device.name, UNITS[device.processor]))
    together = [one for several in intervals.values() for one in several]
    equal(("all devices", _most_at_once(together)), ("all devices", 3))


def unit_limits_of_cpus() -> None:
    """Tasks of one computing unit each: as many at once as there are units, never more."""
    wait_on([work.busy(0.5) for _ in range(4)])
    intervals = [outcome.value for outcome in wait_on([work.busy(0.3) for _ in range(6)])]
    equal(_most_at_once(intervals), CPU_UNITS)
    true(len({pid for _, _, pid in intervals}) >= CPU_UNITS, "the work was not in separate processes")


def _failure(what: str, argument: object, reason: Reason, words: str, **bounds: float | int) -> None:
    outcome = wait_on(work.do(what, argument, limits(**bounds), 3))
    true(isinstance(outcome, Outcome) and outcome.failure is not None, f"{what} gave {outcome}")
    equal((outcome.failure.reason, outcome.device, outcome.attempt), (reason, "somewhere", 3))
    true(words in outcome.failure.message, f"{words!r} not in {outcome.failure.message!r}")
    equal(wait_on(work.plus(1, 1)).value, 2)


def outcome_of_work_that_raises() -> None:
    """An exception becomes a failure with its words and traceback."""
    _failure("raise", "so it is", Reason.RAISED, "ValueError: so it is")
    outcome = wait_on(work.do("raise", "x", limits(), 0))
    true("work.py" in outcome.failure.detail, "no traceback")


def outcome_of_work_that_exits() -> None:
    """A process that ends by itself costs that work, with its status."""
    _failure("exit", 3, Reason.EXITED, "exit status 3")
    _failure("exit", 0, Reason.EXITED, "exit status 0")


def outcome_of_work_that_is_killed() -> None:
    """Signals 9 and 11 cost that work."""
    _failure("kill", 9, Reason.KILLED, "SIGKILL")
    _failure("kill", 11, Reason.KILLED, "SIGSEGV")


def outcome_of_work_that_needs_too_much_memory() -> None:
    """More memory than allowed costs that work, and the same work fits within a higher limit."""
    _failure("memory", 0.5, Reason.MEMORY, "MemoryError", memory_bytes=2**28)
    equal(wait_on(work.do("memory", 0.125, limits(memory_bytes=2**30), 0)).value, 2.0**24)


def outcome_of_work_that_overruns() -> None:
    """A time limit ends the work, soon after it."""
    started = time.monotonic()
    _failure("time", 60, Reason.TIME, "0.5 s", seconds=0.5)
    true(time.monotonic() - started < 30, "the limit was not kept")


def failures_pass_through_dataflow() -> None:
    """What needs a failed result fails with it and does not run."""
    failed = work.do("raise", "the root", limits(), 0)
    after = [work.plus(failed, 1), work.ordered([work.plus(1, 1), failed])]
    for outcome in wait_on(after):
        equal(outcome.failure.reason, Reason.DEPENDENCY)
        true("the root" in outcome.failure.message, outcome.failure.message)


def retries_are_qompass_own() -> None:
    """Killed work is tried again as often as Qompass' policy says, no more and no less."""
    policy = RetryPolicy(attempts=3, attempts_per_device=3)
    outcomes: list[Outcome] = []
    while not outcomes or next_step(outcomes, policy) is Next.SAME_DEVICE:
        outcomes.append(wait_on(work.do("kill", 9, limits(), len(outcomes))))
    equal([outcome.attempt for outcome in outcomes], [0, 1, 2])
    equal(next_step(outcomes, policy), Next.GIVE_UP)


def many_deaths_do_not_end_the_engine() -> None:
    """Eight dead processes among sixteen tasks: eight values, eight failures, nothing lost."""
    seed = 5
    kinds = ["die", "live"] * 8
    random.Random(seed).shuffle(kinds)
    futures = [work.do("kill", 9, limits(), 0) if kind == "die" else work.plus(1, 2) for kind in kinds]
    for kind, outcome in zip(kinds, wait_on(futures), strict=True):
        equal((kind, outcome.ok), (kind, kind == "live"))


def a_cancelled_run() -> None:
    """cancel ends what runs and what waits, soon; what is submitted later runs."""
    futures = [work.do("time", 60, limits(), 0) for _ in range(6)]
    time.sleep(1.0)
    started = time.monotonic()
    cancel()
    for outcome in wait_on(futures):
        equal(outcome.failure.reason, Reason.CANCELLED)
    true(time.monotonic() - started < 30, "cancelling took too long")
    equal(wait_on(work.do("time", 0.01, limits(), 0)).ok, True)


def a_thousand_small_tasks() -> None:
    """1,000 tasks of microseconds, all right and in order."""
    outcomes = wait_on([work.plus_here(i, 1) for i in range(1000)])
    equal([outcome.value for outcome in outcomes], list(range(1, 1001)))


def threads_of_numerical_libraries() -> None:
    """Units times threads is what was asked for, not units times cores."""
    equal(wait_on(work.do("threads", None, limits(), 0)).value, "1")


def no_task_pays_for_what_is_imported() -> None:
    """Where an engine collects garbage after every task, as COMPSs does, it does so without what was imported."""
    seen, left_out = wait_on(work.garbage()).value
    true(engine_info().name == "embedded" or seen < left_out / 4, f"{seen} objects are looked at, {left_out} are not")


def alternatives_of_a_task() -> None:
    """Either implementation of a task gives its value."""
    equal([outcome.value for outcome in wait_on([work.either(i) for i in range(4)])], [1, 2, 3, 4])


def ranks_of_an_mpi_task() -> None:
    """An @mpi task runs in two ranks that talk to each other; each has its return value."""
    first, second = work.ranks(10)
    equal((tuple(wait_on(first)), tuple(wait_on(second))), ((0, 21), (1, 21)))


def reconstruction_in_ranks() -> None:
    """The @mpi reconstruction of a network gives what one process gives."""
    generator = np.random.default_rng(4)
    problem = random_problem(brickwork(6, 3, generator), generator)
    plan = make_plan(problem, max_qubits=3)
    structure = structure_of(problem, plan)
    tensors = [
        fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
        for job, schemes in zip(exact_jobs(plan), plan.schemes, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        written = wait_on(write_for_ranks(str(Path(folder) / "network"), structure, tensors, None, Ticket("", 0)))
        found = wait_on(reconstruct_in_ranks(written.value))
    np.testing.assert_allclose(found[0][0], uncut_values(problem), atol=1e-9)
    np.testing.assert_allclose(found[0][:2], estimate_values(structure, tensors), atol=1e-12)
    equal(found[1:], [None] * (RANKS - 1))


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check
    for check in (
        dataflow_through_single_futures,
        a_future_used_twice,
        collections_of_futures,
        dictionaries_of_futures,
        several_returns,
        arrays_as_arguments,
        what_is_deleted_or_released_is_not_missed,
        order_of_results,
        results_as_they_complete,
        unit_limits_of_devices,
        unit_limits_of_cpus,
        outcome_of_work_that_raises,
        outcome_of_work_that_exits,
        outcome_of_work_that_is_killed,
        outcome_of_work_that_needs_too_much_memory,
        outcome_of_work_that_overruns,
        failures_pass_through_dataflow,
        retries_are_qompass_own,
        many_deaths_do_not_end_the_engine,
        a_cancelled_run,
        a_thousand_small_tasks,
        threads_of_numerical_libraries,
        no_task_pays_for_what_is_imported,
        alternatives_of_a_task,
        ranks_of_an_mpi_task,
        reconstruction_in_ranks,
    )
}
