"""The child process that runs isolated work: reads calls from its private socket, answers, ends with its parent."""

from __future__ import annotations

import ctypes
import importlib
import pickle
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from tasks.runtime.inline import within

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve calls until the parent closes the socket or ends."""
    _end_with_parent()
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    connection.send_bytes(b"")
    while True:
        try:
            call = connection.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _answer(call)
        try:
            connection.send_bytes(answer)
        except OSError:
            return


def _answer(call: bytes) -> bytes:
    started = time.monotonic()
    try:
        module, name, arguments, memory_bytes = pickle.loads(call)
        work: Any = importlib.import_module(module)
        for part in name.split("."):
            work = getattr(work, part)
        started = time.monotonic()
        value = within(memory_bytes, work, arguments)
        return pickle.dumps(("value", value, time.monotonic() - started), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        from tasks.runtime.isolation import describe_error

        reason, message, detail = describe_error(error)
        return pickle.dumps((reason, (message, detail), time.monotonic() - started), protocol=pickle.HIGHEST_PROTOCOL)


def _end_with_parent() -> None:
    # Closing the socket ends an idle child; this ends one that is busy when its parent is killed.
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
