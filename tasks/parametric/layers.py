"""The order of a fragment's parts: as few layers as possible, each a block of fixed gates, all phases at hand, or legs.

Phases commute, so a layer takes every one whose qubits have nothing else left before it. Of what lies between two such
layers, gates with angles on one qubit each are a layer, and fixed gates are multiplied into unitaries on a few qubits
once and for all. Legs come last: whatever is done before is done for fewer branches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.parametric.elementary import Fixed, Part, Phase


@dataclass(frozen=True)
class Opened:
    """A leg laid open: the branches ``operators[j]`` of its qubit.

    Attributes:
        qubits: the leg's.
        leg: its number.
        operators: (rank, 2, 2) complex, each with one entry a row.
    """

    qubits: tuple[int, ...]
    leg: int
    operators: np.ndarray


@dataclass(frozen=True)
class Turned:
    """Gates with angles, each on one qubit.

    Attributes:
        runs: for each qubit its parts in time order.
    """

    runs: dict[int, tuple[Part, ...]]


Item = Fixed | Phase | Opened
Layer = Fixed | Opened | Turned | tuple[Phase, ...]


def layers_of(items: Sequence[Item], widest: int, apart: int | None = None) -> list[Layer]:
    """Put items into layers that do the same.

    Args:
        items: in time order.
        widest: most qubits of a block of fixed gates.
        apart: a qubit whose own gates join no block, fixed ones included.
    """
    waiting: dict[int, deque[int]] = {}
    for place, own in enumerate(items):
        for qubit in own.qubits:
            waiting.setdefault(qubit, deque()).append(place)
    layers: list[Layer] = []

    def ready(number: int) -> bool:
        return all(waiting[qubit][0] == number for qubit in items[number].qubits)

    def take(number: int) -> None:
        for qubit in items[number].qubits:
            waiting[qubit].popleft()

    def first(kind: type) -> int | None:
        heads = {own[0] for own in waiting.values() if own}
        return next((number for number in sorted(heads) if isinstance(items[number], kind) and ready(number)), None)

    while any(waiting.values()):
        phases: list[Phase] = []
        while (number := first(Phase)) is not None:
            item = items[number]
            assert isinstance(item, Phase)
            phases.append(item)
            take(number)
        if phases:
            layers.append(tuple(phases))
        elif runs := _runs(items, waiting, apart):
            layers.append(Turned(runs))
        elif first(Fixed) is not None:
            layers.append(_block(items, waiting, ready, take, widest))
        else:
            number = first(Opened)
            assert number is not None
            item = items[number]
            assert isinstance(item, Opened)
            layers.append(item)
            take(number)
    return layers


def _runs(items: Sequence[Item], waiting: dict[int, deque[int]], apart: int | None) -> dict[int, tuple[Part, ...]]:
    """What comes next on each qubit alone, where an angle is in it or it is apart, up to the last fixed gate; taken."""
    found = {}
    for qubit, places in waiting.items():
        parts: list[Part] = []
        for place in places:
            item = items[place]
            if isinstance(item, Opened) or len(item.qubits) > 1:
                break
            parts.append(item)
        while parts and isinstance(parts[-1], Phase):
            parts.pop()  # the next layer of phases takes it
        if any(isinstance(part, Phase) or qubit == apart for part in parts):
            found[qubit] = tuple(parts)
            for _ in parts:
                places.popleft()
    return found


def _block(
    items: Sequence[Item],
    waiting: dict[int, deque[int]],
    ready: Callable[[int], bool],
    take: Callable[[int], None],
    widest: int,
) -> Fixed:
    """The largest block of fixed gates that is at hand."""
    qubits: list[int] = []
    gates: list[Fixed] = []
    while True:
        heads = {own[0] for own in waiting.values() if own}
        fitting = []  # (qubits that it adds, number, gate)
        for number in sorted(heads):
            item = items[number]
            if isinstance(item, Fixed) and ready(number):
                added = len(set(item.qubits) - set(qubits))
                if not gates or len(qubits) + added <= widest:
                    fitting.append((added, number, item))
        if not fitting:
            break
        _, number, gate = min(fitting, key=lambda one: one[:2])
        qubits += [qubit for qubit in gate.qubits if qubit not in qubits]
        gates.append(gate)
        take(number)
    qubits.sort()
    return Fixed(tuple(qubits), product_of(gates, qubits))


def product_of(gates: Sequence[Fixed], qubits: Sequence[int]) -> np.ndarray:
    """(2**k, 2**k) complex: gates in time order as one matrix, the first qubit least significant."""
    width = len(qubits)
    total = np.eye(1 << width, dtype=complex).reshape((2,) * width + (-1,))
    for gate in gates:
        axes = [width - 1 - qubits.index(q) for q in reversed(gate.qubits)]
        size = len(axes)
        matrix = gate.matrix.reshape((2,) * (2 * size))
        total = np.moveaxis(np.tensordot(matrix, total, axes=(range(size, 2 * size), axes)), range(size), axes)
    return np.ascontiguousarray(total.reshape(1 << width, -1))
