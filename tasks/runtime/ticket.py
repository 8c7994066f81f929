"""What tasks leave in a folder when they begin and when they end, for engines that cannot be asked.

COMPSs has no call that waits for any one of several tasks, and every wait is a synchronisation of the whole graph.
Where the folder is shared with the nodes that execute tasks, what a task has to say is read from it as soon as it is
there: a slow task holds nothing back, and the graph is not interrupted. A task whose process has died is never heard of
again where COMPSs' agents execute it; its file then changes no more, which is a failure like any other.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.runtime.heartbeat import beating
from tasks.runtime.outcome import Failure, Outcome, Reason

_LOOK_S = 0.02
_SIGNS_S = 1.0  # signs of life are read so often; a look counts for twice that at most: this process may stand still
_SILENT_S = 60.0  # a task that shows no sign of life for so long shows none any more
_UNSEEN_S = 10.0  # tasks that have left no mark for so long run where the folder is not seen
_UNTAKEN_S = 15.0  # the first task of a node waits for its Python; one that nothing takes for longer may be waiting for
# the application's own unit, which COMPSs lends to others while it waits
_blind: set[str] = set()  # folders of runs in which tasks have ended without a word: nodes do not see them


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

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Say that the task has begun, where, for as long as the block lasts that its process lives, and its end."""
        if not self.folder:
            yield
            return
        # Not seen from here, nothing is written: the application then waits in order.
        with beating(self._path("begun"), _this_process()):
            yield
        if not self._path("ended").exists():
            self.end({})

    def end(self, document: Mapping[str, Any]) -> None:
        """Say how it has ended, in JSON values."""
        if self.folder:
            with contextlib.suppress(OSError):
                partial = self._path("ending")
                partial.write_text(json.dumps(document))
                partial.replace(self._path("ended"))

    def ended(self) -> dict[str, Any] | None:
        """How it has ended, as far as is seen."""
        try:
            return dict(json.loads(self._path("ended").read_text()))
        except OSError:
            return None

    def sign(self) -> str:
        """What changes while the task's process lives, which its first line names; "" where nothing is seen of it."""
        try:
            return self._path("begun").read_text()
        except OSError:
            return ""

    def waited_for(self) -> None:
        """The engine says that the task has ended; where that is not seen, nothing is of the run's others either."""
        if self.folder and self.ended() is None:
            _blind.add(str(Path(self.folder).parent))

    def give_up(self, process: str) -> None:
        """Remember that the task is waited for no more, since its process was not heard of for too long."""
        with contextlib.suppress(OSError):
            self._path("given-up").write_text(f"{process} has ended or hangs")

    def given_up(self) -> str:
        """Why the task is waited for no more, "" where it is not given up."""
        try:
            return self._path("given-up").read_text()
        except OSError:
            return ""

    def _path(self, what: str) -> Path:
        return Path(self.folder) / f"{self.number}-{what}"


def _this_process() -> str:
    """In words; agents, of which a node may have several, have names of their own."""
    agent = os.environ.get("COMPSS_HOSTNAMES", "")  # COMPSs tells a task so
    node = platform.node()
    return f"process {os.getpid()} on {agent if agent in ('', node) else f'{agent} ({node})'}"


def in_order_of_end(
    futures: Sequence[Any],
    tickets: Sequence[Ticket],
    wait_on: Callable[[Any], Any],
    read: Callable[[Mapping[str, Any]], Any],
) -> Iterator[tuple[int, Any]]:
    """(position, result) of each future, those first whose tasks have ended; in the order given where none is seen.

    A task that shows no sign of life any more gives the outcome that its process was killed. From then on none of the
    same folder is waited for in the engine, which may be waiting for the dead one's unit: what no process takes for as
    long has the same outcome.

    Args:
        futures: of the tasks.
        tickets: of the same tasks.
        wait_on: waits for one future.
        read: makes a result of what a ticket says.
    """
    pending = dict(enumerate(futures))
    signs = _Signs(tickets)
    while pending:
        before = len(pending)
        for position in list(pending):
            document = tickets[position].ended()
            if document is not None:
                del pending[position]
                yield position, read(document)
        if len(pending) < before:
            signs.seen()
            continue
        for position, failure in signs.lost(pending).items():
            del pending[position]
            yield position, Outcome(failure=failure, attempt=tickets[position].attempt)
        if len(pending) == before and signs.unseen(pending):
            position = next(iter(pending))
            yield position, wait_on(pending.pop(position))
        elif pending:
            time.sleep(_LOOK_S)


def until_end(ticket: Ticket, needs: Sequence[Ticket]) -> Failure | None:
    """Wait until a task has ended, or may do so where its folder is not seen; the failure that it never will.

    Args:
        ticket: of the task.
        needs: tickets of the tasks whose results it takes.
    """
    tickets = [ticket, *needs]
    looks = ticket.folder and str(Path(ticket.folder).parent) not in _blind
    pending = set(range(len(tickets))) if looks else set()
    signs = _Signs(tickets)
    while 0 in pending:
        ended = {position for position in pending if tickets[position].ended() is not None}
        pending -= ended
        if ended:
            signs.seen()
            continue
        lost = signs.lost(pending)
        if 0 in lost:
            return lost[0]
        for failure in lost.values():
            return Failure(Reason.DEPENDENCY, f"needs a result that failed: {failure.message}")
        if signs.unseen(pending, _UNTAKEN_S):
            return None
        time.sleep(_LOOK_S)
    return None


class Tickets:
    """The tickets of a run's tasks.

    Args:
        folder: where, "" where nobody looks.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def next(self, attempt: int = 0) -> Ticket:
        """A ticket for the next task."""
        return Ticket(self._folder, next(self._numbers), attempt)

    def close(self) -> None:
        """Remove them; all that waited for them have ended."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Signs:
    """What is seen of tasks, and for how long nothing new was, by this process's own clock."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self._tickets = tickets
        self._looked = time.monotonic()
        self._quiet = 0.0  # for how long no task was seen to begin, live or end
        self._heard: dict[int, tuple[str, float]] = {}  # by position: the last sign, and how long it has been the last
        self._seen = False

    def seen(self) -> None:
        """A task has begun, lives or has ended."""
        self._seen, self._quiet = True, 0.0

    def unseen(self, pending: Collection[int], seconds: float | None = None) -> bool:
        """Whether the pending tasks run, if they do, where their folder is not seen: nothing was for so long."""
        if self._heard.keys() & set(pending):
            return False
        most = seconds or (_SILENT_S if self._seen else _UNSEEN_S)
        return self._quiet > most and not self._given_up()

    def lost(self, pending: Collection[int]) -> dict[int, Failure]:
        """What happened to pending tasks that are not worth waiting for, by position; looks once a second."""
        now = time.monotonic()
        passed = min(now - self._looked, 2 * _SIGNS_S)
        if passed < _SIGNS_S:
            return {}
        self._looked = now
        self._quiet += passed
        for position in pending:
            sign, (last, silent) = self._tickets[position].sign(), self._heard.get(position, ("", 0.0))
            if sign and sign != last:
                self._heard[position] = sign, 0.0
                self.seen()
            elif sign:  # a file that cannot be read now says nothing
                self._heard[position] = sign, silent + passed
                if silent + passed > _SILENT_S:
                    self._tickets[position].give_up(sign.partition("\n")[0])
        lost = {position: f"{who}: no sign of life for {_SILENT_S:.0f} s"
                for position in pending if (who := self._tickets[position].given_up())}  # fmt: skip
        if not lost and self._quiet > _SILENT_S and (who := self._given_up()):
            text = f"{who}, and no other takes it: start that worker again, or tell COMPSs that it is lost"
            lost = dict.fromkeys(pending, text)
        return {position: Failure(Reason.KILLED, text) for position, text in lost.items()}

    def _given_up(self) -> str:
        """Why some task of the folder is waited for no more, "" where there is none."""
        folder = self._tickets[0].folder
        with contextlib.suppress(OSError):
            for file in Path(folder).glob("*-given-up"):
                return file.read_text()
        return ""
