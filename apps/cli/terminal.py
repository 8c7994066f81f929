"""What the command writes: notes on standard error, one result on standard output, nothing that moves a cursor."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from tasks.errors import QompassError


class OutputError(QompassError):
    """Standard output cannot be written."""


def shown(text: str) -> str:
    """The text with every character that a terminal would act on spelled out; names in files may hold any."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """One line on standard error."""
    print(f"qompass: {shown(' '.join(text.split()))}", file=sys.stderr)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Use the standard streams whatever they are: closed, full, or without our characters.

    What is printed on standard output is written when the block ends well, all at once.

    Raises:
        OutputError: it cannot be written.
        BrokenPipeError: its reader has left.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its place, and our words would go there
            os.open(os.devnull, os.O_RDWR)
    written = io.StringIO()
    errors: Any = _Tolerant(sys.stderr) if sys.stderr else open(os.devnull, "w")
    with contextlib.redirect_stderr(errors):
        with contextlib.redirect_stdout(written):
            yield
        if sys.stdout and written.getvalue():
            _write(sys.stdout, shown(written.getvalue()))


def _write(output: TextIO, text: str) -> None:
    try:
        output.write(text.encode(output.encoding or "utf-8", "backslashreplace").decode(output.encoding or "utf-8"))
        output.flush()
    except OSError as error:
        # Python tries again when it ends; there is nothing more to say then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"standard output cannot be written: {error.strerror}: nothing of the result was lost that "
                          "is in a run's folder, and `qompass resume RUN` shows it again") from error  # fmt: skip


class _Tolerant:
    """A standard error whose reader may have left or whose disk may be full: what it cannot take is dropped."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
