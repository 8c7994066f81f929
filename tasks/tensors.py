"""The fan-in of a fragment: the payloads of all tasks that worked on it -> its tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment
from tasks.execute import Payload
from tasks.execution.jobs import ExactJob, FragmentJob, SampledJob, fragment_tensor
from tasks.execution.packed_counts import unpack_counts
from tasks.execution.samples import sampled_data
from tasks.model.tensor import FragmentTensor
from tasks.reconstruction.distribution.outputs import ExactOutputs, Outputs, SampledOutputs
from tasks.runtime import COLLECTION_IN, IN_DELETE, Limits, Outcome, Ticket, constraint, isolated, task


@constraint(computing_units="1")
@task(returns=1, payloads=COLLECTION_IN, jobs=IN_DELETE, limits=IN_DELETE, ticket=IN_DELETE, priority=True)
def tensor(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: tuple[FragmentJob, ...],
    found: Payload,
    payloads: list[Payload],
    limits: Limits,
    ticket: Ticket,
) -> Outcome:
    """Build a fragment's tensor.

    Args:
        fragment: the fragment.
        schemes: (leg,) the settings of its legs.
        jobs: one for each round of shots, with the variants that the pieces of that round count.
        found: results that an earlier process of the run has left.
        payloads: of the tasks; what they hold of other fragments is not looked at.
        limits: what it may use.
        ticket: says when the task begins and has ended, and which try it is.

    Returns:
        An outcome whose value is a FragmentTensor.
    """
    with ticket.held():
        return isolated(build_tensor, fragment, schemes, jobs, found, payloads, limits=limits, device="CPU",
                        attempt=ticket.attempt)  # fmt: skip


def build_tensor(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: Sequence[FragmentJob],
    found: Payload,
    payloads: Sequence[Payload],
) -> FragmentTensor:
    """The work itself, in a child process of the task."""
    return fragment_tensor(fragment, schemes, _results(fragment, schemes, jobs, found, payloads))


@constraint(computing_units="1")
@task(returns=1, payloads=COLLECTION_IN, jobs=IN_DELETE, limits=IN_DELETE, ticket=IN_DELETE, priority=True)
def outputs(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: tuple[FragmentJob, ...],
    found: Payload,
    payloads: list[Payload],
    limits: Limits,
    ticket: Ticket,
) -> Outcome:
    """What a fragment says about bit strings: the value of the outcome is its Outputs; arguments as for ``tensor``."""
    with ticket.held():
        return isolated(build_outputs, fragment, schemes, jobs, found, payloads, limits=limits, device="CPU",
                        attempt=ticket.attempt)  # fmt: skip


def build_outputs(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: Sequence[FragmentJob],
    found: Payload,
    payloads: Sequence[Payload],
) -> Outputs:
    """The work itself, in a child process of the task."""
    qubits = tuple(qubit for _, qubit in sorted(fragment.outputs))
    sampled = []
    for job, arrays in _results(fragment, schemes, jobs, found, payloads):
        if isinstance(job, ExactJob):
            return ExactOutputs(qubits, arrays["values"])
        sampled.append((job, arrays))
    sampled.sort(key=lambda pair: pair[0].first)
    variants = [variant for job, _ in sampled for variant in job.variants]
    counts = [own for _, arrays in sampled for own in unpack_counts(arrays)]
    return SampledOutputs(qubits, sampled_data(fragment, schemes, variants, counts))


def _results(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: Sequence[FragmentJob],
    found: Payload,
    payloads: Sequence[Payload],
) -> list[tuple[FragmentJob, dict[str, np.ndarray]]]:
    """The fragment's own results, each with what was asked for."""
    rounds = {job.round_index: job for job in jobs if isinstance(job, SampledJob)}
    return [
        (ExactJob(fragment, schemes) if piece.exact else rounds[piece.round_index].share(piece.first, piece.count),
         arrays)
        for payload in (found, *payloads)
        for piece, arrays in payload
        if piece.fragment == fragment.index
    ]  # fmt: skip
