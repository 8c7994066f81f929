"""Deep circuits that no split makes joinable: an assignment with all wires severed at times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf, log2

import numpy as np

from tasks.cutting.search.ends import GateEnds
from tasks.cutting.search.sketch import MOST_TENSOR_BITS, Sketch


def sliced(
    ends: GateEnds, blocks: Sequence[np.ndarray], bits: float, look: Callable[[np.ndarray], tuple[Sketch, float]]
) -> np.ndarray | None:
    """The best of some assignments with all wires severed at times; None where none of these can be run.

    Twice as often each time, until that is no better any more: more fragments with ever fewer ends each.

    Args:
        ends: the graph.
        blocks: (node,) int each.
        bits: log2 of the entries of a fragment's tensor as it is, at least 1.
        look: the sketch of an assignment and its score, infinite where it cannot be run.
    """
    layer = np.repeat(ends.layers, 2)
    depth = int(layer.max()) + 1
    times, least, best = min(depth, 1 << max(1, ceil(log2(bits / MOST_TENSOR_BITS)))), inf, None
    largest = inf
    while True:
        before, larger, largest = least, largest, inf
        for block in blocks:
            own = block * times + layer * times // depth
            sketch, score = look(own)
            largest = min(largest, max(sketch.tensor_bits, log2(max(1.0, sketch.contraction.largest))))
            if score < least:
                least, best = score, own
        joinable = largest <= MOST_TENSOR_BITS
        if times == depth or least == before < inf or (not joinable and largest >= larger):
            return best
        times = min(depth, 2 * times)
