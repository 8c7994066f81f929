"""What the numbers of a process depend on: Python, packages, and the text of Qompass itself."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("qompass", "qiskit", "qiskit-aer", "qiskit-addon-cutting", "numpy", "scipy", "distributed", "cotengra")

_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("resources_xml", "scheduler_policies", "tasks")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **dict(_of_packages())}


@functools.cache
def _of_packages() -> tuple[tuple[str, str], ...]:
    found = []
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)


def environment_of_tasks() -> dict[str, str]:
    """The versions, and a digest of the rooms that tasks are made of: processes of one run must have the same."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((_ROOT / room).rglob("*.py")):
            digest.update(f"{path.relative_to(_ROOT)} ".encode() + path.read_bytes())
    return {**versions(), "qompass": f"{versions().get('qompass', '?')} ({digest.hexdigest()[:12]})"}


def difference(mine: dict[str, str], theirs: dict[str, str]) -> str:
    """In words where two environments differ so that numbers may: "qiskit 2.6.2 here, 2.6.1 there"; else ""."""
    for name in sorted(mine.keys() | theirs.keys()):
        here, there = (_essential(name, one.get(name, "none")) for one in (mine, theirs))
        if here != there:
            return f"{name} {here} here, {there} there"
    return ""


def _essential(name: str, version: str) -> str:
    return ".".join(version.split(".")[:2]) if name == "python" else version
