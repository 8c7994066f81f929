"""An optimisation as a run: its folder, its journal, its end; begun or gone on with, along the same path."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.variational.budget import BudgetSpentError, LoopBudget
from apps.variational.effort import Effort
from apps.variational.energies import cut_weight
from apps.variational.loop import JournalledObjective, LoopError, State
from apps.variational.measure import Measure, Measured
from apps.variational.optimisers import OPTIMISERS
from apps.variational.search import Found, Search
from apps.variational.settings import SETTINGS_NAME, Settings, read_settings, settings_of
from resources_xml import units_of
from tasks.cutting.document import plan_document
from tasks.dispatch.errors import BudgetError
from tasks.draw import Drawer
from tasks.execution.run_devices import run_devices
from tasks.options import options_again
from tasks.runs import RunDirectory
from tasks.runs.journal import RunJournal
from tasks.runs.results import write
from tasks.runs.settings import settings_bytes, settings_digest
from tasks.runtime import shared_engine

PROGRAM = "optimise"
_LEAST_WINDOW, _MOST_WINDOW = 6, 24  # evaluations


@dataclass(frozen=True)
class Optimum:
    """What an optimisation found.

    Attributes:
        energy: at the end, from shots that chose nothing.
        std_error: its standard error, 0 on the exact path.
        parameters: by name.
        why: it ended.
        evaluations: calls of the optimiser.
        circuits: sets of parameter values.
        shots: in all.
        price: paid in all.
        exact: the lowest energy, where it is known.
        bits: the best bit string drawn at the end, qubit 0 on the right, "" where none was.
        bits_energy: its energy.
    """

    energy: float
    std_error: float
    parameters: dict[str, float]
    why: str
    evaluations: int
    circuits: int
    shots: int
    price: float
    exact: float | None = None
    bits: str = ""
    bits_energy: float | None = None


Told = Callable[[State], None]


def begin(settings: Settings, out: Path, inputs: dict[str, Any]) -> RunDirectory:
    """A new run's folder with all that it takes to finish it.

    Args:
        settings: what to do.
        out: where runs go.
        inputs: files, for the record.

    Raises:
        InputError: something in the settings cannot be used.
    """
    search, document = settings.search(), settings.document()
    measure = _measure(settings)
    problem = measure.problem(search.start)
    own = settings.hamiltonian
    fields = {
        "program": PROGRAM, "seed": settings.options.seed, "shots": settings.options.shots, "memory": None,
        "inputs": inputs, "asked": {"observable": [], "hamiltonian": own.name, "optimiser": settings.optimiser},
    }  # fmt: skip
    directory = RunDirectory.create(out, fields, problem)
    try:
        write(directory.path, SETTINGS_NAME, settings_bytes(document))
    except BaseException:
        directory.discard()
        raise
    return directory


def reopen(path: Path, changed: dict[str, Any]) -> tuple[RunDirectory, Settings]:
    """A run that was begun, held, and its settings, with what options are changed now.

    Raises:
        RunRecordError: it cannot be resumed.
    """
    document = read_settings(path)
    settings = settings_of(document, options_again(document["options"], changed))
    return RunDirectory.open(path), settings


def optimise(directory: RunDirectory, settings: Settings, told: Told) -> Optimum:
    """Search to the end; what the run's journal has is not measured again.

    Args:
        directory: of the run.
        settings: what to do.
        told: called after each evaluation.

    Raises:
        QompassError: with one line that says what to do; what was found so far stays in the run.
    """
    search, measure = settings.search(), _measure(settings)
    journal = RunJournal(directory.path, settings_digest(read_settings(directory.path)))
    measure.promised = journal.promise
    window = min(_MOST_WINDOW, max(_LEAST_WINDOW, len(search.start)))
    events = _Events(directory, told)
    budget = settings.options.budget
    money = None if budget is None else LoopBudget(budget, OPTIMISERS[settings.optimiser].sets(search))
    objective = JournalledObjective(measure, journal, Effort(measure.levels, window), events.told, money)
    with contextlib.ExitStack() as stack:
        stack.callback(journal.close)
        if measure.evaluator(0).prepared() is None:  # each evaluation goes through the engine: keep it up
            options = settings.options
            units = units_of(run_devices(options.resources, {}))
            run = str(directory.record["run"])
            stack.enter_context(shared_engine(options.engine, units=units, scheduler=options.scheduler, run=run))
        with directory.timing("search"):
            found, state = _searched(settings, objective, search), objective.state
            point = found.parameters
            if not settings.options.sampled and state.parameters is not None:
                point = state.parameters  # no noise made it look better than it is
            final = _measured_at_end(objective, point, directory)
        bits, bits_energy = _drawn(settings, point)
    optimum = _optimum(settings, point, found.why, final, state, bits, bits_energy)
    ready = measure.evaluator(0).prepared()
    estimate = {"observable": "energy", "value": optimum.energy, "std_error": optimum.std_error}
    plan = {} if ready is None else {"plan": plan_document(ready.plan)}
    paid = {"price": state.price} if state.price else {}
    directory.finish("done", estimates=[estimate], optimum=vars(optimum), shots=state.shots or None, **plan, **paid)
    return optimum


def _searched(settings: Settings, objective: JournalledObjective, search: Search) -> Found:
    """Where the search ended, by itself or because its money did: then with the lowest energy so far."""
    state = objective.state
    try:
        return OPTIMISERS[settings.optimiser].run(objective, search)
    except (BudgetSpentError, BudgetError) as error:
        if state.parameters is None:
            raise LoopError(f"`budget`: three quarters of it do not hold one evaluation: {error}") from error
        said = str(error) if isinstance(error, BudgetSpentError) else f"the search has ended: {error}"
        return Found(state.parameters, said)


def _measured_at_end(objective: JournalledObjective, point: np.ndarray, directory: RunDirectory) -> Measured:
    """The energy at the end; where no money is left for it, the lowest that was seen."""
    try:
        return objective.final(point)
    except BudgetError as error:
        directory.record.note(f"the energy is the lowest that the search saw, which may be luck: {error}")
        state = objective.state
        return Measured(np.array([state.best]), np.array([state.errors[int(np.argmin(state.energies))]]))


class _Events:
    """Evaluations in the run's log, for whoever watches it."""

    def __init__(self, directory: RunDirectory, told: Told) -> None:
        self._directory, self._told, self._logged = directory, told, 0

    def told(self, state: State) -> None:
        if state.evaluations > max(self._logged, state.replayed):
            self._logged = state.evaluations
            message = f"evaluation {state.evaluations}: {state.energies[-1]:.8g}, lowest so far {state.best:.8g}"
            self._directory.event("evaluation", message, number=state.evaluations, energy=state.energies[-1],
                                  std_error=state.errors[-1], level=state.levels[-1], shots=state.shots)  # fmt: skip
        self._told(state)


def _measure(settings: Settings) -> Measure:
    return Measure(settings.circuit, settings.hamiltonian.operator, settings.options, settings.most_shots)


def _drawn(settings: Settings, point: np.ndarray) -> tuple[str, float | None]:
    """The best of the bit strings drawn at the end, and its energy, for an energy of Z alone."""
    if not settings.draws or settings.hamiltonian.operator.paulis.x.any():
        return "", None
    circuit = settings.circuit.circuit.copy()
    circuit.measure_all()
    drawer = Drawer(circuit, _exact(settings))
    bits = drawer.bits(point[None], settings.draws)[0]
    energies = cut_weight(settings.hamiltonian, bits)
    best = int(np.argmin(energies))
    return "".join(map(str, bits[best][::-1])), float(energies[best])


def _exact(settings: Settings) -> Any:
    from dataclasses import replace

    return replace(settings.options, shots=None, target_error=None, resources=None)


def _optimum(
    settings: Settings, point: np.ndarray, why: str, final: Measured, state: State, bits: str, energy: float | None
) -> Optimum:
    names = [parameter.name for parameter in settings.circuit.circuit.parameters]
    return Optimum(
        float(final.values[0]), float(final.errors[0]), dict(zip(names, point.tolist(), strict=True)), why,
        state.evaluations, state.circuits, state.shots, state.price, settings.hamiltonian.exact, bits, energy,
    )  # fmt: skip
