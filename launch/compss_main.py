"""Run a program under runcompss: the program's own standard output and exit status, not the runtime's.

launch/local_compss.sh starts it. runcompss and the Java runtime write to standard output as they please, so the
program's output goes to the file descriptor that QOMPASS_STDOUT names, or to the file, which appears when the program
has ended well. QOMPASS_STATE is a folder: ``arguments`` there
are the program and its arguments, each ended by a null byte (runcompss itself splits arguments at blanks); ``pid``
appears when the program starts, ``status`` when it has ended by itself.
"""

import os
import runpy
import signal
import sys
import traceback
from pathlib import Path

state = Path(os.environ["QOMPASS_STATE"])
arguments = (state / "arguments").read_text().split("\0")[:-1]


def main() -> None:
    """Run the program as if it had been started by itself."""
    # In the background of a shell Ctrl-C is ignored; the launcher passes it on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (state / "pid").write_text(str(os.getpid()))
    output = os.environ["QOMPASS_STDOUT"]
    sys.stdout = os.fdopen(int(output), "w") if output.isdecimal() else open(f"{output}.partial", "w")
    sys.argv = list(arguments)
    status = 1
    try:
        runpy.run_path(arguments[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stdout = sys.__stdout__
        if status == 0 and not output.isdecimal():
            os.replace(f"{output}.partial", output)
        (state / "status").write_text(str(status))


if __name__ == "__main__":
    main()
else:
    # runcompss imports the program before it starts the runtime, so that alternatives (@implement) are registered.
    runpy.run_path(arguments[0], run_name="preloaded")
