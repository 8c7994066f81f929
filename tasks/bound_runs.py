"""Circuits that are bound and run, as ``qompass run`` does it: as many as go together share one run and its graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from resources_xml import units_of
from tasks.beside import Beside, merged
from tasks.cut import plan_problem
from tasks.cutting import GateCut, Plan
from tasks.cutting.document import plan_document
from tasks.execution.as_written import circuit_material
from tasks.execution.run_devices import run_devices
from tasks.inputs.limits import MAX_QUBITS
from tasks.inputs.observables import MAX_TERMS
from tasks.model.problem import Problem
from tasks.model.progress import Progress, Quiet
from tasks.options import Options, options_document
from tasks.runs import RunDirectory, RunRecord
from tasks.runs.temporary import temporary_runs
from tasks.runtime import shared_engine
from tasks.workflow import Result, run

_MOST_TOGETHER = 64  # circuits in one run
_NEXT_TO_NOTHING = 1e-12  # of money: a budget that is spent


@dataclass(frozen=True)
class Wanted:
    """A circuit at several sets of parameter values, and what is asked of it.

    Attributes:
        problems: (set,) the same but for their angles.
        target_error: standard error to reach for every observable; None for what the options say.
    """

    problems: Sequence[Problem]
    target_error: float | None = None


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
        price: paid for them.
        readout_price: what of it measured the readout of QPUs, which is not paid again soon.
    """

    values: np.ndarray
    std_errors: np.ndarray
    shots: int = 0
    devices: tuple[str, ...] = ()
    plan: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    price: float = 0.0
    readout_price: float = 0.0


def kept_run(parent: Path, problem: Problem, options: Options, more: Mapping[str, Any] | None = None) -> Path:
    """A folder that holds a run which has not begun: ``qompass resume`` finishes it.

    Args:
        parent: where.
        problem: the problem.
        options: how it is to be run.
        more: fields of its record.

    Raises:
        RunRecordError: the folder cannot be written.
    """
    fields = {
        "seed": options.seed,
        "shots": options.shots,
        "memory": None,
        "options": options_document(options),
        "inputs": {},
        **(more or {}),
    }
    directory = RunDirectory.create(parent, fields, problem)
    directory.close()
    return directory.path


@dataclass(frozen=True)
class OneCircuit:
    """A circuit of a run.

    Attributes:
        problem: it, with what all of its owners ask.
        owners: (which of what is wanted, which set), and the first of its observables.
        alike: circuits that share the cuts of the first of them.
    """

    problem: Problem
    owners: tuple[tuple[int, int, int], ...]
    alike: int


@dataclass(frozen=True)
class SharedRun:
    """Circuits that go into one run.

    Attributes:
        entries: the circuits.
        beside: they as one problem.
        options: how it is run; without cuts where these are still to be found.
    """

    entries: tuple[OneCircuit, ...]
    beside: Beside
    options: Options

    def with_cuts(self, options: Options, plans: dict[int, Plan]) -> Options:
        """The run's options with the cuts of its circuits; those of a single one are found by the run itself.

        Args:
            options: of one circuit.
            plans: of circuits that are known, by ``alike``; those found here are added.
        """
        kinds = [entry.alike for entry in self.entries]
        for entry in self.entries if len(kinds) > 1 else ():
            if entry.alike not in plans:
                asked = replace(options, target_error=self.options.target_error)
                # Gates that are severed together must be so at any angles.
                plans[entry.alike] = plan_problem(entry.problem, asked, runs=False)
        if kinds[0] not in plans:
            return self.options
        return replace(self.options, cuts=self.beside.cuts([plans[kind].cuts for kind in kinds]))

    @property
    def sets(self) -> int:
        """How many sets of parameter values it answers."""
        return sum(len(entry.owners) for entry in self.entries)

    def notes(self, entry: OneCircuit, record: RunRecord) -> list[str]:
        """What a run's record says of one of its circuits, or of all."""
        others = set(self.beside.problem.notes) - set(entry.problem.notes)
        return [note for note in record["notes"] if note not in others]

    def taken(self, plan: Plan, record: RunRecord) -> list[dict[str, int]]:
        """(entry,) the shots that each device took for it, 0 of those that gave whole tensors."""
        owners = self.beside.owners(plan)
        found = [dict[str, int]() for _ in self.entries]
        for key, meta in record["results"].items():
            own = found[owners[int(key.split("-")[1])]]
            own[meta["device"]] = own.get(meta["device"], 0) + meta.get("shots", 0)
        return found


def shared_runs(wanted: Sequence[Wanted], options: Options) -> list[SharedRun]:
    """As few runs as answer all that is wanted: one for each error to reach, up to the widest circuit that is taken.

    Equal circuits are one, of which all is asked that is asked of any of them.
    """
    found: dict[tuple[float | None, bytes], list[tuple[tuple[int, int], Problem]]] = {}
    for place, own in enumerate(wanted):
        for number, problem in enumerate(own.problems):
            of = [f"PUB {place}"] * (len(wanted) > 1) + [f"set {number}"] * (len(own.problems) > 1)
            named = replace(problem, names=tuple(", ".join([name, *of]) for name in problem.names))
            key = own.target_error, circuit_material(problem.circuit)
            found.setdefault(key, []).append(((place, number), named))
    shapes: dict[tuple[object, ...], int] = {}
    entries: dict[float | None, list[OneCircuit]] = {}
    for (target, _), same in found.items():
        for part in _within_limits(same):
            problem = part[0][1] if len(part) == 1 else merged([own for _, own in part])
            firsts = accumulate((len(own.names) for _, own in part), initial=0)
            owners = tuple((*owner, first) for (owner, _), first in zip(part, firsts, strict=False))
            entry = OneCircuit(problem, owners, shapes.setdefault(_shape(problem), len(shapes)))
            entries.setdefault(target, []).append(entry)
    runs = []
    for target, group in entries.items():
        for together in _together(group):
            beside = Beside.of([entry.problem for entry in together])
            count = sum(len(entry.owners) for entry in together)
            whole = replace(
                options,
                shots=None if options.shots is None else count * options.shots,
                target_error=target or options.target_error,
            )
            runs.append(SharedRun(together, beside, whole))
    return runs


def run_together(
    wanted: Sequence[Wanted],
    options: Options,
    progress: Progress | None = None,
    folders: Sequence[Path] | None = None,
    share: float = 1.0,
    paid: Callable[[float], object] = float,
    promised: Callable[[float], object] = float,
) -> list[Evaluated]:
    """Run circuits: as many as go together in one run.

    A budget is for all of them: each run gets what is left in proportion to its sets.

    Args:
        wanted: what is to be run.
        options: how.
        progress: where each run's progress is shown.
        folders: what ``kept_run`` made for each of ``shared_runs``; None keeps nothing.
        share: of the budget, what the policy is to keep to (``run``).
        paid: called with the price of every run, also of one that fails or is interrupted.
        promised: called before each task with what all runs will then have paid, at most; where devices have prices.

    Returns:
        one for each that is wanted.

    Raises:
        QompassError: with one line that says what to do.
    """
    made = [_Answers(own) for own in wanted]
    plans: dict[int, Plan] = {}  # circuits that differ in their angles alone share the cuts of the first
    units = units_of(run_devices(options.resources, {}))
    with contextlib.ExitStack() as engine:
        engine.enter_context(shared_engine(options.engine, units=units))
        left, sets, before = options.budget, sum(len(own.problems) for own in wanted), 0.0
        for place, shared in enumerate(shared_runs(wanted, options)):
            chosen = shared.with_cuts(options, plans)
            if left is not None:
                chosen = replace(chosen, budget=max(left * shared.sets / sets, _NEXT_TO_NOTHING))
            with contextlib.ExitStack() as stack:
                if folders is None:
                    parent = stack.enter_context(temporary_runs())
                    directory = RunDirectory.create(parent, {"seed": chosen.seed}, shared.beside.problem)
                else:
                    directory = RunDirectory.open(folders[place])
                    directory.update(options=options_document(chosen))
                try:
                    with directory:
                        result = run(shared.beside.problem, chosen, directory, progress or Quiet(), share=share,
                                     promised=partial(_with_others, promised, before))  # fmt: skip
                finally:
                    price = directory.record.get("price") or 0.0
                    paid(price)
            left, sets, before = None if left is None else left - price, sets - shared.sets, before + price
            if not any(isinstance(cut, GateCut) and cut.joined for cut in result.plan.cuts):
                plans.setdefault(shared.entries[0].alike, result.plan)
            _share_out(shared, result, made, plans, () if folders is None else (str(folders[place]),))
    return [own.evaluated() for own in made]


def _with_others(promised: Callable[[float], object], before: float, own: float) -> None:
    promised(before + own)


class _Answers:
    """What the runs have said so far of one of those wanted."""

    def __init__(self, wanted: Wanted) -> None:
        asked = len(wanted.problems[0].names) if wanted.problems else 0
        self.values, self.errors = np.zeros((2, len(wanted.problems), asked))
        self.shots, self.price, self.readout_price, self.plan = 0, 0.0, 0.0, dict[str, Any]()
        self.devices, self.notes, self.runs = dict[str, None](), dict[str, None](), dict[str, None]()

    def evaluated(self) -> Evaluated:
        kept = (tuple(own) for own in (self.devices, self.notes, self.runs))
        devices, notes, runs = kept
        return Evaluated(
            self.values, self.errors, self.shots, devices, self.plan, notes, runs, self.price, self.readout_price
        )


def _share_out(
    shared: SharedRun,
    result: Result,
    made: Sequence[_Answers],
    plans: Mapping[int, Plan],
    folders: tuple[str, ...],
) -> None:
    """Give each what a run says of it: values, and of what they were made its own."""
    first, price = 0, (result.record.get("price") or 0.0) / shared.sets
    readout_price = (result.record.get("readout_price") or 0.0) / shared.sets
    for entry, taken in zip(shared.entries, shared.taken(result.plan, result.record), strict=True):
        for place, number, own in entry.owners:
            answers = made[place]
            part = result.estimates[first + own : first + own + answers.values.shape[1]]
            answers.values[number] = [estimate.value for estimate in part]
            answers.errors[number] = [estimate.std_error for estimate in part]
            answers.shots += sum(taken.values())
            answers.price += price
            answers.readout_price += readout_price
            answers.plan = answers.plan or plan_document(plans.get(entry.alike, result.plan))
            answers.devices |= dict.fromkeys(taken)
            answers.notes |= dict.fromkeys(shared.notes(entry, result.record))
            answers.runs |= dict.fromkeys(folders)
        first += len(entry.problem.names)


def _together(entries: Sequence[OneCircuit]) -> list[tuple[OneCircuit, ...]]:
    """Entries in turn, as many as go into one run."""
    found: list[list[OneCircuit]] = []
    qubits = terms = 0
    for entry in entries:
        qubits, terms = qubits + entry.problem.num_qubits, terms + entry.problem.terms.count
        if not found or qubits > MAX_QUBITS or terms > MAX_TERMS or len(found[-1]) == _MOST_TOGETHER:
            found.append([])
            qubits, terms = entry.problem.num_qubits, entry.problem.terms.count
        found[-1].append(entry)
    return [tuple(own) for own in found]


def _within_limits(same: Sequence[tuple[tuple[int, int], Problem]]) -> list[list[tuple[tuple[int, int], Problem]]]:
    """Equal circuits in turn, as many as ask for no more terms together than a run takes."""
    found: list[list[tuple[tuple[int, int], Problem]]] = []
    terms = 0
    for owner, problem in same:
        terms += problem.terms.count
        if not found or terms > MAX_TERMS:
            found.append([])
            terms = problem.terms.count
        found[-1].append((owner, problem))
    return found


def _shape(problem: Problem) -> tuple[object, ...]:
    """All of a problem that its cuts are chosen by, but for its angles."""
    gates = [
        (item.operation.name, *(problem.circuit.find_bit(qubit).index for qubit in item.qubits))
        for item in problem.circuit.data
    ]
    return problem.num_qubits, tuple(gates), problem.terms.x.tobytes(), problem.terms.z.tobytes()
