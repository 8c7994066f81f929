"""Bit strings from a cut circuit: its fragments' outputs, and what their reconstructed distribution says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting import Plan, structure_of
from tasks.errors import InputError
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots, unpack_counts
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.outputs import exact_outputs
from tasks.execution.simulators.sampled import sampled_data
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem, Readout
from tasks.model.progress import Progress, Quiet
from tasks.model.tensor import Structure
from tasks.options import options_of
from tasks.reconstruction.distribution.outputs import ExactOutputs, Outputs, SampledOutputs, marginal
from tasks.reconstruction.distribution.sampling import (
    MOST_VECTOR_BITS,
    Distribution,
    LikelyOutcomes,
    Outcomes,
    full_distribution,
    most_likely,
)
from tasks.reconstruction.distribution.sampling import sample as draw_outcomes
from tasks.reconstruction.errors import DistributionError
from tasks.workflow import plan_problem


def sample(circuit: QuantumCircuit, shots: int = 1024, **options: Any) -> dict[str, int]:
    """Bit strings that the circuit's measurements would give (``qompass sample``).

    Args:
        circuit: unitary but for measurements at its end; without any, all qubits are measured.
        shots: how many strings to draw; the fragments themselves are simulated exactly.
        options: fields of ``Options`` (``max_qubits=12, seed=7``).

    Returns:
        how often each string was drawn, most often first; as Qiskit writes them, bit 0 rightmost.

    Raises:
        InputError: an argument cannot be used; ``field`` names it.
        CuttingError: there is no plan within the limits.
    """
    chosen = options_of(options)
    wanted = options_of({"shots": shots}).shots
    if wanted is None:
        raise InputError("`shots`: None is not a number of strings to draw", field="shots")
    problem = make_problem(circuit, None, every_qubit=True)
    outputs = fragment_outputs(problem, plan_problem(problem, chosen), Quiet())
    drawn = draw(outputs, wanted, chosen.seed)
    strings = labels(drawn.bits, outputs.readout)
    return dict(sorted(zip(strings, drawn.counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])))


@dataclass(frozen=True)
class FragmentOutputs:
    """Everything the distribution of a cut circuit is made of.

    Attributes:
        joined: how the fragments are joined.
        outputs: one per fragment.
        num_qubits: how many qubits the outputs are of: those that the circuit measures, else all.
        readout: which of these are shown as which bits; None shows each as it is.
    """

    joined: Structure
    outputs: tuple[Outputs, ...]
    num_qubits: int
    readout: Readout | None = None

    @property
    def sampled(self) -> bool:
        """Whether what follows from it has errors."""
        return not all(isinstance(output, ExactOutputs) for output in self.outputs)

    def as_read(self, bits: np.ndarray) -> np.ndarray:
        """(outcome, classical bit) uint8 from (outcome, qubit): what the circuit's own measurements would read."""
        if self.readout is None:
            return bits
        read = np.zeros((len(bits), len(self.readout.bits)), dtype=np.uint8)
        for bit, qubit in enumerate(self.readout.bits):
            if qubit is not None:
                read[:, bit] = bits[:, qubit]
        return read


def fragment_outputs(problem: Problem, plan: Plan, progress: Progress) -> FragmentOutputs:
    """Simulate every fragment once with its legs open; the plan must leave no qubit of interest out."""
    found = []
    with progress.stage("execute", len(plan.fragments)) as stage:
        for fragment in plan.fragments:
            found.append(exact_outputs(fragment, open_state(fragment)))
            stage.advance()
    return _outputs(problem, plan, found)


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
    return _outputs(problem, plan, found)


def _outputs(problem: Problem, plan: Plan, found: Sequence[Outputs]) -> FragmentOutputs:
    """Those that are measured, where the circuit says which."""
    joined, readout = structure_of(problem, plan), problem.readout
    if readout is None:
        return FragmentOutputs(joined, tuple(found), problem.num_qubits)
    places = {qubit: place for place, qubit in enumerate(dict.fromkeys(q for q in readout.bits if q is not None))}
    bits = tuple(None if qubit is None else places[qubit] for qubit in readout.bits)
    measured = tuple(marginal(outputs, places) for outputs in found)
    return FragmentOutputs(joined, measured, len(places), Readout(bits, readout.registers))


def draw(outputs: FragmentOutputs, shots: int, seed: int) -> Outcomes:
    """Draw bit strings: qubit by qubit from contracted conditionals, never from the whole distribution.

    The fragments' outputs must be exact.
    """
    exact = cast(tuple[ExactOutputs, ...], outputs.outputs)
    drawn = draw_outcomes(outputs.joined, exact, outputs.num_qubits, shots, seed=seed)
    bits, of = np.unique(outputs.as_read(drawn.bits), axis=0, return_inverse=True)
    return Outcomes(bits, np.bincount(of.ravel(), weights=drawn.counts, minlength=len(bits)).astype(np.int64))


def vector(outputs: FragmentOutputs) -> Distribution:
    """The whole distribution, of up to 24 bits, with the nearest true one and the negativity.

    Raises:
        DistributionError: there are more.
    """
    readout = outputs.readout
    if readout is not None and len(readout.bits) > MOST_VECTOR_BITS:
        raise DistributionError(
            f"{len(readout.bits)} classical bits have 2**{len(readout.bits)} values; {MOST_VECTOR_BITS} bits are the"
            " most: draw shots, or ask for the most likely ones"
        )
    found = full_distribution(outputs.joined, outputs.outputs, outputs.num_qubits)
    if readout is None:
        return found
    index = np.zeros(found.quasi.size, dtype=np.int64)
    for bit, qubit in enumerate(readout.bits):
        if qubit is not None:
            index |= ((np.arange(index.size) >> qubit) & 1) << bit
    quasi, nearest = np.zeros(2 ** len(readout.bits)), np.zeros(2 ** len(readout.bits))
    quasi[index], nearest[index] = found.quasi, found.nearest
    return Distribution(quasi, nearest, found.negativity)


def likeliest(outputs: FragmentOutputs, top: int, seed: int) -> LikelyOutcomes:
    """The most likely bit strings, by refining promising prefixes only."""
    found = most_likely(outputs.joined, outputs.outputs, outputs.num_qubits, top, seed=seed)
    return LikelyOutcomes(outputs.as_read(found.bits), found.probabilities, found.std_errors)


def labels(bits: np.ndarray, readout: Readout | None = None) -> list[str]:
    """(outcome, bit) as Qiskit writes them: bit 0 rightmost, a blank between classical registers."""
    strings = ["".join(map(str, row)) for row in bits[:, ::-1].tolist()]
    sizes = readout.registers[::-1] if readout is not None else ()
    if len(sizes) < 2:
        return strings
    ends = np.cumsum(sizes).tolist()
    return [" ".join(text[end - size : end] for size, end in zip(sizes, ends, strict=True)) for text in strings]
