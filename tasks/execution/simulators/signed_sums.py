"""Sums over blocks of rows with the signs that Z parts of Paulis give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scheduler_policies.machine import GRAM_PRODUCTS
from tasks.execution.simulators.products import patterns

_MANY = 12  # patterns of signs of the first step
_WASTED = 4  # times as many sums as are asked for are made where that is one product
_READ = 8  # multiplications that take as long as a number is written and read between the steps
_SMALL = 10**6  # multiplications of a product that is made without copies of what it is of


class SignedSums:
    """Sums in two steps.

    First over the lowest bits that tell blocks apart, for each of the few patterns of signs that there are on these;
    then over the others, of all blocks that are held, for each Z part from its own pattern.

    Args:
        bits: that tell blocks apart, the highest first.
        loose: the blocks of how many of them, the lowest, are given at a time.
        masks_z: (Pauli,) Z parts.
        branches: columns of the state.
        entries: numbers of a block.
        joined: makes (Pauli, branch, branch') complex of sums of (Pauli, entry).
    """

    def __init__(
        self,
        bits: Sequence[int],
        loose: int,
        masks_z: np.ndarray,
        branches: int,
        entries: int,
        joined: Callable[[np.ndarray], np.ndarray],
    ):
        masks, self._which = _distinct((masks_z & sum(bits)).tolist())
        self._places = np.array([self._which.index(k) for k in range(len(masks))])
        few = _first_bits(masks, bits, loose, entries)
        low, high = bits[len(bits) - few :], bits[: len(bits) - few]
        first, of_first = _distinct([mask & sum(low) for mask in masks])
        second, of_second = _distinct([mask & sum(high) for mask in masks])
        self._first, self._second = _signs(np.array(first), patterns(low[::-1])), np.array(second)
        self._of_first, self._of_second = np.array(of_first), np.array(of_second)
        every_one = len(first) * len(self._second)
        self._all = every_one <= _WASTED * len(masks) and every_one * entries <= GRAM_PRODUCTS
        self._others = patterns(high[::-1])
        self._at_once = 1 << (loose - few)
        self._one_by_one = 2 * entries > GRAM_PRODUCTS  # blocks so large are added as they come
        room = 0 if self._one_by_one else max(self._at_once, 4 * GRAM_PRODUCTS // (len(first) * entries))
        self._held = np.empty((len(first), min(len(self._others), room), entries))
        self._out = np.zeros((len(masks_z), branches, branches), dtype=complex)
        self._joined = joined
        self._done = self._filled = 0

    def add(self, blocks: np.ndarray) -> None:
        """Add the next blocks, (block, entry)."""
        if self._one_by_one:
            self._add_one(blocks)
            return
        if self._filled + self._at_once > self._held.shape[1]:
            self._add_held()
        own = blocks.reshape(self._at_once, -1, blocks.shape[1], copy=False)
        place = self._held[:, self._filled : self._filled + self._at_once]
        np.matmul(self._first, own, out=place.swapaxes(0, 1))
        self._filled += self._at_once

    def end(self) -> np.ndarray:
        """(Pauli, branch, branch') complex of all blocks."""
        if self._filled:
            self._add_held()
        places = self._places.tolist()
        for place, which in enumerate(self._which):
            if places[which] != place:
                self._out[place] = self._out[places[which]]
        return self._out

    def _add_one(self, block: np.ndarray) -> None:
        products = self._joined(block)[0]
        for place, sign in zip(
            self._places.tolist(), _signs(self._second, self._others[self._done, None]), strict=True
        ):
            (np.add if sign[0] > 0 else np.subtract)(self._out[place], products, out=self._out[place])
        self._done += 1

    def _add_held(self) -> None:
        others = self._others[self._done : self._done + self._filled]
        signs, held = _signs(self._second, others), self._held[:, : self._filled]
        if self._all:
            self._out[self._places] += self._joined(np.matmul(signs, held)[self._of_first, self._of_second])
        else:
            step = max(1, GRAM_PRODUCTS // held.shape[2])
            for k, own in enumerate(held):
                members = np.flatnonzero(self._of_first == k)
                for some in (members[start : start + step] for start in range(0, len(members), step)):
                    self._out[self._places[some]] += self._joined(np.matmul(signs[self._of_second[some]], own))
        self._done += self._filled
        self._filled = 0


def _distinct(masks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Masks without repetition, and which of these each is."""
    found: dict[int, int] = {}
    which = [found.setdefault(mask, len(found)) for mask in masks]
    return list(found), which


def _first_bits(masks: Sequence[int], bits: Sequence[int], most: int, entries: int) -> int:
    """Bits of the first step, for the fewest multiplications of both."""
    best, least = 0, np.inf
    for few in range(most + 1):
        low = sum(bits[len(bits) - few :])
        first, second = len({mask & low for mask in masks}), len({mask & ~low for mask in masks})
        if first > _MANY or (first * entries << few) > _SMALL:
            break
        work = first + (_READ + second) * first / 2**few
        if work <= least:
            best, least = few, work
    return best


def _signs(masks: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """(mask, block) 1 or -1."""
    return 1.0 - 2.0 * (np.bitwise_count(blocks & masks[:, None]) & 1)
