"""What the command writes: notes on standard error, one result on standard output, nothing that moves a cursor."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from apps.cli.flags import flagged
from tasks.errors import QompassError

SCHEMA = 1  # of every JSON document that the command prints


class OutputError(QompassError):
    """Standard output cannot be written."""


def shown(text: str) -> str:
    """The text with every character that a terminal would act on spelled out; names in files may hold any."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """One line on standard error."""
    print(f"qompass: {shown(flagged(' '.join(text.split())))}", file=sys.stderr)


class Notes(logging.Handler):
    """Log records as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(self.format(record))


@contextlib.contextmanager
def standard_error() -> Iterator[None]:
    """Standard error, whether it is closed, full, or cannot take our characters: what it does not take is dropped."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its place, and our words would go there
            os.open(os.devnull, os.O_RDWR)
    stream: Any = _Tolerant(sys.stderr) if sys.stderr else open(os.devnull, "w")
    with contextlib.redirect_stderr(stream):
        yield


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """What the block prints on standard output is written when it ends well, all at once.

    Raises:
        OutputError: it cannot be written.
        BrokenPipeError: its reader has left.
    """
    output, held = sys.stdout, io.StringIO()
    with contextlib.redirect_stdout(held):
        try:
            yield
        except SystemExit:  # argparse, after --help
            _write(output, held.getvalue())
            raise
    _write(output, held.getvalue())


def _write(output: TextIO | None, text: str) -> None:
    if output is None:  # closed: nobody wants it
        return
    encoding = output.encoding or "utf-8"
    try:
        output.write(shown(text).encode(encoding, "backslashreplace").decode(encoding))
        output.flush()
    except OSError as error:
        _to_nowhere(output)
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(
            f"standard output cannot be written: {error.strerror}; the result of a run is in its folder, and "
            "`qompass resume RUN` shows it again"
        ) from error


class _Tolerant:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):
            _to_nowhere(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _to_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _to_nowhere(stream: TextIO) -> None:
    # What could not be written is still in the stream's buffer; Python tries again when it ends, and would fail there.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
