"""Bit strings from a cut circuit: its fragments' outputs, and what their reconstructed distribution says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tasks.cutting import Plan, structure_of
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots, unpack_counts
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.outputs import exact_outputs
from tasks.execution.simulators.sampled import sampled_data
from tasks.model.problem import Problem
from tasks.model.progress import Progress
from tasks.model.tensor import Structure
from tasks.reconstruction.distribution.outputs import ExactOutputs, Outputs, SampledOutputs
from tasks.reconstruction.distribution.sampling import (
    Distribution,
    LikelyOutcomes,
    Outcomes,
    full_distribution,
    most_likely,
    sample,
)


@dataclass(frozen=True)
class FragmentOutputs:
    """Everything the distribution of a cut circuit is made of.

    Attributes:
        joined: how the fragments are joined.
        outputs: one per fragment.
        num_qubits: width of the uncut circuit.
    """

    joined: Structure
    outputs: tuple[Outputs, ...]
    num_qubits: int

    @property
    def sampled(self) -> bool:
        """Whether what follows from it has errors."""
        return any(isinstance(output, SampledOutputs) for output in self.outputs)


def fragment_outputs(problem: Problem, plan: Plan, progress: Progress) -> FragmentOutputs:
    """Simulate every fragment once with its legs open; the plan must leave no qubit of interest out."""
    found = []
    with progress.stage("execute", len(plan.fragments)) as stage:
        for fragment in plan.fragments:
            found.append(exact_outputs(fragment, open_state(fragment)))
            stage.advance()
    return FragmentOutputs(structure_of(problem, plan), tuple(found), problem.num_qubits)


def sampled_outputs(problem: Problem, plan: Plan, shots: int, seed: int, progress: Progress) -> FragmentOutputs:
    """Sample the fragments instead, ``shots`` in all: what follows then has error bars.

    The problem's observable must be Z on every qubit, so that every variant measures all outputs.
    """
    found = []
    with progress.stage("execute", len(plan.fragments)) as stage:
        for job in sampled_jobs(plan, uniform_shots(plan, shots), seed):
            data = sampled_data(job.fragment, job.schemes, job.variants, unpack_counts(run_job(job)))
            qubits = tuple(qubit for _, qubit in sorted(job.fragment.outputs))
            found.append(SampledOutputs(qubits, data))
            stage.advance()
    return FragmentOutputs(structure_of(problem, plan), tuple(found), problem.num_qubits)


def draw(outputs: FragmentOutputs, shots: int, seed: int) -> Outcomes:
    """Draw bit strings: qubit by qubit from contracted conditionals, never from the whole distribution.

    The fragments' outputs must be exact.
    """
    exact = cast(tuple[ExactOutputs, ...], outputs.outputs)
    return sample(outputs.joined, exact, outputs.num_qubits, shots, seed=seed)


def vector(outputs: FragmentOutputs) -> Distribution:
    """The whole distribution, of up to 24 qubits, with the nearest true one and the negativity.

    Raises:
        DistributionError: the circuit is wider.
    """
    return full_distribution(outputs.joined, outputs.outputs, outputs.num_qubits)


def likeliest(outputs: FragmentOutputs, top: int, seed: int) -> LikelyOutcomes:
    """The most likely bit strings, by refining promising prefixes only."""
    return most_likely(outputs.joined, outputs.outputs, outputs.num_qubits, top, seed=seed)


def labels(bits: np.ndarray) -> list[str]:
    """(outcome, qubit) bits as Qiskit writes them: qubit 0 rightmost."""
    return ["".join(map(str, row)) for row in bits[:, ::-1].tolist()]
