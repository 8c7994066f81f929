"""The exact path: a fragment's whole tensor from its one open-leg state, by array arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from scheduler_policies.machine import CHUNK_BYTES, TRANSFORM_FROM
from tasks.cutting.plan import Fragment, Leg
from tasks.reconstruction.statistics.walsh import walsh


def exact_tensor(fragment: Fragment, state: np.ndarray) -> np.ndarray:
    """Fragment tensor from the open-leg state.

    For every factor P the Gram matrix <psi_b'| P |psi_b> over all branches b, b' and all outgoing wire legs, changed to
    the leg bases of tasks/model/tensor.py.

    Args:
        fragment: the fragment.
        state: what ``open_state`` returned for it.

    Returns:
        (leg_0, ..., leg_k, factor) float64.
    """
    legs = fragment.legs
    gone = {leg.qubit for leg in legs if leg.kind.opens_qubit}
    rest = [q for q in range(fragment.num_qubits) if q not in gone]
    psi = branches_first(fragment, state, rest)
    size = psi.shape[0]
    tensor = np.empty((*(leg.dimension for leg in legs), fragment.num_factors))
    masks_x, masks_z = (_masks(part[:, rest]) for part in (fragment.factors_x, fragment.factors_z))
    phases = 1j ** (fragment.factors_x & fragment.factors_z).sum(axis=1)
    batch = max(1, CHUNK_BYTES // (16 * size * size))
    for mask in np.unique(masks_x):
        members = np.flatnonzero(masks_x == mask)
        for start in range(0, len(members), batch):
            part = members[start : start + batch]
            gram = _gram(psi, int(mask), masks_z[part]) * phases[part]
            tensor[..., part] = to_leg_bases(gram, legs)
    return tensor


def branches_first(fragment: Fragment, state: np.ndarray, rest: Sequence[int]) -> np.ndarray:
    """An open-leg state with the axes of all legs, in leg order, first.

    Args:
        fragment: the fragment.
        state: what ``open_state`` returned for it.
        rest: local qubits that no leg takes away, the most significant first.

    Returns:
        (branch, outcome) complex128.
    """
    branching = sum(not leg.kind.opens_qubit for leg in fragment.legs)
    ancillas = count()
    order = [branching + leg.qubit if leg.kind.opens_qubit else next(ancillas) for leg in fragment.legs]
    moved = state.transpose(order + [branching + q for q in rest])
    size = int(np.prod(moved.shape[: len(order)], dtype=np.int64))
    return np.ascontiguousarray(moved).reshape(size, -1)


def _masks(bits: np.ndarray) -> np.ndarray:
    """(factor,) int64: bit patterns over the rest axis, whose first qubit is the most significant."""
    weights = 1 << np.arange(bits.shape[1] - 1, -1, -1, dtype=np.int64)
    return bits.astype(np.int64) @ weights if bits.shape[1] else np.zeros(len(bits), dtype=np.int64)


def _gram(psi: np.ndarray, mask_x: int, masks_z: np.ndarray) -> np.ndarray:
    """(branch, branch', factor) complex: sum over r of (X^x Z^z psi_b)[r] conj(psi_b'[r])."""
    size, length = psi.shape
    index = np.arange(length)
    source = index ^ mask_x
    flipped = psi[:, source] if mask_x else psi
    if len(masks_z) > TRANSFORM_FROM:
        out = np.empty((size, size, len(masks_z)), dtype=complex)
        rows = max(1, CHUNK_BYTES // (32 * size * length))  # the products and their transform
        for start in range(0, size, rows):
            # Z acts before X, on the flipped index; reading products at the flipped index makes it a plain transform.
            products = psi[start : start + rows, None, :] * psi.conj()[None, :, source]
            out[start : start + rows] = walsh(products)[..., masks_z]
        return out
    bra = np.ascontiguousarray(psi.conj().T)
    out = np.empty((size, size, len(masks_z)), dtype=complex)
    for k, mask in enumerate(masks_z):
        signed = flipped * _signs(source, int(mask)) if mask else flipped
        out[:, :, k] = signed @ bra
    return out


def _signs(index: np.ndarray, mask: int) -> np.ndarray:
    return 1.0 - 2.0 * (np.bitwise_count(index & mask) & 1)


def to_leg_bases(gram: np.ndarray, legs: tuple[Leg, ...]) -> np.ndarray:
    """Change (branch, branch', k) complex products of branches to the legs' bases: (leg_0, ..., leg_k, k) float64."""
    sizes = [leg.rank for leg in legs]
    count, factors = len(legs), gram.shape[-1]
    pairs = gram.reshape(*sizes, *sizes, factors)
    order = [axis for k in range(count) for axis in (k, count + k)] + [2 * count]
    entries = pairs.transpose(order).reshape(*(s * s for s in sizes), factors)
    for axis, leg in enumerate(legs):
        change = leg.kind.basis_change()
        entries = np.moveaxis(np.tensordot(change, entries, axes=(1, axis)), 0, axis)
    return entries.real
