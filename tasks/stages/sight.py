"""What another node has written to a shared folder, looked for until it must be there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.runs import read_record
from tasks.stages.reports import unseen

SIGHT_S = 60.0  # what another node has written is seen after so long at most (the default of NFS clients)
_LOOK_S = 0.25


def seen_run(run_folder: Path) -> Path:
    """A run's folder that another node may have made a moment ago.

    Raises:
        RunRecordError: there is none.
    """
    path = Path(run_folder).absolute()
    if not (path / "record.json").exists() and path.parent.is_dir():
        _refresh(path if path.is_dir() else path.parent)
    read_record(path)
    return path.resolve()


def _refresh(folder: Path) -> None:
    """Make a file server's client ask again what is in a folder: it does when it has changed something there."""
    probe = folder / f".{time.monotonic_ns()}.partial"
    with contextlib.suppress(OSError):
        probe.touch()
        probe.unlink()


def still_unseen(path: Path, report: Mapping[str, Any]) -> list[str]:
    """Results of a report that stay unseen for as long as it may take."""
    when_seen(lambda: None if unseen(path, report) else True)
    return unseen(path, report)


def when_seen(look: Callable[[], Any]) -> Any:
    """What ``look`` gives as soon as that is not None, or None after ``SIGHT_S``."""
    deadline = time.monotonic() + SIGHT_S
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return found
