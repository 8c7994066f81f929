"""Bit strings of several circuits from one graph: their fragments are run together, strings drawn of each circuit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resources_xml import units_of
from tasks.beside import Beside, part_of
from tasks.bound_runs import SharedRun, Wanted, kept_run, shared_runs
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
from tasks.options import Options, options_document
from tasks.reconstruction.distribution.drawing import Outcomes
from tasks.reconstruction.distribution.outputs import Outputs
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime import (
    COLLECTION_IN,
    IN_DELETE,
    Limits,
    Outcome,
    Ticket,
    constraint,
    isolated,
    limits,
    shared_engine,
    task,
)
from tasks.sample import Question, answer_question, shots_of
from tasks.tensors import outputs

PROGRAM = "sample"
"""In the record of a run whose strings are wanted."""
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
        runs: folders of the runs that are kept.
    """

    bits: np.ndarray
    fragment_shots: int = 0
    devices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    def and_also(self, taken: Mapping[str, int], notes: Sequence[str], runs: Sequence[str] = ()) -> Drawn:
        """The same with what was run for one more set; ``taken``: shots by device; ``runs``: folders that are kept."""
        return replace(
            self,
            fragment_shots=self.fragment_shots + sum(taken.values()),
            devices=tuple(dict.fromkeys([*self.devices, *taken])),
            notes=tuple(dict.fromkeys([*self.notes, *notes])),
            runs=tuple(dict.fromkeys([*self.runs, *runs])),
        )


@dataclass(frozen=True)
class Reading:
    """Strings that are wanted of one circuit of a run at one set of its parameter values.

    Attributes:
        owner: which of what is wanted (of a sampler's job: the PUB), and which set.
        readout: which qubits of the run its bits are read from.
        shots: how many strings.
        seed: that they are drawn with.
    """

    owner: tuple[int, int]
    readout: Readout
    shots: int
    seed: int

    def in_turn(self, drawn: Outcomes) -> np.ndarray:
        """(shot, bit) uint8: its strings one by one."""
        return shots_of(drawn, self.seed)


@dataclass(frozen=True)
class Readings:
    """All strings that are wanted of a run: what its record needs to draw the same ones after a crash.

    Attributes:
        instructions: (circuit,) where each begins among the instructions of the run.
        qubits: (circuit,) where each begins among its qubits.
        each: (circuit,) what is read of it.
        shots: that devices take for the fragments together where they take any; None for as many of each variant as
            strings are drawn.
    """

    instructions: tuple[int, ...]
    qubits: tuple[int, ...]
    each: tuple[tuple[Reading, ...], ...]
    shots: int | None

    @classmethod
    def again(cls, document: Mapping[str, Any]) -> Readings:
        """From what ``dataclasses.asdict`` of it became in a record."""
        each = tuple(
            tuple(
                Reading(
                    tuple(own["owner"]),
                    Readout(tuple(own["readout"]["bits"]), tuple(own["readout"]["registers"])),
                    own["shots"],
                    own["seed"],
                )
                for own in circuit
            )
            for circuit in document["each"]
        )
        return cls(tuple(document["instructions"]), tuple(document["qubits"]), each, document["shots"])


@dataclass(frozen=True)
class Answered:
    """What a run says of the strings that are wanted of it.

    Attributes:
        plan: of the run.
        strings: (circuit,) of each reading.
        noisy: the devices that take shots.
    """

    plan: Plan
    strings: list[list[Outcomes]]
    noisy: frozenset[str]

    def noisy_among(self, names: Iterable[str]) -> list[str]:
        """Those of these devices whose shots strings were drawn from."""
        return [name for name in names if name in self.noisy]


@dataclass(frozen=True)
class _Part:
    """A circuit's share of a run.

    Attributes:
        fragments: that are its own.
        joined: how these are joined.
        asked: what is read of it.
    """

    fragments: tuple[int, ...]
    joined: Structure
    asked: tuple[Reading, ...]


def kept_strings(parent: Path, shared: SharedRun, wanted: Sequence[Strings], options: Options) -> Path:
    """A folder that holds a run which has not begun: ``qompass resume`` finishes it.

    Args:
        parent: where.
        shared: the circuits of the run.
        wanted: what all are of.
        options: as for ``draw_together``.

    Raises:
        RunRecordError: the folder cannot be written.
    """
    more = {"program": PROGRAM, "strings": asdict(_readings(shared, wanted, options))}
    return kept_run(parent, shared.beside.problem, shared.options, more)


def runs_of_strings(wanted: Sequence[Strings], options: Options) -> list[SharedRun]:
    """The runs that ``draw_together`` makes; arguments as there.

    Raises:
        InputError: strings are not drawn so.
    """
    return shared_runs([Wanted(own.problems) for own in wanted], _asked(options))


def draw_together(
    wanted: Sequence[Strings],
    options: Options,
    progress: Progress | None = None,
    folders: Sequence[Path] | None = None,
) -> list[Drawn]:
    """Run the fragments of circuits, as many as go together in one run, and draw strings of each circuit.

    Args:
        wanted: the circuits, each with a measurement.
        options: how to run. Where there are QPUs, and ``shots`` are given or nothing else can run fragments, these take
            shots: ``shots`` a circuit, or a variant as many as strings are drawn.
        progress: where each run's progress is shown.
        folders: what ``kept_strings`` made for each of ``runs_of_strings``; None keeps nothing.

    Raises:
        QompassError: with one line that says what to do.
    """
    asked = _asked(options)
    plans: dict[int, Plan] = {}
    said = [Drawn(np.zeros((len(own.problems), own.shots, own.num_bits), dtype=np.uint8)) for own in wanted]
    with contextlib.ExitStack() as engine:
        engine.enter_context(shared_engine(options.engine, units=units_of(run_devices(options.resources, {}))))
        for place, shared in enumerate(runs_of_strings(wanted, options)):
            chosen, problem = shared.with_cuts(asked, plans), shared.beside.problem
            readings = _readings(shared, wanted, options)
            with contextlib.ExitStack() as stack:
                if folders is None:
                    folder = stack.enter_context(temporary_runs())
                    directory = stack.enter_context(RunDirectory.create(folder, {"seed": chosen.seed}, problem))
                else:
                    directory = stack.enter_context(RunDirectory.open(folders[place]))
                    directory.update(options=options_document(chosen))
                found = run_strings(problem, chosen, directory, readings, progress)
            for entry, taken, asked_of, own in zip(
                shared.entries, shared.taken(found.plan, directory.record), readings.each, found.strings, strict=True
            ):
                notes = [*read_notes(shared.notes(entry, directory.record)), *in_strings(found.noisy_among(taken))]
                for reading, drawn in zip(asked_of, own, strict=True):
                    whose, number = reading.owner
                    said[whose].bits[number] = reading.in_turn(drawn)
                    said[whose] = said[whose].and_also(taken, notes, () if folders is None else (str(folders[place]),))
    return said


def run_strings(
    problem: Problem, options: Options, directory: RunDirectory, readings: Readings, progress: Progress | None = None
) -> Answered:
    """Run the fragments of a run, or what is missing of them, and draw its strings: the same ones every time.

    Args:
        problem: the run's.
        options: how to run it.
        directory: of the run; results that it holds are not computed again.
        readings: what is wanted of it.
        progress: where it is shown.

    Raises:
        QompassError: with one line that says what to do.
    """
    shown = LoggedProgress(progress or Quiet(), directory)
    with started(problem, options, directory, shown, outputs) as driver:
        most = max(own.shots for circuit in readings.each for own in circuit)
        jobs = _jobs(driver.plan, options, readings.shots, most)
        strings = _answered(_parts(problem, readings, driver.plan), jobs, driver, shown)
        noisy = frozenset(name for name, device in driver.devices.items() if not device.exact)
        return Answered(driver.plan, strings, noisy)


def _asked(options: Options) -> Options:
    """How fragments are run for strings."""
    devices = run_devices(options.resources, {})
    qpus = [device for device in devices if not device.exact]
    sampled = bool(qpus) and (options.shots is not None or len(qpus) == len(devices))
    if sampled and "zne" in options.mitigation:
        raise InputError("`mitigation`: strings are not extrapolated to zero noise: name none", field="mitigation")
    return replace(
        options,
        shots=(options.shots or PLANNED_SHOTS) if sampled else None,
        target_error=None,
        # Bits that are corrected one by one are no strings.
        mitigation="none" if options.mitigation == "readout" else options.mitigation,
    )


def _readings(shared: SharedRun, wanted: Sequence[Strings], options: Options) -> Readings:
    each = []
    for first, entry in zip(shared.beside.qubits, shared.entries, strict=True):
        own = []
        for place, number, _ in entry.owners:
            readout = wanted[place].problems[number].readout
            assert readout is not None
            bits = tuple(None if qubit is None else first + qubit for qubit in readout.bits)
            own.append(
                Reading((place, number), Readout(bits, readout.registers), wanted[place].shots, options.seed + number)
            )
        each.append(tuple(own))
    shots = None if options.shots is None else shared.options.shots
    return Readings(shared.beside.instructions, shared.beside.qubits, tuple(each), shots)


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


def _parts(problem: Problem, readings: Readings, plan: Plan) -> list[_Part]:
    owners = Beside(problem, (), readings.instructions, readings.qubits).owners(plan)
    joined = structure_of(problem, plan)
    parts = []
    for member, asked in enumerate(readings.each):
        fragments = tuple(number for number, owner in enumerate(owners) if owner == member)
        parts.append(_Part(fragments, part_of(joined, fragments), asked))
    return parts


def _answered(
    parts: Sequence[_Part], jobs: Sequence[FragmentJob], driver: Driver, shown: Progress
) -> list[list[Outcomes]]:
    def submit(found: list[Any], ticket: Ticket) -> Any:
        return strings(tuple(parts), found, limits(), ticket)

    run_round("execute", jobs, driver, shown, submit)
    answered: list[list[Outcomes]] = driver.value_of("the strings", submit)
    return answered


@constraint(computing_units="1")
@task(returns=1, found=COLLECTION_IN, limits=IN_DELETE, ticket=IN_DELETE)
def strings(parts: tuple[_Part, ...], found: list[Any], limits: Limits, ticket: Ticket) -> Outcome:
    """Strings of all circuits of a run: the value of the outcome is, for each part, Outcomes of each set."""
    with ticket.held():
        return isolated(draw_parts, parts, found, limits=limits, device="CPU", attempt=ticket.attempt)


def draw_parts(parts: Sequence[_Part], found: Sequence[Outputs]) -> list[list[Outcomes]]:
    """The work itself, in a child process of the task."""
    answered = []
    for part in parts:
        own = [found[fragment] for fragment in part.fragments]
        each = [
            answer_question(part.joined, own, 0, asked.readout, Question(draw=asked.shots), asked.seed)
            for asked in part.asked
        ]
        answered.append([outcomes for outcomes in each if isinstance(outcomes, Outcomes)])
    return answered
