"""Which Paulis one pass over an open-leg state gives: of one X part those whose Z parts differ in its blocks' bits.

A pass sums over a run of rows that its Paulis do not tell apart. The run is the quickest where its bits are the lowest
of a row's number, so the rows are ordered anew between passes: some bits change places with the lowest ones. With three
runs that share no bit, every Pauli on two qubits leaves one of them alone, and all products Z Z take three passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler_policies.machine import PART
from tasks.cutting.pauli_bases import run_length

_WORTH = 32  # Paulis from which ordering the rows anew pays
_WORK = 14  # a block's product takes at least 2**14 multiplications, or its overhead shows
_FEW = 8  # but 2**8 products of a small state take less time than a second pass


@dataclass(frozen=True)
class Pass:
    """One pass.

    Attributes:
        members: (Pauli,) positions.
        mask_x: X part of all of them, over the bits of the row's number.
        masks_z: (Pauli,) int64, Z parts without the pivot; they agree outside of ``inside``.
        inside: the bits that tell blocks apart.
        pivot: of each pair of rows q, q ^ x the one without this bit is taken; 0 where x is 0.
    """

    members: np.ndarray
    mask_x: int
    masks_z: np.ndarray
    inside: int
    pivot: int


def passes_of(
    masks_x: np.ndarray,
    masks_z: np.ndarray,
    width: int,
    branches: int,
    *,
    most: int,
    ordered: bool = False,
    done: Sequence[int] = (),
) -> dict[int, list[Pass]]:
    """Passes that give all Paulis.

    Args:
        masks_x: (Pauli,) int64, X parts over the bits of a row's number.
        masks_z: (Pauli,) int64, Z parts.
        width: bits of a row's number.
        branches: columns of the state.
        most: Paulis of one pass.
        ordered: the rows stay as they are.
        done: the bits whose runs have changed places before (``exchange_bits``), one after the other.

    Returns:
        the passes by the bit whose run changes places with the lowest one before they are taken, one after the other,
        the masks as they are then; 0: none does.
    """
    length = run_length(width)
    for start in done:
        masks_x, masks_z = exchanged(masks_x, start, length), exchanged(masks_z, start, length)
    reordered = length > 0 and len(masks_x) >= _WORTH and not ordered
    starts = range(0, width - length + 1, length) if reordered else range(0)
    found: dict[int, list[Pass]] = {}
    for mask in np.unique(masks_x).tolist():
        members = np.flatnonzero(masks_x == mask)
        pivot = 1 << (mask.bit_length() - 1) if mask else 0
        own = masks_z[members] & ~pivot
        for start, part, inside in _chosen(mask, own, starts, length, width, branches):
            for first in range(0, len(part), most):
                some = part[first : first + most]
                found.setdefault(start, []).append(Pass(members[some], mask, own[some], inside, pivot))
    ordered_passes: dict[int, list[Pass]] = {}
    for start in sorted(found):
        own_starts = [*ordered_passes, start]
        ordered_passes[start] = [_exchanged(one, own_starts, length) for one in found[start]]
    return ordered_passes


def _exchanged(one: Pass, starts: Sequence[int], length: int) -> Pass:
    masks = one.mask_x, one.masks_z, one.inside, one.pivot
    for start in starts:
        masks = tuple(exchanged(mask, start, length) for mask in masks)
    return Pass(one.members, *masks)


def exchanged(mask, start: int, length: int):
    """Masks over the bits of a row's number after ``exchange_bits``."""
    run = (1 << length) - 1
    if not start:
        return mask
    return mask & ~(run | run << start) | (mask & run) << start | (mask >> start & run)


def exchange_bits(amplitudes: np.ndarray, start: int) -> None:
    """Order rows anew in place: the run of bits from ``start`` on changes places with the lowest one."""
    rows, branches = amplitudes.shape
    length = run_length(rows.bit_length() - 1)
    size = 1 << length
    for block in amplitudes.reshape(-1, size, 1 << (start - length), size, branches, copy=False):
        for middle in range(block.shape[1]):
            part = block[:, middle]
            part[...] = part.swapaxes(0, 1).copy()


def _chosen(
    mask_x: int, masks_z: np.ndarray, starts: Sequence[int], length: int, width: int, branches: int
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Bit to order by, positions in ``masks_z`` and inside of the passes of one X part."""
    runs = {start: ((1 << length) - 1) << start for start in starts}
    left = np.arange(len(masks_z))
    while left.size:
        untouched = {start: (masks_z[left] & run) == 0 for start, run in runs.items() if not mask_x & run}
        start = max(untouched, key=lambda key: untouched[key].sum(), default=0)
        if not untouched or untouched[start].sum() < min(2, len(left)):
            break
        part = left[untouched[start]]
        yield start, part, int(np.bitwise_or.reduce(masks_z[part])) if len(part) > 1 else 0
        left = left[~untouched[start]]
    free = width - bool(mask_x)
    wide = branches.bit_length() - 1
    outside = free - min(free, max(wide, _WORK - 2 * wide))
    if branches**2 << width <= PART:
        outside = max(outside, min(free, _FEW))
    for members, inside in _greedy(masks_z[left], outside):
        yield 0, left[members], inside


def _greedy(masks: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, int]]:
    """Groups of Z parts that one pass gives: they agree outside of at most ``most`` bits.

    Yields:
        positions in ``masks``, and those bits as a mask.
    """
    left = np.argsort(np.bitwise_count(masks), kind="stable")
    every = int(np.bitwise_or.reduce(masks, initial=0))
    if len(left) > 1 and every.bit_count() <= most:
        yield left, every
        return
    while left.size:
        inside = 0
        first = int(masks[left[0]])
        if len(left) > 1 and first.bit_count() <= most:
            inside = first
            own = masks[left]
            while True:  # the mask that needs the fewest further bits, as long as there is room
                further = np.bitwise_count(own & ~inside)
                further = np.where(further == 0, 64, further)
                k = int(further.argmin())
                if further[k] == 64 or inside.bit_count() + int(further[k]) > most:
                    break
                inside |= int(own[k])
        elif len(left) > 1:
            bits = [bit for bit in range(64) if (masks[left] >> bit & 1).any()]
            inside = sum(1 << bit for bit in sorted(bits, key=lambda bit: -(masks[left] >> bit & 1).sum())[:most])
        same = masks[left] & ~inside == first & ~inside
        yield left[same], inside if same.sum() > 1 else 0
        left = left[~same]
