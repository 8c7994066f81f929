"""Which Paulis one pass over an open-leg state gives: of one X part those whose Z parts differ in its blocks' bits.

A pass sums over a run of rows that its Paulis do not tell apart. The run is the quickest where its bits are the lowest
of a row's number, so the rows are ordered anew between passes: of three runs of bits the highest becomes the lowest.
Every Pauli on two qubits leaves one of them alone, and all products Z Z take three passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler_policies.machine import PART
from tasks.cutting.pauli_bases import run_length

_WORTH = 32  # Paulis from which ordering the rows anew pays
_WORK = 14  # a block's product takes at least 2**14 multiplications, or its overhead shows
_CUBE = 3  # bits of each run whose rows are moved together
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
    done: int = 0,
) -> dict[int, list[Pass]]:
    """Passes that give all Paulis.

    Args:
        masks_x: (Pauli,) int64, X parts over the bits of a row's number.
        masks_z: (Pauli,) int64, Z parts.
        width: bits of a row's number.
        branches: columns of the state.
        most: Paulis of one pass.
        ordered: the rows stay as they are.
        done: how often the rows have been ordered anew before (``order_anew``).

    Returns:
        the passes by how often the rows are ordered anew until they are taken, fewest first, the masks as they are
        then.
    """
    length = run_length(width)
    masks_x, masks_z = ordered_anew(masks_x, done, length), ordered_anew(masks_z, done, length)
    times = range(3) if length and len(masks_x) >= _WORTH and not ordered else range(0)
    found: dict[int, list[Pass]] = {}
    for mask in np.unique(masks_x).tolist():
        members = np.flatnonzero(masks_x == mask)
        pivot = 1 << (mask.bit_length() - 1) if mask else 0
        own = masks_z[members] & ~pivot
        for after, part, inside in _chosen(mask, own, times, length, width, branches):
            for first in range(0, len(part), most):
                some = part[first : first + most]
                masks = (ordered_anew(each, after, length) for each in (mask, own[some], inside, pivot))
                found.setdefault(after, []).append(Pass(members[some], *masks))
    return {after: found[after] for after in sorted(found)}


def ordered_anew(mask, times: int, length: int):
    """Masks over the bits of a row's number after ``order_anew``, so many times."""
    run, two = (1 << length) - 1, (1 << 2 * length) - 1
    for _ in range(times % 3):
        mask = mask & ~(run | two << length) | (mask & two) << length | (mask >> 2 * length & run)
    return mask


def order_anew(amplitudes: np.ndarray) -> None:
    """Order rows anew in place: of three runs of bits the highest becomes the lowest one."""
    rows, columns = amplitudes.shape
    length = run_length(rows.bit_length() - 1)
    inner = min(length, _CUBE)
    outer, size = 1 << (length - inner), 1 << inner
    held = np.empty((size, size, size, columns))
    for cubes in amplitudes.reshape(-1, outer, size, outer, size, outer, size, columns, copy=False):
        for first in np.ndindex(outer, outer, outer):
            second, third = first[1:] + first[:1], first[2:] + first[:2]
            if first > min(second, third):  # of three that take each other's places one is enough
                continue
            moved = [first, third, second] if second != first else [first]
            places = [cubes[a, :, b, :, c] for a, b, c in moved]
            np.copyto(held, places[0])
            for place, source in zip(places, [*places[1:], held], strict=True):
                np.copyto(place, source.transpose(1, 2, 0, 3))


def _chosen(
    mask_x: int, masks_z: np.ndarray, times: Sequence[int], length: int, width: int, branches: int
) -> Iterator[tuple[int, np.ndarray, int]]:
    """How often rows are ordered anew before, positions in ``masks_z`` and inside of the passes of one X part."""
    runs = {after: ((1 << length) - 1) << (length * (-after % 3)) for after in times}  # the lowest ones then
    left = np.arange(len(masks_z))
    alone = {after: (masks_z & run) == 0 for after, run in runs.items() if not mask_x & run}
    taken: list[int] = []
    while left.size and alone:
        after = max(alone, key=lambda key: alone[key][left].sum())
        if alone[after][left].sum() < min(2, len(left)):
            break
        taken.append(after)
        left = left[~alone[after][left]]
    if taken:
        # Of these passes the one that tells the fewest bits of the next run apart, so that first sums are of few kinds.
        told = [
            np.where(alone[after], np.bitwise_count(masks_z & runs[(after - 1) % 3]), length + 1) for after in taken
        ]
        own = np.argmin(told, axis=0)
        own[left] = -1
        for k, after in enumerate(taken):
            part = np.flatnonzero(own == k)
            if part.size:
                yield after, part, int(np.bitwise_or.reduce(masks_z[part])) if len(part) > 1 else 0
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
