"""Gram matrices of Paulis between the branches of an open-leg state, pass by pass (``passes``).

    <psi_b'| X^x Z^z |psi_b> = sum_q (-1)^(z.q) psi_b[q] conj(psi_b'[q ^ x])

With the rows q split into blocks by some bits, the sum within each block is a product of two small matrices, and all z
that differ in those bits follow from the blocks by signs. For x != 0 the rows q ^ x give the adjoint of what the rows q
give, so half of them do. Real and imaginary parts stand side by side: products of real numbers need no conjugate, and
rows that follow each other in memory are multiplied where they are, at the speed of the machine. They are copied only
where the Pauli turns the bits that tell them apart, or where so few follow each other that products are larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler_policies.machine import GRAM_PRODUCTS, PART, RUN_BITS
from tasks.execution.simulators.accelerator import Accelerator
from tasks.execution.simulators.passes import Pass
from tasks.execution.simulators.products import patterns

_RUN = 12  # log2 of the numbers of a run of rows that are multiplied together
_MANY = 12  # patterns of signs from which their sums are made in two steps
_LOW = 4  # bits of the first
_SHORT = 4  # log2 of the rows of a run that is worth more than a longer one that is copied


def half_grams(amplitudes: np.ndarray, one: Pass, gpu: Accelerator | None = None) -> np.ndarray:
    """A, with <psi_b'| P |psi_b> = p A + (p A)^dagger for every Hermitian Pauli P = p X^x Z^z, p = i^|x & z|.

    Args:
        amplitudes: (2**n, branch) complex, on the GPU where one is given; bits exchanged as the pass says.
        one: the pass.
        gpu: where the products are made; None: here.

    Returns:
        (Pauli, branch, branch') complex for the Paulis of the pass.
    """
    rows, branches = amplitudes.shape
    free = [bit for bit in (1 << k for k in range(rows.bit_length() - 1)) if bit != one.pivot]
    outer, inner = [bit for bit in free if bit & one.inside], [bit for bit in free if not bit & one.inside]
    if gpu is not None:  # a block of any length would be gathered whole
        most = max(0, gpu.part // branches).bit_length() - 1
        outer, inner = outer + inner[max(most, 0) :], inner[: max(most, 0)]
    out = np.zeros((len(one.masks_z), branches, branches), dtype=complex)
    if gpu is None:
        _add_sums(amplitudes, one, outer, inner, out)
    else:
        common = int(one.masks_z[0]) & sum(inner)
        for blocks, products in gpu.block_sums(amplitudes, one.mask_x, outer, inner, common):
            _add_signed(products, blocks, one.masks_z & ~common, out)
    if not one.mask_x:
        out *= 0.5
    return out


def _add_sums(amplitudes: np.ndarray, one: Pass, outer: Sequence[int], inner: Sequence[int], out: np.ndarray) -> None:
    """Add psi_b[q] conj(psi_b'[q ^ x]) (-1)^(z.q) of all rows to (Pauli, branch, branch')."""
    rows, branches = amplitudes.shape
    real = np.ascontiguousarray(amplitudes).view(np.float64)
    axes = real.reshape((2,) * (rows.bit_length() - 1) + (2 * branches,))
    common = int(one.masks_z[0]) & sum(inner)
    longest = max(_RUN - branches.bit_length(), min(branches.bit_length(), 9))
    run, turned = _run(inner, one.mask_x | common, longest)
    short = len(run) < min(len(inner), longest, branches.bit_length())  # a product would be larger than what it is of
    if short:
        run, turned = sorted(inner)[:longest][::-1], True
    bits = sorted((bit for bit in (*outer, *inner) if bit not in run), reverse=True)
    copied = max(1, 2 * PART // (2 * branches << len(run))) if turned else GRAM_PRODUCTS
    # As many products as the state has amplitudes; of a small state more, which cost less than doing few at a time.
    held = min(GRAM_PRODUCTS, max(real.size // 2, min(PART, 2 * branches * real.size)))
    many = min(copied, max(1, held // (2 * branches) ** 2)).bit_length() - 1
    fixed, loose = bits[: max(0, len(bits) - many)], bits[max(0, len(bits) - many) :]
    within, blocks = patterns(run[::-1]), patterns(loose[::-1])
    turn = 1.0 - 2.0 * (np.bitwise_count(within & common) & 1)[:, None]
    distinct, which = np.unique(one.masks_z & sum(loose), return_inverse=True)
    sums_of = _SignedSums(loose, distinct)
    # Of two equal factors numpy makes half a product, by a routine that takes twice as long for small ones.
    halves = (slice(None),) if one.mask_x else (slice(branches), slice(branches, None))
    whole = (*[2] * len(loose), len(within), 2 * branches)
    products = np.empty((*[2] * len(loose), 2 * branches, 2 * branches))
    copy = np.empty((len(blocks) * len(within) if turned else 0, 2 * branches))
    copied_ket = np.empty(copy.shape if short else (0, 0))
    for base in patterns(fixed[::-1]).tolist():
        own = (blocks[:, None] | within).reshape(-1) ^ base if turned else within
        if short:
            ket = np.take(real, own, axis=0, out=copied_ket, mode="clip").reshape(whole)
        else:
            ket = _rows(axes, base, 0, loose, run).reshape(whole, copy=False)
        if turned:
            bra = np.take(real, own ^ one.mask_x, axis=0, out=copy, mode="clip").reshape(whole)
            bra *= turn
        else:
            bra = _rows(axes, base ^ one.mask_x, one.mask_x, loose, run).reshape(whole, copy=False)
        for half in halves:
            np.matmul(ket.swapaxes(-1, -2), bra[..., half], out=products[..., half])
        parts = sums_of(products.reshape(len(blocks), -1)).reshape(-1, branches, 2, branches, 2)
        sums = np.empty((len(distinct), branches, branches), dtype=complex)
        np.add(parts[:, :, 0, :, 0], parts[:, :, 1, :, 1], out=sums.real)
        np.subtract(parts[:, :, 1, :, 0], parts[:, :, 0, :, 1], out=sums.imag)
        _add(sums, which, 1.0 - 2.0 * (np.bitwise_count(base & one.masks_z) & 1), out)


class _SignedSums:
    """Sums over blocks with the signs that Z parts give them: over the lowest bits first, each sum of these once.

    Args:
        bits: that tell blocks apart, the highest first.
        masks: (pattern,) Z parts on these bits.
    """

    def __init__(self, bits: Sequence[int], masks: np.ndarray):
        self._signs = [_signs(masks, bits)]
        self._members: list[np.ndarray] = []
        if len(masks) > _MANY:
            low, high = bits[-_LOW:], bits[:-_LOW]
            first, which = np.unique(masks & sum(low), return_inverse=True)
            self._members = [np.flatnonzero(which == k) for k in range(len(first))]
            self._signs = [_signs(first, low), *(_signs(masks[own], high) for own in self._members)]

    def __call__(self, blocks: np.ndarray) -> np.ndarray:
        """From (block, entry) to (pattern, entry)."""
        first, *others = self._signs
        if first.size == 1:  # one block, whose signs are none
            return blocks
        if not others:
            return np.matmul(first, blocks)
        partial = np.matmul(first, blocks.reshape(-1, first.shape[1], blocks.shape[1]))
        sums = np.empty((sum(map(len, self._members)), blocks.shape[1]))
        for k, (own, signs) in enumerate(zip(self._members, others, strict=True)):
            sums[own] = np.matmul(signs, partial[:, k])
        return sums


def _signs(masks: np.ndarray, bits: Sequence[int]) -> np.ndarray:
    """(mask, combination of bits) 1 or -1."""
    return 1.0 - 2.0 * (np.bitwise_count(patterns(bits[::-1]) & masks[:, None]) & 1)


def _run(inner: Sequence[int], turned: int, most: int) -> tuple[list[int], bool]:
    """Neighbouring bits of rows that are multiplied together, the highest first, and whether the mask has any of them.

    Rows that are far apart in memory fall into few places of a cache: of runs that are long enough the lowest.
    """
    clean = _neighbours([bit for bit in inner if not bit & turned], most)
    every = _neighbours(inner, most)
    if len(clean) >= min(len(every), _SHORT):
        return clean[::-1], False
    return every[::-1], bool(sum(every) & turned)


def _neighbours(bits: Sequence[int], most: int) -> list[int]:
    """Bits of which each is twice the one before: the lowest that are nearly as many as wanted, else the most."""
    runs: list[list[int]] = [[]]
    for bit in sorted(bits):
        if runs[-1] and runs[-1][-1] * 2 == bit:
            runs[-1].append(bit)
        else:
            runs.append([bit])
    own = next((run for run in runs if len(run) >= min(most, RUN_BITS)), max(runs, key=len))
    return own[:most]


def _rows(axes: np.ndarray, base: int, flipped: int, loose: Sequence[int], run: Sequence[int]) -> np.ndarray:
    """(loose bits.., bits of the run.., entry) view of rows whose other bits are those of ``base``."""
    width = axes.ndim - 1
    bits = [1 << (width - 1 - axis) for axis in range(width)]
    chosen: list[int | slice] = []
    for bit in bits:
        if bit in loose:
            chosen.append(slice(None, None, -1 if bit & flipped else 1))
        else:
            chosen.append(slice(None) if bit in run else int(bool(base & bit)))
    left = [bit for bit in bits if bit in loose or bit in run]
    view = axes[tuple(chosen)]
    return view.transpose(*(left.index(bit) for bit in (*loose, *run)), len(left))


def _add_signed(products: np.ndarray, blocks: np.ndarray, masks: np.ndarray, out: np.ndarray) -> None:
    """Add the blocks' products to (Pauli, branch, branch') sums, each with the sign that the Pauli gives it."""
    here = int(np.bitwise_or.reduce(blocks) ^ np.bitwise_and.reduce(blocks))  # bits that differ among these blocks
    distinct, which = np.unique(masks & here, return_inverse=True)
    signs = 1.0 - 2.0 * (np.bitwise_count(blocks & distinct[:, None]) & 1)
    sums = (signs @ products.reshape(len(blocks), -1).view(np.float64)).view(complex)
    common = 1.0 - 2.0 * (np.bitwise_count(int(blocks[0]) & masks & ~here) & 1)
    _add(sums.reshape(-1, *products.shape[1:]), which, common, out)


def _add(sums: np.ndarray, which: np.ndarray, signs: np.ndarray, out: np.ndarray) -> None:
    """Add to every Pauli its sum with its sign."""
    if out[0].size > PART:
        for own, k, sign in zip(out, which.tolist(), signs.tolist(), strict=True):
            (np.add if sign > 0 else np.subtract)(own, sums[k], out=own)
        return
    step = max(1, PART // out[0].size)
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        out[part] += sums[which[part]] * signs[part, None, None]
