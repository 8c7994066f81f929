"""One circuit for many sets of parameter values: every observable's value and standard error for each set."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from scheduler_policies import Device, Kind
from tasks.bound_runs import Evaluated, Wanted, run_together
from tasks.cut import plan_problem
from tasks.cutting import Plan
from tasks.cutting.document import plan_document
from tasks.errors import InputError
from tasks.execution.backends import NamedSampler
from tasks.execution.run_devices import run_devices
from tasks.inputs.validation import at_least_two_qubits, make_problem
from tasks.model.problem import Estimate, Problem
from tasks.model.progress import Progress, Quiet, Stage
from tasks.options import Options
from tasks.parametric.backends import BackendPlan, Steps, in_step
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.sampled import SampledPlan
from tasks.parametric.shifts import Slopes, shifted_slopes
from tasks.parametric.template import Unsuited, template_of
from tasks.workflow import biased

logger = logging.getLogger(__name__)

_PLANNED_SHOTS = 10_000_000  # what a plan may count on where as many are taken as an error takes
_SOME_ANGLE = 0.7  # at which a plan is made where any would do
_TOGETHER = 64  # sets between two looks at whether to go on


class Evaluator:
    """A circuit and what is asked of it, ready for sets of parameter values.

    Args:
        circuit: unitary but for final measurements, with or without free parameters; a copy is kept.
        observables: on its qubits.
        options: how to run.
        device: runs the variants instead of the options' devices.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Sequence[SparsePauliOp],
        options: Options,
        device: NamedSampler | None = None,
    ) -> None:
        self._device = device
        self.circuit, self.options = at_least_two_qubits(circuit.copy()), options
        missing = self.circuit.num_qubits - circuit.num_qubits
        self.observables = [SparsePauliOp("I" * missing).tensor(own) if missing else own for own in observables]
        self.parameters = tuple(self.circuit.parameters)

    def problem(self, values: np.ndarray) -> Problem:
        """The problem that a set of parameter values states.

        Args:
            values: (parameter,) float64, in the order of ``circuit.parameters``.

        Raises:
            InputError: the circuit or an observable cannot be used.
        """
        bound = self.circuit.assign_parameters(values) if self.parameters else self.circuit
        return make_problem(bound, self.observables)

    def evaluate(
        self,
        values: np.ndarray,
        *,
        target_error: float | None = None,
        progress: Progress | None = None,
        options: Options | None = None,
        share: float = 1.0,
        paid: Callable[[float], object] = float,
        promised: Callable[[float], object] = float,
    ) -> Evaluated:
        """Values and standard errors.

        Args:
            values: (set, parameter) float64, in the order of ``circuit.parameters``.
            target_error: standard error to reach for every observable; None for what the options say.
            progress: where progress is shown.
            options: how to run these instead: with other shots or another budget.
            share: of the budget, which is for all sets, what the policy is to keep to.
            paid: called with the price of every run, also of one that fails or is interrupted.
            promised: called before each task with what will then have been paid, at most; where devices have prices.

        Raises:
            InputError: a value is not finite, or the circuit or an observable cannot be used.
            QompassError: with one line that says what to do.
        """
        check_finite(values, [parameter.name for parameter in self.parameters])
        asked = options or self.options
        options = asked if target_error is None else replace(asked, target_error=target_error)
        if not len(values) or not self.observables:
            return Evaluated(*np.zeros((2, len(values), len(self.observables))))
        if self._device is not None:
            return in_step(self._device, [self.steps(values, target_error)])[0]
        if self.here(values, target_error):
            return self._evaluate_here(values, options, progress or Quiet())
        wanted = [self.wanted(values, target_error)]
        return run_together(wanted, asked, progress, share=share, paid=paid, promised=promised)[0]

    def here(self, values: np.ndarray, target_error: float | None = None) -> bool:
        """Whether ``evaluate`` needs no run: nothing is asked, or this process or the device given does it."""
        if not len(values) or not self.observables or self._device is not None:
            return True
        return self._ready is not None and not (self._sampled(target_error) and self._shots is None)

    def wanted(self, values: np.ndarray, target_error: float | None = None) -> Wanted:
        """What a run is to answer; arguments as for ``evaluate``.

        Raises:
            InputError: the circuit or an observable cannot be used.
        """
        return Wanted([self.problem(own) for own in values], target_error)

    @cached_property
    def _ready(self) -> ParametricPlan | None:
        """What is made once, where this process is the quickest that there is for every fragment."""
        if any(device.kind is Kind.QPU for device in self._devices):
            return None
        try:
            template = template_of(self.circuit, self.observables)
            return ParametricPlan(template, plan_problem(template.problem, self.options, runs=False), self.options.seed)
        except Unsuited as unsuited:
            logger.info("every set is run for itself: %s", unsuited)
            return None

    @cached_property
    def _on_device(self) -> BackendPlan:
        assert self._device is not None
        try:
            template = template_of(self.circuit, self.observables)
            plan = plan_problem(
                template.problem, replace(self.options, shots=self.options.shots or _PLANNED_SHOTS), runs=False
            )
            return BackendPlan(template, plan, self._device, self.options.seed & 0x7FFFFFFF)
        except Unsuited as unsuited:
            raise InputError(f"a backend cannot run this circuit: {unsuited}: bind its parameters") from unsuited

    def steps(self, values: np.ndarray, target_error: float | None = None) -> Steps[Evaluated]:
        """As ``evaluate``, on the device given, in jobs that it may share with others (``in_step``).

        Raises:
            InputError: no number of shots is said, and the device takes shots.
        """
        device = self._device
        assert device is not None
        options = self.options if target_error is None else replace(self.options, target_error=target_error)
        if not len(values) or not self.observables:
            return Evaluated(*np.zeros((2, len(values), len(self.observables))))
        if not options.sampled:
            raise InputError(
                f"{device.name} takes shots: say how many (`shots`), or the standard error to reach (`precision`)",
                field="shots",
            )
        ready = self._on_device
        found, errors, shots = yield from ready.values(values, shots=options.shots, target_error=options.target_error)
        document = plan_document(ready.plan)
        notes = (*ready.template.problem.notes, *ready.plan.notes, biased([device.name], "none"))
        return Evaluated(found, errors, shots, (device.name,), document, notes)

    @cached_property
    def plan(self) -> Plan:
        """A plan for all sets, whoever runs them.

        Raises:
            InputError: the circuit or an observable cannot be used.
            CuttingError: there is no plan within the limits.
        """
        if self._ready is not None:
            return self._ready.plan
        try:
            problem = template_of(self.circuit, self.observables).problem
        except Unsuited:
            problem = self.problem(np.full(len(self.parameters), _SOME_ANGLE))
        return plan_problem(problem, self.options, runs=False)

    def prepared(self) -> ParametricPlan | None:
        """What is made once for all sets; None where every set is run for itself.

        Raises:
            InputError: the circuit or an observable cannot be used.
            CuttingError: there is no plan within the limits.
        """
        return self._ready

    @cached_property
    def _shots(self) -> SampledPlan | None:
        assert self._ready is not None
        try:
            return SampledPlan(self._ready, self.options.seed)
        except Unsuited as unsuited:
            logger.info("every set is run for itself: %s", unsuited)
            return None

    @cached_property
    def _devices(self) -> list[Device]:
        return run_devices(self.options.resources, {})

    @cached_property
    def _document(self) -> dict[str, Any]:
        assert self._ready is not None
        return plan_document(self._ready.plan)

    def gradients(self, values: np.ndarray, *, target_error: float | None = None) -> tuple[Evaluated, Slopes]:
        """Values and derivatives by every parameter: in reverse mode on the exact path, by shifts with shots.

        Args:
            values: (set, parameter) float64, in the order of ``circuit.parameters``.
            target_error: standard error to reach for every observable's value; None for what the options say. Shifted
                fragments take as many shots as the values did.

        Raises:
            InputError: a value is not finite, the circuit or an observable cannot be used, or the fragments are not
                such that this process simulates them.
        """
        ready = None if self._device is not None else self._ready
        if ready is None or (self._sampled(target_error) and self._shots is None):
            raise InputError(
                "gradients are made by simulators in this process, and the fragments of this circuit are too wide for"
                " them, or for QPUs: shift its parameters yourself, or let fragments be narrower (`max_qubits`)",
                field="max_qubits",
            )
        found = self.evaluate(values, target_error=target_error)
        if not self._sampled(target_error):
            slopes = ready.gradients(values)[1]
            return found, Slopes(found.values, found.std_errors, slopes, np.zeros_like(slopes))
        assert self._shots is not None
        before = self._shots.shots
        shots = self.options.shots if target_error is None else None
        each = shots or max(1, found.shots // max(1, len(values)))
        made = shifted_slopes(self._shots, values, each)
        return replace(found, shots=found.shots + self._shots.shots - before), made

    def _sampled(self, target_error: float | None) -> bool:
        return target_error is not None or self.options.sampled

    def _evaluate_here(self, values: np.ndarray, options: Options, shown: Progress) -> Evaluated:
        ready = self._ready
        assert ready is not None
        found, shots = [], 0
        with shown.stage("evaluate", len(values)) as stage:
            for start in range(0, len(values), _TOGETHER):
                part = values[start : start + _TOGETHER]
                if options.sampled:
                    assert self._shots is not None
                    before = self._shots.shots
                    found.append(self._shots.values(part, shots=options.shots, target_error=options.target_error))
                    shots += self._shots.shots - before
                else:
                    exact = ready.values(part)
                    found.append((exact, np.zeros_like(exact)))
                stage.advance(len(part))
        return Evaluated(
            np.concatenate([own for own, _ in found]),
            np.concatenate([own for _, own in found]),
            shots,
            tuple(device.name for device in self._devices if device.exact)[:1],
            self._document,
            (*ready.template.problem.notes, *ready.plan.notes),
        )


def check_finite(values: np.ndarray, names: Sequence[str]) -> None:
    """Refuse parameter values that are no numbers.

    Raises:
        InputError: naming the first such value.
    """
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        where, which = bad[0].tolist()
        raise InputError(
            f"`parameter_values`: {values[where, which]} for parameter '{names[which]}' in set {where}: "
            "give finite numbers",
            field="parameter_values",
        )


Stop = Callable[[], None]
"""Raises where the work is to stop."""


class Watched:
    """Progress that stops the work where that is asked for.

    Args:
        stop: called at every step.
        shown: where the steps are shown; None: nowhere.
    """

    def __init__(self, stop: Stop, shown: Progress | None = None) -> None:
        self.go_on, self._shown = stop, shown or Quiet()

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """See ``Progress``."""
        with self._shown.stage(name, total) as inner:
            yield _WatchedStage(self.go_on, inner)

    def estimates(self, rounds: int, told: Sequence[Estimate]) -> None:
        """See ``Progress``."""
        self._shown.estimates(rounds, told)


class _WatchedStage:
    def __init__(self, stop: Stop, inner: Stage) -> None:
        self._stop, self._inner = stop, inner

    def advance(self, amount: float = 1) -> None:
        """See ``Stage``."""
        self._inner.advance(amount)
        self._stop()
