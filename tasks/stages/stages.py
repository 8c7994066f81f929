"""Plan, execute, reconstruct: each stage alone, begun again as often as one likes, by as many processes as one likes.

The contract (files, who writes them, what they mean) is in README.md beside this.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scheduler_policies import Device
from tasks.dispatch.errors import RunError
from tasks.model.problem import Problem
from tasks.model.progress import Progress
from tasks.options import Options
from tasks.runs import RunDirectory, RunRecord, RunRecordError, read_record
from tasks.runs.claims import CLAIMS_OF_BATCHES, Claims
from tasks.runs.shared import check_owner
from tasks.runtime.versions import difference, versions
from tasks.stages.batch_run import Told, do_batch
from tasks.stages.batches import FOLDER_OF_STAGES, Batch, read_batches
from tasks.stages.drivers import RoundWanted, WaitingDriver, check_batch
from tasks.stages.reports import forget_report, merge_report, read_report
from tasks.stages.sight import SIGHT_S, seen_run, still_unseen
from tasks.workflow import run

logger = logging.getLogger(__name__)

_LOOK_S = 0.25


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
    path = seen_run(run_folder)
    check_owner(path)
    _check_versions(read_record(path))
    claims = Claims(path / CLAIMS_OF_BATCHES)
    if index is not None:
        batch = check_batch(path, index)
        do_batch(path, batch, options, claims, progress, told, wait=True, give_back=give_back)
        return standing_of(path)
    check_batch(path, 0)
    for wait in (False, True):  # first what nobody does
        for batch in standing_of(path).batches:
            do_batch(path, batch, options, claims, progress, told, wait=wait, give_back=give_back)
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
    path = seen_run(run_folder)
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
            if still_unseen(path, report):
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


def _check_versions(record: RunRecord) -> None:
    """A process whose environment differs computes other numbers, or none that the others would believe."""
    differs = difference(versions(), dict(record.get("versions", {})))
    if differs:
        raise RunRecordError(
            f"this process has another environment than the one that planned the run ({differs}): use the same "
            "environment on every node, or plan the run again here"
        )


def _named(batches: Sequence[Batch]) -> str:
    """Batches in words, with the verb for them."""
    shown = ", ".join(str(batch.index) for batch in batches[:12]) + (" ..." if len(batches) > 12 else "")
    return f"batch {shown}, which is" if len(batches) == 1 else f"batches {shown}, which are"
