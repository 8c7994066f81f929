"""How large the bonds of a matrix product state can become, gate by gate.

A gate of two terms, I and Z between one-qubit unitaries, leaves the values of its qubits along an axis as they are.
While all that happens to a qubit does so along one axis, which is a *stretch*, its value is the same for all gates
there, and given the value each of them is a product of what it does to its two qubits. So the gates that cross a bond
multiply it by no more than 2 for each stretch of a set that has one of the two of every gate: a least vertex cover of
a bipartite graph, which is as large as a greatest matching (D. König, Matematikai és Fizikai Lapok 38, 116 (1931)).
A qubit that begins with a certain value, as |0> before a controlled gate, needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from tasks.cutting.openings import Gate, Opening
from tasks.cutting.schmidt import form_of_matrix

_ZERO = 1e-14  # an element of a unitary below this is rounding, as is what it would leave of a state
_Column: TypeAlias = tuple[complex, complex]


def joined_stretches(steps: Sequence[Gate | Opening], qubits: int) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """For each gate on two qubits, what it may multiply a bond with.

    Yields:
        log2 of its own terms; the stretches on its two qubits where it has two terms, None where it has four, or, as
        twice the same stretch, where it does no more than gates on one qubit would.
    """
    # (qubit,) of all branches, the columns of what happened since a value along an axis, or the state, was known: one a
    # branch of a state, two of a matrix. So few numbers that Python is quicker with them than arrays are.
    since: list[list[_Column]] = [[(1.0, 0.0)] for _ in range(qubits)]
    started = [False] * qubits
    names, named = list(range(qubits)), qubits
    for step in steps:
        if isinstance(step, Opening):
            q, width = step.qubits[0], 1 + started[step.qubits[0]]
            branches = [since[q][k : k + width] for k in range(0, len(since[q]), width)]
            since[q] = [new for own in step.operators.tolist() for columns in branches for new in _times(own, columns)]
            continue
        if len(step.qubits) == 1:
            q = step.qubits[0]
            since[q] = _times(step.matrix.tolist(), since[q])
            continue
        form = form_of_matrix(step.matrix)
        if form is None or form.rank > 2:
            for q in step.qubits:
                since[q], started[q], names[q], named = [(1.0, 0.0), (0.0, 1.0)], True, named, named + 1
            yield 2, None
            continue
        own = step.qubits[::-1]  # a form's first qubit is the least significant bit
        turned = [_times(before, since[q]) for before, q in zip(form.before.tolist(), own, strict=True)]
        certain = [-1 if started[q] else _certain_value(columns) for q, columns in zip(own, turned, strict=True)]
        after = form.after.tolist()
        if (place := next((k for k, value in enumerate(certain) if value >= 0), -1)) >= 0:
            value, other = certain[place], 1 - place
            one, two = form.coefficients.tolist()
            two = -two if value else two
            left = [[one + two, 0.0], [0.0, one - two]]
            (a, b), (c, d) = after[place]
            since[own[place]] = [((b * y, d * y) if value else (a * x, c * x)) for x, y in turned[place]]
            since[own[other]] = _times(after[other], _times(left, turned[other]))
            yield 1, (names[own[0]], names[own[0]])
            continue
        for place, q in enumerate(own):
            if not (started[q] and _keeps_axis(turned[place])):
                names[q], named = named, named + 1
            (a, b), (c, d) = after[place]
            since[q], started[q] = [(a, c), (b, d)], True
        yield 1, (names[step.qubits[0]], names[step.qubits[1]])


def _times(matrix: Sequence[Sequence[complex]], columns: Sequence[_Column]) -> list[_Column]:
    (a, b), (c, d) = matrix
    return [(a * x + b * y, c * x + d * y) for x, y in columns]


def _certain_value(states: Sequence[_Column]) -> int:
    """0 or 1 where a qubit's state has only one of them, else -1."""
    if all(abs(one) < _ZERO for _, one in states):
        return 0
    return 1 if all(abs(zero) < _ZERO for zero, _ in states) else -1


def _keeps_axis(columns: Sequence[_Column]) -> bool:
    """Whether a value stays a value, the same for all branches."""
    zeros, ones = columns[::2], columns[1::2]
    same = all(abs(c) < _ZERO for _, c in zeros) and all(abs(b) < _ZERO for b, _ in ones)
    return same or (all(abs(a) < _ZERO for a, _ in zeros) and all(abs(d) < _ZERO for _, d in ones))


class CrossedBond:
    """Terms over one bond: a greatest matching of the stretches on its left with those on its right, as gates come.

    Attributes:
        bits: log2 of the terms.
    """

    def __init__(self) -> None:
        self.bits = 0
        # (left, right): what each stretch there is joined to, and which of them it is matched with.
        self._joined: tuple[dict[int, set[int]], dict[int, set[int]]] = {}, {}
        self._matched: tuple[dict[int, int], dict[int, int]] = {}, {}

    def cross(self, bits: int, ends: tuple[int, int] | None) -> None:
        """Count a gate; its stretches are that on the left and that on the right."""
        if ends is None:
            self.bits += bits
            return
        left, right = ends
        joined = self._joined[0].setdefault(left, set())
        if left == right or right in joined:
            return
        joined.add(right)
        self._joined[1].setdefault(right, set()).add(left)
        if self._free(1, right, {right}) and self._free(0, left, {left}):
            self._matched[0][left], self._matched[1][right] = right, left
            self.bits += 1

    def _free(self, side: int, one: int, seen: set[int]) -> bool:
        """Whether a stretch is not matched, or its partner could be matched with another one instead."""
        if (partner := self._matched[side].get(one)) is None:
            return True
        for other in self._joined[1 - side][partner]:
            if other not in seen:
                seen.add(other)
                if self._free(side, other, seen):
                    self._matched[1 - side][partner], self._matched[side][other] = other, partner
                    del self._matched[side][one]
                    return True
        return False
