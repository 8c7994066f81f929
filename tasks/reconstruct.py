"""The reconstruction task: fragment tensors -> values and standard errors."""

from __future__ import annotations

import numpy as np

from tasks.reconstruction import estimate
from tasks.runtime import COLLECTION_IN, Limits, Outcome, constraint, isolated, task
from tasks.tensor import FragmentTensor, Structure


@constraint(computing_units="1")
@task(returns=1, tensors=COLLECTION_IN)
def reconstruct(structure: Structure, tensors: list[FragmentTensor], limits: Limits, attempt: int) -> Outcome:
    """Contract the network; the value is two (observable,) arrays: values and standard errors."""
    return isolated(contract_network, structure, tensors, limits=limits, device="cpu", attempt=attempt)


def contract_network(structure: Structure, tensors: list[FragmentTensor]) -> tuple[np.ndarray, np.ndarray]:
    """The work itself, in a child process of the task."""
    return estimate(structure, tensors)
