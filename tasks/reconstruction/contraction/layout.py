"""How a step sees its operands as matrices, and in which order the axes of its result stand.

Moving the entries of a large array into another order costs more than multiplying a small matrix onto it. So the result
keeps the order of its larger operand: the indices of the small one take the place of those that are summed, and among
them the ones that end next stand beside their partners of the next step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.reconstruction.contraction.kernel import alone

Path = tuple[tuple[int, int], ...]
"""Pairs of node numbers; the i-th pair makes node ``fragments + i``."""

# What things cost beside a multiply-add of a large matrix product, measured with OpenBLAS on one core. A product of any
# shape takes m n k + MOVE (m k + k n + m n), within a third, from 4 x 4 to 256 x 256 matrices.
MOVE = 15  # an element that a matrix product reads or writes
COPY = 60  # an element copied into another order
GATHER = 20  # an element copied in runs
CALL = 60_000  # a step in Python
SMALL_CALL = 8_000  # one of the many products of a single call


@dataclass(frozen=True)
class Layout:
    """The operands of a step in order, and their indices.

    Attributes:
        left, right: the nodes.
        kept_left: indices of ``left`` that the result keeps, in the order that they have there.
        kept_right: the same of ``right``, in the order of ``right``.
        split: where in ``kept_right`` the indices of ``left`` come to stand.
        summed: indices that end here, in the order in which both operands are to have them.
        effort: what the step takes, in multiply-adds of a large matrix product.
    """

    left: int
    right: int
    kept_left: tuple[int, ...]
    kept_right: tuple[int, ...]
    split: int
    summed: tuple[int, ...]
    effort: float

    @property
    def kept(self) -> tuple[int, ...]:
        """The indices of the result, in order."""
        return self.kept_right[: self.split] + self.kept_left + self.kept_right[self.split :]


def ends_of(leaves: Sequence[tuple[int, ...]], path: Path) -> list[dict[int, int]]:
    """For every node of a path, after how many steps each of its indices ends: 1 for the next step it takes part in.

    Args:
        leaves: (leaf,) indices of each leaf.
        path: the pairs to contract.
    """
    nodes = [set(indices) for indices in leaves]
    parent: dict[int, int] = {}
    for left, right in path:
        parent[left] = parent[right] = len(nodes)
        nodes.append(nodes[left] ^ nodes[right])
    ends: list[dict[int, int]] = [{} for _ in nodes]
    for node in reversed(range(len(nodes))):
        if node in parent:
            after = ends[parent[node]]
            ends[node] = {index: 1 + after.get(index, 0) for index in nodes[node]}
    return ends


def lay_out(
    pair: tuple[int, int],
    indices: Sequence[tuple[int, ...]],
    counts: Sequence[int],
    products: int,
    sizes: Sequence[int],
    ends: dict[int, int],
) -> Layout:
    """The cheapest way to lay a step out.

    Args:
        pair: the nodes it contracts.
        indices: (node,) indices of every node so far, in axis order.
        counts: (node,) combinations of every node so far.
        products: distinct pairs of combinations.
        sizes: (cut,) dimension of every index.
        ends: after how many steps each index of the result ends.
    """
    small, wide = sorted(pair, key=lambda node: (_elements(indices[node], sizes), node))
    summed = tuple(i for i in indices[wide] if i in indices[small])
    kept = {node: tuple(i for i in indices[node] if i not in summed) for node in pair}
    places = sorted({sum(j not in summed for j in indices[wide][: indices[wide].index(i)]) for i in summed})
    ways = []
    for left, right in ((small, wide), (wide, small)):
        place = 0 if left == small else len(kept[wide])
        own = {**kept, small: _ordered(kept[small], kept[wide][:place], kept[wide][place:], ends)}
        effort = _stacked_effort(left, right, own, summed, indices, counts, products, sizes)
        ways.append((Layout(left, right, own[left], own[right], 0, summed, effort), place in places))
    for place in places:
        before, after = kept[wide][:place], kept[wide][place:]
        if before and after:
            added = _ordered(kept[small], before, after, ends)
            effort = _placed_effort(small, wide, added, before, after, summed, indices, counts, products, sizes)
            ways.append((Layout(small, wide, added, kept[wide], place, summed, effort), True))
    room = COPY * products * _elements([*kept[small], *kept[wide]], sizes)

    def price(way: tuple[Layout, bool]) -> float:
        """Effort, and what an order that suits no later step will cost: copies of the result."""
        layout, in_place = way
        return layout.effort + room * ((not _together(layout.kept, ends)) + 0.5 * (not in_place))

    return min(ways, key=price)[0]


def _together(kept: Sequence[int], ends: dict[int, int]) -> bool:
    """Whether the indices that end next stand side by side."""
    next_ones = [ends[i] == 1 for i in kept]
    return sum(a != b for a, b in zip([False, *next_ones], [*next_ones, False], strict=True)) <= 2


def needs_copy(indices: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...]) -> bool:
    """Whether an array must be copied to be seen as matrices: not if its columns are its last or first indices."""
    return indices not in (rows + columns, columns + rows)


def copies_of(layout: Layout, indices: Sequence[tuple[int, ...]]) -> tuple[bool, bool]:
    """Whether the left and the right operand must be copied to be seen as matrices."""
    left, right = indices[layout.left], indices[layout.right]
    place = layout.split
    around = layout.kept_right[:place] + layout.summed + layout.kept_right[place:]
    return (
        needs_copy(left, layout.kept_left, layout.summed),
        right != around if place else needs_copy(right, layout.kept_right, layout.summed),
    )


def _stacked_effort(
    left: int,
    right: int,
    kept: dict[int, tuple[int, ...]],
    summed: tuple[int, ...],
    indices: Sequence[tuple[int, ...]],
    counts: Sequence[int],
    products: int,
    sizes: Sequence[int],
) -> float:
    """One product for each distinct right-hand side with all left-hand sides that meet it stacked on each other."""
    k, m, n = (_elements(part, sizes) for part in (summed, kept[left], kept[right]))
    copies = {
        node: COPY * counts[node] * _elements(indices[node], sizes)
        if needs_copy(indices[node], kept[node], summed)
        else 0.0
        for node in (left, right)
    }
    effort = stacked_effort(k, m, n, products, counts[right]) + copies[right]
    if alone(m, n, k) or counts[left] == 1:
        return effort + copies[left]
    if indices[left] != kept[left] + summed:  # only matrices that stand like this can be stacked as they are
        return effort + COPY * products * m * k
    return effort + (GATHER * products * m * k if counts[right] > 1 else 0.0)


def stacked_effort(k: float, m: float, n: float, products: int, rights: int) -> float:
    """Products of m x k and k x n matrices: each alone if large, else those that share the right one together.

    Args:
        k: size of a product that is summed over.
        m: size of its left side.
        n: size of its right side.
        products: how many there are.
        rights: how many distinct right-hand sides.
    """
    work = float(products) * m * n * k
    if alone(m, n, k):
        return work + MOVE * products * (m * k + n * k + m * n) + CALL * products
    groups = min(products, rights)
    effort = work + MOVE * (products * m * k + groups * n * k + products * m * n)
    return effort + min(CALL * groups, products * (SMALL_CALL + GATHER * n * k))


def product_effort(*, k: float, m: float, n: float, products: int, lefts: int, rights: int) -> float:
    """The same whichever operand is stacked and whatever the order of its axes; arguments as in ``stacked_effort``."""
    return min(stacked_effort(k, m, n, products, rights), stacked_effort(k, n, m, products, lefts))


def _placed_effort(
    small: int,
    wide: int,
    added: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
    summed: tuple[int, ...],
    indices: Sequence[tuple[int, ...]],
    counts: Sequence[int],
    products: int,
    sizes: Sequence[int],
) -> float:
    """Small matrices onto the middle of wide arrays: a product for each combination of the indices before."""
    k, n, p, q = (_elements(part, sizes) for part in (summed, added, before, after))
    effort = float(products) * p * (k * n * q + MOVE * (k * q + n * q + n * k / 4) + SMALL_CALL)
    if needs_copy(indices[small], added, summed):
        effort += COPY * counts[small] * _elements(indices[small], sizes)
    if indices[wide] != before + summed + after:
        effort += COPY * counts[wide] * _elements(indices[wide], sizes)
    return effort


def _ordered(
    added: Sequence[int], before: Sequence[int], after: Sequence[int], ends: dict[int, int]
) -> tuple[int, ...]:
    """New indices in the order in which they end, soonest on the side where the next step's other indices stand."""
    soon_last = any(ends[i] == 1 for i in after[:1]) or not any(ends[i] == 1 for i in before[-1:])
    return tuple(sorted(added, key=lambda i: -ends[i] if soon_last else ends[i]))


def _elements(indices: Sequence[int], sizes: Sequence[int]) -> int:
    return math.prod(sizes[i] for i in indices)
