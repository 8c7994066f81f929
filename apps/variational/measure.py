"""Energies, slopes and overlaps of a circuit with free parameters, measured on fragments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp

from apps.variational.ansatz import Ansatz
from apps.variational.budget import Allowance
from apps.variational.effort import levels_between
from tasks.draw import Drawer
from tasks.evaluate import Evaluator
from tasks.execution.run_devices import run_devices
from tasks.model.problem import Problem
from tasks.model.progress import Progress
from tasks.options import MAX_SEED, Options

_FIRST_ERROR = 8.0  # times the standard error to reach, where evaluations begin
_FINAL = 1 << 20  # seeds of the last measurement are so far from those of the search


@dataclass(frozen=True)
class Measured:
    """What an evaluation gave.

    Attributes:
        values: (set,) float64.
        errors: (set,) standard errors, 0 on the exact path.
        shots: taken.
        slopes: (parameter,) derivatives of the only value, where they were asked for.
        price: paid.
        readout_price: what of it measured the readout of QPUs.
    """

    values: np.ndarray
    errors: np.ndarray
    shots: int = 0
    slopes: np.ndarray | None = None
    price: float = 0.0
    readout_price: float = 0.0


class Measure:
    """An energy as a function of a circuit's parameters.

    What an evaluation gives depends on its points, its level and the seed alone, never on those before.

    Args:
        ansatz: the circuit.
        operator: its energy.
        options: how to run.
        most_shots: of an evaluation, at the highest level.
        progress: where an evaluation's progress is shown.

    Attributes:
        paid: by all evaluations, also by those that failed or were interrupted.
        promised: called before devices are asked with what an evaluation will then have paid, at most.
    """

    def __init__(
        self,
        ansatz: Ansatz,
        operator: SparsePauliOp,
        options: Options,
        most_shots: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.ansatz, self.operator, self.options, self._progress = ansatz, operator, options, progress
        self._most, self.paid = most_shots, 0.0
        self.promised: Callable[[float], object] = float
        if options.target_error is not None:
            self.levels = levels_between(1.0, _FIRST_ERROR**2)
        else:
            self.levels = 0 if options.shots is None else levels_between(options.shots, most_shots)
        self._evaluators: dict[int, Evaluator] = {}
        self._kernel: Drawer | None = None

    def evaluator(self, level: int, seed: int | None = None) -> Evaluator:
        """What evaluates at a level, made once."""
        seed = level if seed is None else seed
        if seed not in self._evaluators:
            own = replace(self.options, seed=(self.options.seed + seed) % MAX_SEED)
            if own.target_error is not None:
                own = replace(own, target_error=own.target_error * _FIRST_ERROR * 2 ** (-level / 2))
            elif own.shots is not None:
                own = replace(own, shots=min(own.shots << level, max(self._most, own.shots)))
            made = None if seed else Evaluator(self.ansatz.circuit, [self.operator], own)
            if made is None or made.prepared() is None:  # one plan for all levels and evaluations
                plan = self.evaluator(0).plan if made is None else made.plan
                made = Evaluator(self.ansatz.circuit, [self.operator], replace(own, cuts=plan.cuts))
            self._evaluators[seed] = made
        return self._evaluators[seed]

    def problem(self, point: np.ndarray) -> Problem:
        """The problem at (parameter,) values.

        Raises:
            InputError: it cannot be used.
        """
        return Evaluator(self.ansatz.circuit, [self.operator], self.options).problem(point)

    def values(self, points: np.ndarray, level: int, allowed: Allowance | None = None) -> Measured:
        """Energies of (set, parameter) values."""
        return self._evaluated(self.evaluator(level), points, allowed)

    def slopes(self, point: np.ndarray, level: int) -> Measured:
        """The energy of (parameter,) values and its derivatives.

        Raises:
            InputError: the fragments are not such that slopes can be had.
        """
        evaluator = self.evaluator(level)
        ready = evaluator.prepared()
        if ready is not None and not self.options.sampled:
            values, slopes = ready.gradients(point[None])
            return Measured(values[:, 0], np.zeros(1), 0, slopes[0, 0])
        found, made = evaluator.gradients(point[None])
        return Measured(found.values[:, 0], found.std_errors[:, 0], found.shots, made.slopes[0, 0])

    def final(self, point: np.ndarray, allowed: Allowance | None = None) -> Measured:
        """The energy at the highest level, from shots that no evaluation has seen.

        Of a budget as many shots are taken as it buys on the dearest device, and no fewer than an evaluation begins
        with: a few from a good device say more than many from one that is off by more than their error.
        """
        evaluator, shots = self.evaluator(self.levels, _FINAL if self.options.sampled else None), None
        if allowed is not None and evaluator.options.shots is not None:
            dearest = max((own.price.per_shot for own in run_devices(self.options.resources, {})), default=0.0)
            if dearest > 0:
                least = self.options.shots or evaluator.options.shots
                shots = max(least, min(evaluator.options.shots, int(allowed.budget / dearest)))
        return self._evaluated(evaluator, point[None], allowed, shots)

    def overlaps(self, point: np.ndarray, others: np.ndarray) -> Measured:
        """Fidelities of the states at other points with the one at this."""
        if self._kernel is None:
            self._kernel = kernel_of(self.ansatz.circuit, replace(self.options, shots=None, target_error=None))
        both = np.concatenate([np.broadcast_to(point, others.shape), others], axis=1)
        return Measured(self._kernel.zeros(both), np.zeros(len(others)))

    def _pay(self, price: float) -> None:
        self.paid += price

    def _evaluated(
        self, evaluator: Evaluator, points: np.ndarray, allowed: Allowance | None = None, shots: int | None = None
    ) -> Measured:
        ready = evaluator.prepared()
        if ready is not None:
            ready.forget()
        options = evaluator.options
        if allowed is not None:
            options = replace(options, budget=allowed.budget, shots=shots or options.shots)
        share = 1.0 if allowed is None else allowed.share
        found = evaluator.evaluate(points, progress=self._progress, options=options, share=share, paid=self._pay,
                                   promised=self.promised)  # fmt: skip
        return Measured(found.values[:, 0], found.std_errors[:, 0], found.shots, None, found.price, found.readout_price)


def kernel_of(circuit: QuantumCircuit, options: Options) -> Drawer:
    """U(x)^-1 U(y), measured: all bits are 0 as often as the states at x and y agree (arXiv:1804.11326, section II).

    Its parameters are those of x, then those of y, each in the order of ``circuit.parameters``.
    """
    count = circuit.num_parameters
    first, second = ParameterVector("a", count), ParameterVector("b", count)  # in this order by name
    whole = circuit.assign_parameters(list(second))
    whole.compose(circuit.assign_parameters(list(first)).inverse(), inplace=True)
    whole.measure_all()
    return Drawer(whole, options)
