"""Qiskit's transpiler without the stages that other packages add to it, where nobody has asked for one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

from stevedore import ExtensionManager

_GROUP = "qiskit.transpiler.translation"
_lock = threading.RLock()


@contextmanager
def own_stages() -> Iterator[None]:
    """In here a preset pass manager is made of Qiskit's own stages.

    Qiskit loads every translation stage that is installed whenever it makes one, and those of qiskit-ibm-runtime import
    the whole package: 1.5 s in each process that writes circuits for a QPU.
    """
    listed = ExtensionManager.ENTRY_POINT_CACHE
    with _lock:
        before = listed.get(_GROUP)
        listed[_GROUP] = [own for own in entry_points(group=_GROUP) if own.module.startswith("qiskit.")]
        try:
            yield
        finally:
            del listed[_GROUP]
            if before is not None:
                listed[_GROUP] = before
