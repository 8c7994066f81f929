"""Counts as they come from a device, held against what the device can have measured."""

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
