"""The child process that runs isolated work: reads calls from its private socket, answers, ends with its parent."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from tasks.runtime.inline import within
from tasks.runtime.wire import Message, packed, receive, send

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve calls until the parent closes the socket or ends."""
    end_with_parent()
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    connection.send_bytes(b"")
    while True:
        try:
            call = receive(connection)
        except (EOFError, OSError):
            return
        answer = _answer(call)
        del call
        try:
            send(connection, answer)
        except OSError:
            return
        del answer


def _answer(call: Message) -> Message:
    started = time.monotonic()
    try:
        module, name, arguments, memory_bytes = call.value()
        work: Any = importlib.import_module(module)
        for part in name.split("."):
            work = getattr(work, part)
        started = time.monotonic()
        value = within(memory_bytes, work, arguments)
        return packed(("value", value, time.monotonic() - started))
    except Exception as error:
        from tasks.runtime.isolation import describe_error

        reason, message, detail = describe_error(error)
        return packed((reason, (message, detail), time.monotonic() - started))


def end_with_parent(parent: int = 0) -> None:
    """Have the system end this process when the one that started it ends, whatever ends that one.

    Args:
        parent: its process id, where it is known: it may have ended before this was called.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
