"""Wire and gate cuts together: simulated annealing moves stretches of wire between blocks of gate ends."""

from __future__ import annotations

import numpy as np

from tasks.cutting.search.ends import GateEnds

_EPOCHS = 40  # after each, the nodes beside a cut are looked up again: only they can move
_TO_A_NEW_ONE = 0.97
TOO_WIDE = 3.0  # times the weight of a wire: what a stretch more than a block may have costs


def anneal(
    ends: GateEnds, start: np.ndarray, max_width: int, *, seed: int, moves: int, heat: float = 1.5
) -> np.ndarray:
    """Improve an assignment of gate ends to blocks.

    Args:
        ends: the graph.
        start: (node,) int, the block of each gate end; too wide ones are narrowed where that is found.
        max_width: most stretches of wire in a block.
        seed: of the search.
        moves: how many moves to try.
        heat: the first temperature, in weights of a wire: a low one improves a good start, a high one leaves it.

    Returns:
        (node,) int, the cheapest assignment seen of those within ``max_width``; the start where none was.
    """
    rng = np.random.default_rng(seed)
    wires = ends.wires()
    line_of, at = [0] * len(start), [0] * len(start)
    for line, nodes in enumerate(wires):
        for position, node in enumerate(nodes):
            line_of[node], at[node] = line, position
    block = start.tolist()
    width = {b: int(count) for b, count in enumerate(ends.widths(start))}
    weights, wire_weight = ends.weights.tolist(), ends.wire_weight
    dear = TOO_WIDE * wire_weight
    over = sum(max(0, count - max_width) for count in width.values())
    cost = 0.0  # relative to the start
    best_cost, best = (0.0, list(block)) if over == 0 else (float("inf"), list(block))
    hot, cold = heat * wire_weight, 0.05 * wire_weight
    spare = max(width) + 1  # a block without nodes
    each = max(1, moves // _EPOCHS)
    for first_step in range(0, moves, each):
        movable = _beside_a_cut(ends, np.array(block)).tolist()
        if not movable and over > 0 and best_cost < float("inf"):  # all in one block: from the best again, stricter
            block, cost, over, dear = list(best), best_cost, 0, 2 * dear
            width = {b: int(count) for b, count in enumerate(ends.widths(np.array(best)))}
            movable = _beside_a_cut(ends, np.array(block)).tolist()
        if not movable:
            break
        temperature = hot * (cold / hot) ** (first_step / moves)
        picks = rng.integers(0, len(movable), size=each).tolist()
        shapes = rng.random((each, 2)).tolist()
        bars = (-temperature * np.log1p(-rng.random(each))).tolist()  # a change up to its bar is accepted
        for pick, (toward, form), bar in zip(picks, shapes, bars, strict=True):
            node = movable[pick]
            nodes, position = wires[line_of[node]], at[node]
            target = spare if toward > _TO_A_NEW_ONE else _target(block, nodes, position, node, toward)
            own = block[node]
            if target == own:
                continue
            first, last = _stretch(block, nodes, position, form)
            # The stretch lies in one block, so only its two borders change.
            before = block[nodes[first - 1]] if first > 0 else -1
            after = block[nodes[last]] if last < len(nodes) else -1
            broken = (first > 0) * ((before != target) - (before != own))
            broken += (last < len(nodes)) * ((after != target) - (after != own))
            change = wire_weight * broken
            for k in range(first, last):
                node = nodes[k]
                other = block[node ^ 1]
                change += weights[node >> 1] * ((other != target) - (other != own))
            # The target gains a stretch unless it joins one or two; its own block loses one, or gains by being split.
            gain = 1 - (before == target) - (after == target)
            loss = 1 - (before == own) - (after == own)
            wide, narrow = width.get(target, 0), width[own]
            excess = max(0, wide + gain - max_width) - max(0, wide - max_width)
            excess += max(0, narrow - loss - max_width) - max(0, narrow - max_width)
            if change + dear * excess > bar:
                continue
            width[target], width[own] = wide + gain, narrow - loss
            for k in range(first, last):
                block[nodes[k]] = target
            if target == spare:
                spare = max(width) + 1
            cost += change
            over += excess
            if over == 0 and cost < best_cost - 1e-9:
                best_cost, best = cost, list(block)
    return np.array(best)


def _beside_a_cut(ends: GateEnds, block: np.ndarray) -> np.ndarray:
    """The nodes that a gate or a stretch of wire joins to another block."""
    beside = np.zeros(len(block), dtype=bool)
    apart = np.repeat(block[0::2] != block[1::2], 2)
    beside |= apart
    earlier, later = ends.stretches
    broken = block[earlier] != block[later]
    beside[earlier[broken]] = beside[later[broken]] = True
    return np.flatnonzero(beside)


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
