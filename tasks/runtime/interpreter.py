"""Start another Python process of Qompass: it finds this checkout, and never what lies where the user stands.

``python -m`` and ``python -c`` search the current folder before everything else, and a ``pickle.py`` or ``tasks.py``
that lies there would be executed. Python 3.11 has -P and PYTHONSAFEPATH against that, Python 3.10 has neither, so the
folder is taken out of the path by the first statement that the new process executes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])


def python_command(code: str, *arguments: str) -> list[str]:
    """The command that executes ``code``, one or more simple statements, with ``arguments`` in ``sys.argv[1:]``."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = filter(None, sys.path); {code}", *arguments]


def python_environment() -> dict[str, str]:
    """This process's variables, with the modules it finds found by the new one too: this checkout's first."""
    folders = [_ROOT, *(folder for folder in sys.path if os.path.isabs(folder) and not _is_current(folder))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders)), "PYTHONSAFEPATH": "1"}


def _is_current(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:  # one of the two is not there
        return False
