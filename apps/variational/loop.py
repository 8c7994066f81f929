"""The loop: an optimiser asks, the journal or the circuits answer, and what was answered is written down first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from apps.variational.budget import Allowance, LoopBudget
from apps.variational.effort import Effort
from apps.variational.measure import Measure, Measured
from tasks.dispatch.errors import BudgetError
from tasks.errors import QompassError
from tasks.runs import RunRecordError
from tasks.runs.journal import RunJournal

_LOST = "lost"  # in the journal: an evaluation that gave no answer but was paid for, or that the budget refused


class LoopError(QompassError):
    """An optimisation cannot go on; what it has found so far is in its run."""


@dataclass
class State:
    """How far a loop is.

    Attributes:
        evaluations: calls of the optimiser so far.
        circuits: sets of parameter values so far, slopes counting once.
        shots: taken so far.
        replayed: evaluations that the journal answered.
        energies: (evaluation,) lowest energy of each.
        errors: (evaluation,) its standard error.
        levels: (evaluation,) of effort.
        price: paid so far.
        best: lowest energy so far, among those of the highest effort.
        parameters: where that was.
    """

    evaluations: int = 0
    circuits: int = 0
    shots: int = 0
    replayed: int = 0
    energies: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    price: float = 0.0
    best: float = np.inf
    parameters: np.ndarray | None = None


class JournalledObjective:
    """An objective for optimisers whose every answer is in a journal before the optimiser sees it.

    Args:
        measure: answers what the journal does not.
        journal: of this loop.
        effort: how many shots an answer takes; follows the answers.
        told: called after each answer.
        budget: of the whole loop, if it has one.

    Attributes:
        state: how far it is.
    """

    def __init__(
        self,
        measure: Measure,
        journal: RunJournal,
        effort: Effort,
        told: Callable[[State], None],
        budget: LoopBudget | None = None,
    ) -> None:
        self._measure, self._journal, self._effort, self._told = measure, journal, effort, told
        self._budget = budget
        self.state = State()
        self._place = 0  # of the next answer in the journal
        self._killed = journal.promised  # what an earlier process may have paid without an answer

    def values(self, points: np.ndarray) -> np.ndarray:
        """See ``Objective``."""
        level = self._effort.level
        return self._ask("values", points, lambda allowed: self._measure.values(points, level, allowed)).values

    def slopes(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """See ``Objective``."""
        found = self._ask("slopes", point[None], lambda _: self._measure.slopes(point, self._effort.level))
        assert found.slopes is not None
        return float(found.values[0]), found.slopes

    def overlaps(self, point: np.ndarray, others: np.ndarray) -> np.ndarray:
        """See ``Objective``."""
        pairs = np.concatenate([point[None], others])
        return self._ask("overlaps", pairs, lambda _: self._measure.overlaps(point, others)).values

    def final(self, point: np.ndarray) -> Measured:
        """The energy at the end, from shots that chose nothing."""
        return self._ask("final", point[None], lambda allowed: self._measure.final(point, allowed))

    def _allowed(self, kind: str, points: np.ndarray) -> Allowance | None:
        if self._budget is None or kind not in ("values", "final"):
            return None
        return self._budget.for_end() if kind == "final" else self._budget.for_search(len(points), self._effort.level)

    def _ask(self, kind: str, points: np.ndarray, answer: Callable[[Allowance | None], Measured]) -> Measured:
        state, level = self.state, self._effort.level
        if not np.isfinite(points).all():
            best = f"; the lowest energy so far is {state.best:.6g}" if state.parameters is not None else ""
            raise LoopError(
                f"the optimiser asked for parameters that are no numbers after {state.evaluations} evaluations{best}: "
                "start anew with another `start` or `optimiser`"
            )
        question = {"kind": kind, "level": level, "points": _digest(points)}
        self._recall_lost(question)
        allowed = self._allowed(kind, points)
        known = self._journal.entries[self._place] if self._place < len(self._journal.entries) else None
        if known is not None:
            if {name: known[name] for name in question} != question:
                raise RunRecordError(
                    f"{self._journal.path}: line {self._place + 2} answers another question: NumPy, SciPy or Qompass "
                    "differ from those of the run: resume it with them, or start anew"
                )
            found = _read(known)
            state.replayed += 1
        else:
            before = self._measure.paid
            try:
                found = answer(allowed)
            except BaseException as error:
                self._lose(question, self._measure.paid - before, str(error) if isinstance(error, BudgetError) else "")
                raise
            self._journal.append({**question, **_written(found)})
        self._place += 1
        self._take(kind, points, found, level)
        return found

    def _lose(self, question: Mapping[str, Any], price: float, refused: str) -> None:
        """Event: an evaluation gave no answer; what it was paid, and why where the budget did not hold it."""
        if price or refused:
            self._journal.append({"kind": _LOST, "of": question, "price": price, "refused": refused})
            self._place += 1
            self._take_lost(price)

    def _recall_lost(self, question: Mapping[str, Any]) -> None:
        """Evaluations of a question without an answer, next in the journal: what refused one of them does so again."""
        entries = self._journal.entries
        while self._place < len(entries) and entries[self._place].get("of") == question:
            lost = entries[self._place]
            self._place += 1
            self._take_lost(float(lost["price"]))
            if lost["refused"]:
                raise BudgetError(lost["refused"])
        if self._place == len(entries):  # nobody answered it yet
            killed, self._killed = self._killed, 0.0
            self._lose(question, killed, "")

    def _take_lost(self, price: float) -> None:
        self.state.price += price
        if self._budget is not None:
            self._budget.lost(price)

    def _take(self, kind: str, points: np.ndarray, found: Measured, level: int) -> None:
        state = self.state
        state.shots += found.shots
        state.circuits += len(found.values)
        state.price += found.price
        if self._budget is not None and kind != "final":
            self._budget.took(found.price, len(found.values), level, once=found.readout_price)
        if kind in ("overlaps", "final"):
            self._told(state)
            return
        lowest = int(np.argmin(found.values))
        energy, error = float(found.values[lowest]), float(found.errors[lowest])
        if not np.isfinite(energy):
            raise LoopError(f"evaluation {state.evaluations} gave an energy that is no number ({energy})")
        if state.levels and level > state.levels[-1]:
            state.best = np.inf  # what fewer shots called lowest may only have been lucky
        state.evaluations += 1
        state.energies.append(energy)
        state.errors.append(error)
        state.levels.append(level)
        if energy < state.best:
            state.best, state.parameters = energy, points[lowest].copy()
        self._effort.follow(energy, error)
        self._told(state)


def _digest(points: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(points, dtype=np.float64).tobytes()).hexdigest()[:32]


def _written(found: Measured) -> dict[str, Any]:
    slopes = {} if found.slopes is None else {"slopes": found.slopes.tolist()}
    return {"values": found.values.tolist(), "errors": found.errors.tolist(), "shots": found.shots,
            "price": found.price, "readout_price": found.readout_price, **slopes}  # fmt: skip


def _read(entry: dict[str, Any]) -> Measured:
    slopes = np.array(entry["slopes"]) if "slopes" in entry else None
    return Measured(np.array(entry["values"]), np.array(entry["errors"]), int(entry["shots"]), slopes,
                    float(entry.get("price", 0.0)), float(entry.get("readout_price", 0.0)))  # fmt: skip
