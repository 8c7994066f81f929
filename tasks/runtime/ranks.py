"""Run one function in every rank of an MPI program and collect what each returned: the embedded engine's ``@mpi``."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any, NoReturn

from tasks.errors import DefectError, system_limit
from tasks.runtime.errors import EngineError
from tasks.runtime.interpreter import python_command, python_environment
from tasks.runtime.isolation import describe_error
from tasks.runtime.outcome import Reason
from tasks.runtime.scratch import scratch_folder


def mpirun_path() -> str | None:
    """Where mpirun is: beside this Python (``pip install mpich``) or on the PATH; None where there is none."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.is_file() else which("mpirun")


def run_ranks(
    function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any], processes: int
) -> list[Any]:
    """Start ``processes`` ranks that each call ``function``; return what each returned, in rank order.

    Raises:
        EngineError: where there is no mpirun, the program fails, or a rank says what the user can mend.
        DefectError: a rank has a bug.
    """
    mpirun = mpirun_path()
    if mpirun is None:
        raise EngineError("an @mpi task needs mpirun: pip install mpi4py mpich")
    with tempfile.TemporaryDirectory(prefix="mpi-", dir=scratch_folder()) as folder:
        call = Path(folder) / "call"
        call.write_bytes(pickle.dumps((function.__module__, function.__qualname__, list(arguments), dict(named))))
        rank = python_command("from tasks.runtime.ranks import main; main()", folder)
        program = [mpirun, "-n", str(processes), *rank]
        done = subprocess.run(
            program, env=python_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        answers = [Path(folder) / f"rank-{rank}" for rank in range(processes)]
        if done.returncode or not all(answer.is_file() for answer in answers):
            raise_rank_failure(Path(folder))
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
            raise EngineError(f"the MPI task {function.__qualname__} ended with status {done.returncode}: {last[0]}")
        return [pickle.loads(answer.read_bytes()) for answer in answers]


def end_ranks(folder: Path, error: BaseException) -> NoReturn:
    """End all ranks because this one failed; why is left in ``folder``, since what mpirun prints last is its own word.

    Args:
        folder: that whoever started the ranks reads (``raise_rank_failure``).
        error: of this rank.
    """
    from mpi4py import MPI

    reason, message, detail = describe_error(error)
    with contextlib.suppress(OSError):  # no room there: the ranks end all the same
        failed = folder / f"failed-{MPI.COMM_WORLD.Get_rank()}"
        failed.write_text(json.dumps([reason, system_limit(error) or message, detail]))
    MPI.COMM_WORLD.Abort(1)  # the others would wait for this one for ever
    os._exit(1)  # MPICH's Abort can return before it has ended this process


def raise_rank_failure(folder: Path) -> None:
    """Raise what the first rank that failed left in ``folder``, if one did.

    Raises:
        EngineError: the user can mend it.
        DefectError: the rank has a bug; with its traceback.
    """
    failed = sorted(folder.glob("failed-*"), key=lambda path: path.stat().st_mtime_ns)
    if failed:
        reason, message, detail = json.loads(failed[0].read_text())
        if Reason(reason) is Reason.RAISED:
            raise DefectError(f"MPI rank {failed[0].name.removeprefix('failed-')}: {message}", detail)
        raise EngineError(message)


def main() -> None:
    """Be one rank: read the call, make it, leave the answer in the folder that only this run's ranks share."""
    from mpi4py import MPI

    folder = Path(sys.argv[1])
    module, name, arguments, named = pickle.loads((folder / "call").read_bytes())
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        # The module holds the task; what it wraps is what runs here.
        function = getattr(function, "function", function)
        answer = folder / f"rank-{MPI.COMM_WORLD.Get_rank()}"
        answer.write_bytes(pickle.dumps(function(*arguments, **named)))
    except BaseException as error:
        end_ranks(folder, error)
