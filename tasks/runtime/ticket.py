"""Marks in a folder that say when a task has begun and when it has ended, for engines that cannot be asked.

COMPSs has no call that waits for any one of several tasks. Where the folder is shared with the nodes that execute them,
what has ended is seen in it and waited for first, so that a slow task holds nothing back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOOK_S = 0.02
_UNSEEN_S = 10.0  # tasks that have left no mark for so long run where the folder is not seen


@dataclass(frozen=True)
class Ticket:
    """What a task leaves its marks with: ``with ticket:`` around its work.

    Attributes:
        folder: where the marks are, "" where nobody looks for them.
        number: of the task.
        attempt: which try of its work it is.
    """

    folder: str
    number: int
    attempt: int = 0

    def __enter__(self) -> None:
        """Mark that the task has begun."""
        self._mark("begun")

    def __exit__(self, *error: object) -> None:
        """Mark that it has ended, however it did."""
        self._mark("ended")

    def begun(self) -> bool:
        """Whether it has begun, as far as is seen."""
        return self._path("begun").exists()

    def ended(self) -> bool:
        """Whether it has ended, as far as is seen."""
        return self._path("ended").exists()

    def _path(self, what: str) -> Path:
        return Path(self.folder) / f"{self.number}-{what}"

    def _mark(self, what: str) -> None:
        if self.folder:
            with contextlib.suppress(OSError):  # not seen from here: the application then waits in order
                self._path(what).touch()


def in_order_of_end(
    futures: Sequence[Any], tickets: Sequence[Ticket], wait_on: Callable[[Any], Any]
) -> Iterator[tuple[int, Any]]:
    """(position, result) of each future, those first whose tasks have ended; in the order given where no mark is seen.

    Args:
        futures: of the tasks.
        tickets: of the same tasks.
        wait_on: waits for one future.
    """
    pending = dict(enumerate(futures))
    seen, since = False, time.monotonic()
    while pending:
        ended = [position for position in pending if tickets[position].ended()]
        for position in ended:
            yield position, wait_on(pending.pop(position))
        if ended:
            seen = True
            continue
        seen = seen or any(tickets[position].begun() for position in pending)
        if not seen and time.monotonic() - since > _UNSEEN_S:
            position = next(iter(pending))
            yield position, wait_on(pending.pop(position))
            continue
        time.sleep(_LOOK_S)
