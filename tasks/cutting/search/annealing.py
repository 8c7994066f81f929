"""Wire and gate cuts together: simulated annealing moves stretches of wire between blocks of gate ends."""

from __future__ import annotations

import numpy as np

from tasks.cutting.search.ends import GateEnds

_EPOCHS = 40  # after each, the nodes beside a cut are looked up again: only they can move
_LENGTH = 8  # nodes that a move looks at, on the average at most: beyond so many in all, an epoch has fewer moves
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
        moves: how many moves to try; fewer where they take long stretches along.
        heat: the first temperature, in weights of a wire: a low one improves a good start, a high one leaves it.

    Returns:
        (node,) int, the cheapest assignment seen of those within ``max_width``; the start where none was.
    """
    rng = np.random.default_rng(seed)
    before, after = _neighbours(ends)
    block = [*start.tolist(), -1]  # the last one: that of no node, which lies before and after every wire
    width = [int(count) for count in ends.widths(start)]
    weights, wire_weight = ends.weights.tolist(), ends.wire_weight
    dear = TOO_WIDE * wire_weight
    over = sum(max(0, count - max_width) for count in width)
    cost = 0.0  # relative to the start
    best_cost, best = (0.0, list(block)) if over == 0 else (float("inf"), list(block))
    hot, cold = heat * wire_weight, 0.05 * wire_weight
    spare = len(width)  # a block without nodes
    width.append(0)
    each = max(1, moves // _EPOCHS)
    most = _LENGTH * each
    for first_step in range(0, moves, each):
        movable = _beside_a_cut(ends, np.array(block[:-1])).tolist()
        if not movable and over > 0 and best_cost < float("inf"):  # all in one block: from the best again, stricter
            block, cost, over, dear = list(best), best_cost, 0, 2 * dear
            counts = ends.widths(np.array(best[:-1])).tolist()
            width = [*counts, *[0] * (spare + 1 - len(counts))]
            movable = _beside_a_cut(ends, np.array(block[:-1])).tolist()
        if not movable:
            break
        temperature = hot * (cold / hot) ** (first_step / moves)
        picks = rng.integers(0, len(movable), size=each).tolist()
        shapes = rng.random((each, 2))
        bars = (-temperature * np.log1p(-rng.random(each))).tolist()  # a change up to its bar is accepted
        walked = 0
        for pick, toward, form, bar in zip(picks, shapes[:, 0].tolist(), shapes[:, 1].tolist(), bars, strict=True):
            node = movable[pick]
            first, last = before[node], after[node]
            # To the block of a neighbour: the gate's other end, or the end before or after on the wire.
            if toward > _TO_A_NEW_ONE:
                target = spare
            elif toward < 0.5 or first == last:
                target = block[node ^ 1]
            else:
                target = block[first if (toward < 0.75 and first >= 0) or last < 0 else last]
            own = block[node]
            if target == own:
                continue
            # Part of the unbroken stretch around it: all of it, from the node on, up to it, or just it.
            moved = [node]
            if 0.25 <= form < 0.75:
                while block[first] == own:
                    moved.append(first)
                    first = before[first]
            if form >= 0.5:
                while block[last] == own:
                    moved.append(last)
                    last = after[last]
            walked += len(moved)
            if walked > most:
                break
            # The stretch lies in one block, so only its two borders change.
            left, right = block[first], block[last]
            change = 0.0
            if left >= 0:
                change += wire_weight * ((left != target) - (left != own))
            if right >= 0:
                change += wire_weight * ((right != target) - (right != own))
            for one in moved:
                other = block[one ^ 1]
                if other == target:
                    change -= weights[one >> 1]
                elif other == own:
                    change += weights[one >> 1]
            # The target gains a stretch unless it joins one or two; its own block loses one, or gains by being split.
            gain = 1 - (left == target) - (right == target)
            loss = 1 - (left == own) - (right == own)
            wide, narrow = width[target], width[own]
            excess = 0
            if wide + gain > max_width or wide > max_width:
                excess = max(0, wide + gain - max_width) - max(0, wide - max_width)
            if narrow - loss > max_width or narrow > max_width:
                excess += max(0, narrow - loss - max_width) - max(0, narrow - max_width)
            if change + dear * excess > bar:
                continue
            width[target], width[own] = wide + gain, narrow - loss
            for one in moved:
                block[one] = target
            if target == spare:
                spare = len(width)
                width.append(0)
            cost += change
            over += excess
            if over == 0 and cost < best_cost - 1e-9:
                best_cost, best = cost, list(block)
    return np.array(best[:-1])


def _neighbours(ends: GateEnds) -> tuple[list[int], list[int]]:
    """(node,) the node before and the node after it on its wire, -1 where there is none."""
    before, after = np.full((2, 2 * len(ends.weights)), -1)
    earlier, later = ends.stretches
    before[later], after[earlier] = earlier, later
    return before.tolist(), after.tolist()


def _beside_a_cut(ends: GateEnds, block: np.ndarray) -> np.ndarray:
    """The nodes that a gate or a stretch of wire joins to another block."""
    beside = np.zeros(len(block), dtype=bool)
    apart = np.repeat(block[0::2] != block[1::2], 2)
    beside |= apart
    earlier, later = ends.stretches
    broken = block[earlier] != block[later]
    beside[earlier[broken]] = beside[later[broken]] = True
    return np.flatnonzero(beside)
