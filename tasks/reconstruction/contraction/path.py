"""The order of pairwise contractions: a tree over the fragments, found by cotengra, with what each step shares.

A node of the tree stands for a set of fragments. It is computed once for every *distinct combination* of factors
that the terms take on those fragments, never once a term.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cotengra
import numpy as np

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.grouping import distinct, distinct_pairs
from tasks.reconstruction.contraction.layout import Path, copies_of, ends_of, lay_out, product_effort
from tasks.reconstruction.contraction.network import Network

OPTIMAL_BELOW = 9
"""Fragments: exhaustive search still takes milliseconds."""
_CANDIDATES = 4
_REFINED_FOR = ("combo-15", "limit-64")  # multiply-adds and entries written, in cotengra's terms: small steps and large
REFINE_ABOVE = 1e8
"""Multiply-adds a fragment from which refining a path pays: it takes milliseconds a fragment."""
_COMPARE_ABOVE = 1e7  # and from which it pays to lay out several


@dataclass(frozen=True)
class Step:
    """Contract node ``left`` with node ``right`` into node ``out``.

    Attributes:
        kept_left: indices of ``left`` that ``out`` keeps.
        kept_right: the same of ``right``, in the order of ``right``.
        split: where in ``kept_right`` the indices of ``left`` come to stand. Above 0, ``summed`` stands there in
            ``right``: a matrix is multiplied onto the middle of a wide array, which is not copied.
        summed: indices that end here.
        copies: whether ``left`` and ``right`` must be copied to be seen as matrices.
        rows_left: (combination,) which combination of ``left`` each combination of ``out`` takes.
        rows_right: the same of ``right``, ascending.
    """

    left: int
    right: int
    out: int
    kept_left: tuple[int, ...]
    kept_right: tuple[int, ...]
    split: int
    summed: tuple[int, ...]
    copies: tuple[bool, bool]
    rows_left: np.ndarray
    rows_right: np.ndarray


@dataclass(frozen=True)
class Tree:
    """A contraction tree bound to a set of terms.

    Attributes:
        indices: (node,) the cuts that are indices of each node, in axis order; leaves first, then one node a step.
        counts: (node,) number of distinct combinations.
        factors: (leaf,) the factors each leaf's combinations are, ascending.
        steps: depth first, so that few arrays are alive at a time.
        terms: (used term,) the terms that have a coefficient.
        rows: (used term,) the root's combination of each used term.
    """

    indices: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    factors: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    terms: np.ndarray
    rows: np.ndarray

    @property
    def root(self) -> int:
        """The node that holds the terms' values."""
        return len(self.indices) - 1


def is_refined(fragments: int, effort: float, uses: float) -> bool:
    """Whether a path that takes so much effort is refined, where it is gone so often."""
    return fragments >= OPTIMAL_BELOW and effort * uses > REFINE_ABOVE * fragments


def find_paths(network: Network, *, uses: float = 1.0, seed: int = 0, repeats: int | None = None) -> tuple[Path, ...]:
    """Search contraction paths; deterministic for a seed.

    Args:
        network: the network.
        uses: how often it is contracted.
        seed: of the random greedy search.
        repeats: greedy trials; None takes more for larger networks.

    Returns:
        Distinct candidate paths, the cheapest (for a single term) first.
    """
    inputs, sizes = _named(network)
    if len(inputs) < 2:
        return ((),)
    if len(inputs) < OPTIMAL_BELOW:
        found = [cotengra.array_contract_path(inputs, (), sizes, optimize="optimal")]
    else:
        found = []
        trials = repeats if repeats is not None else min(64, 8 + len(inputs))
        for candidate in range(_CANDIDATES):
            optimizer = cotengra.RandomGreedyOptimizer(
                max_repeats=max(1, trials // _CANDIDATES), seed=seed + candidate, accel=True, parallel=False
            )
            found.append(optimizer(inputs, (), sizes))
    ranked = _ranked(network, found)
    if is_refined(len(inputs), ranked[0][0], uses):
        refined = []
        for minimize in _REFINED_FOR:
            tree = cotengra.ContractionTree.from_path(inputs, (), sizes, ssa_path=ranked[0][1])
            refined.append(tree.subtree_reconfigure(subtree_size=8, minimize=minimize, seed=seed).get_path())
        ranked = _ranked(network, refined + found)
    several = ranked[0][0] * uses > _COMPARE_ABOVE * len(inputs)
    return tuple(pairs for _, pairs in ranked[: _CANDIDATES if several else 1])


def sliced_paths(
    network: Network, paths: Sequence[Path], elements: float, *, seed: int = 0
) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """Paths with indices to fix, found together: cotengra slices and reorders in turns.

    Args:
        network: the network.
        paths: where to begin.
        elements: most entries of an array inside a slice.
        seed: of the search.
    """
    inputs, sizes = _named(network)
    for pairs in paths:
        tree = cotengra.ContractionTree.from_path(inputs, (), sizes, ssa_path=pairs)
        if tree.max_size() > elements:
            again = {"subtree_size": 8, "minimize": "combo-15", "seed": seed}
            tree.slice_and_reconfigure_(max(1.0, elements), temperature=0.0, max_repeats=1, reconf_opts=again)
            number = {symbol: cut for cut, symbol in enumerate(sizes)}
            yield _node_pairs(tree.get_path(), len(inputs)), tuple(sorted(number[cut] for cut in tree.sliced_inds))


def _named(network: Network) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Each leaf's indices and every index's size, by symbols: cotengra's compiled search takes no numbers."""
    symbols = [cotengra.get_symbol(cut) for cut in range(len(network.sizes))]
    inputs = [tuple(symbols[cut] for cut in leaf.indices) for leaf in network.leaves]
    return inputs, dict(zip(symbols, network.sizes, strict=True))


def _ranked(network: Network, found: Sequence[Sequence[Sequence[int]]]) -> list[tuple[float, Path]]:
    """Distinct paths as node pairs with their prices, cheapest first."""
    ranked: list[tuple[float, Path]] = []
    for path in found:
        pairs = _node_pairs(path, len(network.leaves))
        cost = _price(network, pairs)
        if all(pairs != other for _, other in ranked):
            ranked.append((cost, pairs))
    return sorted(ranked, key=lambda item: item[0])


def _node_pairs(path: Sequence[Sequence[int]], leaves: int) -> Path:
    """Turn an opt_einsum path (positions in a shrinking list) into pairs of node numbers."""
    positions = list(range(leaves))
    pairs: list[tuple[int, int]] = []

    def join(left: int, right: int) -> int:
        pairs.append((left, right))
        return leaves + len(pairs) - 1

    for group in path:
        taken = [positions.pop(place) for place in sorted(group, reverse=True)]
        node = taken[0]
        for other in taken[1:]:
            node = join(node, other)
        positions.append(node)
    while len(positions) > 1:  # what the path left apart
        positions.append(join(positions.pop(), positions.pop()))
    return tuple(pairs)


def _price(network: Network, pairs: Path) -> float:
    """The effort of a path when there is one term only."""
    nodes = [set(leaf.indices) for leaf in network.leaves]
    total = 0.0
    for left, right in pairs:
        k, m, n = (
            math.prod(network.sizes[i] for i in part)
            for part in (nodes[left] & nodes[right], nodes[left] - nodes[right], nodes[right] - nodes[left])
        )
        total += product_effort(k=k, m=m, n=n, products=1, lefts=1, rights=1)
        nodes.append(nodes[left] ^ nodes[right])
    return total


def used_terms(structure: Structure) -> np.ndarray:
    """The terms that have a coefficient, ascending.

    Returns:
        (term,) int64.
    """
    return np.asarray(np.unique(structure.coefficients.indices[structure.coefficients.data != 0]))


def bind(structure: Structure, network: Network, path: Path, terms: np.ndarray | None = None) -> Tree:
    """Bind a path to the terms: count each node's distinct combinations and order its axes.

    Args:
        structure: whose ``factor_index`` to count.
        network: its network.
        path: the pairs to contract.
        terms: which terms to compute; None takes every term that has a coefficient.
    """
    if terms is None:
        terms = used_terms(structure)
    factors: list[np.ndarray] = []
    inverses: list[np.ndarray] = []
    for fragment in range(len(network.leaves)):
        used, inverse = distinct(structure.factor_index[terms, fragment], structure.num_factors[fragment])
        factors.append(used)
        inverses.append(inverse)
    indices: list[tuple[int, ...]] = [leaf.indices for leaf in network.leaves]
    counts = [used.size for used in factors]
    steps: list[Step] = []
    ends = ends_of(indices, path)
    for pair in path:
        left, right = pair
        keys, inverse = distinct_pairs(inverses[left], inverses[right], counts[left], counts[right])
        layout = lay_out(pair, indices, counts, keys.size, network.sizes, ends[len(indices)])
        if (left, right) != (layout.left, layout.right):
            left, right = right, left
            keys, inverse = distinct_pairs(inverses[left], inverses[right], counts[left], counts[right])
        step = Step(
            left=left,
            right=right,
            out=len(indices),
            kept_left=layout.kept_left,
            kept_right=layout.kept_right,
            split=layout.split,
            summed=layout.summed,
            copies=copies_of(layout, indices),
            rows_left=keys % max(1, counts[left]),
            rows_right=keys // max(1, counts[left]),
        )
        steps.append(step)
        indices.append(layout.kept)
        counts.append(keys.size)
        inverses.append(inverse)
    return Tree(
        indices=tuple(indices),
        counts=tuple(counts),
        factors=tuple(factors),
        steps=_depth_first(steps, indices, counts, network.sizes, len(network.leaves)),
        terms=terms,
        rows=inverses[-1],
    )


def _depth_first(
    steps: Sequence[Step], indices: Sequence[tuple[int, ...]], counts: Sequence[int], sizes: Sequence[int], leaves: int
) -> tuple[Step, ...]:
    """Order steps so that the operand that needs more room while it is made is made first (Sethi and Ullman)."""
    elements = [count * float(np.prod([sizes[i] for i in node])) for node, count in zip(indices, counts, strict=True)]
    need = elements[:leaves]
    for step in steps:
        first, second = sorted((step.left, step.right), key=lambda node: elements[node] - need[node])
        need.append(
            max(need[first], elements[first] + need[second], elements[first] + elements[second] + elements[step.out])
        )
    ordered: list[Step] = []
    stack = [len(indices) - 1]
    while stack:  # parents before operands; reversed at the end
        node = stack.pop()
        if node < leaves:
            continue
        step = steps[node - leaves]
        ordered.append(step)
        stack.extend(sorted((step.left, step.right), key=lambda child: elements[child] - need[child]))
    return tuple(reversed(ordered))
