"""A batch of a stage, done by this process unless another one does it or has done it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from scheduler_policies import Device
from tasks.cutting import Plan
from tasks.dispatch.errors import RunError
from tasks.dispatch.rounds import first_round, shots_by_fragment
from tasks.dispatch.start import started
from tasks.execution.jobs import FragmentJob, exact_jobs, sampled_jobs
from tasks.model.progress import Progress, Quiet
from tasks.options import Options
from tasks.runs import RunDirectory
from tasks.runs.claims import Claims, Owner
from tasks.runs.shared import SharedRunDirectory
from tasks.runtime import cancel
from tasks.stages.batches import Batch
from tasks.stages.drivers import BatchDriver, GivenBack
from tasks.stages.reports import read_report, write_report
from tasks.stages.sight import when_seen

Told = Callable[[str], None]
"""Hears, in one line, what is waited for or was done already."""


def do_batch(
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
        more = when_seen(lambda: directory.results.shots_of_round(batch.round_index))
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
