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
import traceback
from collections.abc import Callable
from pathlib import Path

from apps.cli.main import main
from tasks.reconstruct import RANKS_VARIABLE
from tasks.runtime import task
from tasks.runtime.heartbeat import beating


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
    with beating(where / "beat"), (where / "output").open("w") as output, (where / "errors").open("w") as errors:
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
