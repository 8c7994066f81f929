"""The objectives there are: a new one is its file in this folder, with its subclass of ``Objective``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from tasks.cutting.errors import CuttingError
from tasks.cutting.objectives.objective import Objective


def _of_this_room() -> dict[str, Objective]:
    for module in pkgutil.iter_modules(import_module(str(__package__)).__path__):
        import_module(f"{__package__}.{module.name}")
    return {kind.name: kind() for kind in sorted(Objective.__subclasses__(), key=lambda kind: kind.name)}


OBJECTIVES = _of_this_room()


def find_objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        CuttingError: there is none.
    """
    if name not in OBJECTIVES:
        raise CuttingError(f"no objective {name!r}: name one of {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[name]
