"""What a measurement group sees of an open-leg state: its rows by the bits measured, and their table of leg entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod
from typing import Any

import numpy as np

from scheduler_policies.machine import PART, TABLE_BYTES
from tasks.cutting.drawn_bytes import table_length
from tasks.cutting.kinds import LegKind, Setting, gate_product
from tasks.cutting.openings import Branching
from tasks.cutting.plan import Leg
from tasks.execution.simulators.leg_bases import LegBases
from tasks.execution.simulators.open_state import OpenState
from tasks.execution.simulators.products import Workers, multiply_axis, patterns
from tasks.model.arrays import HERE, Arrays

_ROTATED = 5  # qubits that one product turns into their bases
_ROTATIONS = {0: np.eye(2), 1: gate_product(("h",)), 2: gate_product(("sdg", "h")), 3: np.eye(2)}


@dataclass(frozen=True)
class SettingRows:
    """The settings of one leg as arrays.

    Attributes:
        bits: (setting,) int, 1 where a bit is read.
        plain: (setting, leg entry) float64, the rows of the summed outcomes.
        by_bit: (setting, 2, leg entry) float64, a row for each value of its bit; the last is all where none is read.
        operators: for each setting (bit, branch) complex, amplitudes of the branches.
    """

    bits: np.ndarray
    plain: np.ndarray
    by_bit: np.ndarray
    operators: tuple[np.ndarray, ...]

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, kind: LegKind, settings: tuple[Setting, ...]) -> SettingRows:
        """The rows of a leg's settings; nobody may change them."""
        plain, by_bit, bits = [], [], []
        for setting in settings:
            summed, signed = kind.rows(setting)
            plain.append(summed)
            by_bit.append([0 * summed, summed] if signed is None else [(summed + signed) / 2, (summed - signed) / 2])
            bits.append(int(signed is not None))
        operators = tuple(kind.operator(setting) for setting in settings)
        return cls(np.array(bits), np.array(plain), np.array(by_bit), operators)

    def of_setting(self, setting: int) -> np.ndarray:
        """(bit, leg entry) of one setting; one row where no bit is read."""
        return self.by_bit[setting, 1 - self.bits[setting] :]


def measured_rows(state: OpenState, bases: np.ndarray) -> Any:
    """The amplitudes in the bases measured.

    Args:
        state: the open-leg state.
        bases: (local qubit,) 0 where nothing is measured, else 1, 2, 3 for X, Y, Z.

    Returns:
        (2**measured, 2**others, branch) complex, the first measured qubit least significant; a view of the state where
        its rows have that order already.
    """
    width, branches = len(state.rest), state.amplitudes.shape[1]
    bit_of = {q: 1 << (width - 1 - k) for k, q in enumerate(state.rest)}
    asked = np.flatnonzero(bases).tolist()
    others = [q for q in reversed(state.rest) if not bases[q]]
    order = (patterns([bit_of[q] for q in asked])[:, None] | patterns([bit_of[q] for q in others])).reshape(-1)
    turned = bool(((bases == 1) | (bases == 2)).any())
    arrays, rows = state.arrays, state.amplitudes
    if not np.array_equal(order, np.arange(len(order))):
        rows = arrays.xp.take(rows, arrays.put(order), axis=0)
    elif turned and state.gpu is None:
        rows = rows.copy()
    for start in range(0, len(asked), _ROTATED):
        own = asked[start : start + _ROTATED]
        if any(bases[q] in (1, 2) for q in own):
            matrix = reduce(np.kron, [_ROTATIONS[int(bases[q])] for q in reversed(own)]).astype(complex)
            after = (len(order) * branches >> len(asked)) << start
            if state.gpu is None:
                multiply_axis(rows, matrix, after, Workers())
            else:
                rows = state.gpu.multiplied(rows, matrix, after)
    return arrays.xp.reshape(rows, (1 << len(asked), -1, branches))


def leg_table(
    rows: Any,
    legs: Sequence[Leg],
    branchings: Sequence[Branching],
    variants: int = 1,
    read: int = 0,
    allowed: int = TABLE_BYTES,
    arrays: Arrays = HERE,
) -> Any:
    """Leg entries of the projectors onto the measured bits, or onto the highest of them where that is cheaper.

    Args:
        rows: what ``measured_rows`` returned.
        legs: of the fragment.
        branchings: of the state.
        variants: how many variants share the table.
        read: how many bits at most are read at the legs.
        allowed: bytes that the table may take, if the state takes no more.
        arrays: those that the rows are of.

    Returns:
        (leg_0, ..., leg_k, 2**high) float64, where the rows are.
    """
    dimensions = [leg.dimension for leg in legs]
    outcomes, _, branches = rows.shape
    high = table_length(outcomes, prod(rows.shape), prod(dimensions), variants, allowed, read=read)
    return leg_entries(arrays.xp.reshape(rows, (high, -1, branches)), legs, branchings, arrays)


def leg_entries(blocks: Any, legs: Sequence[Leg], branchings: Sequence[Branching], arrays: Arrays) -> Any:
    """(leg_0, ..., leg_k, block) float64: of the sums over the projectors onto a block's (row, branch) rows."""
    xp = arrays.xp
    count, length, branches = blocks.shape
    table = arrays.empty((*(leg.dimension for leg in legs), count))
    bases = LegBases(legs, branchings, arrays)
    numbers = arrays.part or PART
    step, most = max(1, numbers // max(length * branches, branches**2)), max(1, numbers // branches)
    for start in range(0, count, step):
        stop = min(start + step, count)
        part = blocks[start:stop, ...]
        if length == 1:
            grams = xp.matrix_transpose(part) * xp.conj(part)
        else:
            grams = sum(
                xp.matmul(xp.matrix_transpose(own), xp.conj(own))
                for own in (part[:, a : min(a + most, length), :] for a in range(0, length, most))
            )
        table[..., start:stop] = bases.entries(grams)
    return table


def setting_operator(
    branchings: Sequence[Branching], rows: Sequence[SettingRows], settings: Sequence[int] | np.ndarray
) -> np.ndarray:
    """(bits of these branchings' legs, branch) complex: amplitudes under the settings, the first leg's bit fastest."""
    whole = np.ones((1, 1))
    order = [k for one in branchings for k in one.legs]
    own = [rows[k].operators[settings[k]] for k in order]
    for one in branchings:
        legs = reduce(_kron, [rows[k].operators[settings[k]] for k in one.legs])
        whole = _kron(whole, legs @ one.spread)
    moved = whole.reshape(*(len(operator) for operator in own), -1)
    return moved.transpose(*(order.index(k) for k in sorted(order, reverse=True)), len(order)).reshape(
        -1, whole.shape[1]
    )


def _kron(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product = a[:, None, :, None] * b[None, :, None, :]
    return product.reshape(len(a) * len(b), -1)
