"""What a measurement group sees of an open-leg state: its rows by the bits measured, and their table of leg entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod

import numpy as np

from scheduler_policies.machine import PART, TABLE_BYTES
from tasks.cutting.drawn_bytes import table_length
from tasks.cutting.kinds import LegKind, Setting, gate_product
from tasks.cutting.open_program import Branching
from tasks.cutting.plan import Leg
from tasks.execution.simulators.exact import LegBases
from tasks.execution.simulators.open_state import OpenState
from tasks.execution.simulators.products import Workers, multiply_axis, patterns

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


def measured_rows(state: OpenState, bases: np.ndarray) -> np.ndarray:
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
    if not np.array_equal(order, np.arange(len(order))):
        rows = np.take(state.amplitudes, order, axis=0)
    else:
        rows = state.amplitudes.copy() if turned else state.amplitudes
    for start in range(0, len(asked), _ROTATED):
        own = asked[start : start + _ROTATED]
        if any(bases[q] in (1, 2) for q in own):
            matrix = reduce(np.kron, [_ROTATIONS[int(bases[q])] for q in reversed(own)])
            multiply_axis(rows, matrix.astype(complex), (rows.size >> len(asked)) << start, Workers())
    return rows.reshape(1 << len(asked), -1, branches)


def leg_table(
    rows: np.ndarray,
    legs: Sequence[Leg],
    branchings: Sequence[Branching],
    variants: int = 1,
    read: int = 0,
    allowed: int = TABLE_BYTES,
) -> np.ndarray:
    """Leg entries of the projectors onto the measured bits, or onto the highest of them where that is cheaper.

    Args:
        rows: what ``measured_rows`` returned.
        legs: of the fragment.
        branchings: of the state.
        variants: how many variants share the table.
        read: how many bits at most are read at the legs.
        allowed: bytes that the table may take, if the state takes no more.

    Returns:
        (leg_0, ..., leg_k, 2**high) float64.
    """
    dimensions = [leg.dimension for leg in legs]
    branches = rows.shape[2]
    high = table_length(len(rows), rows.size, prod(dimensions), variants, allowed, read=read)
    blocks = rows.reshape(high, -1, branches)
    table = np.empty((*dimensions, high))
    bases = LegBases(legs, branchings)
    length = blocks.shape[1]
    step, most = max(1, PART // max(length * branches, branches**2)), max(1, PART // branches)
    for start in range(0, high, step):
        part = blocks[start : start + step]
        if length == 1:
            grams = part.transpose(0, 2, 1) * part.conj()
        else:
            grams = sum(
                np.matmul(own.transpose(0, 2, 1), own.conj())
                for own in (part[:, a : a + most] for a in range(0, length, most))
            )
        table[..., start : start + step] = bases.entries(grams)
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
