"""Fragments that are absorbed one after the other, joined first where that is cheaper.

A path search counts multiply-adds for one term. A wide array that takes in small tensors one by one is moved once for
each of them; joined first, they make a larger matrix that is multiplied once, with more multiply-adds in less time. And
where many terms share the small tensors but not the wide array, joining costs next to nothing. On each path from a leaf
to the root that follows the larger operand, the best way to group the absorptions is found by dynamic programming.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.layout import Path, product_effort
from tasks.reconstruction.contraction.network import Network

_MOST_PASSES = 4
_MOST_JOINED = 6  # small tensors joined before they are absorbed


def distinct_pairs(
    left: np.ndarray, right: np.ndarray, left_count: int, right_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that occur, as ``right * left_count + left`` ascending, and which of them each term has.

    Args:
        left: (term,) int64 combination of each term on the left.
        right: the same on the right.
        left_count: how many combinations there are on the left.
        right_count: how many on the right.
    """
    return distinct(right * max(1, left_count) + left, left_count * right_count)


def distinct(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur among 0 ... count - 1, ascending, and which of them each entry has.

    Returns:
        (distinct,) int64, and (entry,) int64 places in it.
    """
    if count > 8 * values.size + 1024:
        found, inverse = np.unique(values, return_inverse=True)
        return found, inverse.ravel()
    found = np.flatnonzero(np.bincount(values, minlength=count))  # few possible values: no need to sort
    number = np.empty(count, dtype=np.int64)
    number[found] = np.arange(found.size)
    return found, number[values]


@dataclass(frozen=True)
class Part:
    """A set of fragments: its open cuts, its combinations, and which one each term takes."""

    cuts: frozenset[int]
    count: int
    of_term: np.ndarray

    def elements(self, sizes: Sequence[int]) -> float:
        """Entries of its array, all combinations together."""
        return self.count * math.prod(float(sizes[cut]) for cut in self.cuts)


def with_groups(network: Network, path: Path, fragments: Sequence[Part]) -> Path:
    """The same contraction with absorptions grouped where that is cheaper, again and again while that changes it.

    Args:
        network: the network.
        path: the pairs to contract.
        fragments: its ``leaf_parts``.
    """
    if len(fragments) < 3:
        return path
    for _ in range(_MOST_PASSES):
        before, path = path, _grouped_once(network, path, fragments)
        if path == before:
            break
    return path


def _grouped_once(network: Network, path: Path, fragments: Sequence[Part]) -> Path:
    leaves = len(fragments)
    parts = list(fragments)
    for left, right in path:
        parts.append(_joined(parts[left], parts[right]))
    largest = max(part.elements(network.sizes) for part in parts)
    children = dict(enumerate(path, start=leaves))
    made: list[tuple[int, int]] = []
    new_number = {leaf: leaf for leaf in range(leaves)}

    def join(left: int, right: int) -> int:
        made.append((left, right))
        return leaves + len(made) - 1

    for spine in _spines(children, parts, network.sizes, leaves + len(path) - 1):
        first, absorbed, results = spine
        node = new_number[first]
        for start, stop in _groups(
            [parts[first], *(parts[r] for r in results)], [parts[a] for a in absorbed], network.sizes, largest
        ):
            group = new_number[absorbed[start]]
            for other in absorbed[start + 1 : stop]:
                group = join(group, new_number[other])
            node = join(node, group)
        new_number[results[-1]] = node
    return tuple(made)


def leaf_parts(structure: Structure, network: Network, terms: np.ndarray) -> list[Part]:
    """Every fragment by itself, with the factors that ``terms`` take."""
    parts = []
    for fragment, leaf in enumerate(network.leaves):
        used, of_term = distinct(structure.factor_index[terms, fragment], structure.num_factors[fragment])
        parts.append(Part(frozenset(leaf.indices), used.size, of_term))
    return parts


def _joined(left: Part, right: Part) -> Part:
    found, of_term = distinct_pairs(left.of_term, right.of_term, left.count, right.count)
    return Part(left.cuts ^ right.cuts, found.size, of_term)


def _spines(
    children: dict[int, tuple[int, int]], parts: Sequence[Part], sizes: Sequence[int], root: int
) -> list[tuple[int, list[int], list[int]]]:
    """The tree as chains (first node, what is absorbed one by one, what results), those that others need first."""
    found: list[tuple[int, list[int], list[int]]] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        absorbed: list[int] = []
        results: list[int] = []
        while node in children:
            wide, small = sorted(children[node], key=lambda child: (-parts[child].elements(sizes), child))
            absorbed.append(small)
            results.append(node)
            waiting += [small] if small in children else []
            node = wide
        found.append((node, absorbed[::-1], results[::-1]))
    return found[::-1]


def _groups(
    wide: Sequence[Part], absorbed: Sequence[Part], sizes: Sequence[int], largest: float
) -> list[tuple[int, int]]:
    """Which absorptions to join: ranges (first, one past the last) of ``absorbed``, in order.

    Args:
        wide: (absorbed + 1,) the wide array before the first absorption and after each.
        absorbed: the small parts.
        sizes: (cut,) dimensions.
        largest: entries that no joined part may exceed.
    """
    best = [0.0] + [math.inf] * len(absorbed)
    came_from = [0] * (len(absorbed) + 1)
    for start in range(len(absorbed)):
        part, building = absorbed[start], 0.0
        for stop in range(start + 1, min(start + _MOST_JOINED, len(absorbed)) + 1):
            if stop > start + 1:
                joined = _joined(part, absorbed[stop - 1])
                if joined.elements(sizes) > largest:
                    break
                building += _effort(part, absorbed[stop - 1], joined, sizes)
                part = joined
            total = best[start] + building + _effort(wide[start], part, wide[stop], sizes)
            if total < best[stop]:
                best[stop], came_from[stop] = total, start
    ranges = []
    stop = len(absorbed)
    while stop:
        ranges.append((came_from[stop], stop))
        stop = came_from[stop]
    return ranges[::-1]


def _effort(left: Part, right: Part, out: Part, sizes: Sequence[int]) -> float:
    """What it takes to contract two parts, whatever the order of their axes."""
    return product_effort(
        k=math.prod(sizes[cut] for cut in left.cuts & right.cuts),
        m=math.prod(sizes[cut] for cut in left.cuts - right.cuts),
        n=math.prod(sizes[cut] for cut in right.cuts - left.cuts),
        products=out.count,
        lefts=left.count,
        rights=right.count,
    )
