"""Plan, execute, reconstruct: each stage alone, begun again as often as one likes, by as many processes as one likes.

The contract (files, who writes them, what they mean) is in README.md beside this.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scheduler_policies import Device
from tasks.cutting import Plan
from tasks.dispatch.errors import RunError
from tasks.dispatch.rounds import first_round, shots_by_fragment
from tasks.dispatch.start import started
from tasks.execution.jobs import FragmentJob, exact_jobs, sampled_jobs
from tasks.model.problem import Problem
from tasks.model.progress import Progress, Quiet
from tasks.options import Options
from tasks.runs import RunDirectory, RunRecord, RunRecordError, read_record
from tasks.runs.claims import CLAIMS_OF_BATCHES, Claims, Owner
from tasks.runs.shared import SharedRunDirectory, check_owner
from tasks.runtime import cancel
from tasks.runtime.versions import difference, versions
from tasks.stages.batches import FOLDER_OF_STAGES, Batch, read_batches
from tasks.stages.drivers import BatchDriver, GivenBack, RoundWanted, WaitingDriver, check_batch
from tasks.stages.reports import forget_report, merge_report, read_report, unseen, write_report
from tasks.workflow import run

logger = logging.getLogger(__name__)

SIGHT_S = 60.0  # what another node has written is seen after so long at most (the default of NFS clients)
_LOOK_S = 0.25

Told = Callable[[str], None]
"""Hears, in one line, what is waited for or was done already."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands between its stages.

    Attributes:
        run: its folder.
        next: "execute" while batches are open, then "reconstruct", "done" when there are estimates.
        round_index: of the open batches, else of the last round there is.
        batches: those that nobody has done yet.
        record: as it is on disk.
    """

    run: Path
    next: str
    round_index: int
    batches: tuple[Batch, ...]
    record: RunRecord


def standing_of(run_folder: Path) -> Standing:
    """Where a run stands.

    Raises:
        RunRecordError: there is no such run, or what is in its folder is of another version.
    """
    path = Path(run_folder).resolve()
    record = read_record(path)
    batches = read_batches(path)
    open_ones = tuple(batch for batch in batches if read_report(path, batch.index) is None)
    finished = record["status"] == "done" and "estimates" in record
    number = max((batch.round_index for batch in open_ones or batches), default=0)
    state = "done" if finished else "execute" if open_ones else "reconstruct"
    return Standing(path, state, number, () if finished else open_ones, record)


def create_run(path: Path, fields: Mapping[str, Any], problem: Problem) -> bool:
    """Make a run's folder of this name; whether it was this process that made it.

    Raises:
        RunRecordError: it cannot be written.
    """
    if path.exists():
        return False
    made = RunDirectory.create(path.parent, fields, problem)
    try:
        (made.path / FOLDER_OF_STAGES).mkdir()
        made.close()
        made.path.rename(path)
    except OSError as error:  # another process was sooner: a folder that has something in it is not replaced
        made.discard()
        if not (path / "record.json").exists():
            raise RunRecordError(f"cannot make {path}: {error.strerror}: name another folder") from error
        return False
    return True


def plan_stage(
    run_folder: Path, options: Options, *, most: int | None = None, progress: Progress | None = None, told: Told
) -> Standing:
    """Plan a run and say which batches there are; of one that is planned, which are open.

    Args:
        run_folder: of the run.
        options: how to run it.
        most: as for ``batches_of``.
        progress: where progress is shown.
        told: hears what is waited for.

    Raises:
        QompassError: there is no plan, or the folder cannot be used.
    """
    with _the_run(run_folder, told) as path:
        standing = standing_of(path)
        if standing.next == "done" or read_batches(path):
            return standing
        return _advanced(path, options, most, progress)


def execute_stage(
    run_folder: Path,
    options: Options,
    index: int | None = None,
    *,
    give_back: bool = False,
    progress: Progress | None = None,
    told: Told,
) -> Standing:
    """Do a batch, or all that are open: those of other processes are waited for, and done when these have died.

    Args:
        run_folder: of the run.
        options: how to run it.
        index: of the batch, None for all that are open.
        give_back: what its QPU or GPU does not do is left for ``reconstruct_stage`` to place on other devices, rather
            than done by this process.
        progress: where progress is shown.
        told: hears what is waited for, and what was done already.

    Raises:
        QompassError: it could not be done; what was is kept.
    """
    path = _seen_run(run_folder)
    check_owner(path)
    _check_versions(read_record(path))
    claims = Claims(path / CLAIMS_OF_BATCHES)
    if index is not None:
        batch = check_batch(path, index)
        _do(path, batch, options, claims, progress, told, wait=True, give_back=give_back)
        return standing_of(path)
    check_batch(path, 0)
    for wait in (False, True):  # first what nobody does
        for batch in standing_of(path).batches:
            _do(path, batch, options, claims, progress, told, wait=wait, give_back=give_back)
    return standing_of(path)


def reconstruct_stage(
    run_folder: Path,
    options: Options,
    *,
    wait_s: float = SIGHT_S,
    most: int | None = None,
    progress: Progress | None = None,
    told: Told,
) -> Standing:
    """Estimates from what the batches have left, or the batches of a further round of shots.

    Args:
        run_folder: of the run.
        options: how to run it.
        wait_s: how long to wait for batches that are not done, or not seen to be.
        most: as for ``batches_of``.
        progress: where progress is shown.
        told: hears what is waited for.

    Raises:
        RunError: batches are still open.
        QompassError: the folder cannot be used.
    """
    with _the_run(run_folder, told) as path:
        standing = standing_of(path)
        if standing.next == "execute":
            told(f"waiting for {_named(standing.batches)}")
            deadline = time.monotonic() + wait_s
            while standing.next == "execute" and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
                standing = standing_of(path)
        if standing.next == "execute":
            what = _named(standing.batches)
            raise RunError(f"{path}: {what} not done: `qompass stage execute` does what is left, then call this again")
        return standing if standing.next == "done" else _advanced(path, options, most, progress)


@contextlib.contextmanager
def _the_run(run_folder: Path, told: Told) -> Any:
    """The run's folder, planned or reconstructed by no other process meanwhile."""
    path = _seen_run(run_folder)
    check_owner(path)
    (path / FOLDER_OF_STAGES).mkdir(exist_ok=True)
    claims = Claims(path / FOLDER_OF_STAGES / "whole")
    with claims.wait("run", lambda owner: told(f"waiting for {owner}, which works on {path}")):
        yield path


def _advanced(path: Path, options: Options, most: int | None, progress: Progress | None) -> Standing:
    """Go on from what is in the folder: to the estimates, or to the batches of a round that lacks results."""
    with RunDirectory.open(path) as directory:
        for batch in read_batches(path):
            report = read_report(path, batch.index)
            if report is None or str(batch.index) in directory.record.get("batches", {}):
                continue
            if _still_unseen(path, report):
                forget_report(path, batch.index)
                logger.warning("results of batch %d are lost: they are computed again", batch.index)
            else:
                merge_report(directory.record, batch.index, report)
        try:
            driver, choose = partial(WaitingDriver, most=most), partial(_still_in_use, path)
            run(directory.problem(), options, directory, progress, driver=driver, choose=choose)
        except RoundWanted:
            directory.finish("interrupted")
    return standing_of(path)


def _still_in_use(path: Path, devices: list[Device]) -> list[Device]:
    """Devices of a run that have given no batch of it back."""
    gave_back = {
        batch.device for batch in read_batches(path) if (read_report(path, batch.index) or {}).get("given_back")
    }
    return [device for device in devices if device.name not in gave_back]


def _do(
    path: Path,
    batch: Batch,
    options: Options,
    claims: Claims,
    progress: Progress | None,
    told: Told,
    *,
    wait: bool,
    give_back: bool,
) -> None:
    """Do a batch unless it is done, as soon as nobody else does it; without ``wait`` only if nobody does."""
    name = str(batch.index)

    def other(owner: Owner) -> None:
        told(f"waiting for {owner}, which does batch {batch.index}")

    if _is_done(path, batch, told):
        return
    claim = claims.wait(name, other) if wait else claims.take(name)
    if isinstance(claim, Owner):
        return
    with claim:
        if _is_done(path, batch, told):
            return
        began = time.monotonic()
        with SharedRunDirectory.join(path) as directory:
            before = dict(directory.record["results"])
            problem, shown = directory.problem(), progress or Quiet()
            choose, given_back = partial(_devices_for, batch), ""
            make = partial(BatchDriver, give_back=give_back and batch.kind != "cpu")
            with started(problem, options, directory, shown, driver=make, choose=choose) as driver:
                assert isinstance(driver, BatchDriver)
                claim.on_loss = cancel
                jobs = _jobs_of(batch, driver.plan, options, directory)
                steps = sum(max(1, count) for *_, count in batch.parts)
                try:
                    with shown.stage(f"batch {batch.index}", steps) as stage:
                        driver.run_batch(jobs, batch, stage)
                except GivenBack as failure:
                    given_back = str(failure)
                    told(f"batch {batch.index} is given back: {given_back}")
                except RunError:
                    if not claim.lost:
                        raise
                finally:
                    claim.on_loss = _nothing
            if claim.lost:
                raise RunError(
                    f"{path}: batch {batch.index} was taken over by another process, which had heard nothing of this "
                    "one for too long; what was done is kept"
                )
            write_report(path, batch.index, directory.record, time.monotonic() - began, before, given_back)


def _nothing() -> None:
    pass


def _is_done(path: Path, batch: Batch, told: Told) -> bool:
    report = read_report(path, batch.index)
    if report is not None:
        told(f"batch {batch.index} is done, by process {report['process']} on {report['node']}")
    return report is not None


def _jobs_of(batch: Batch, plan: Plan, options: Options, directory: RunDirectory) -> Sequence[FragmentJob]:
    """The jobs that a batch has parts of."""
    if not options.sampled:
        jobs: Sequence[FragmentJob] = exact_jobs(plan)
    elif batch.round_index == 0:
        jobs = sampled_jobs(plan, first_round(plan, options.shots), options.seed)
    else:
        more = _when_seen(lambda: directory.results.shots_of_round(batch.round_index))
        if more is None:
            raise RunError(
                f"{directory.path}: has no round-{batch.round_index}.npz: `qompass stage reconstruct` makes it again"
            )
        jobs = sampled_jobs(plan, shots_by_fragment(plan, more), options.seed, round_index=batch.round_index)
    return [job for job in jobs if job.fragment.index in batch.fragments]


def _devices_for(batch: Batch, devices: list[Device]) -> list[Device]:
    """Those of a process's devices that may run a batch: the one it was placed on, else others of its kind."""
    named = [device for device in devices if device.name == batch.device]
    fits = named or [device for device in devices if device.kind.value.lower() == batch.kind]
    if not fits:
        there = ", ".join(f"{device.name} ({device.kind.value})" for device in devices) or "none"
        raise RunError(
            f"batch {batch.index} is for {batch.device} ({batch.kind.upper()}), and the devices here are {there}: "
            "start it where that is, or name a file that has it with `resources`"
        )
    return fits


def _check_versions(record: RunRecord) -> None:
    """A process whose environment differs computes other numbers, or none that the others would believe."""
    differs = difference(versions(), dict(record.get("versions", {})))
    if differs:
        raise RunRecordError(
            f"this process has another environment than the one that planned the run ({differs}): use the same "
            "environment on every node, or plan the run again here"
        )


def _seen_run(run_folder: Path) -> Path:
    """A run's folder that another node may have made a moment ago.

    Raises:
        RunRecordError: there is none.
    """
    path = Path(run_folder).absolute()
    if not (path / "record.json").exists() and path.parent.is_dir():
        _refresh(path if path.is_dir() else path.parent)
    read_record(path)
    return path.resolve()


def _refresh(folder: Path) -> None:
    """Make a file server's client ask again what is in a folder: it does when it has changed something there."""
    probe = folder / f".{time.monotonic_ns()}.partial"
    with contextlib.suppress(OSError):
        probe.touch()
        probe.unlink()


def _still_unseen(path: Path, report: Mapping[str, Any]) -> list[str]:
    """Results of a report that stay unseen for as long as it may take."""
    _when_seen(lambda: None if unseen(path, report) else True)
    return unseen(path, report)


def _when_seen(look: Callable[[], Any]) -> Any:
    """What ``look`` gives as soon as that is not None, or None after ``SIGHT_S``."""
    deadline = time.monotonic() + SIGHT_S
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return found


def _named(batches: Sequence[Batch]) -> str:
    """Batches in words, with the verb for them."""
    shown = ", ".join(str(batch.index) for batch in batches[:12]) + (" ..." if len(batches) > 12 else "")
    return f"batch {shown}, which is" if len(batches) == 1 else f"batches {shown}, which are"
