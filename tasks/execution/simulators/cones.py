"""The tensor of a fragment from those of its parts that each observable factor sees (``cone_program``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.cutting.cone_program import ConeProgram
from tasks.cutting.plan import Fragment


def cone_tensor(fragment: Fragment, program: ConeProgram, tensors: Sequence[np.ndarray]) -> np.ndarray:
    """Fragment tensor: each factor's entries are the product of those of the parts that it sees.

    Args:
        fragment: the fragment.
        program: its parts.
        tensors: (part,) of each part, (leg of the part.., factor of the part) float64.

    Returns:
        (leg_0, ..., leg_k, factor) float64.
    """
    dimensions = [leg.dimension for leg in fragment.legs]
    tensor = np.empty((*dimensions, fragment.num_factors))
    for cone in program.cones:
        product = np.ones((*(1 for _ in dimensions), len(cone.members)))
        for place, own in zip(cone.parts, cone.own, strict=True):
            legs = program.parts[place].legs
            shape = [size if k in legs else 1 for k, size in enumerate(dimensions)]
            product = product * tensors[place][..., own].reshape(*shape, len(own))
        tensor[..., cone.members] = product
    return tensor
