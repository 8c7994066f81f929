"""One measured circuit for many sets of parameter values: the bits that its measurements read, shot by shot."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cached_property

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from scheduler_policies import Kind
from tasks.cut import plan_problem
from tasks.cutting import structure_of
from tasks.errors import InputError
from tasks.execution.backends import NamedSampler
from tasks.execution.run_devices import run_devices
from tasks.inputs.validation import at_least_two_qubits, make_problem
from tasks.model.problem import Problem
from tasks.model.progress import Progress, Quiet
from tasks.model.tensor import Structure
from tasks.options import Options
from tasks.parametric.backends import BackendPlan, Steps, in_step
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.template import Template, Unsuited, template_of
from tasks.reconstruction.distribution.drawing import Outcomes
from tasks.reconstruction.distribution.likely import string_probabilities
from tasks.reconstruction.distribution.outputs import ExactOutputs, Outputs
from tasks.runtime.inline import one_thread
from tasks.sample import Question, answer_question, shots_of
from tasks.sample_together import PLANNED_SHOTS, Drawn, Strings, draw_together, in_strings, read_notes

logger = logging.getLogger(__name__)

_MOST_ENTRIES = 1 << 22  # of all outputs of a fragment


class Drawer:
    """A circuit ready for sets of parameter values.

    Args:
        circuit: unitary but for measurements at its end, with or without free parameters; a copy is kept.
        options: how to run; ``shots`` are those of all variants of a set together where devices take shots, None for
            as many of each variant as strings are drawn.
        device: runs the variants instead of the options' devices.
    """

    def __init__(self, circuit: QuantumCircuit, options: Options, device: NamedSampler | None = None) -> None:
        self.circuit, self.options, self._device = circuit.copy(), options, device
        self._measured = any(item.name == "measure" for item in circuit.data)

    def bits(self, values: np.ndarray, shots: int, progress: Progress | None = None) -> np.ndarray:
        """(set, shot, classical bit) uint8; bits never written stay 0; arguments as for ``draw``."""
        return self.draw(values, shots, progress).bits

    def draw(self, values: np.ndarray, shots: int, progress: Progress | None = None) -> Drawn:
        """Strings.

        Args:
            values: (set, parameter) float64, in the order of ``circuit.parameters``.
            shots: of each set; each draws from a stream of its own.
            progress: where progress is shown.

        Raises:
            InputError: the circuit cannot be used.
            QompassError: with one line that says what to do.
        """
        if self._device is not None:
            return in_step(self._device, [self.steps(values, shots)])[0]
        if not self.here(values, shots):
            return draw_together([self.wanted(values, shots)], self.options, progress)[0]
        drawn = self._nothing(values, shots)
        ready = self._ready if drawn.size and self._measured else None
        with (progress or Quiet()).stage("sample", len(values)) as stage:
            for number, own in enumerate(values):
                if ready is not None:
                    drawn[number] = self._drawn(ready, own, shots, self.options.seed + number)
                stage.advance()
        return Drawn(drawn)

    def here(self, values: np.ndarray, shots: int) -> bool:
        """Whether ``draw`` needs no run: there is nothing to draw, or this process or the device given does it."""
        return self.nothing(values, shots) or self._device is not None or self._ready is not None

    def nothing(self, values: np.ndarray, shots: int) -> bool:
        """Whether there is nothing to draw."""
        return not (len(values) and shots and self._measured)

    def wanted(self, values: np.ndarray, shots: int) -> Strings:
        """What a run is to draw; arguments as for ``draw``.

        Raises:
            InputError: the circuit cannot be used.
        """
        bound = (self.circuit.assign_parameters(own) if own.size else self.circuit for own in values)
        problems = [make_problem(at_least_two_qubits(own), None, every_qubit=True) for own in bound]
        return Strings(problems, shots)

    def steps(self, values: np.ndarray, shots: int) -> Steps[Drawn]:
        """As ``draw``, on the device given, in jobs that it may share with others (``in_step``)."""
        assert self._device is not None
        drawn = self._nothing(values, shots)
        if not (drawn.size and self._measured):
            return Drawn(drawn)
        ready = self._on_device
        problem = ready.template.problem
        each = shots if self.options.shots is None else max(1, self.options.shots // max(1, ready.variants))
        for number, (joined, outputs) in enumerate((yield from ready.outputs(values, each))):
            drawn[number] = _strings(problem, joined, list(outputs), shots, self.options.seed + number)
        notes = (*read_notes(problem.notes), *ready.plan.notes, *in_strings([self._device.name]))
        return Drawn(drawn, each * ready.variants * len(values), (self._device.name,), notes)

    @cached_property
    def _on_device(self) -> BackendPlan:
        assert self._device is not None
        try:
            template = self._template()
            sampled = replace(self.options, shots=self.options.shots or PLANNED_SHOTS)
            plan = plan_problem(template.problem, sampled, runs=False)
            return BackendPlan(template, plan, self._device, self.options.seed & 0x7FFFFFFF)
        except Unsuited as unsuited:
            raise InputError(f"a backend cannot run this circuit: {unsuited}: bind its parameters") from unsuited

    def _nothing(self, values: np.ndarray, shots: int) -> np.ndarray:
        return np.zeros((len(values), shots, self.circuit.num_clbits), dtype=np.uint8)

    def zeros(self, values: np.ndarray) -> np.ndarray:
        """(set,) probabilities that every qubit is measured 0.

        Args:
            values: (set, parameter) float64, in the order of ``circuit.parameters``.

        Raises:
            InputError: the fragments are too wide for this process.
        """
        ready = self._ready
        if ready is None:
            raise InputError(
                "overlaps of states are computed in this process, and the fragments are too wide for it, or for QPUs: "
                "let fragments be narrower (`max_qubits`), or take an `optimiser` that needs none",
                field="max_qubits",
            )
        found = np.empty(len(values))
        zeros = np.zeros((1, ready.template.problem.num_qubits), dtype=np.uint8)
        with one_thread():
            for number, own in enumerate(values):
                joined, outputs = self._outputs(ready, own)
                found[number] = string_probabilities(joined, outputs, zeros, self.options.seed)[0]
        return found

    @cached_property
    def _ready(self) -> ParametricPlan | None:
        """What is made once, where this process holds every fragment's outputs."""
        if any(device.kind is Kind.QPU for device in run_devices(self.options.resources, {})):
            return None
        try:
            template = self._template()
            exact = replace(self.options, shots=None, target_error=None)
            plan = plan_problem(template.problem, exact, runs=False)
            ready = ParametricPlan(template, plan, self.options.seed)
            if any(
                program.amplitudes * np.prod([leg.rank for leg in program.fragment.legs]) > _MOST_ENTRIES
                for program, _ in ready.laid_open
            ):
                raise Unsuited("a fragment has too many outputs")
        except Unsuited as unsuited:
            logger.info("every set is run for itself: %s", unsuited)
            return None
        return ready

    def _template(self) -> Template:
        circuit = at_least_two_qubits(self.circuit)
        return template_of(circuit, [SparsePauliOp("Z" * circuit.num_qubits)])

    def _outputs(self, ready: ParametricPlan, values: np.ndarray) -> tuple[Structure, list[Outputs]]:
        angles = ready.template.angles.of(values[None])
        found: list[Outputs] = []
        for program, grams in ready.laid_open:
            states = program.states(angles[:, program.angles])[-1]
            outer = dict(program.fragment.outputs)
            qubits = tuple(outer[qubit] for qubit in sorted(outer))
            found.append(ExactOutputs(qubits, grams.outputs(states)[0]))
        bonds = tuple(bond[0] for bond in ready.bonds(angles))
        return replace(structure_of(ready.template.problem, ready.plan), bonds=bonds), found

    def _drawn(self, ready: ParametricPlan, values: np.ndarray, shots: int, seed: int) -> np.ndarray:
        with one_thread():
            return _strings(ready.template.problem, *self._outputs(ready, values), shots, seed)


def _strings(problem: Problem, joined: Structure, outputs: list[Outputs], shots: int, seed: int) -> np.ndarray:
    """(shot, bit) uint8."""
    drawn = answer_question(joined, outputs, problem.num_qubits, problem.readout, Question(draw=shots), seed)
    assert isinstance(drawn, Outcomes)
    return shots_of(drawn, seed)
