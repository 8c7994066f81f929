"""The distributions that the variants of a measurement group are drawn from first, from their table of leg entries.

    p(l, x) = sum_a r_0[l_0, a_0] ... r_k[l_k, a_k] T[a, x]

with the bits x of the measurement group, l of the legs, and the rows r of the settings in the leg bases. The table is
multiplied leg by leg, the last one first; settings that variants share from a leg on are applied once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from scheduler_policies.machine import JOINT_BITS, LAW_PART
from tasks.cutting.drawn_bytes import Room
from tasks.execution.simulators.measured import SettingRows
from tasks.model.arrays import HERE, Arrays

_FEW_PLACES = 64  # so many take no longer to draw from than to tell variants apart by the bits that they read


@dataclass(frozen=True)
class _Shared:
    """What the settings of some variants are from one leg on.

    Attributes:
        matrix: (row of a setting, leg entry) of the settings that occur on this leg, one after the other.
        rows: of a setting.
        kept: which pairs of settings from the next leg on and of this leg occur; None: all.
        combinations: how many.
    """

    matrix: np.ndarray
    rows: int
    kept: np.ndarray | None
    combinations: int


@dataclass(frozen=True)
class Drawing:
    """Variants that are drawn next, and what from.

    Attributes:
        members: (variant,) their positions.
        whole: whether all bits are drawn at once.
        laws: (variant, place) float64, until the next ones are asked for. Bits of a place are those of some of the
            legs, the first one least significant, then those of the table.
        reads: (variant, leg) 1 where a bit is read.
        legs: those that have a bit in places, always 1 where a variant reads none.
    """

    members: np.ndarray
    whole: bool
    laws: np.ndarray
    reads: np.ndarray
    legs: Sequence[int]

    def outcomes(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(place,) int64 without bits that are not read, of places of the variants in turn, ``rows`` of each."""
        reads = self.reads[:, self.legs]
        if reads.all():
            return places
        found, place = places >> len(self.legs), np.repeat(np.arange(len(rows)), rows)
        for k in range(len(self.legs) - 1, -1, -1):
            read = reads[place, k]
            found = (found << read) | (places >> k & read)
        return found


class FirstLaws:
    """Distributions of all bits where these are few, else of the table's.

    Args:
        table: (leg entry.., x) float64 of a measurement group.
        rows: the settings of every leg.
        measured: qubits of the group, or None where the table does not have all their bits.
        room: what may be held.
        arrays: those that the table is of.
    """

    def __init__(
        self, table: Any, rows: Sequence[SettingRows], measured: int | None, room: Room, arrays: Arrays = HERE
    ):
        self._table, self._rows, self._measured, self._room = table, rows, measured, room
        self._arrays = arrays
        self._held = np.empty(0)
        self._readable = np.array([int(one.bits.max()) for one in rows], dtype=np.int64)  # bits of legs, if any is
        bits = int(self._readable.sum())
        self._few = measured is not None and bits + measured <= JOINT_BITS
        self._few = self._few and table.shape[-1] << bits <= _FEW_PLACES

    def each(self, settings: np.ndarray) -> Iterator[Drawing]:
        """The distributions of variants, as many at a time as there is room for.

        Args:
            settings: (variant, leg).
        """
        legs, length = len(self._rows), self._table.shape[-1]
        reads = read_bits(self._rows, settings)
        # Drawn together are those that read the same bits, or all where bits that some do not read cost less. This is
        # decided for all settings that there are: counts must not change with the variants that are drawn beside.
        own = 1 << np.arange(1, 1 + legs)
        patterns = np.zeros(len(settings), dtype=np.int64)
        if self._few:
            patterns += 1 + self._readable @ own
        elif self._measured is not None:
            joint = reads.sum(axis=1) + self._measured <= JOINT_BITS
            patterns[joint] = 1 + reads[joint] @ own
        for pattern in np.unique(patterns).tolist():
            members = np.flatnonzero(patterns == pattern)
            if legs:
                members = members[np.lexsort(settings[members].T)]
            lengths = [pattern >> 1 + k & 1 for k in range(legs)]
            places = length << sum(lengths)
            step = max(1, (min(LAW_PART, self._room.laws) if pattern else self._room.laws) // places)
            for start in range(0, len(members), step):
                own = members[start : start + step]
                laws = self._laws(settings[own], lengths)
                yield Drawing(own, bool(pattern), laws, reads[own], [k for k in range(legs) if lengths[k]])

    def _laws(self, settings: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """(variant, place); ``lengths``: (leg,) 1 where the bit of the setting is apart."""
        length = self._table.shape[-1]
        shared, which = self._shared(settings, lengths)
        if self._held.size < len(settings) * length << sum(lengths):
            self._held = np.empty(0)  # given back before a larger one is made
            self._held = np.empty(len(settings) * length << sum(lengths))
        laws = self._held[: len(settings) * length << sum(lengths)].reshape(len(settings), length, -1)
        # Of the places as many as stay in the cache.
        entries = largest = prod(self._table.shape[:-1])
        for leg, one in zip(range(len(shared), 0, -1), shared, strict=True):
            entries //= self._table.shape[leg - 1]
            largest = max(largest, entries * one.combinations << sum(lengths[leg - 1 :]))
        width = max(1, (self._arrays.part or LAW_PART) // largest)
        for a in range(0, length, width):
            part = self._table[..., a : min(a + width, length)]
            value = self._arrays.fetch(self._applied(part, shared))
            laws[:, a : a + width] = value if which is None else value[which]
        return laws.reshape(len(settings), -1)

    def _shared(self, settings: np.ndarray, lengths: Sequence[int]) -> tuple[list[_Shared], np.ndarray | None]:
        """For each leg, the last first, what is applied; and which of the results is each variant's, None: in order."""
        shared = []
        codes = np.zeros(len(settings), dtype=np.int64)
        combinations = 1
        for leg in range(len(self._rows) - 1, -1, -1):
            one = self._rows[leg]
            occur, setting = _numbered(settings[:, leg], len(one.bits))
            apart = bool(lengths[leg])
            matrix = one.by_bit[occur].reshape(2 * len(occur), -1) if apart else one.plain[occur]
            kept, codes = _numbered(codes * len(occur) + setting, combinations * len(occur))
            every = len(kept) == combinations * len(occur)
            combinations = len(kept)
            shared.append(_Shared(matrix, 1 + apart, None if every else kept, combinations))
        same = combinations == len(codes) and bool((codes[1:] > codes[:-1]).all())
        return shared, None if same else codes

    def _applied(self, table: Any, shared: Sequence[_Shared]) -> Any:
        """(combination of settings, x, bits of the legs) from (leg entry.., x)."""
        xp, put = self._arrays.xp, self._arrays.put
        width, bits = table.shape[-1], 1
        entries = list(table.shape[:-1])
        value = xp.reshape(table, (-1, width))
        combinations = 1
        for one in shared:
            entry = entries.pop()
            before = prod(entries)
            value = xp.permute_dims(xp.reshape(value, (before, entry, combinations, bits * width)), (0, 2, 1, 3))
            value = xp.matmul(put(one.matrix), value)  # (before, combination, row, bits of later legs, x)
            if one.rows > 1:
                value = xp.permute_dims(xp.reshape(value, (before, -1, 2, bits, width)), (0, 1, 3, 2, 4))
                bits *= 2
            value = xp.reshape(value, (before, -1, bits * width))
            if one.kept is not None:
                value = xp.take(value, put(one.kept), axis=1)
            combinations = one.combinations
        return xp.matrix_transpose(xp.reshape(value, (combinations, bits, width)))


def _numbered(values: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the numbers below ``end`` occur, in ascending order, and the place of each value among them."""
    occur = np.zeros(end, dtype=bool)
    occur[values] = True
    numbers = occur.nonzero()[0]
    return numbers, values if len(numbers) == end else (occur.cumsum() - 1)[values]


def read_bits(rows: Sequence[SettingRows], settings: np.ndarray) -> np.ndarray:
    """(variant, leg) int64, 1 where a bit is read, from (variant, leg) settings."""
    reads = np.zeros(settings.shape, dtype=np.int64)
    for k, one in enumerate(rows):
        reads[:, k] = one.bits[settings[:, k]]
    return reads
