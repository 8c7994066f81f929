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

import numpy as np

from tasks.cutting.openings import Gate, Opening
from tasks.cutting.schmidt import find_form

_ZERO = 1e-14  # an element of a unitary below this is rounding, as is what it would leave of a state
_Z = np.array([[1.0], [-1.0]])


def joined_stretches(steps: Sequence[Gate | Opening], qubits: int) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """For each gate on two qubits, what it may multiply a bond with.

    Yields:
        log2 of its own terms; the stretches on its two qubits where it has two terms, None where it has four, or, as
        twice the same stretch, where it does no more than gates on one qubit would.
    """
    # (branch, 2, 1 or 2) what happened to each qubit since its value along an axis, or its state, was known.
    since = [np.array([[[1.0], [0.0]]], dtype=complex) for _ in range(qubits)]
    names, named = list(range(qubits)), qubits
    for step in steps:
        if isinstance(step, Opening):
            q = step.qubits[0]
            since[q] = (step.operators[:, None] @ since[q]).reshape(-1, *since[q].shape[1:])
            continue
        if len(step.qubits) == 1:
            q = step.qubits[0]
            since[q] = step.matrix() @ since[q]
            continue
        form = find_form(step.operations[0]) if len(step.operations) == 1 else None
        if form is None or form.rank > 2:
            for q in step.qubits:
                since[q], names[q], named = np.eye(2, dtype=complex)[None], named, named + 1
            yield 2, None
            continue
        own = step.qubits[::-1]  # a form's first qubit is the least significant bit
        turned = [before @ since[q] for before, q in zip(form.before, own, strict=True)]
        certain = [_certain_value(one) for one in turned]
        if (place := next((k for k, value in enumerate(certain) if value >= 0), -1)) >= 0:
            value = certain[place]
            one, other = form.coefficients.tolist()
            left = one + (-other if value else other) * _Z
            since[own[place]] = form.after[place][:, value : value + 1] @ turned[place][:, value : value + 1]
            since[own[1 - place]] = form.after[1 - place] @ (left * turned[1 - place])
            yield 1, (names[own[0]], names[own[0]])
            continue
        for place, q in enumerate(own):
            if not _keeps_axis(turned[place]):
                names[q], named = named, named + 1
            since[q] = form.after[place][None]
        yield 1, (names[step.qubits[0]], names[step.qubits[1]])


def _certain_value(turned: np.ndarray) -> int:
    """0 or 1 where a qubit's state has only one of them, else -1."""
    if turned.shape[2] > 1:
        return -1
    zero, one = np.abs(turned).max(axis=(0, 2)).tolist()
    return 0 if one < _ZERO else 1 if zero < _ZERO else -1


def _keeps_axis(turned: np.ndarray) -> bool:
    """Whether a value stays a value, the same for all branches."""
    if turned.shape[2] == 1:
        return False
    (a, b), (c, d) = np.abs(turned).max(axis=0).tolist()
    return bool(max(b, c) < _ZERO or max(a, d) < _ZERO)


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
