"""A worker of a pilot, which has loaded what runs need before the first of them comes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tasks.runtime.children import start_children
from tasks.runtime.dask_cluster import serve_worker
from tasks.runtime.machine import usable_cores

FIRST = "first:"
_CHILDREN = 4  # as many as a run on one machine starts at once; further ones come with the tasks that need them


def serve_ready_worker(folder: str, offer: Sequence[str]) -> None:
    """Be a worker of the pilot in ``folder`` until a signal or the scheduler's end.

    Args:
        folder: of the pilot.
        offer: NAME=UNITS of processors, for those of the first node of a Slurm job alone with ``FIRST`` before; cores
            that this process may use where it says no CPU.
    """
    here = os.environ.get("SLURM_NODEID", "0") == "0"
    pairs = [word.removeprefix(FIRST).partition("=") for word in offer if here or not word.startswith(FIRST)]
    units = {"CPU": usable_cores()} | {name: int(count) for name, _, count in pairs}
    start_children(min(_CHILDREN, units["CPU"]))
    import tasks.execute
    import tasks.reconstruct
    import tasks.tensors  # noqa: F401

    serve_worker(folder, units, told=print)
