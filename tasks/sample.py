"""Bit strings from a cut circuit: its fragments' outputs, and what their reconstructed distribution says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting import Plan, structure_of
from tasks.dispatch.events import LoggedProgress
from tasks.dispatch.rounds import run_round
from tasks.dispatch.start import started
from tasks.errors import InputError
from tasks.execution.jobs import FragmentJob, exact_jobs, sampled_jobs, uniform_shots
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem, Readout
from tasks.model.progress import Progress, Quiet
from tasks.model.streams import random_stream
from tasks.model.tensor import Structure
from tasks.options import Options, options_of
from tasks.reconstruction.distribution.drawing import Outcomes, draw_strings
from tasks.reconstruction.distribution.likely import LikelyOutcomes, most_likely
from tasks.reconstruction.distribution.outputs import Outputs, marginal
from tasks.reconstruction.distribution.whole import MOST_VECTOR_BITS, Distribution, full_distribution
from tasks.reconstruction.errors import DistributionError
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime import COLLECTION_IN, IN_DELETE, Limits, Outcome, Ticket, constraint, isolated, limits, task
from tasks.tensors import outputs


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
    _, drawn = run_sample(problem, replace(chosen, shots=None, target_error=None), Question(draw=wanted))
    assert isinstance(drawn, Outcomes)
    strings = labels(drawn.bits, problem.readout)
    return dict(sorted(zip(strings, drawn.counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])))


def shots_of(drawn: Outcomes, seed: int) -> np.ndarray:
    """(shot, bit) uint8: the strings one by one, in an order that says nothing."""
    order = random_stream(f"order of shots:{seed}").permutation(int(drawn.counts.sum()))
    return np.repeat(drawn.bits, drawn.counts, axis=0)[order]


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

    def as_read(self, bits: np.ndarray) -> np.ndarray:
        """(outcome, classical bit) uint8 from (outcome, qubit): what the circuit's own measurements would read."""
        if self.readout is None:
            return bits
        read = np.zeros((len(bits), len(self.readout.bits)), dtype=np.uint8)
        for bit, qubit in enumerate(self.readout.bits):
            if qubit is not None:
                read[:, bit] = bits[:, qubit]
        return read


@dataclass(frozen=True)
class Question:
    """What is asked of a distribution.

    Attributes:
        draw: this many strings drawn from it.
        top: this many of its most likely strings; without either its whole vector.
    """

    draw: int | None = None
    top: int | None = None


Answer = Outcomes | LikelyOutcomes | Distribution


def run_sample(
    problem: Problem, options: Options, question: Question, progress: Progress | None = None
) -> tuple[Plan, Answer]:
    """Run the fragments of a problem and answer from their outputs.

    Args:
        problem: its observable is Z on every qubit, so that every variant measures all outputs.
        options: ``shots`` are those of the fragments: what follows then has error bars; without they are exact.
        question: what to say of the distribution; strings are drawn from exact fragments only.
        progress: where it is shown.

    Raises:
        QompassError: with one line that says what to do.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_runs())
        directory = stack.enter_context(RunDirectory.create(folder, {"seed": options.seed}, problem))
        shown = LoggedProgress(progress or Quiet(), directory)
        driver = stack.enter_context(started(problem, options, directory, shown, outputs))
        joined = structure_of(problem, driver.plan)

        def submit(found: list[Any], ticket: Ticket) -> Any:
            return answer(joined, found, problem.num_qubits, problem.readout, question, options.seed, limits(), ticket)

        if options.shots is None:
            jobs: Sequence[FragmentJob] = exact_jobs(driver.plan, outputs=True)
        else:
            least = 2 * sum(cost.variants for cost in driver.plan.costs)
            if question.top is not None and options.shots < least:
                raise InputError(
                    f"`shots` {options.shots}: half of them find the most likely strings, the others say how likely"
                    f" these are; give at least {least}, better {50 * least}",
                    field="shots",
                )
            shots = uniform_shots(driver.plan, options.shots)
            jobs = [replace(job, outputs=True) for job in sampled_jobs(driver.plan, shots, options.seed)]
        run_round("execute", jobs, driver, shown, submit)
        return driver.plan, driver.value_of("the distribution", submit)


@constraint(computing_units="1")
@task(returns=1, found=COLLECTION_IN, limits=IN_DELETE, ticket=IN_DELETE)
def answer(
    joined: Structure,
    found: list[Any],
    num_qubits: int,
    readout: Readout | None,
    question: Question,
    seed: int,
    limits: Limits,
    ticket: Ticket,
) -> Outcome:
    """What the outputs of all fragments say; the value of the outcome is an Answer."""
    with ticket.held():
        return isolated(answer_question, joined, found, num_qubits, readout, question, seed, limits=limits,
                        device="CPU", attempt=ticket.attempt)  # fmt: skip


def answer_question(
    joined: Structure,
    found: Sequence[Outputs],
    num_qubits: int,
    readout: Readout | None,
    question: Question,
    seed: int,
) -> Answer:
    """The work itself, in a child process of the task."""
    measured = _measured(joined, found, num_qubits, readout)
    if question.draw is not None:
        return draw(measured, question.draw, seed)
    return vector(measured) if question.top is None else likeliest(measured, question.top, seed)


def _measured(joined: Structure, found: Sequence[Outputs], num_qubits: int, readout: Readout | None) -> FragmentOutputs:
    """The outputs that are measured, where the circuit says which."""
    if readout is None:
        return FragmentOutputs(joined, tuple(found), num_qubits)
    places = {qubit: place for place, qubit in enumerate(dict.fromkeys(q for q in readout.bits if q is not None))}
    bits = tuple(None if qubit is None else places[qubit] for qubit in readout.bits)
    measured = tuple(marginal(own, places) for own in found)
    return FragmentOutputs(joined, measured, len(places), Readout(bits, readout.registers))


def draw(outputs: FragmentOutputs, shots: int, seed: int) -> Outcomes:
    """Draw bit strings: fragment by fragment from contracted conditionals, never from the whole distribution."""
    drawn = draw_strings(outputs.joined, outputs.outputs, outputs.num_qubits, shots, seed=seed)
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
