"""A place for runs that nobody asked to keep: it goes when the program is done, so nothing in it is flushed to disk."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.runtime.scratch import scratch_folder

_MARK = ".not-kept"


@contextlib.contextmanager
def temporary_runs() -> Iterator[Path]:
    """A folder for runs, as long as the block lasts."""
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        (Path(folder) / _MARK).touch()
        yield Path(folder)


def is_temporary(run: Path) -> bool:
    """Whether a run's folder is in such a place."""
    return (run.parent / _MARK).exists()
