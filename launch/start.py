"""Starts the qompass command for launch/qompass: ``python -S start.py ARGUMENTS``.

From its first moments on a signal ends the command with status 130: launch/qompass holds signals back until the
handlers below are in place, and -S leaves the search for installed packages, most of Python's own start, until then.
The command replaces them once it has something to end in order.
"""

import atexit
import os
import signal
import sys


def leave(number: int, frame: object) -> None:
    """End with the status of an interrupted command; nothing has been begun yet."""
    os.write(2, b"qompass: interrupted\n")
    os._exit(130)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
for number in SIGNALS:
    # Python's own handler of Ctrl-C is its default; what nohup or a shell's background job ignores stays ignored.
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, leave)
signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
# Registered first and so called last, when the answer is written and every thread has ended: what Python does then
# takes our handlers away, and a signal would make a command that has ended well look killed.
atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in SIGNALS])

import site  # noqa: E402

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the checkout, in place of launch/
site.main()

from apps.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
