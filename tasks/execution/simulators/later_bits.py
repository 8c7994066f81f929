"""The bits of a variant that are drawn after the first: those of its legs, and the lower ones of many qubits."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from scheduler_policies.machine import DRAWN_SHOTS, PART, SHARED
from tasks.cutting.openings import Branching
from tasks.execution.simulators.drawing import draw_within
from tasks.execution.simulators.measured import SettingRows, setting_operator
from tasks.model.arrays import HERE, Arrays


class LaterBits:
    """Draws what is still open of outcomes whose first bits are drawn, from the table or from the amplitudes.

    Args:
        amplitudes: (outcome, others, branch) what ``measured_rows`` returned.
        table: (leg entry.., x) what ``leg_table`` made of them.
        branchings: of the state.
        rows: the settings of every leg.
        settings: (variant, leg) those that will be drawn.
        arrays: those that the amplitudes are of.
        table_arrays: those that the table is of.
    """

    def __init__(
        self,
        amplitudes: Any,
        table: Any,
        branchings: Sequence[Branching],
        rows: Sequence[SettingRows],
        settings: np.ndarray,
        arrays: Arrays = HERE,
        table_arrays: Arrays = HERE,
    ):
        self._amplitudes, self._table, self._branchings, self._rows = amplitudes, table, branchings, rows
        self._arrays, self._table_arrays = arrays, table_arrays
        self._high, self._entries = table.shape[-1], prod(table.shape[:-1])
        self._outcomes, self._others, self._branches = amplitudes.shape
        self._whole = self._high == self._outcomes
        self._by_outcome: Any = None
        self._parts: Any = None
        self._later = _later_legs(branchings, settings, self._high)
        self._operators: dict[bytes, Any] = {}
        self._applied: tuple[bytes, Any] = (b"", None)

    def drawn(
        self, settings: np.ndarray, places: np.ndarray, found: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outcomes and their counts, from the first places drawn: the bits that are still open are drawn for each."""
        if self._whole and not any(one.bits[s] for one, s in zip(self._rows, settings, strict=True)):
            return places, found
        if self._whole and self._others * self._branches > self._entries:
            weights = self._from_table(settings, places)
        else:
            weights = self._from_amplitudes(settings, places)
        width = weights.shape[1]
        inner, drawn = draw_within(weights, found, rng)
        return inner + ((places - np.arange(len(places))) * width).take(inner // width), drawn

    def _from_table(self, settings: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(place, bits of the legs) at outcomes of the qubits."""
        arrays = self._table_arrays
        xp = arrays.xp
        if self._by_outcome is None:
            self._by_outcome = xp.reshape(xp.moveaxis(self._table, -1, 0), (self._high, -1))
        value = xp.take(self._by_outcome, arrays.put(places), axis=0)
        before, after = len(places), self._entries
        for k, one in enumerate(self._rows):
            own = one.of_setting(settings[k])
            after //= own.shape[1]
            value = xp.matmul(arrays.put(own), xp.reshape(value, (before, own.shape[1], after)))
            before *= len(own)
        bits = [1 + one.bits[setting] for one, setting in zip(self._rows, settings, strict=True)]
        value = xp.permute_dims(xp.reshape(value, (len(places), *bits)), (0, *range(len(bits), 0, -1)))
        return arrays.fetch(xp.reshape(value, (len(places), -1)))

    def _from_amplitudes(self, settings: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(place, lower bits and bits of the legs) at outcomes of the highest bits."""
        arrays = self._arrays
        xp = arrays.xp
        operator = self._first_operator(settings)
        inner, columns = operator.shape
        low, others = self._outcomes // self._high, self._others
        blocks = xp.reshape(self._with_later(settings), (self._high, -1))
        own = blocks.shape[1] // inner  # lower outcomes, others, bits of the later legs
        bits = own // (low * others) * columns // 2
        step = max(1, (arrays.part or 2 * PART) // blocks.shape[1])
        weights = np.empty((len(places), low * bits))
        for start in range(0, len(places), step):
            taken = xp.take(blocks, arrays.put(places[start : start + step]), axis=0)
            squares = xp.reshape(xp.matmul(xp.reshape(taken, (-1, inner)), operator), (-1,))
            squares *= squares
            found = squares[0::2] + squares[1::2]
            if others > 1:
                found = xp.sum(xp.reshape(found, (-1, others, bits)), axis=1)
            weights[start : start + step] = arrays.fetch(xp.reshape(found, (-1, low * bits)))
        return weights

    def _first_operator(self, settings: np.ndarray) -> Any:
        """(parts of branches in turn, parts of bits in turn): the settings applied to each place."""
        own = settings if self._later is None else settings[: self._later]
        key = own.tobytes()
        found = self._operators.get(key)
        if found is None:
            first = [one for one in self._branchings if not self._is_later(one)]
            parts = _on_parts(setting_operator(first, self._rows, settings))
            found = self._arrays.put(np.ascontiguousarray(parts.T))
            if self._later is not None:  # else few variants share one
                self._operators[key] = found
        return found

    def _is_later(self, one: Branching) -> bool:
        return self._later is not None and one.legs[0] >= self._later

    def _with_later(self, settings: np.ndarray) -> Any:
        """(row, parts of bits of the later legs x other branches): their settings applied, for all variants."""
        if self._parts is None:
            self._parts = self._arrays.real_parts(self._amplitudes)
        if self._later is None:
            return self._parts
        key = settings[self._later :].tobytes()
        if self._applied[0] != key:
            later = [k for k, one in enumerate(self._branchings) if self._is_later(one)]
            first = [k for k in range(len(self._branchings)) if k not in later]
            operator = setting_operator([self._branchings[k] for k in later], self._rows, settings)
            ranks = [one.rank for one in self._branchings]
            self._applied = b"", None  # what others share is given back before
            self._applied = key, self._products(operator, ranks, first, later)
        return self._applied[1]

    def _products(self, operator: np.ndarray, ranks: Sequence[int], first: Sequence[int], later: Sequence[int]) -> Any:
        """(row, bit, other branches, part) from (row, branches, part): the operator on the later branchings."""
        arrays = self._arrays
        xp = arrays.xp
        rows = xp.reshape(self._parts, (-1, *ranks, 2))
        own, matrix = 2 * operator.shape[1], arrays.put(np.ascontiguousarray(_on_parts(operator).T))
        beside = 2 * self._branches // own
        applied = arrays.empty((rows.shape[0], len(operator), beside, 2))
        order = (0, *(1 + k for k in (*first, *later)), 1 + len(ranks))
        step = max(1, (arrays.part or 2 * PART) // (2 * self._branches))
        for start in range(0, rows.shape[0], step):
            end = min(start + step, rows.shape[0])
            part = xp.reshape(xp.permute_dims(rows[start:end, ...], order), (-1, own))
            products = xp.reshape(xp.matmul(part, matrix), (-1, beside, len(operator), 2))
            applied[start:end, ...] = xp.permute_dims(products, (0, 2, 1, 3))
        return applied


def _on_parts(operator: np.ndarray) -> np.ndarray:
    """(2 * out, 2 * in) float64 of an (out, in) complex operator: on real and imaginary parts in turn."""
    parts = np.stack([operator.real, -operator.imag, operator.imag, operator.real], axis=-1)
    rows, columns = operator.shape
    return parts.reshape(rows, columns, 2, 2).swapaxes(1, 2).reshape(2 * rows, 2 * columns)


def _later_legs(branchings: Sequence[Branching], settings: np.ndarray, places: int) -> int | None:
    """The leg from which on settings are applied once for all variants that share them; None where none pays.

    It is done for all of the places, so those that share them must read most of these in all.
    """
    legs, read = settings.shape[1], min(1.0, DRAWN_SHOTS / places)
    for cut in sorted(range(1, legs), key=lambda cut: abs(2 * cut - legs)):
        apart = all((one.legs[0] >= cut) == (k >= cut) for one in branchings for k in one.legs)
        if apart and read * len(settings) >= SHARED * len(np.unique(settings[:, cut:], axis=0)):
            return cut
    return None
