"""Gate cuts only: split the qubits into blocks of bounded size so that few gates cross between blocks.

Several linear orders of the qubits are each split optimally into contiguous blocks; each split is then refined by
moving and swapping single qubits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting.search.linear import linear_orders, split_order


def qubit_blocks(weights: csr_array, max_size: int) -> list[np.ndarray]:
    """Candidate splits of the qubits.

    Args:
        weights: (qubit, qubit) symmetric, what it costs to cut all gates between two qubits.
        max_size: most qubits in a block.

    Returns:
        distinct candidates, cheapest first: (qubit,) int, the block of each qubit.
    """
    found: dict[bytes, tuple[float, np.ndarray]] = {}
    for order in linear_orders(weights):
        blocks = _refine(weights, split_order(weights, order, max_size), max_size)
        _, blocks = np.unique(blocks, return_inverse=True)
        found[blocks.tobytes()] = (crossing(weights, blocks), blocks)
    return [blocks for _, blocks in sorted(found.values(), key=lambda item: item[0])]


def crossing(weights: csr_array, blocks: np.ndarray) -> float:
    """Total weight between different blocks."""
    entries = weights.tocoo()
    apart = blocks[entries.coords[0]] != blocks[entries.coords[1]]
    return float(entries.data[apart].sum() / 2)


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
