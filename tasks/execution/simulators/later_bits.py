"""The bits of a variant that are drawn after the first: those of its legs, and the lower ones of many qubits."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from scheduler_policies.machine import LAW_PART, SHARED
from tasks.cutting.open_program import Branching
from tasks.execution.simulators.drawing import draw_within
from tasks.execution.simulators.measured import SettingRows, setting_operator


class LaterBits:
    """Draws what is still open of outcomes whose first bits are drawn, from the table or from the amplitudes.

    Args:
        amplitudes: (outcome, others, branch) what ``measured_rows`` returned.
        table: (leg entry.., x) what ``leg_table`` made of them.
        branchings: of the state.
        rows: the settings of every leg.
        settings: (variant, leg) those that will be drawn.
    """

    def __init__(
        self,
        amplitudes: np.ndarray,
        table: np.ndarray,
        branchings: Sequence[Branching],
        rows: Sequence[SettingRows],
        settings: np.ndarray,
    ):
        self._amplitudes, self._table, self._branchings, self._rows = amplitudes, table, branchings, rows
        self._whole = table.shape[-1] == len(amplitudes)
        self._by_outcome: np.ndarray | None = None
        self._later = _later_legs(branchings, settings)
        self._operators: dict[bytes, np.ndarray] = {}
        self._applied: tuple[bytes, np.ndarray] = (b"", amplitudes)

    def drawn(
        self, settings: np.ndarray, places: np.ndarray, found: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outcomes and their counts, from the first places drawn: the bits that are still open are drawn for each."""
        if self._whole and not any(one.bits[s] for one, s in zip(self._rows, settings, strict=True)):
            return places, found
        per_place = self._amplitudes.size // self._table.shape[-1]
        if self._whole and per_place > self._table.size // self._table.shape[-1]:
            weights = self._from_table(settings, places)
        else:
            weights = self._from_amplitudes(settings, places)
        width = weights.shape[1]
        inner, drawn = draw_within(weights, found, rng)
        return inner + ((places - np.arange(len(places))) * width).take(inner // width), drawn

    def _from_table(self, settings: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(place, bits of the legs) at outcomes of the qubits."""
        if self._by_outcome is None:
            self._by_outcome = np.ascontiguousarray(np.moveaxis(self._table, -1, 0))
        value = self._by_outcome.take(places, axis=0)
        for k, one in enumerate(self._rows):
            value = _on_axis(one.of_setting(settings[k]), value, 1 + k)
        return value.transpose(0, *reversed(range(1, value.ndim))).reshape(len(places), -1)

    def _from_amplitudes(self, settings: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(place, lower bits and bits of the legs) at outcomes of the highest bits."""
        operator = self._first_operator(settings)
        amplitudes = self._with_later(settings)
        high = self._table.shape[-1]
        low, others = len(amplitudes) // high, amplitudes.shape[1]
        blocks = amplitudes.reshape(high, -1).view(np.float64)
        own = blocks.shape[1] // operator.shape[1]  # lower outcomes, others, bits of the later legs
        bits = own // (low * others) * len(operator) // 2
        step = max(1, LAW_PART // blocks.shape[1])
        weights = np.empty((len(places), low * bits))
        for start in range(0, len(places), step):
            part = blocks.take(places[start : start + step], axis=0).reshape(-1, operator.shape[1])
            # All real parts, then all imaginary ones, so that their squares are added in long rows.
            parts = np.matmul(operator, part.T)
            parts *= parts
            squares = (parts[: len(operator) // 2] + parts[len(operator) // 2 :]).T
            if others > 1:
                squares = squares.reshape(-1, others, bits).sum(axis=1)
            weights[start : start + step] = squares.reshape(-1, low * bits)
        return weights

    def _first_operator(self, settings: np.ndarray) -> np.ndarray:
        """(real, then imaginary parts of bits, parts of branches in turn): the settings applied to each place."""
        own = settings if self._later is None else settings[: self._later]
        key = own.tobytes()
        found = self._operators.get(key)
        if found is None:
            first = [one for one in self._branchings if not self._is_later(one)]
            whole = setting_operator(first, self._rows, settings)
            found = _on_parts(whole).reshape(len(whole), 2, -1).swapaxes(0, 1).reshape(2 * len(whole), -1)
            if self._later is not None:  # else few variants share one
                self._operators[key] = found
        return found

    def _is_later(self, one: Branching) -> bool:
        return self._later is not None and one.legs[0] >= self._later

    def _with_later(self, settings: np.ndarray) -> np.ndarray:
        """(outcome, others, bits of the later legs x other branches): their settings applied, for all variants."""
        if self._later is None:
            return self._amplitudes
        key = settings[self._later :].tobytes()
        if self._applied[0] != key:
            later = [k for k, one in enumerate(self._branchings) if self._is_later(one)]
            first = [k for k in range(len(self._branchings)) if k not in later]
            operator = setting_operator([self._branchings[k] for k in later], self._rows, settings)
            ranks = [one.rank for one in self._branchings]
            beside = prod(ranks[k] for k in first)
            whole = np.kron(operator, np.eye(beside)).reshape(
                -1, *(ranks[k] for k in later), *(ranks[k] for k in first)
            )
            order = [1 + (later + first).index(k) for k in range(len(ranks))]
            matrix = _on_parts(whole.transpose(0, *order).reshape(len(whole), -1)).T
            self._applied = b"", self._amplitudes  # what others share is given back before
            rows = self._amplitudes.reshape(-1, prod(ranks)).view(np.float64)
            applied = np.matmul(rows, matrix).view(complex)
            self._applied = key, applied.reshape(*self._amplitudes.shape[:2], -1)
        return self._applied[1]


def _on_parts(operator: np.ndarray) -> np.ndarray:
    """(2 * out, 2 * in) float64 of an (out, in) complex operator: on real and imaginary parts in turn."""
    parts = np.stack([operator.real, -operator.imag, operator.imag, operator.real], axis=-1)
    rows, columns = operator.shape
    return parts.reshape(rows, columns, 2, 2).swapaxes(1, 2).reshape(2 * rows, 2 * columns)


def _later_legs(branchings: Sequence[Branching], settings: np.ndarray) -> int | None:
    """The leg from which on settings are applied once for all variants that share them; None where none pays."""
    legs = settings.shape[1]
    for cut in sorted(range(1, legs), key=lambda cut: abs(2 * cut - legs)):
        apart = all((one.legs[0] >= cut) == (k >= cut) for one in branchings for k in one.legs)
        if apart and len(settings) >= SHARED * len(np.unique(settings[:, cut:], axis=0)):
            return cut
    return None


def _on_axis(matrix: np.ndarray, value: np.ndarray, axis: int) -> np.ndarray:
    shape = value.shape
    view = value.reshape(prod(shape[:axis]), shape[axis], -1)
    return np.matmul(matrix, view).reshape(*shape[:axis], len(matrix), *shape[axis + 1 :])
