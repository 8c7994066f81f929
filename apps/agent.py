"""What COMPSs agents are asked to run: ``qompass`` commands, with their answers in files.

An agent's REST interface starts a function and says nothing of what comes of it. So the answer is a folder that the
caller shares with the agent: ``output`` and ``errors`` are what the command said, ``status``, its exit status, comes
last. Until then ``beat`` changes every few seconds: where it does not, the process is dead, and nothing will follow.
launch/docker/agents.py is a caller.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from apps.cli.main import main
from tasks.reconstruct import RANKS_VARIABLE
from tasks.runtime import task

BEAT_S = 5.0


@task()
def run(folder, arguments):
    """Run a command line of ``qompass``.

    Args:
        folder: for the answer.
        arguments: of the command, a JSON list.
    """
    os.environ.setdefault(RANKS_VARIABLE, "0")  # a worker with as many units as ranks would be waited for, for ever
    answer(folder, lambda: main(json.loads(arguments)))


def answer(folder: str, program: Callable[[], int | None]) -> None:
    """Run a program and put into ``folder`` what it says and its exit status."""
    where, status = Path(folder), 1
    with _beating(where / "beat"), (where / "output").open("w") as output, (where / "errors").open("w") as errors:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = program() or 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:  # the agent would say so in its own log only
                traceback.print_exc()
    partial = where / "ending"
    partial.write_text(str(status))
    partial.replace(where / "status")


@contextlib.contextmanager
def _beating(file: Path) -> Iterator[None]:
    """Change a file every few seconds while the block lasts."""
    over = threading.Event()
    file.write_text("0")

    def beat() -> None:
        number = 0
        while not over.wait(BEAT_S):
            number += 1
            with contextlib.suppress(OSError):  # a file server that is away for a moment
                file.write_text(str(number))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
