"""Fragment tensors and the network they form: what execution hands to reconstruction.

A cut has two *ends*, 0 and 1, and each end is one leg of one fragment. The network joins leg ``a`` (end 0) and
leg ``b`` (end 1) of a cut through the cut's *bond* matrix ``W[a, b]``:

    <P_t> = sum over all leg indices of  prod_cuts W_c[a_c, b_c] * prod_fragments T_f[legs of f, factor_f(t)]

Leg bases (the same for exact and sampled fragments, so that both kinds mix in one network):

* wire cut, end 0 (upstream) and end 1 (downstream): the Paulis I, X, Y, Z, dimension 4, bond identity / 2,
  from rho = 1/2 sum_P Tr(P rho) P. Entry P of an upstream leg is the expectation of P; entry P of a downstream leg
  is the value with the operator P put in, by linearity.
* gate cut: the real basis of superoperators sigma_j . sigma_k of the gate's operator-Schmidt terms: dimension 4 for a
  one-angle gate (CX, CZ, rzz, ...), 16 for a general one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array


@dataclass(frozen=True)
class VariantCounts:
    """What a device returned for one variant.

    Attributes:
        outcomes: (outcome, byte) uint8, the distinct bit strings seen, measured bit ``i`` at byte ``i // 8``,
            bit ``i % 8`` (``np.packbits(..., bitorder="little")``). Rows are unique and sorted (with ``weights``: among
            those of one weight).
        counts: (outcome,) int64, how often each was seen; positive.
        num_bits: how many bits were measured.
        readings: (bit, 2) float64, what a 0 and a 1 of each bit contribute to a parity where readout errors are
            mitigated; None where it is +1 and -1. The first is positive, the second negative.
        weights: (outcome,) float64, what a shot of each outcome counts for where the mean of all shots extrapolates
            to zero noise; None where every shot counts for 1. Shots of one weight are one sample of their own.
    """

    outcomes: np.ndarray
    counts: np.ndarray
    num_bits: int
    readings: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def shots(self) -> int:
        """Total number of shots."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class LegSettings:
    """The settings of one leg on the sampled path and how they span the leg basis.

    A *setting* is one preparation or measurement that a device can do. Each gives one raw column (its outcomes summed)
    and, where it measures a bit, a second one (its outcomes weighted by (-1)**bit).

    Attributes:
        columns: (raw, 2) int, for each raw column its setting and whether it is signed (0 or 1).
        inverse: (leg, raw) float64, leg-basis entries as combinations of raw columns.
        num_settings: how many settings there are.
    """

    columns: np.ndarray
    inverse: np.ndarray
    num_settings: int


@dataclass(frozen=True)
class VariantData:
    """One variant of a sampled fragment: which entries of the tensor its counts determine.

    Attributes:
        settings: (leg,) the setting of each leg.
        leg_bits: (leg,) the measured bit that carries the leg's sign, or -1 where its setting measures none.
        factors: (k,) indices of the observable factors this variant's measurement group determines.
        factor_masks: (k, num_bits) bool, the bits whose parity gives each factor's sign.
        counts: what the device returned.
        half: 0, or 1 for the second half of the shots where these were taken in rounds (see ``SampledData``).
    """

    settings: tuple[int, ...]
    leg_bits: tuple[int, ...]
    factors: np.ndarray
    factor_masks: np.ndarray
    counts: VariantCounts
    half: int = 0


@dataclass(frozen=True)
class SampledData:
    """The counts behind a sampled fragment tensor: its covariance, kept as the samples themselves.

    Entries estimated from the same shots are correlated (I and Z of a leg, all factors of a measurement group);
    keeping the outcomes gives every quadratic form g^T Cov g exactly, without ever building Cov.

    Attributes:
        legs: settings of each leg, in axis order.
        variants: every (leg settings, measurement group) combination. When a factor is in several groups, the tensor
            averages over them (weighted by shots). Shots taken in rounds come in two halves: what a later round takes
            for one half is decided by the other, so that within a half no weight depends on the half's own counts,
            and the tensor is the mean of the two halves' tensors, which is unbiased.
    """

    legs: tuple[LegSettings, ...]
    variants: tuple[VariantData, ...]

    @property
    def halves(self) -> int:
        """1, or 2 where the shots were taken in rounds."""
        return 1 + max((variant.half for variant in self.variants), default=0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as a few arrays: thousands of small objects take seconds on their way between processes."""
        own = self.variants
        if not own or any(v.counts.readings is not None or v.counts.weights is not None for v in own):
            return SampledData, (self.legs, own)
        kinds: dict[tuple[Any, ...], int] = {}
        which = [kinds.setdefault((v.leg_bits, id(v.factors), id(v.factor_masks), v.counts.num_bits), len(kinds))
                 for v in own]  # fmt: skip
        first = {kind: variant for kind, variant in zip(reversed(which), reversed(own), strict=True)}
        alike = [(first[k].leg_bits, first[k].factors, first[k].factor_masks, first[k].counts.num_bits)
                 for k in range(len(kinds))]  # fmt: skip
        rows = (len(v.counts.counts) for v in own)
        numbers = np.array([(*v.settings, v.half, k, n) for v, k, n in zip(own, which, rows, strict=True)])
        outcomes = np.concatenate([v.counts.outcomes.reshape(-1) for v in own])
        return _unpacked, (self.legs, alike, numbers, outcomes, np.concatenate([v.counts.counts for v in own]))


def _unpacked(
    legs: tuple[LegSettings, ...],
    alike: list[tuple[tuple[int, ...], np.ndarray, np.ndarray, int]],
    numbers: np.ndarray,
    outcomes: np.ndarray,
    counts: np.ndarray,
) -> SampledData:
    """The inverse of ``SampledData.__reduce__``."""
    variants = []
    byte = row = 0
    for *settings, half, kind, rows in numbers.tolist():
        leg_bits, factors, masks, bits = alike[kind]
        width = max(1, (bits + 7) // 8)
        table = outcomes[byte : byte + rows * width].reshape(rows, width)
        own = VariantCounts(table, counts[row : row + rows], bits)
        variants.append(VariantData(tuple(settings), leg_bits, factors, masks, own, half))
        byte, row = byte + rows * width, row + rows
    return SampledData(legs, tuple(variants))


@dataclass(frozen=True)
class FragmentTensor:
    """A fragment's numbers: one axis per leg, the last one for its observable factors.

    Attributes:
        fragment: index of the fragment in its plan.
        values: (leg_0, ..., leg_k, factor) float64, in the leg bases of this module.
        samples: the counts behind it, or None when it is exact.
    """

    fragment: int
    values: np.ndarray
    samples: SampledData | None = None


@dataclass(frozen=True)
class Structure:
    """How fragments are joined and what is asked of them: all of a network but the tensors' entries.

    Attributes:
        legs: for each fragment, for each of its axes, (cut, end).
        bonds: for each cut, W of shape (dimension of end 0, dimension of end 1).
        factor_index: (term, fragment) int, which factor of each fragment a Pauli term takes.
        num_factors: (fragment,) number of factors of each fragment.
        coefficients: (observable, term) float64, sparse.
    """

    legs: tuple[tuple[tuple[int, int], ...], ...]
    bonds: tuple[np.ndarray, ...]
    factor_index: np.ndarray
    num_factors: tuple[int, ...]
    coefficients: csr_array
