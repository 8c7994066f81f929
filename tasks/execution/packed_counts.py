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


class PackedParts:
    """Counts of variants that become known part by part, in any order: no object for each of thousands of them.

    Args:
        variants: how many there are.
    """

    def __init__(self, variants: int):
        self._rows = np.zeros(variants, dtype=np.int64)
        self._bits = np.zeros(variants, dtype=np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(
        self, members: np.ndarray, rows: np.ndarray, bits: np.ndarray, outcomes: np.ndarray, counts: np.ndarray
    ) -> None:
        """Take counts of some variants.

        Args:
            members: (member,) which variants.
            rows: (member,) how many outcomes of each.
            bits: (member,) how many bits each read.
            outcomes: (row, byte) uint8, of one after the other; bytes that a variant does not have are 0.
            counts: (row,) int64.
        """
        self._rows[members], self._bits[members] = rows, bits
        self._parts.append((members, outcomes, counts))

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them as ``pack_counts`` gives them; what was held before is let go."""
        widths = np.maximum(1, (self._bits + 7) // 8)
        row_ends, byte_ends = np.cumsum(self._rows), np.cumsum(self._rows * widths)
        counts = np.empty(int(self._rows.sum()), dtype=np.int64)
        packed = np.empty(int((self._rows * widths).sum()), dtype=np.uint8)
        for members, outcomes, own in self._parts:
            rows, width = self._rows[members], np.repeat(widths[members], self._rows[members])
            place = np.arange(len(own)) - np.repeat(np.cumsum(rows) - rows, rows)
            counts[np.repeat(row_ends[members] - rows, rows) + place] = own
            place *= width
            place += np.repeat(byte_ends[members] - rows * widths[members], rows)
            for byte in range(outcomes.shape[1]):
                has = width > byte
                packed[place[has] + byte] = outcomes[has, byte]
        self._parts.clear()
        return {"outcomes": packed, "counts": counts, "rows": self._rows, "bits": self._bits}


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
