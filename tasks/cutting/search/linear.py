"""A weighted graph in linear orders (spectral, reverse Cuthill-McKee, as given), and an order split into blocks."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csgraph, csr_array, diags_array
from scipy.sparse.linalg import eigsh

_DENSE = 400  # from this many nodes on the Fiedler vector is found by Lanczos iteration
_MOST_STEPS = 1_000_000  # of one split: bounds the length of a block of very long orders


def linear_orders(weights: csr_array) -> list[np.ndarray]:
    """Orders in which nodes that are dear to part lie near each other.

    Args:
        weights: (node, node) symmetric.

    Returns:
        (node,) permutations.
    """
    size = weights.shape[0]
    cuthill = np.asarray(csgraph.reverse_cuthill_mckee(weights.tocsr(), symmetric_mode=True))
    return [np.arange(size), cuthill, spectral_order(weights)]


def spectral_order(weights: csr_array) -> np.ndarray:
    """(node,) permutation: each connected part by its Fiedler vector."""
    spectral = np.full(weights.shape[0], -1, dtype=np.int64)
    parts, labels = csgraph.connected_components(weights, directed=False)
    start = 0
    for part in range(parts):
        members = np.flatnonzero(labels == part)
        if len(members) > 2:
            members = members[np.argsort(_fiedler(weights[members][:, members]), kind="stable")]
        spectral[start : start + len(members)] = members
        start += len(members)
    return spectral


def _fiedler(weights: csr_array) -> np.ndarray:
    """(node,) the eigenvector of a connected graph's Laplacian with its second smallest eigenvalue."""
    degree = np.asarray(weights.sum(axis=1)).reshape(-1)
    if len(degree) < _DENSE:
        return np.asarray(np.linalg.eigh(np.diag(degree) - weights.toarray())[1][:, 1])
    laplacian = (diags_array(degree) - weights).tocsc()
    shift = -1e-4 * float(degree.mean())  # the Laplacian itself is singular
    start = np.random.default_rng(0).normal(size=len(degree))  # else Lanczos starts from numpy's global state
    return np.asarray(eigsh(laplacian, k=2, sigma=shift, which="LM", v0=start)[1][:, 1])


def split_order(
    weights: csr_array, order: np.ndarray, max_width: int, joined: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Optimal split of one order into contiguous blocks: least total weight between blocks, then fewest blocks.

    Args:
        weights: (node, node) symmetric, what it costs to part two nodes.
        order: (node,) permutation.
        max_width: most nodes in a block, where two joined nodes of a block count for one.
        joined: two (pair,) arrays of the nodes that share their width when they share their block.

    Returns:
        (node,) int, the block of each node.
    """
    size = len(order)
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    entries = weights.tocoo()
    row, column = place[entries.coords[0]], place[entries.coords[1]]
    near: list[list[tuple[int, float]]] = [[] for _ in range(size)]
    for a, b, w in zip(row.tolist(), column.tolist(), entries.data.tolist(), strict=True):
        if a != b:
            near[a].append((b, w))
    later: list[list[int]] = [[] for _ in range(size)]  # joined nodes, at the earlier of the two
    slack = 0
    if joined is not None:
        for a, b in zip(place[joined[0]].tolist(), place[joined[1]].tolist(), strict=True):
            later[min(a, b)].append(max(a, b))
        slack = max_width  # an earlier node can join two later ones, so a block may narrow again
    longest = max(2 * max_width, _MOST_STEPS // max(1, size))
    best = [0.0] + [np.inf] * size
    came = [0] * (size + 1)
    for stop in range(1, size + 1):
        # Grow the block [start, stop) downwards; `outside` is its weight to earlier positions.
        outside, width = 0.0, 0
        for start in range(stop - 1, max(-1, stop - 1 - longest), -1):
            for other, weight in near[start]:
                if other < start:
                    outside += weight
                elif other < stop:
                    outside -= weight
            width += 1 - sum(other < stop for other in later[start])
            if width > max_width:
                if width > max_width + slack:
                    break
                continue
            cost = best[start] + outside + 1e-9
            if cost < best[stop]:
                best[stop], came[stop] = cost, start
    blocks = np.empty(size, dtype=np.int64)
    stop, label = size, 0
    while stop:
        blocks[order[came[stop] : stop]] = label
        stop, label = came[stop], label + 1
    return blocks
