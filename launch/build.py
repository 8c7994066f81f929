"""How pip installs Qompass: as an editable install of its checkout, and in no other way.

A wheel would own the packages ``tasks`` and ``apps`` in somebody's environment, and would lack the launchers and the
resources files; so none is made.
"""

from __future__ import annotations

from typing import Any, NoReturn

from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "prepare_metadata_for_build_editable",
]


def build_wheel(*_: Any, **__: Any) -> NoReturn:
    """Refuse."""
    raise SystemExit(
        "Qompass is used from its checkout: ./launch/qompass sets it up; `pip install -e .` adds it to an environment"
    )


build_sdist = build_wheel
