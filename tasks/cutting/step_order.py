"""In which order the steps of a fragment are done, which gates act together, and where the qubits stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from tasks.cutting.openings import Gate, Opening


def opened_late(items: Sequence[Gate | Opening]) -> list[Gate | Opening]:
    """The same steps, openings only where nothing else is left to do, those first that make most work possible."""
    out: list[Gate | Opening] = []
    left = list(items)
    while left:
        left = _take_ready(left, out, set())
        openings = [k for k, item in enumerate(left) if isinstance(item, Opening)]
        ready = [k for k in openings if not any(set(left[k].qubits) & set(item.qubits) for item in left[:k])]
        if not ready:
            break
        most = max(ready, key=lambda k: (len(left) - len(_take_ready(left, [], {id(left[k])})), -k))
        out.append(left.pop(most))
    return out


def _take_ready(left: Sequence[Gate | Opening], out: list, allowed: set[int]) -> list[Gate | Opening]:
    """Move what waits for no opening but the allowed ones to ``out``; what is left."""
    blocked: set[int] = set()
    rest: list[Gate | Opening] = []
    for item in left:
        waits = isinstance(item, Opening) and id(item) not in allowed
        if waits or any(q in blocked for q in item.qubits):
            blocked.update(item.qubits)
            rest.append(item)
        else:
            out.append(item)
    return rest


def line_order(qubits: int, items: Sequence[Gate | Opening]) -> tuple[int, ...]:
    """(qubit,) its place in an order that keeps neighbours near."""
    return next(line_orders(qubits, items, 1))


def line_orders(qubits: int, items: Sequence[Gate | Opening], most: int) -> Iterator[tuple[int, ...]]:
    """Several such orders: they differ in what comes first of what is equally near."""
    pairs = np.array([item.qubits for item in items if len(item.qubits) == 2], dtype=np.int64).reshape(-1, 2)
    yield line_of_pairs(qubits, pairs)
    for seed in range(1, most):
        called = np.random.default_rng(seed).permutation(qubits)
        yield tuple(np.array(line_of_pairs(qubits, called[pairs]))[called].tolist())


def line_of_pairs(qubits: int, joined_pairs: Sequence[Sequence[int]] | np.ndarray) -> tuple[int, ...]:
    """The same, of the pairs of qubits that gates join."""
    pairs = np.array(joined_pairs, dtype=np.int64).reshape(-1, 2)
    joined = np.concatenate([pairs, pairs[:, ::-1]])
    graph = csr_array((np.ones(len(joined)), joined.T), shape=(qubits, qubits))
    order = reverse_cuthill_mckee(graph, symmetric_mode=True) if qubits else np.zeros(0, dtype=int)
    places = np.empty(qubits, dtype=int)
    places[order] = np.arange(qubits)
    return tuple(places.tolist())


def fused(items: Sequence[Gate | Opening], most: int, place_of: Sequence[int]) -> list[Opening | list[Gate]]:
    """Openings, and lists of gates that act together on at most ``most`` qubits."""
    out: list[Opening | list[Gate]] = []
    run: list[_Placed] = []
    for item in (*items, None):
        if isinstance(item, Gate):
            run.append((sum(1 << place_of[q] for q in item.qubits), item))
            continue
        left = run
        while left:
            block, left = _next_block(left, most, (1 << len(place_of)) - 1)
            out.append(block)
        run = []
        if item is not None:
            out.append(item)
    return out


_Placed: TypeAlias = tuple[int, Gate]  # a gate, behind the bits of its qubits' places


def _next_block(gates: Sequence[_Placed], most: int, everywhere: int) -> tuple[list[Gate], list[_Placed]]:
    """As many of the gates as can come first on a window of ``most`` neighbouring qubits, and the others."""
    support, first = gates[0]
    block, rest = [first], []
    blocked = 0
    for number in range(1, len(gates)):
        own, gate = gates[number]
        if not own & blocked:
            union = support | own
            if union == support:
                block.append(gate)
                continue
            if union.bit_count() <= most:
                window = union.bit_length() - (union & -union).bit_length()
                if window < most or own & support:
                    support = union
                    block.append(gate)
                    continue
        blocked |= own
        rest.append(gates[number])
        # Where nothing is free of what no room is left for, no gate that follows can come first.
        free = everywhere if support.bit_count() < most else support
        if not free & ~blocked:
            rest.extend(gates[number + 1 :])
            break
    return block, rest
