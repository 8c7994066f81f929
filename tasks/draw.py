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
from tasks.execution.run_devices import run_devices
from tasks.inputs.validation import at_least_two_qubits
from tasks.model.progress import Progress, Quiet
from tasks.model.tensor import Structure
from tasks.options import Options
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.template import Unsuited, template_of
from tasks.reconstruction.distribution.drawing import Outcomes
from tasks.reconstruction.distribution.likely import string_probabilities
from tasks.reconstruction.distribution.outputs import ExactOutputs, Outputs
from tasks.runtime.inline import one_thread
from tasks.sample import Question, answer_question, draw_bits, shots_of

logger = logging.getLogger(__name__)

_MOST_ENTRIES = 1 << 22  # of all outputs of a fragment


class Drawer:
    """A circuit ready for sets of parameter values.

    Args:
        circuit: unitary but for measurements at its end, with or without free parameters; a copy is kept.
        options: for the exact path.
    """

    def __init__(self, circuit: QuantumCircuit, options: Options) -> None:
        self.circuit, self.options = circuit.copy(), options

    def bits(self, values: np.ndarray, shots: int, progress: Progress | None = None) -> np.ndarray:
        """(set, shot, classical bit) uint8; bits never written stay 0.

        Args:
            values: (set, parameter) float64, in the order of ``circuit.parameters``.
            shots: of each set; each draws from a stream of its own.
            progress: where progress is shown.

        Raises:
            InputError: the circuit cannot be used.
            QompassError: with one line that says what to do.
        """
        drawn = np.zeros((len(values), shots, self.circuit.num_clbits), dtype=np.uint8)
        measured = any(item.name == "measure" for item in self.circuit.data)
        ready = self._ready if measured and len(values) else None
        with (progress or Quiet()).stage("sample", len(values)) as stage:
            for number, own in enumerate(values):
                options = replace(self.options, seed=self.options.seed + number)
                if ready is not None:
                    drawn[number] = self._drawn(ready, own, shots, options.seed)
                else:
                    bound = self.circuit.assign_parameters(own) if own.size else self.circuit
                    drawn[number] = draw_bits(bound, shots, options)
                stage.advance()
        return drawn

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
        circuit = at_least_two_qubits(self.circuit)
        try:
            template = template_of(circuit, [SparsePauliOp("Z" * circuit.num_qubits)])
            ready = ParametricPlan(
                template, plan_problem(template.problem, self.options, runs=False), self.options.seed
            )
            if any(
                program.amplitudes * np.prod([leg.rank for leg in program.fragment.legs]) > _MOST_ENTRIES
                for program in ready.programs
            ):
                raise Unsuited("a fragment has too many outputs")
        except Unsuited as unsuited:
            logger.info("every set is run for itself: %s", unsuited)
            return None
        return ready

    def _outputs(self, ready: ParametricPlan, values: np.ndarray) -> tuple[Structure, list[Outputs]]:
        angles = ready.template.angles.of(values[None])
        found: list[Outputs] = []
        for program, grams in zip(ready.programs, ready.grams, strict=True):
            states = program.states(angles[:, program.angles])[-1]
            outer = dict(program.fragment.outputs)
            qubits = tuple(outer[qubit] for qubit in sorted(outer))
            found.append(ExactOutputs(qubits, grams.outputs(states)[0]))
        bonds = tuple(bond[0] for bond in ready.bonds(angles))
        return replace(structure_of(ready.template.problem, ready.plan), bonds=bonds), found

    def _drawn(self, ready: ParametricPlan, values: np.ndarray, shots: int, seed: int) -> np.ndarray:
        problem = ready.template.problem
        with one_thread():
            joined, found = self._outputs(ready, values)
            drawn = answer_question(joined, found, problem.num_qubits, problem.readout, Question(draw=shots), seed)
        assert isinstance(drawn, Outcomes)
        return shots_of(drawn, seed)
