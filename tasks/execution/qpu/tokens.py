"""Tokens: read from files that only their owner can read, and taken out of everything that is said or written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.execution.qpu.errors import Fault, QpuError

_SECRET_WORDS = ("APIKEY", "API_KEY", "TOKEN", "PASSWORD", "SECRET", "ACCESS_KEY")
_PUBLIC_WORDS = ("ACQUISITION_TOKEN",)
HIDDEN = "[secret]"


def is_secret(variable: str) -> bool:
    """Whether a variable's name says that its value must not be shown."""
    name = variable.upper()
    return any(word in name for word in _SECRET_WORDS) and not any(word in name for word in _PUBLIC_WORDS)


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of a resource's variables that must not be shown, longest first."""
    found = {value for name, value in environment.items() if is_secret(name) and value}
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` with every secret in it replaced."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def read_private(path: Path, resource: str = "") -> str:
    """Text of a file that holds secrets.

    Raises:
        QpuError: it cannot be read, is not ours, or others can read it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            # The open file is asked, not its name: what is checked is what is read.
            status = os.fstat(file.fileno())
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise QpuError(Fault.CONFIGURATION, resource or str(path), f"cannot read {path}: {error}") from None
    if status.st_uid not in (os.geteuid(), 0):
        raise QpuError(Fault.SECRET, resource or str(path), f"{path} belongs to another user; it must be yours")
    if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise QpuError(
            Fault.SECRET, resource or str(path), f"others can read {path}, which holds secrets; chmod 600 {path}"
        )
    return text
