"""What tasks leave in a folder when they begin and when they end, for engines that cannot be asked.

COMPSs has no call that waits for any one of several tasks, and every wait is a synchronisation of the whole graph.
Where the folder is shared with the nodes that execute tasks, what a task has to say is read from it as soon as it is
there: a slow task holds nothing back, and the graph is not interrupted.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOOK_S = 0.02
_UNSEEN_S = 10.0  # tasks that have left no mark for so long run where the folder is not seen


@dataclass(frozen=True)
class Ticket:
    """Where a task says that it has begun, and how it has ended.

    Attributes:
        folder: where, "" where nobody looks.
        number: of the task.
        attempt: which try of its work it is.
    """

    folder: str
    number: int
    attempt: int = 0

    def begin(self) -> None:
        """Say that the task has begun."""
        if self.folder:
            with contextlib.suppress(OSError):  # not seen from here: the application then waits in order
                self._path("begun").touch()

    def end(self, document: Mapping[str, Any]) -> None:
        """Say how it has ended, in JSON values."""
        if self.folder:
            with contextlib.suppress(OSError):
                partial = self._path("ending")
                partial.write_text(json.dumps(document))
                partial.replace(self._path("ended"))

    def begun(self) -> bool:
        """Whether it has begun, as far as is seen."""
        return self._path("begun").exists()

    def ended(self) -> dict[str, Any] | None:
        """How it has ended, as far as is seen."""
        try:
            return dict(json.loads(self._path("ended").read_text()))
        except OSError:
            return None

    def _path(self, what: str) -> Path:
        return Path(self.folder) / f"{self.number}-{what}"


def in_order_of_end(
    futures: Sequence[Any],
    tickets: Sequence[Ticket],
    wait_on: Callable[[Any], Any],
    read: Callable[[Mapping[str, Any]], Any],
) -> Iterator[tuple[int, Any]]:
    """(position, result) of each future, those first whose tasks have ended; in the order given where none is seen.

    Args:
        futures: of the tasks.
        tickets: of the same tasks.
        wait_on: waits for one future.
        read: makes a result of what a ticket says.
    """
    pending = dict(enumerate(futures))
    seen, since = False, time.monotonic()
    while pending:
        before = len(pending)
        for position in list(pending):
            document = tickets[position].ended()
            if document is not None:
                del pending[position]
                yield position, read(document)
        if len(pending) < before:
            seen = True
            continue
        seen = seen or any(tickets[position].begun() for position in pending)
        if not seen and time.monotonic() - since > _UNSEEN_S:
            position = next(iter(pending))
            yield position, wait_on(pending.pop(position))
            continue
        time.sleep(_LOOK_S)
