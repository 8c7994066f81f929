"""Programs that end in every way a program can, for the tests of the launcher: ``programs.py NAME ARGUMENTS...``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tasks.runtime import engine, wait_on
from tests.engines.work import plus_here, raises


def main() -> None:
    """Do what the first argument says."""
    what, *rest = sys.argv[1:]
    if what == "arguments":
        print("\n".join(rest))
        sys.stderr.write("said aside\n")
        sys.exit(7)
    with engine("compss"):
        if what == "task raises":
            wait_on(raises("this"))
        elif what == "always dies":
            # As a run would, it says where it can be resumed, and dies again whenever it is.
            Path(os.environ["QOMPASS_RUN_NOTE"]).write_text(rest[0])
            os.kill(os.getpid(), 9)
        elif what == "two tasks":
            print(wait_on(plus_here(plus_here(0, 1), 1)).value, flush=True)


if __name__ == "__main__":
    main()
