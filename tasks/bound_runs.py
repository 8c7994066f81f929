"""Sets of parameter values that are bound and run one by one, as ``qompass run`` does it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from resources_xml import units_of
from tasks.cutting.document import plan_document
from tasks.execution.run_devices import run_devices
from tasks.model.problem import Problem
from tasks.model.progress import Progress, Quiet
from tasks.options import Options, options_document
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime import shared_engine
from tasks.workflow import run


@dataclass(frozen=True)
class Evaluated:
    """What the sets of parameter values gave.

    Attributes:
        values: (set, observable) float64.
        std_errors: (set, observable) float64, 0 on the exact path.
        shots: taken by all fragments together, 0 on the exact path.
        devices: that ran something.
        plan: of the (first) run, as ``plan_document`` has it; {} where nothing was run.
        notes: what the user should know, in sentences.
        runs: folders of the runs that are kept.
    """

    values: np.ndarray
    std_errors: np.ndarray
    shots: int = 0
    devices: tuple[str, ...] = ()
    plan: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def kept_run(parent: Path, problem: Problem, options: Options) -> Path:
    """A folder that holds a run which has not begun: ``qompass resume`` finishes it.

    Raises:
        RunRecordError: the folder cannot be written.
    """
    fields = {
        "seed": options.seed,
        "shots": options.shots,
        "memory": None,
        "options": options_document(options),
        "inputs": {},
    }
    directory = RunDirectory.create(parent, fields, problem)
    directory.close()
    return directory.path


def run_problems(
    problems: Iterable[Problem],
    options: Options,
    folders: Sequence[Path] | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Run the problems of one circuit at several angles one after the other.

    Args:
        problems: the problems.
        options: how to run them.
        folders: what ``kept_run`` made for each; None keeps nothing.
        progress: where each run's progress is shown.

    Raises:
        QompassError: with one line that says what to do.
    """
    values, errors, devices, notes = [], [], dict[str, None](), dict[str, None]()
    shots, document = 0, dict[str, Any]()
    units = units_of(run_devices(options.resources, {}))
    with contextlib.ExitStack() as engine:
        engine.enter_context(shared_engine(options.engine, units=units))
        for number, problem in enumerate(problems):
            with contextlib.ExitStack() as stack:
                if folders is None:
                    parent = stack.enter_context(temporary_runs())
                    directory = RunDirectory.create(parent, {"seed": options.seed}, problem)
                else:
                    directory = RunDirectory.open(folders[number])
                with directory:
                    result = run(problem, options, directory, progress or Quiet())
            if options.cuts is None:  # the circuits differ in their angles alone: one search does for all
                options = replace(options, cuts=result.plan.cuts)
            values.append([estimate.value for estimate in result.estimates])
            errors.append([estimate.std_error for estimate in result.estimates])
            for meta in result.record["results"].values():
                devices[meta["device"]] = None
                shots += meta.get("shots", 0)
            notes.update(dict.fromkeys(result.record["notes"]))
            document = document or plan_document(result.plan)
    return Evaluated(
        np.array(values),
        np.array(errors),
        shots,
        tuple(devices),
        document,
        tuple(notes),
        tuple(str(folder) for folder in folders or ()),
    )
