"""Gate cuts only: split the qubits into blocks of bounded size so that few gates cross between blocks.

Several linear orders of the qubits (spectral, reverse Cuthill-McKee, as given) are each split optimally into contiguous
blocks by dynamic programming; the best split is then refined by moving and swapping single qubits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csgraph, csr_array


def qubit_blocks(weights: csr_array, max_size: int) -> list[np.ndarray]:
    """Candidate splits of the qubits.

    Args:
        weights: (qubit, qubit) symmetric, what it costs to cut all gates between two qubits.
        max_size: most qubits in a block.

    Returns:
        distinct candidates, cheapest first: (qubit,) int, the block of each qubit.
    """
    found: dict[bytes, tuple[float, np.ndarray]] = {}
    for order in _orders(weights):
        blocks = _refine(weights, _split(weights, order, max_size), max_size)
        _, blocks = np.unique(blocks, return_inverse=True)
        found[blocks.tobytes()] = (crossing(weights, blocks), blocks)
    return [blocks for _, blocks in sorted(found.values(), key=lambda item: item[0])]


def crossing(weights: csr_array, blocks: np.ndarray) -> float:
    """Total weight between different blocks."""
    entries = weights.tocoo()
    apart = blocks[entries.coords[0]] != blocks[entries.coords[1]]
    return float(entries.data[apart].sum() / 2)


def _orders(weights: csr_array) -> list[np.ndarray]:
    size = weights.shape[0]
    orders = [np.arange(size), np.asarray(csgraph.reverse_cuthill_mckee(weights.tocsr(), symmetric_mode=True))]
    spectral = np.full(size, -1, dtype=np.int64)
    parts, labels = csgraph.connected_components(weights, directed=False)
    start = 0
    for part in range(parts):
        members = np.flatnonzero(labels == part)
        if len(members) > 2:
            block = weights[members][:, members].toarray()
            laplacian = np.diag(block.sum(axis=1)) - block
            fiedler = np.linalg.eigh(laplacian)[1][:, 1]
            members = members[np.argsort(fiedler, kind="stable")]
        spectral[start : start + len(members)] = members
        start += len(members)
    orders.append(spectral)
    return orders


def _split(weights: csr_array, order: np.ndarray, max_size: int) -> np.ndarray:
    """Optimal split of one order into contiguous blocks: least total weight between blocks, then fewest blocks."""
    size = len(order)
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    entries = weights.tocoo()
    row, column = place[entries.coords[0]], place[entries.coords[1]]
    dense: list[list[tuple[int, float]]] = [[] for _ in range(size)]
    for a, b, w in zip(row.tolist(), column.tolist(), entries.data.tolist(), strict=True):
        if a != b:
            dense[a].append((b, w))
    best = [0.0] + [np.inf] * size
    came = [0] * (size + 1)
    for stop in range(1, size + 1):
        # Grow the block [start, stop) downwards; `outside` is its weight to earlier positions.
        outside = 0.0
        for start in range(stop - 1, max(-1, stop - 1 - max_size), -1):
            for other, weight in dense[start]:
                if other < start:
                    outside += weight
                elif other < stop:
                    outside -= weight
            cost = best[start] + outside + 1e-9
            if cost < best[stop]:
                best[stop], came[stop] = cost, start
    blocks = np.empty(size, dtype=np.int64)
    stop, label = size, 0
    while stop:
        blocks[order[came[stop] : stop]] = label
        stop, label = came[stop], label + 1
    return blocks


def _refine(weights: csr_array, blocks: np.ndarray, max_size: int, rounds: int = 20) -> np.ndarray:
    """Move single qubits, or swap two, while that lowers the weight between blocks."""
    blocks = blocks.copy()
    sizes = np.bincount(blocks)
    matrix = weights.tocsr()
    neighbours = [
        (
            matrix.indices[matrix.indptr[q] : matrix.indptr[q + 1]].tolist(),
            matrix.data[matrix.indptr[q] : matrix.indptr[q + 1]].tolist(),
        )
        for q in range(len(blocks))
    ]

    def pull(qubit: int) -> dict[int, float]:
        out: dict[int, float] = {}
        for other, weight in zip(*neighbours[qubit], strict=True):
            if other != qubit:
                out[int(blocks[other])] = out.get(int(blocks[other]), 0.0) + weight
        return out

    for _ in range(rounds):
        changed = False
        for qubit in range(len(blocks)):
            own, pulls = int(blocks[qubit]), pull(qubit)
            here = pulls.get(own, 0.0)
            for target, there in sorted(pulls.items(), key=lambda item: -item[1]):
                if target == own or there <= here + 1e-9:
                    continue
                if sizes[target] < max_size:
                    blocks[qubit] = target
                    sizes[own] -= 1
                    sizes[target] += 1
                    changed = True
                    break
                partner = _best_swap(blocks, neighbours, pull, qubit, target, there - here)
                if partner is not None:
                    blocks[qubit], blocks[partner] = target, own
                    changed = True
                    break
        if not changed:
            break
    return blocks


def _best_swap(
    blocks: np.ndarray,
    neighbours: list[tuple[list[int], list[float]]],
    pull: Callable[[int], dict[int, float]],
    qubit: int,
    target: int,
    gain: float,
) -> int | None:
    own, best = int(blocks[qubit]), 1e-9
    choice: int | None = None
    between = dict(zip(*neighbours[qubit], strict=True))
    for partner in np.flatnonzero(blocks == target).tolist():
        pulls = pull(partner)
        total = gain + pulls.get(own, 0.0) - pulls.get(target, 0.0) - 2 * between.get(partner, 0.0)
        if total > best:
            best, choice = total, partner
    return choice
