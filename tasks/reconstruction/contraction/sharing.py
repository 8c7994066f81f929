"""Who does what: independent pieces of work assigned to the ranks of an MPI job by what they cost."""

from __future__ import annotations

from collections.abc import Sequence


def share_out(costs: Sequence[float], ranks: int) -> list[list[int]]:
    """Assign pieces of work to ranks by cost, the dearest first to the rank that has least.

    Returns:
        For each rank the pieces it gets, ascending.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0.0] * ranks
    for piece in sorted(range(len(costs)), key=lambda piece: (-costs[piece], piece)):
        rank = min(range(ranks), key=lambda rank: (load[rank], rank))
        shares[rank].append(piece)
        load[rank] += costs[piece]
    return [sorted(share) for share in shares]


Range = tuple[int, int, int]
"""A block of terms, its first slice, and one past its last slice."""


def share_units(once: Sequence[float], each: Sequence[float], slices: int, ranks: int) -> list[list[Range]]:
    """Assign blocks of terms, or ranges of their slices, to ranks.

    A rank that takes any slice of a block also does what all of its slices have in common, so blocks are torn only
    where that ends the job sooner.

    Args:
        once: (block,) cost of what no slice changes.
        each: (block,) cost of each slice.
        slices: slices of every block.
        ranks: how many ranks.

    Returns:
        For each rank its ranges of slices.
    """
    whole = [[(block, 0, slices) for block in share] for share in share_out(_whole(once, each, slices), ranks)]
    torn = _along_a_line(once, each, slices, ranks)
    return min((whole, torn), key=lambda shares: slowest(shares, once, each))


def slowest(shares: Sequence[Sequence[Range]], once: Sequence[float], each: Sequence[float]) -> float:
    """The cost of the rank that has most to do."""
    return max(sum(once[block] + (stop - start) * each[block] for block, start, stop in share) for share in shares)


def _whole(once: Sequence[float], each: Sequence[float], slices: int) -> list[float]:
    return [common + slices * one for common, one in zip(once, each, strict=True)]


def _along_a_line(once: Sequence[float], each: Sequence[float], slices: int, ranks: int) -> list[list[Range]]:
    """All slices of all blocks in a row, cut into pieces of equal cost."""
    total = sum(_whole(once, each, slices))
    shares: list[list[Range]] = [[] for _ in range(ranks)]
    passed = 0.0
    for block, (common, one) in enumerate(zip(once, each, strict=True)):
        passed += common
        start, rank = 0, None
        for number in range(slices):
            middle = passed + one / 2
            passed += one
            owner = min(ranks - 1, int(ranks * middle / total)) if total else 0
            if rank is None:
                rank = owner
            elif owner != rank:
                shares[rank].append((block, start, number))
                start, rank = number, owner
        if rank is not None:
            shares[rank].append((block, start, slices))
    return shares
