"""Qompass is used from its checkout; packages of the same names in front of ours are named, not imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("apps", "resources_xml", "scheduler_policies", "tasks")


def check_packages(root: Path = ROOT) -> None:
    """See that the packages Qompass is made of are those of its checkout.

    Raises:
        ImportError: another file has the name of one of them; the message is one line that says which.
    """
    for name in PACKAGES:
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None) or importlib.util.find_spec(name)
        folders = list(spec.submodule_search_locations or []) if spec is not None else []
        where = (spec.origin if spec is not None and spec.origin else None) or next(iter(folders), "nothing")
        if str(root / name) not in [str(Path(folder).resolve()) for folder in folders]:
            raise ImportError(
                f"{where} hides the package '{name}' of Qompass ({root / name}): rename it, or start Python elsewhere"
            )


check_packages()
