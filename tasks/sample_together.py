"""Bit strings of several circuits from one graph: their fragments are run together, strings drawn of each circuit."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resources_xml import units_of
from tasks.beside import part_of
from tasks.bound_runs import SharedRun, Wanted, shared_runs
from tasks.cutting import Plan, structure_of
from tasks.dispatch.driver import Driver
from tasks.dispatch.events import LoggedProgress
from tasks.dispatch.rounds import run_round
from tasks.dispatch.start import started
from tasks.errors import InputError
from tasks.execution.jobs import FragmentJob, exact_jobs, sampled_jobs, uniform_shots
from tasks.execution.run_devices import run_devices
from tasks.model.problem import Problem, Readout
from tasks.model.progress import Progress, Quiet
from tasks.model.tensor import Structure
from tasks.options import Options
from tasks.reconstruction.distribution.drawing import Outcomes
from tasks.reconstruction.distribution.outputs import Outputs
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime import COLLECTION_IN, Limits, Outcome, constraint, isolated, limits, shared_engine, task
from tasks.sample import Question, answer_question, shots_of
from tasks.tensors import outputs

PLANNED_SHOTS = 10_000_000
"""What a plan may count on where variants take as many shots as are asked for."""


@dataclass(frozen=True)
class Strings:
    """Strings that are wanted of a circuit at several sets of parameter values.

    Attributes:
        problems: (set,) as ``run_sample`` takes them.
        shots: how many of each; set ``k`` draws with the seed ``k`` above that of the options.
    """

    problems: Sequence[Problem]
    shots: int

    @property
    def num_bits(self) -> int:
        """How many classical bits the circuit has."""
        readout = self.problems[0].readout if self.problems else None
        return 0 if readout is None else len(readout.bits)


@dataclass(frozen=True)
class Drawn:
    """Strings that were drawn.

    Attributes:
        bits: (set, shot, classical bit) uint8.
        fragment_shots: that devices took for them; 0 where all fragments were exact.
        devices: that ran something.
        notes: what the user should know, in sentences.
    """

    bits: np.ndarray
    fragment_shots: int = 0
    devices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def and_also(self, taken: Mapping[str, int], notes: Sequence[str]) -> Drawn:
        """The same with what was run for one more set; ``taken``: shots by device."""
        return replace(
            self,
            fragment_shots=self.fragment_shots + sum(taken.values()),
            devices=tuple(dict.fromkeys([*self.devices, *taken])),
            notes=tuple(dict.fromkeys([*self.notes, *notes])),
        )


@dataclass(frozen=True)
class _Part:
    """A circuit's share of a run.

    Attributes:
        fragments: that are its own.
        joined: how these are joined.
        asked: of each set of it: which qubits of the run its bits are read from, how many strings, and their seed.
    """

    fragments: tuple[int, ...]
    joined: Structure
    asked: tuple[tuple[Readout, int, int], ...]


def draw_together(wanted: Sequence[Strings], options: Options, progress: Progress | None = None) -> list[Drawn]:
    """Run the fragments of circuits, as many as go together in one run, and draw strings of each circuit.

    Args:
        wanted: the circuits, each with a measurement.
        options: how to run. Where there are QPUs, and ``shots`` are given or nothing else can run fragments, these take
            shots: ``shots`` a circuit, or a variant as many as strings are drawn.
        progress: where each run's progress is shown.

    Raises:
        QompassError: with one line that says what to do.
    """
    devices = run_devices(options.resources, {})
    qpus = [device for device in devices if not device.exact]
    sampled = bool(qpus) and (options.shots is not None or len(qpus) == len(devices))
    if sampled and "zne" in options.mitigation:
        raise InputError("`mitigation`: strings are not extrapolated to zero noise: name none", field="mitigation")
    asked = replace(
        options,
        shots=(options.shots or PLANNED_SHOTS) if sampled else None,
        target_error=None,
        # Bits that are corrected one by one are no strings.
        mitigation="none" if options.mitigation == "readout" else options.mitigation,
    )
    plans: dict[int, Plan] = {}
    said = [Drawn(np.zeros((len(own.problems), own.shots, own.num_bits), dtype=np.uint8)) for own in wanted]
    with contextlib.ExitStack() as engine:
        engine.enter_context(shared_engine(options.engine, units=units_of(devices)))
        for shared in shared_runs([Wanted(own.problems) for own in wanted], asked):
            chosen = shared.with_cuts(asked, plans)
            each = max(wanted[place].shots for entry in shared.entries for place, *_ in entry.owners)
            total = chosen.shots if options.shots is not None else None
            with contextlib.ExitStack() as stack:
                folder = stack.enter_context(temporary_runs())
                directory = stack.enter_context(
                    RunDirectory.create(folder, {"seed": chosen.seed}, shared.beside.problem)
                )
                shown = LoggedProgress(progress or Quiet(), directory)
                driver = stack.enter_context(started(shared.beside.problem, chosen, directory, shown, outputs))
                jobs = _jobs(driver.plan, chosen, total, each)
                strings = _answered(_parts(shared, wanted, driver.plan, chosen.seed), jobs, driver, shown)
                for entry, taken, own in zip(
                    shared.entries, shared.taken(driver.plan, directory.record), strings, strict=True
                ):
                    noisy = [name for name in taken if name in driver.devices and not driver.devices[name].exact]
                    notes = [*read_notes(shared.notes(entry, directory.record)), *in_strings(noisy)]
                    for (place, number, _), drawn in zip(entry.owners, own, strict=True):
                        said[place].bits[number] = shots_of(drawn, options.seed + number)
                        said[place] = said[place].and_also(taken, notes)
    return said


def read_notes(notes: Sequence[str]) -> list[str]:
    """Notes on how a circuit was read, where its measurements are what is asked."""
    return [note for note in notes if "final measurement" not in note]


def in_strings(noisy: Sequence[str]) -> list[str]:
    """A sentence on what strings from the shots of QPUs are."""
    if not noisy:
        return []
    return [f"strings are those nearest to what the shots of {' and '.join(noisy)} say, with the errors of these"]


def _jobs(plan: Plan, options: Options, total: int | None, each: int) -> Sequence[FragmentJob]:
    """What to run: whole fragments, or shots, so many in all or so many of each variant."""
    if options.shots is None:
        return exact_jobs(plan, outputs=True)
    shots = uniform_shots(plan, total if total is not None else each * sum(cost.variants for cost in plan.costs))
    return [replace(job, outputs=True) for job in sampled_jobs(plan, shots, options.seed)]


def _parts(shared: SharedRun, wanted: Sequence[Strings], plan: Plan, seed: int) -> list[_Part]:
    owners, joined = shared.beside.owners(plan), structure_of(shared.beside.problem, plan)
    parts = []
    for member, entry in enumerate(shared.entries):
        fragments = tuple(number for number, owner in enumerate(owners) if owner == member)
        asked = []
        for place, number, _ in entry.owners:
            readout = wanted[place].problems[number].readout
            assert readout is not None
            first = shared.beside.qubits[member]
            bits = tuple(None if qubit is None else first + qubit for qubit in readout.bits)
            asked.append((Readout(bits, readout.registers), wanted[place].shots, seed + number))
        parts.append(_Part(fragments, part_of(joined, fragments), tuple(asked)))
    return parts


def _answered(
    parts: Sequence[_Part], jobs: Sequence[FragmentJob], driver: Driver, shown: Progress
) -> list[list[Outcomes]]:
    def submit(found: list[Any], attempt: int) -> Any:
        return strings(tuple(parts), found, limits(), attempt)

    run_round("execute", jobs, driver, shown, submit)
    answered: list[list[Outcomes]] = driver.value_of("the strings", submit)
    return answered


@constraint(computing_units="1")
@task(returns=1, found=COLLECTION_IN)
def strings(parts: tuple[_Part, ...], found: list[Any], limits: Limits, attempt: int) -> Outcome:
    """Strings of all circuits of a run: the value of the outcome is, for each part, Outcomes of each set."""
    return isolated(draw_parts, parts, found, limits=limits, device="CPU", attempt=attempt)


def draw_parts(parts: Sequence[_Part], found: Sequence[Outputs]) -> list[list[Outcomes]]:
    """The work itself, in a child process of the task."""
    answered = []
    for part in parts:
        own = [found[fragment] for fragment in part.fragments]
        each = [
            answer_question(part.joined, own, 0, readout, Question(draw=shots), seed)
            for readout, shots, seed in part.asked
        ]
        answered.append([outcomes for outcomes in each if isinstance(outcomes, Outcomes)])
    return answered
