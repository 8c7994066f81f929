"""New entries and topped-up ones, with where they come from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from qiskit import QuantumCircuit

from tasks.execution.cache.entry import Entry
from tasks.execution.cache.keys import Key, Target
from tasks.execution.cache.requests import NewCounts
from tasks.execution.cache.shots import to_canonical


def counts_entry(
    key: Key | None, made: NewCounts, cost: float, expires: float, circuit: QuantumCircuit, target: Target
) -> Entry:
    """Return the entry of counts just made; without a key it is for this call alone.

    Args:
        key: of the counts.
        made: what was run.
        cost: seconds it took.
        expires: seconds since the epoch, 0 for never.
        circuit: what was asked for.
        target: where it ran.
    """
    if key is None:
        return Entry(b"", np.empty(0), blocks=(made.counts,), provenance=dict(made.origin))
    provenance = {
        **made.origin,
        "circuit": circuit.name,
        "written": key.written,
        "backend": f"{target.backend} {target.version}".strip(),
        "level": key.level,
    }
    block = to_canonical(made.counts, key.bits, key.inverted)
    return Entry(key.material, key.angles, (block,), None, cost, time.time(), expires, provenance, made.keep)


def topped_up(key: Key, stored: Entry, made: NewCounts, cost: float) -> Entry:
    """Return a stored pool with one more execution at its end; where provenance differs, both are listed."""
    provenance = dict(stored.provenance)
    for name, text in made.origin.items():
        known = provenance.get(name, "")
        if text not in known.split(","):
            provenance[name] = f"{known},{text}" if known else text
    block = to_canonical(made.counts, key.bits, key.inverted)
    return replace(
        stored, blocks=(*stored.blocks, block), cost=stored.cost + cost, provenance=provenance, keep=made.keep
    )


def array_entry(key: Key, array: np.ndarray, cost: float, expires: float, provenance: Mapping[str, str]) -> Entry:
    """Return the entry of an array just computed."""
    about = {"level": key.level, **provenance}
    return Entry(key.material, key.angles, (), np.asarray(array), cost, time.time(), expires, about)
