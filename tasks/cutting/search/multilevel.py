"""A weighted graph in blocks of bounded weight by multilevel partitioning.

Mt-KaHyPar (Gottesbüren, Heuer, Maas, Sanders, Schlag, arXiv:2303.17679) in its deterministic form, on one thread. Where
it is not installed there are no such splits, and the linear orders of ``linear.py`` are all that a search starts from.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array, triu

_PARTS_OF_ONE = 16  # weights are whole numbers there


_OWN = threading.local()


@lru_cache(maxsize=1)
def _library() -> tuple[Any, Any] | None:
    try:
        import mtkahypar
    except ImportError:
        return None
    return mtkahypar, mtkahypar.initialize(1, False)


def _context(module: Any, handle: Any) -> Any:
    """Of this thread: making one takes as long as a small split, and every split sets all that it reads of it."""
    if not hasattr(_OWN, "context"):
        _OWN.context = handle.context_from_preset(module.PresetType.DETERMINISTIC)
        _OWN.context.logging = False
    return _OWN.context


def multilevel_blocks(
    weights: csr_array, sizes: np.ndarray, number: int, max_size: int, *, seed: int = 0
) -> np.ndarray | None:
    """One split of the nodes of a graph: least weight of the edges between blocks.

    Args:
        weights: (node, node) symmetric, what it costs to part two nodes.
        sizes: (node,) int, at least 1 each.
        number: of blocks, at least 2.
        max_size: most that the sizes of a block add up to.
        seed: of the order in which the partitioner gets the nodes, on which its result depends; 0 leaves them so.

    Returns:
        (node,) int, the block of each node; a block may be too large where no split was found. None where the
        library is missing, or the blocks have no room for all nodes.
    """
    upper = triu(weights, k=1).tocoo()
    edges = np.stack(upper.coords, axis=1).tolist()
    return _partitioned(edges, upper.data, sizes, number, max_size, seed, hyper=False)


def multilevel_nets(
    nets: Sequence[Sequence[int]], costs: np.ndarray, sizes: np.ndarray, number: int, max_size: int, *, seed: int = 0
) -> np.ndarray | None:
    """One split of nodes that nets join: a net costs its weight for every block beyond the first that it has nodes in.

    Args:
        nets: of two nodes at least each.
        costs: (net,) weights.
        sizes: see ``multilevel_blocks``, as what follows.
        number: of blocks.
        max_size: of a block.
        seed: of the order of the nodes.
    """
    return _partitioned(nets, costs, sizes, number, max_size, seed, hyper=True)


def _partitioned(
    nets: Sequence[Sequence[int]],
    costs: np.ndarray,
    sizes: np.ndarray,
    number: int,
    max_size: int,
    seed: int,
    *,
    hyper: bool,
) -> np.ndarray | None:
    library = _library()
    size = len(sizes)
    if library is None or not 2 <= number <= size or sizes.sum() > number * max_size:
        return None
    module, handle = library
    place = np.random.default_rng(seed).permutation(size) if seed else np.arange(size)
    named = place.tolist()
    whole = np.maximum(np.rint(_PARTS_OF_ONE * costs), 1).astype(np.int64).tolist()
    context = _context(module, handle)
    context.set_partitioning_parameters(number, 0.03, module.Objective.KM1 if hyper else module.Objective.CUT)
    context.set_individual_target_block_weights([int(max_size)] * number)
    module.set_seed(0)
    edges = [tuple(named[node] for node in net) for net in nets]
    create = handle.create_hypergraph if hyper else handle.create_graph
    graph = create(context, size, len(edges), edges, sizes[np.argsort(place)].tolist(), whole)
    found = graph.partition(context)
    return np.array([found.block_id(node) for node in named], dtype=np.int64)
