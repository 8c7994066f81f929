"""What a signal does to a command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from apps.cli.terminal import say

INTERRUPTED = 130  # the exit status
_read_only: list[None] = []  # not empty while an input is read


@contextmanager
def reading() -> Iterator[None]:
    """While an input is read there is nothing to end in order: a signal ends the process at once."""
    _read_only.append(None)
    try:
        yield
    finally:
        _read_only.pop()


class Signals:
    """SIGTERM and SIGHUP end the command as Ctrl-C does: at once while nothing has begun, then in order."""

    def __init__(self) -> None:
        self.received = 0
        self._begun = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job, asked for this
                signal.signal(number, self._take)

    def begin(self) -> None:
        """From here on there is something to end in order."""
        self._begun = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if not self._begun or _read_only:  # not an exception: a library might take it for its own
            os.write(2, b"qompass: interrupted\n")
            os._exit(INTERRUPTED)
        if self.received == 1:
            raise KeyboardInterrupt
        if self.received > 2:  # nothing but a third signal cuts the ending short
            os._exit(INTERRUPTED)
        say("ending the processes of this run; once more leaves them behind")
