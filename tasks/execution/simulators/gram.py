"""Gram matrices of Paulis between the branches of an open-leg state: one pass for all Paulis that fit into it.

    <psi_b'| X^x Z^z |psi_b> = sum_q (-1)^(z.q) psi_b[q] conj(psi_b'[q ^ x])

Paulis of one X part differ only in signs. With the rows q split into blocks by the bits of T, the sum within each block
is a product of two small matrices, and all z whose bits lie in T follow from the blocks by signs: a pass costs what
one Pauli costs. For x != 0 the rows q ^ x give the adjoint of what the rows q give, so half of them do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from scheduler_policies.machine import PART
from tasks.execution.simulators import accelerator
from tasks.execution.simulators.accelerator import Accelerator

_WORK = 14  # a block's product takes at least 2**14 multiplications, or its overhead shows
_FEW = 8  # but 2**8 products of a small state take less time than a second pass


def half_grams(
    amplitudes: np.ndarray, mask_x: int, masks_z: np.ndarray, gpu: Accelerator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A, with <psi_b'| P |psi_b> = p A + (p A)^dagger for every Hermitian Pauli P = p X^x Z^z, p = i^|x & z|.

    Args:
        amplitudes: (2**n, branch) complex, on the GPU where one is given.
        mask_x: X part, over the bits of the row index.
        masks_z: (Pauli,) int64, Z parts.
        gpu: where the products are made; None: here.

    Returns:
        (k,) positions in ``masks_z``, and (k, branch, branch') complex for the Paulis there.
    """
    rows, branches = amplitudes.shape
    pivot = mask_x & -mask_x
    free = [1 << bit for bit in range(rows.bit_length() - 1) if 1 << bit != pivot]
    masks = masks_z & ~pivot  # of each pair q, q ^ x the row without the pivot is taken
    out = np.zeros((len(masks_z), branches * branches), dtype=complex)
    wide = branches.bit_length() - 1
    least = min(len(free), max(wide, _WORK - 2 * wide))
    part = PART if gpu is None else accelerator.PART
    most = max(least, max(1, part // branches).bit_length() - 1)  # bits of the longest block
    order: list[np.ndarray] = []
    done = 0
    outside = len(free) - least
    if rows * branches**2 <= PART:
        outside = max(outside, min(len(free), _FEW))
    for members, inside in _passes(masks, outside):
        spare = [bit for bit in free if not bit & inside]
        cut = min(most, len(spare))
        outer = [bit for bit in free if bit & inside] + spare[cut:]
        _pass(amplitudes, mask_x, outer, spare[:cut], masks[members], out[done : done + len(members)], gpu)
        order.append(members)
        done += len(members)
    if not mask_x:
        out *= 0.5
    return np.concatenate(order), out.reshape(-1, branches, branches)


def _passes(masks: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, int]]:
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


def _pass(
    amplitudes: np.ndarray,
    mask_x: int,
    outer: Sequence[int],
    inner: Sequence[int],
    masks: np.ndarray,
    out: np.ndarray,
    gpu: Accelerator | None,
) -> None:
    """Add to (Pauli, pair) sums, for masks that agree on the inner bits, which count the rows within a block."""
    branches = amplitudes.shape[1]
    within, blocks = patterns(inner), patterns(outer)
    common = int(masks[0]) & sum(inner)
    signs = 1.0 - 2.0 * (np.bitwise_count(within & common) & 1)
    step = max(1, (PART if gpu is None else accelerator.PART) // (branches * len(within)))
    for start in range(0, len(blocks), step):
        own = blocks[start : start + step]
        rows = own[:, None] | within
        if gpu is None:
            products = _block_products(amplitudes, rows, mask_x, signs if common else None)
        else:
            products = gpu.block_products(amplitudes, rows, mask_x, signs)
        _add_signed(products.reshape(len(own), -1), own, masks & ~common, out)


def _block_products(amplitudes: np.ndarray, rows: np.ndarray, mask_x: int, signs: np.ndarray | None) -> np.ndarray:
    """(block, branch, branch'): the sums over (block, row) of psi_b[q] conj(psi_b'[q ^ x]) with the rows' signs."""
    shape = (*rows.shape, amplitudes.shape[1])
    ket = np.take(amplitudes, rows.reshape(-1), axis=0).reshape(shape)
    bra = np.take(amplitudes, (rows ^ mask_x).reshape(-1), axis=0).reshape(shape) if mask_x else ket.copy()
    np.conjugate(bra, out=bra)
    if signs is not None:
        bra *= signs[:, None]
    return np.matmul(ket.transpose(0, 2, 1), bra)


def patterns(bits: Sequence[int]) -> np.ndarray:
    """(2**k,) int64: every combination of the given bits, the first of them fastest."""
    found = np.zeros(1, dtype=np.int64)
    for bit in bits:
        found = np.concatenate([found, found | bit])
    return found


def _add_signed(products: np.ndarray, blocks: np.ndarray, masks: np.ndarray, out: np.ndarray) -> None:
    """Add the blocks' products to (Pauli, pair) sums, each with the sign that the Pauli gives it."""
    here = int(np.bitwise_or.reduce(blocks) ^ np.bitwise_and.reduce(blocks))  # bits that differ among these blocks
    distinct, which = np.unique(masks & here, return_inverse=True)
    signs = 1.0 - 2.0 * (np.bitwise_count(blocks & distinct[:, None]) & 1)
    sums = (signs @ products.view(np.float64)).view(complex) if len(blocks) > 1 else products
    which = which.reshape(-1)
    common = 1.0 - 2.0 * (np.bitwise_count(int(blocks[0]) & masks & ~here) & 1)
    step = max(1, PART // products.shape[1])
    for start in range(0, len(masks), step):
        part = slice(start, start + step)
        out[part] += sums[which[part]] * common[part, None]
