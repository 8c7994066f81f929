"""Signs of life of a process that nobody can ask: a file that changes every few seconds for as long as it works."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

BEAT_S = 5.0


@contextlib.contextmanager
def beating(file: Path, who: str = "") -> Iterator[None]:
    """Change a file every few seconds while the block lasts.

    Args:
        file: what is to change; nothing happens where it cannot be written.
        who: is working, for whoever finds that the file changes no more: the file's first line.
    """
    over = threading.Event()

    def beat() -> None:
        for number in itertools.count(1):
            if over.wait(BEAT_S):
                return
            _write(file, who, number)

    _write(file, who, 0)
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _write(file: Path, who: str, number: int) -> None:
    with contextlib.suppress(OSError):  # a file server that is away for a moment
        file.write_text(f"{who}\n{number}\n")
