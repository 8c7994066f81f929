"""A weighted graph in linear orders (spectral, reverse Cuthill-McKee, as given), and an order split into blocks."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csgraph, csr_array, diags_array
from scipy.sparse.linalg import eigsh

_DENSE = 25  # with more nodes LAPACK wakes threads, which wait for more to do for 0.1 s of another core
_ROUNDED = 2.0**-20
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
    if len(degree) <= _DENSE:
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
    near: list[list[tuple[int, float]]] = [[] for _ in range(size)]  # of each place, those before it
    parted = np.rint(entries.data / _ROUNDED) * _ROUNDED  # their sums are exact, and equal costs equal numbers
    for a, b, w in zip(row.tolist(), column.tolist(), parted.tolist(), strict=True):
        if b < a:
            near[a].append((b, w))
    earlier: list[list[int]] = [[] for _ in range(size)]  # joined nodes, at the later of the two
    slack = 0
    if joined is not None:
        for a, b in zip(place[joined[0]].tolist(), place[joined[1]].tolist(), strict=True):
            earlier[max(a, b)].append(min(a, b))
        slack = max_width  # an earlier node can join two later ones, so a block may narrow again
    longest = max(2 * max_width, _MOST_STEPS // max(1, size))
    best, came = np.full(size + 1, np.inf), [0] * (size + 1)
    best[0] = 0.0
    outside, width = np.zeros(size), np.zeros(size, dtype=np.int64)  # of [start, stop), the former to what is before it
    for stop in range(1, size + 1):
        last = stop - 1
        for other, weight in near[last]:
            outside[other + 1 : stop] += weight
        width[:stop] += 1
        for other in earlier[last]:
            width[: other + 1] -= 1
        first = max(0, stop - longest)
        wide = np.flatnonzero(width[first:stop] > max_width + slack)
        first += int(wide[-1]) + 1 if len(wide) else 0
        cost = np.where(width[first:stop] > max_width, np.inf, best[first:stop] + outside[first:stop])
        came[stop] = last - int(cost[::-1].argmin())  # of equal ones the shortest block
        best[stop] = cost[came[stop] - first] + _ROUNDED / 2**10
    blocks = np.empty(size, dtype=np.int64)
    stop, label = size, 0
    while stop:
        blocks[order[came[stop] : stop]] = label
        stop, label = came[stop], label + 1
    return blocks
