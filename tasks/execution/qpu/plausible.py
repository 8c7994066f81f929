"""Counts as they come from a device: put together, and held against what the device can have measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.programs import Program
from tasks.execution.qpu.target import QpuTarget, expected_flips
from tasks.model.tensor import VariantCounts

FLIPS_CERTAIN = 25.0  # so many expected readout errors fail to show with probability exp(-25)


def nothing_measured(shots: int) -> VariantCounts:
    """Counts of a variant that measures nothing."""
    return VariantCounts(np.zeros((1, 1), dtype=np.uint8), np.array([int(shots)], dtype=np.int64), 0)


def merge_counts(first: VariantCounts, second: VariantCounts) -> VariantCounts:
    """Counts of the same variant from two jobs as one."""
    rows = np.concatenate([first.outcomes, second.outcomes])
    outcomes, inverse = np.unique(rows, axis=0, return_inverse=True)
    weights = np.concatenate([first.counts, second.counts])
    counts = np.zeros(len(outcomes), dtype=np.int64)
    np.add.at(counts, inverse.reshape(-1), weights)
    return VariantCounts(outcomes, counts, first.num_bits)


def check_plausible(target: QpuTarget, programs: Sequence[Program], counts: Sequence[VariantCounts]) -> None:
    """A job in which no bit was ever 1 (or ever 0), though the device's own readout errors alone must have made some.

    Raises:
        QpuError: the counts cannot have been measured.
    """
    for value, word in ((0, "zero"), (1, "one")):
        flips = 0.0
        for program, found in zip(programs, counts, strict=True):
            bits = np.unpackbits(found.outcomes, axis=1, count=found.num_bits, bitorder="little")
            if (bits != value).any():
                break
            flips += expected_flips(target, program.measured, found.shots, value)
        else:
            if flips > FLIPS_CERTAIN:
                raise QpuError(
                    Fault.IMPLAUSIBLE,
                    target.resource,
                    f"every bit of every shot is {word}, where its readout errors alone should flip {flips:.0f}",
                )
