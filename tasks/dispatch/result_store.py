"""Results that an earlier process of a run has left in its folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.execution.jobs import ExactJob, FragmentJob
from tasks.execution.pieces import Done, Piece
from tasks.runs import RunDirectory


def found_results(
    jobs: Sequence[FragmentJob], directory: RunDirectory
) -> tuple[list[tuple[Done, dict[str, np.ndarray]]], list[Piece]]:
    """What is there already, and what is still to do.

    A stored result counts only if it was asked for in the same words (``FragmentJob.digest``).
    """
    stored = dict(directory.results.stored(tuple(f"fragment-{job.fragment.index}-" for job in jobs)))
    rounds: dict[tuple[int, int], list[str]] = {}
    for key, result in stored.items():
        if {"fragment", "round", "first", "count"} <= result.meta.keys():
            rounds.setdefault((result.meta["fragment"], result.meta["round"]), []).append(key)
    found = []
    todo: list[Piece] = []
    for job in jobs:
        piece, whole = job.piece, job.as_exact()
        if whole.key in stored and stored[whole.key].meta.get("digest") == whole.digest:
            meta = stored[whole.key].meta
            found.append((Done(piece.as_exact(), whole.key, meta, True), stored[whole.key].arrays))
            continue
        ranges: list[tuple[int, int]] = []
        if isinstance(job, ExactJob):
            todo.append(piece)
            continue
        for key in rounds.get((piece.fragment, piece.round_index), []):
            first, count = stored[key].meta["first"], stored[key].meta["count"]
            # A task that died may have left a part of what was then cut anew: the same shots must not count twice.
            if any(first < other + n and other < first + count for other, n in ranges):
                continue
            if job.share(first, count).digest == stored[key].meta.get("digest"):
                found.append((Done(piece.share(first, count), key, stored[key].meta, True), stored[key].arrays))
                ranges.append((first, count))
        todo += piece.missing(ranges)
    return found, todo
