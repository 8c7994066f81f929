"""Wire and gate cuts together: simulated annealing moves stretches of wire between blocks of gate ends."""

from __future__ import annotations

from itertools import pairwise
from math import exp

import numpy as np

from tasks.cutting.search.ends import GateEnds


def anneal(ends: GateEnds, start: np.ndarray, max_width: int, *, seed: int, moves: int) -> np.ndarray:
    """Improve an assignment of gate ends to blocks.

    Args:
        ends: the graph.
        start: (node,) int, the block of each gate end; its widths are within ``max_width``.
        max_width: most stretches of wire in a block.
        seed: of the search.
        moves: how many moves to try.

    Returns:
        (node,) int, the cheapest assignment seen.
    """
    rng = np.random.default_rng(seed)
    wires = ends.wires()
    line_of = np.empty(2 * len(ends.weights), dtype=np.int64)
    at = np.empty_like(line_of)
    for line, nodes in enumerate(wires):
        for position, node in enumerate(nodes):
            line_of[node], at[node] = line, position
    block = start.tolist()
    width: dict[int, int] = {}
    for nodes in wires:
        for b in _stretches([block[n] for n in nodes]):
            width[b] = width.get(b, 0) + 1
    weights, wire_weight = ends.weights.tolist(), ends.wire_weight
    cost = best_cost = 0.0  # relative to the start
    best = list(block)
    choices = rng.integers(0, len(block), size=moves).tolist()
    shapes = rng.random((moves, 2)).tolist()
    luck = rng.random(moves).tolist()
    hot, cold = 1.5 * wire_weight, 0.05 * wire_weight
    for step in range(moves):
        node = choices[step]
        nodes, position = wires[line_of[node]], int(at[node])
        target = _target(block, nodes, position, node, shapes[step][0])
        if target == block[node]:
            continue
        first, last = _stretch(block, nodes, position, shapes[step][1])
        before = [block[n] for n in nodes]
        after = before[:first] + [target] * (last - first) + before[last:]
        change = wire_weight * (_breaks(after) - _breaks(before))
        for k in range(first, last):
            other = block[nodes[k] ^ 1]
            change += weights[nodes[k] >> 1] * ((other != target) - (other != before[k]))
        temperature = hot * (cold / hot) ** (step / moves)
        if change > 0 and luck[step] >= exp(-change / temperature):
            continue
        shift: dict[int, int] = {}
        for b in _stretches(before):
            shift[b] = shift.get(b, 0) - 1
        for b in _stretches(after):
            shift[b] = shift.get(b, 0) + 1
        if any(gain > 0 and width.get(b, 0) + gain > max_width for b, gain in shift.items()):
            continue
        for b, gain in shift.items():
            width[b] = width.get(b, 0) + gain
        for k in range(first, last):
            block[nodes[k]] = target
        cost += change
        if cost < best_cost - 1e-9:
            best_cost, best = cost, list(block)
    return np.array(best)


def _stretches(blocks: list[int]) -> list[int]:
    return [b for i, b in enumerate(blocks) if i == 0 or blocks[i - 1] != b]


def _breaks(blocks: list[int]) -> int:
    return sum(a != b for a, b in pairwise(blocks))


def _target(block: list[int], nodes: list[int], position: int, node: int, pick: float) -> int:
    """The block of a neighbour: the gate's other end, or the end before or after on the wire."""
    if pick < 0.5 or len(nodes) == 1:
        return block[node ^ 1]
    beside = position - 1 if (pick < 0.75 and position > 0) or position + 1 == len(nodes) else position + 1
    return block[nodes[beside]]


def _stretch(block: list[int], nodes: list[int], position: int, pick: float) -> tuple[int, int]:
    """Part of the unbroken stretch around a position: all of it, from the position on, up to it, or just it."""
    own = block[nodes[position]]
    first, last = position, position + 1
    if pick < 0.25:
        return first, last
    if pick < 0.75:
        while first > 0 and block[nodes[first - 1]] == own:
            first -= 1
    if pick >= 0.5:
        while last < len(nodes) and block[nodes[last]] == own:
            last += 1
    return first, last
