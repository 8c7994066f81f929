"""Run a program under runcompss: the program's own standard output and exit status, not the runtime's.

launch/local_compss.sh starts it as ``runcompss ... compss_main.py PROGRAM ARGUMENTS``. runcompss and the Java runtime
write to standard output as they please, so the program's output goes to the file descriptor that QOMPASS_STDOUT names.
QOMPASS_STATE is a folder: ``pid`` appears there when the program starts and ``status`` when it has ended by itself.
"""

import os
import runpy
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the program named first on the command line with the rest as its arguments."""
    state = Path(os.environ["QOMPASS_STATE"])
    # In the background of a shell Ctrl-C is ignored; the launcher passes it on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (state / "pid").write_text(str(os.getpid()))
    sys.stdout = os.fdopen(int(os.environ["QOMPASS_STDOUT"]), "w")
    sys.argv = sys.argv[1:]
    status = 1
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    finally:
        sys.stdout.flush()
        (state / "status").write_text(str(status))


if __name__ == "__main__":
    main()
else:
    # runcompss imports the program before it starts the runtime, so that alternatives (@implement) are registered.
    runpy.run_path(sys.argv[1], run_name="preloaded")
