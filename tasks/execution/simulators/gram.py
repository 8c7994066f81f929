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
from itertools import product

import numpy as np

from scheduler_policies.machine import ADDED_FROM, GRAM_PRODUCTS, PART, RUN_BITS
from tasks.execution.simulators.accelerator import Accelerator
from tasks.execution.simulators.passes import Pass
from tasks.execution.simulators.products import patterns
from tasks.execution.simulators.signed_sums import SignedSums

_RUN = 12  # log2 of the numbers of a run of rows that are multiplied together
_ALIKE, _APART = 512, 16  # numbers of a row from which so many more follow it
_SHORT = 4  # log2 of the rows of a run that is worth more than a longer one that is copied


def half_grams(state: np.ndarray, one: Pass, gpu: Accelerator | None = None) -> np.ndarray:
    """A, with <psi_b'| P |psi_b> = p A + (p A)^dagger for every Hermitian Pauli P = p X^x Z^z, p = i^|x & z|.

    Args:
        state: (2**n, 2 branch) real of ``set_apart``, or (2**n, branch) complex on the GPU; bits exchanged as the pass
            says.
        one: the pass.
        gpu: where the products are made; None: here.

    Returns:
        (Pauli, branch, branch') complex for the Paulis of the pass.
    """
    rows = state.shape[0]
    free = [bit for bit in (1 << k for k in range(rows.bit_length() - 1)) if bit != one.pivot]
    outer, inner = [bit for bit in free if bit & one.inside], [bit for bit in free if not bit & one.inside]
    if gpu is None:
        return _sums(state, one, outer, inner)
    branches = state.shape[1]
    most = max(0, gpu.part // branches).bit_length() - 1  # a block of any length would be gathered whole
    outer, inner = outer + inner[max(most, 0) :], inner[: max(most, 0)]
    out = np.zeros((len(one.masks_z), branches, branches), dtype=complex)
    common = int(one.masks_z[0]) & sum(inner)
    for blocks, products in gpu.block_sums(state, one.mask_x, outer, inner, common):
        _add_signed(products, blocks, one.masks_z & ~common, out)
    if not one.mask_x:
        out *= 0.5
    return out


def set_apart(amplitudes: np.ndarray) -> np.ndarray:
    """(2**n, 2 branch) real: in every row the real parts before the imaginary ones; in the same memory."""
    rows, branches = amplitudes.shape
    real = amplitudes.view(np.float64)
    step = max(1, PART // branches)
    for start in range(0, rows, step):
        part = amplitudes[start : start + step].copy()
        own = real[start : start + step]
        own[:, :branches], own[:, branches:] = part.real, part.imag
    return real


def _sums(state: np.ndarray, one: Pass, outer: Sequence[int], inner: Sequence[int]) -> np.ndarray:
    """psi_b[q] conj(psi_b'[q ^ x]) (-1)^(z.q), summed over all rows: (Pauli, branch, branch') complex."""
    rows, branches = len(state), state.shape[1] // 2
    axes = state.reshape((2,) * (rows.bit_length() - 1) + (2 * branches,))
    common = int(one.masks_z[0]) & sum(inner)
    longest = max(_RUN - branches.bit_length(), min(branches.bit_length(), 9))
    run, turned = _run(inner, one.mask_x | common, longest)
    short = len(run) < min(len(inner), longest, branches.bit_length())  # a product would be larger than what it is of
    if short:
        run, turned = sorted(inner)[:longest][::-1], True
    bits = sorted((bit for bit in (*outer, *inner) if bit not in run), reverse=True)
    copied = max(1, 2 * PART // (2 * branches << len(run))) if turned or not one.mask_x else GRAM_PRODUCTS
    # As many products as the state has amplitudes; of a small state more, which cost less than doing few at a time.
    held = min(GRAM_PRODUCTS, max(state.size // 2, min(PART, 2 * branches * state.size)))
    many = min(len(bits), min(copied, max(1, held // (2 * branches) ** 2)).bit_length() - 1)
    fixed, loose = bits[: len(bits) - many], bits[len(bits) - many :]
    products = _Products([2] * many, branches, alone=not one.mask_x, copied=turned)
    sums = SignedSums(bits, many, one.masks_z, branches, products.entries, products.joined)
    shape = (*[2] * many, 1 << len(run), 2 * branches)
    kets = _rows(axes, 0, fixed, loose, run)
    bras = kets if turned or not one.mask_x else _rows(axes, one.mask_x, fixed, loose, run)
    if turned:
        within = patterns(run[::-1])
        numbers = (patterns(loose[::-1])[:, None] | within).reshape(-1)
        turn = 1.0 - 2.0 * (np.bitwise_count(within & common) & 1)[:, None]
        copied_bra = np.empty((len(numbers), 2 * branches))
        copied_ket = np.empty(copied_bra.shape if short else (0, 0))
    for index in product((0, 1), repeat=len(fixed)):
        if turned:
            own = numbers ^ sum(bit for bit, is_one in zip(fixed, index, strict=True) if is_one)
            bra = np.take(state, own ^ one.mask_x, axis=0, out=copied_bra, mode="clip").reshape(shape)
            bra *= turn
        else:
            bra = bras[index].reshape(shape, copy=False)
        if short:
            ket = np.take(state, own, axis=0, out=copied_ket, mode="clip").reshape(shape)
        else:
            ket = kets[index].reshape(shape, copy=False)
        sums.add(products.of(ket, bra))
    return sums.end()


class _Products:
    """Of blocks of rows, each a row of numbers: the products of all real and imaginary parts, or those that are enough.

    Of a block with itself, whose product is Hermitian, the real and the imaginary part added: one product of real
    numbers, of half the work, with the rows times 1 + i. Where rows are short these take longer to make than to copy.

    Args:
        axes: of the blocks.
        branches: columns of a block's real parts, and of its imaginary ones.
        alone: whether blocks are multiplied with themselves.
        copied: whether these are given as copies, maybe with other signs.
    """

    def __init__(self, axes: Sequence[int], branches: int, *, alone: bool, copied: bool):
        self._branches, self._alone, self._copied = branches, alone, copied
        self._added = alone and branches >= ADDED_FROM
        size = branches if self._added else 2 * branches
        self.entries = size**2
        # A few numbers more a row: those below each other would fall into one place of a cache.
        width = self.entries + (_APART if self.entries % _ALIKE == 0 else 0)
        self._blocks = np.empty((2 ** len(axes), width))
        self._out = self._blocks[:, : self.entries].reshape(*axes, size, size, copy=False)
        self._other = np.empty(0)

    def of(self, ket: np.ndarray, bra: np.ndarray) -> np.ndarray:
        """(block, entry) from (block.., row, real and imaginary part of a branch) twice."""
        if self._added or (self._alone and not self._copied):
            if self._other.shape != bra.shape:
                self._other = np.empty(bra.shape)
            if self._added:
                ket, bra = self._added_parts(ket, bra)
            else:  # of two equal factors numpy would make half a product, by a routine that takes far longer
                np.copyto(self._other, bra)
                bra = self._other
        np.matmul(ket.swapaxes(-1, -2), bra, out=self._out)
        return self._blocks[:, : self.entries]

    def _added_parts(self, ket: np.ndarray, bra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The factors (block.., row and part, branch), of which the second is times 1 + i."""
        own, blocks, other = self._branches, bra.shape[:-2], self._other
        together = bra.reshape(*blocks, -1)  # a copy where rows do not follow each other
        # Sums of few numbers take several times as long: one sum over all rows, and what it makes wrong once more.
        np.add(together[..., own:], together[..., :-own], out=other.reshape(*blocks, -1, copy=False)[..., own:])
        np.subtract(bra[..., :own], bra[..., own:], out=other[..., :own])
        left = ket if self._copied else together
        return left.reshape(*blocks, -1, own), other.reshape(*blocks, -1, own, copy=False)

    def joined(self, sums: np.ndarray) -> np.ndarray:
        """(Pauli, branch, branch') complex of sums of (Pauli, entry).

        Of a block with itself what gives them with its adjoint added.
        """
        branches = self._branches
        out = np.empty((len(sums), branches, branches), dtype=complex)
        if self._added:
            out.real = out.imag = 0.5 * sums.reshape(-1, branches, branches)
            return out
        parts = sums.reshape(-1, 2, branches, 2, branches)
        np.add(parts[:, 0, :, 0], parts[:, 1, :, 1], out=out.real)
        np.subtract(parts[:, 1, :, 0], parts[:, 0, :, 1], out=out.imag)
        if self._alone:
            out *= 0.5
        return out


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


def _rows(axes: np.ndarray, flipped: int, fixed: Sequence[int], loose: Sequence[int], run: Sequence[int]) -> np.ndarray:
    """(fixed bits.., loose bits.., bits of the run.., entry) view of the rows without the pivot, some bits flipped."""
    width = axes.ndim - 1
    order = (*fixed, *loose, *run)
    bits = [1 << (width - 1 - axis) for axis in range(width)]
    chosen = [
        slice(None, None, -1 if bit & flipped else 1) if bit in order else int(bool(bit & flipped)) for bit in bits
    ]
    left = [bit for bit in bits if bit in order]
    return axes[tuple(chosen)].transpose(*(left.index(bit) for bit in order), len(left))


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
