"""A file that a user names is read whole, once its kind and size are known, and its text is UTF-8 or is named."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any, BinaryIO

from tasks.errors import InputError
from tasks.runtime.regular_file import NotRegularError, open_regular

MAX_BYTES = 32 * 2**20

_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_bytes(path: Path, what: str) -> bytes:
    """The content of a regular file of at most 32 MiB.

    Args:
        path: the file.
        what: what it should hold, for the message ("circuit file").

    Raises:
        InputError: it cannot be opened, is a folder, a device or a pipe, or is larger.
    """
    with open_named(path, what) as file:
        try:
            content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise _unreadable(path, what, error) from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: is larger than {MAX_BYTES // 2**20} MiB: Qompass reads no larger {what}")
    return content


def open_named(path: Path, what: str) -> BinaryIO:
    """A regular file, open for reading.

    Args:
        path: the file.
        what: what it should hold, for the message.

    Raises:
        InputError: it cannot be opened, or is a folder, a device or a pipe.
    """
    try:
        return open_regular(path)
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a directory: name a {what}") from error
    except NotRegularError as error:
        raise InputError(f"{path}: is a device or a pipe: write it to a file, and name that") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from error


def _unreadable(path: Path, what: str, error: Exception) -> InputError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    named = str(path) if str(path).isprintable() else repr(str(path))
    return InputError(f"{named:.200}: {reason}: name a readable {what}")


def text_of(path: Path, content: bytes, kinds: str) -> str:
    """The text of a file, without a byte order mark and with a line feed at the end of each line.

    Args:
        path: the file, for the message.
        content: its bytes.
        kinds: what it may hold instead ("OpenQASM 2, OpenQASM 3 or QPY").

    Raises:
        InputError: it is not UTF-8, or holds a NUL; another encoding is named where it can be told.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            raise InputError(f"{path}: this is {encoding} text: save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    nul = content.find(b"\0")
    if nul >= 0:
        if len(content) > 3 and (not any(content[:64:2]) or not any(content[1:64:2])):
            raise InputError(f"{path}: this looks like UTF-16 or UTF-32 text: save it as UTF-8")
        raise InputError(f"{path}, line {_line(content, nul)}: a NUL byte: not text: give {kinds}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        where, byte = f"{path}, line {_line(content, error.start)}", content[error.start]
        if min(content) < 9:
            raise InputError(f"{where}: neither text nor QPY: give {kinds}") from error
        raise InputError(
            f"{where}: byte 0x{byte:02x} is not UTF-8, the text may be Latin-1 or Windows-1252: save it as UTF-8"
            f" (or it is no text: give {kinds})"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, what: str) -> Any:
    """The document in a JSON file.

    Raises:
        InputError: it cannot be read, is not JSON, or gives a name twice.
    """
    return json_of(path, text_of(path, read_bytes(path, what), f"a {what}"))


def json_of(path: Path, text: str) -> Any:
    """The document in the text of a JSON file; see ``read_json``.

    Raises:
        InputError: it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _distinct(path, pairs))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}: correct the file") from error
    except RecursionError as error:
        raise InputError(f"{path}: lists within lists are nested too deeply: correct the file") from error
    except ValueError as error:  # what Python says of a whole number of thousands of digits
        raise InputError(f"{path}: holds a number of too many digits: correct the file") from error


def _distinct(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        raise InputError(f"{path}: '{twice:.40}' is given twice: give each name once")
    return found


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1
