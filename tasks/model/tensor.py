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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

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
class VariantMeaning:
    """What the measured bits of a variant say: bits of the legs first, in leg order, then those of the group's qubits.

    Attributes:
        leg_bits: (leg,) the bit that carries each leg's sign, or -1.
        factors: (k,) the factors its group determines.
        factor_masks: (k, m) bool, the bits whose parity is each factor's sign.
    """

    leg_bits: tuple[int, ...]
    factors: np.ndarray
    factor_masks: np.ndarray

    @property
    def num_bits(self) -> int:
        """How many bits are measured."""
        return int(self.factor_masks.shape[1])


@dataclass(frozen=True)
class VariantColumns(Sequence[VariantData]):
    """Variants as a few arrays: thousands of small objects take seconds to make, to sum over and to send.

    Attributes:
        meanings: what bits mean; many variants share one.
        which: (variant,) int64, the meaning of each.
        settings: (variant, leg) int64.
        halves: (variant,) int64.
        rows: (variant,) int64, how many outcomes each has.
        outcomes: (byte,) uint8, the tables of outcomes one after the other, each row by row.
        counts: (row,) int64.
        readings: of the variants that have them, by position; ``weights`` too.
    """

    meanings: tuple[VariantMeaning, ...]
    which: np.ndarray
    settings: np.ndarray
    halves: np.ndarray
    rows: np.ndarray
    outcomes: np.ndarray
    counts: np.ndarray
    readings: Mapping[int, np.ndarray] = field(default_factory=dict)
    weights: Mapping[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, variants: Sequence[VariantData]) -> VariantColumns:
        """The columns of variants of one fragment."""
        numbers: dict[tuple[Any, ...], int] = {}
        keys = ((v.leg_bits, id(v.factors), id(v.factor_masks)) for v in variants)
        which = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
        first = [variants[k] for k in np.unique(which, return_index=True)[1].tolist()]
        legs = len(variants[0].settings) if len(variants) else 0
        return cls(
            tuple(VariantMeaning(v.leg_bits, np.asarray(v.factors), v.factor_masks) for v in first),
            which,
            np.array([v.settings for v in variants], dtype=np.int64).reshape(len(variants), legs),
            np.array([v.half for v in variants], dtype=np.int64),
            np.array([len(v.counts.counts) for v in variants], dtype=np.int64),
            np.concatenate([np.zeros(0, dtype=np.uint8), *(v.counts.outcomes.reshape(-1) for v in variants)]),
            np.concatenate([v.counts.counts for v in variants] or [np.zeros(0, dtype=np.int64)]),
            {k: v.counts.readings for k, v in enumerate(variants) if v.counts.readings is not None},
            {k: v.counts.weights for k, v in enumerate(variants) if v.counts.weights is not None},
        )

    @cached_property
    def bits(self) -> np.ndarray:
        """(variant,) int64, how many bits each read."""
        return np.array([own.num_bits for own in self.meanings], dtype=np.int64)[self.which]

    @cached_property
    def widths(self) -> np.ndarray:
        """(variant,) int64, bytes of an outcome."""
        return np.maximum(1, (self.bits + 7) // 8)

    @cached_property
    def row_ends(self) -> np.ndarray:
        """(variant,) int64."""
        return np.cumsum(self.rows)

    @cached_property
    def byte_ends(self) -> np.ndarray:
        """(variant,) int64."""
        return np.cumsum(self.rows * self.widths)

    @cached_property
    def shots(self) -> np.ndarray:
        """(variant,) int64."""
        sums = np.concatenate([[0], np.cumsum(self.counts)])
        return np.asarray(sums[self.row_ends] - sums[self.row_ends - self.rows]).astype(np.int64)

    @cached_property
    def mitigated(self) -> np.ndarray:
        """(variant,) bool, whether it has readings or weights."""
        found = np.zeros(len(self.which), dtype=bool)
        found[[*self.readings, *self.weights]] = True
        return found

    def rows_of(self, members: np.ndarray) -> np.ndarray:
        """(row of one of the members,) int64: where their rows are, one member after the other."""
        rows = self.rows[members]
        starts = self.row_ends[members] - rows
        return np.repeat(starts - np.cumsum(rows) + rows, rows) + np.arange(int(rows.sum()))

    def byte_of_row(self) -> np.ndarray:
        """(row,) int64: where the bytes of each row begin."""
        widths = np.repeat(self.widths, self.rows)
        return np.asarray(np.cumsum(widths) - widths)

    def __len__(self) -> int:
        """How many variants."""
        return len(self.which)

    @overload
    def __getitem__(self, at: int) -> VariantData: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[VariantData, ...]: ...

    def __getitem__(self, at: int | slice) -> VariantData | tuple[VariantData, ...]:
        """One variant, or several."""
        if isinstance(at, slice):
            return tuple(self[k] for k in range(*at.indices(len(self))))
        k = range(len(self))[at]
        meaning, rows, width = self.meanings[self.which[k]], int(self.rows[k]), int(self.widths[k])
        row, byte = int(self.row_ends[k]), int(self.byte_ends[k])
        counts = VariantCounts(
            self.outcomes[byte - rows * width : byte].reshape(rows, width), self.counts[row - rows : row],
            meaning.num_bits, self.readings.get(k), self.weights.get(k),
        )  # fmt: skip
        settings = tuple(self.settings[k].tolist())
        return VariantData(
            settings, meaning.leg_bits, meaning.factors, meaning.factor_masks, counts, int(self.halves[k])
        )


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
    variants: Sequence[VariantData]

    @cached_property
    def columns(self) -> VariantColumns:
        """The variants as arrays."""
        return self.variants if isinstance(self.variants, VariantColumns) else VariantColumns.of(self.variants)

    @property
    def halves(self) -> int:
        """1, or 2 where the shots were taken in rounds."""
        return 1 + int(self.columns.halves.max(initial=0))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as arrays."""
        return SampledData, (self.legs, self.columns)


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
