"""The fan-in of a fragment: the payloads of all tasks that worked on it -> its tensor."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment
from tasks.execute import Payload
from tasks.execution.jobs import FragmentJob, fragment_tensor
from tasks.model.tensor import FragmentTensor
from tasks.runtime import COLLECTION_IN, Limits, Outcome, constraint, isolated, task


@constraint(computing_units="1")
@task(returns=1, payloads=COLLECTION_IN, priority=True)
def tensor(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: tuple[FragmentJob, ...],
    found: Payload,
    payloads: list[Payload],
    limits: Limits,
    attempt: int,
) -> Outcome:
    """Build a fragment's tensor.

    Args:
        fragment: the fragment.
        schemes: (leg,) the settings of its legs.
        jobs: one for each round of shots, with the variants that the pieces of that round count.
        found: results that an earlier process of the run has left.
        payloads: of the tasks; what they hold of other fragments is not looked at.
        limits: what it may use.
        attempt: which try it is.

    Returns:
        An outcome whose value is a FragmentTensor.
    """
    return isolated(build_tensor, fragment, schemes, jobs, found, payloads, limits=limits, device="CPU",
                    attempt=attempt)  # fmt: skip


def build_tensor(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    jobs: Sequence[FragmentJob],
    found: Payload,
    payloads: Sequence[Payload],
) -> FragmentTensor:
    """The work itself, in a child process of the task."""
    rounds = {job.round_index: job for job in jobs}
    results = []
    for payload in (found, *payloads):
        for piece, arrays in payload:
            if piece.fragment == fragment.index:
                if piece.exact:
                    results.append((FragmentJob(fragment, schemes), arrays))
                else:
                    results.append((rounds[piece.round_index].share(piece.first, piece.count), arrays))
    return fragment_tensor(fragment, schemes, results)
