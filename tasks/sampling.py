"""Bit strings from a cut circuit: its fragments' outputs, exactly, and draws from their reconstructed distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.cutting import Plan, structure_of
from tasks.dispatch import Progress
from tasks.execution.open_state import open_state
from tasks.execution.outputs import exact_outputs
from tasks.problem import Problem
from tasks.reconstruction.distribution import LikelyOutcomes, Outcomes, most_likely, sample
from tasks.reconstruction.outputs import ExactOutputs
from tasks.tensor import Structure


@dataclass(frozen=True)
class FragmentOutputs:
    """Everything the distribution of a cut circuit is made of.

    Attributes:
        joined: how the fragments are joined.
        outputs: one per fragment.
        num_qubits: width of the uncut circuit.
    """

    joined: Structure
    outputs: tuple[ExactOutputs, ...]
    num_qubits: int


def fragment_outputs(problem: Problem, plan: Plan, progress: Progress) -> FragmentOutputs:
    """Simulate every fragment once with its legs open; the plan must leave no qubit of interest out."""
    found = []
    with progress.stage("execute", len(plan.fragments)) as stage:
        for fragment in plan.fragments:
            found.append(exact_outputs(fragment, open_state(fragment)))
            stage.advance()
    return FragmentOutputs(structure_of(problem, plan), tuple(found), problem.num_qubits)


def draw(outputs: FragmentOutputs, shots: int, seed: int) -> Outcomes:
    """Draw bit strings: qubit by qubit from contracted conditionals, never from the whole distribution."""
    return sample(outputs.joined, outputs.outputs, outputs.num_qubits, shots, seed=seed)


def likeliest(outputs: FragmentOutputs, top: int, seed: int) -> LikelyOutcomes:
    """The most likely bit strings, by refining promising prefixes only."""
    return most_likely(outputs.joined, outputs.outputs, outputs.num_qubits, top, seed=seed)


def labels(bits: np.ndarray) -> list[str]:
    """(outcome, qubit) bits as Qiskit writes them: qubit 0 rightmost."""
    return ["".join(map(str, row)) for row in bits[:, ::-1].tolist()]
