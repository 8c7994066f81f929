"""Counts of several variants as plain arrays that can be stored, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.model.tensor import VariantCounts


def pack_counts(counts: Sequence[VariantCounts]) -> dict[str, np.ndarray]:
    """Counts of several variants as arrays that can be stored.

    Returns:
        outcomes: (byte,) uint8, all outcome tables one after the other, each row by row; counts: (row,) int64;
        rows: (variant,) int64, rows of each variant; bits: (variant,) int64, measured bits of each; where a device's
        errors were mitigated also readings: (bit, 2) float64, and weights: (row,) float64, those of all variants one
        after the other (see ``VariantCounts``).
    """
    arrays = {
        "outcomes": np.concatenate([c.outcomes.reshape(-1) for c in counts]),
        "counts": np.concatenate([c.counts for c in counts]),
        "rows": np.array([len(c.counts) for c in counts], dtype=np.int64),
        "bits": np.array([c.num_bits for c in counts], dtype=np.int64),
    }
    if any(c.readings is not None for c in counts):
        plain = np.array([[1.0, -1.0]])
        arrays["readings"] = np.concatenate(
            [np.repeat(plain, c.num_bits, axis=0) if c.readings is None else c.readings for c in counts]
        )
    if any(c.weights is not None for c in counts):
        arrays["weights"] = np.concatenate([np.ones(len(c.counts)) if c.weights is None else c.weights for c in counts])
    return arrays


def unpack_counts(arrays: Mapping[str, np.ndarray]) -> list[VariantCounts]:
    """The inverse of ``pack_counts``."""
    rows, bits = arrays["rows"], arrays["bits"]
    widths = np.maximum(1, (bits + 7) // 8)
    by_row, by_bit, by_byte = _parts(rows), _parts(bits), _parts(rows * widths)
    outcomes, counts = arrays["outcomes"], arrays["counts"]
    readings, weights = arrays.get("readings"), arrays.get("weights")
    return [
        VariantCounts(
            outcomes[table].reshape(-1, width),
            counts[row],
            n,
            None if readings is None else readings[bit],
            None if weights is None else weights[row],
        )
        for table, row, bit, width, n in zip(by_byte, by_row, by_bit, widths.tolist(), bits.tolist(), strict=True)
    ]


def _parts(lengths: np.ndarray) -> list[slice]:
    ends = np.cumsum(lengths).tolist()
    return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
