"""The ``qompass`` command: reads the command line, runs one subcommand, and turns errors into exit statuses."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from apps.cli.arguments import build_parser

USER_ERROR, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; see ``qompass --help``."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.version:
        from tasks.runs.record import versions

        print(" ".join(f"{name} {version}" for name, version in versions().items()))
        return 0
    if options.command is None:
        parser.print_help(sys.stderr)
        return USER_ERROR
    if options.command == "cache" and options.action in ("export", "import") and options.file is None:
        parser.error(f"cache {options.action} needs a FILE")
    _log_to_stderr()
    _end_in_order()
    try:
        return _dispatch(options)
    except KeyboardInterrupt:
        print("qompass: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from tasks.errors import QompassError

        if not isinstance(error, QompassError):
            raise
        print(f"qompass: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR


def _log_to_stderr() -> None:
    """Warnings of Qompass' own rooms, one line each; libraries are heard only when something is wrong with them."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("qompass: %(message)s"))
    for room in ("apps", "tasks", "scheduler_policies", "resources_xml"):
        logger = logging.getLogger(room)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(handler)
    for library in ("distributed", "qiskit", "qiskit_ibm_runtime"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _dispatch(options: argparse.Namespace) -> int:
    """Import a subcommand only when it is called: Qiskit alone takes most of a second."""
    command = options.command
    if command == "run":
        from apps.cli.run import run as subcommand
    elif command == "resume":
        from apps.cli.run import resume as subcommand
    elif command == "plan":
        from apps.cli.plan import plan as subcommand
    elif command == "reconstruct":
        from apps.cli.run import reconstruct as subcommand
    elif command == "sample":
        from apps.cli.sample import sample as subcommand
    elif command == "cache":
        from apps.cli.cache import cache as subcommand
    elif command == "devices":
        from apps.cli.devices import devices as subcommand
    else:
        from apps.cli.doctor import doctor as subcommand
    return subcommand(options)


def _end_in_order() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does, and let nothing but a third signal cut the ending short."""
    received = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise KeyboardInterrupt
        if received > 2:
            os._exit(INTERRUPTED)
        print("qompass: ending the processes of this run; once more leaves them behind", file=sys.stderr)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job, asked for this
            signal.signal(number, interrupt)


if __name__ == "__main__":
    sys.exit(main())
