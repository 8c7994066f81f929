"""Folders of runs as users write them and as they are shown."""

from __future__ import annotations

from pathlib import Path


def run_path(name: str, out: Path) -> Path:
    """The folder of a run: what the name says, or the run of this id in ``out``."""
    path = Path(name)
    return path if path.exists() else Path(out / name)


def shown_path(path: Path) -> str:
    """A path relative to where the user stands, if it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
