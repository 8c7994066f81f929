"""The ``qompass`` command: reads the command line, runs one subcommand, and turns errors into exit statuses."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from collections.abc import Callable, Sequence

from apps.cli.arguments import build_parser
from apps.cli.interruption import INTERRUPTED, Signals
from apps.cli.terminal import Notes, say, standard_error, standard_output
from tasks.errors import QompassError, system_limit

USER_ERROR = 2
_LEAST_ADDRESS_SPACE = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; see ``qompass --help``."""
    signals = Signals()
    with standard_error():
        try:
            with standard_output():
                return _command(arguments, signals)
        except KeyboardInterrupt:
            say("interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # the reader of our output left, as `head` does
            return 0
        except Exception as error:
            if signals.received:  # a library turned the interruption into an error of its own
                say("interrupted")
                return INTERRUPTED
            message = str(error) if isinstance(error, QompassError) else system_limit(error)
            if not message:
                raise
            say(message)
            return USER_ERROR


def _command(arguments: Sequence[str] | None, signals: Signals) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.version:
        from tasks.runtime.versions import versions

        print(" ".join(f"{name} {version}" for name, version in versions().items()))
        return 0
    if options.command is None:
        parser.print_help(sys.stderr)
        return USER_ERROR
    _check_address_space()
    _log_to_stderr(options.verbose)
    subcommand = _subcommand(options.command) if arguments is not None else _without_garbage(options.command)
    if hasattr(options, "pilot"):
        from apps.cli.pilot import bind_to_pilot

        bind_to_pilot(options)
    signals.begin()
    return subcommand(options)


def _check_address_space() -> None:
    """Refuse a limit with which the numerical libraries would not even be loaded: they try again and again, or die."""
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit not in (resource.RLIM_INFINITY, -1) and limit < _LEAST_ADDRESS_SPACE:
        raise QompassError(
            f"`ulimit -v` allows {limit >> 20} MiB of address space, and Qompass needs 1 GiB at least: raise it"
        )


def _log_to_stderr(verbose: int) -> None:
    """What Qompass' own rooms say, one line each: warnings, with -v what it does, with -vv all.

    Their loggers let what it does pass in any case: the log in the run's folder takes it. Libraries are heard only when
    something is wrong with them.
    """
    for room in ("apps", "tasks", "scheduler_policies", "resources_xml"):
        logger = logging.getLogger(room)
        logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
        logger.propagate = False
        if not any(isinstance(handler, Notes) for handler in logger.handlers):
            logger.addHandler(Notes())
        for handler in logger.handlers:
            if isinstance(handler, Notes):
                handler.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    for library in ("distributed", "qiskit", "qiskit_ibm_runtime"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _without_garbage(command: str) -> Callable[[argparse.Namespace], int]:
    """`_subcommand` in a process of its own: what imports leave stays, and is not looked through again and again."""
    gc.disable()
    try:
        return _subcommand(command)
    finally:
        gc.freeze()
        gc.enable()


def _subcommand(command: str) -> Callable[[argparse.Namespace], int]:
    """Import a subcommand only when it is called: Qiskit alone takes most of a second."""
    if command == "run":
        from apps.cli.run import run as subcommand
    elif command == "resume":
        from apps.cli.run import resume as subcommand
    elif command == "optimise":
        from apps.cli.optimise import run as subcommand
    elif command == "sweep":
        from apps.cli.sweep import run as subcommand
    elif command == "motif":
        from apps.cli.motif import motif as subcommand
    elif command == "plan":
        from apps.cli.plan import plan as subcommand
    elif command == "reconstruct":
        from apps.cli.run import reconstruct as subcommand
    elif command == "pilot":
        from apps.cli.pilot import pilot as subcommand
    elif command == "cluster":
        from apps.cli.cluster import cluster as subcommand
    elif command == "stage":
        from apps.cli.stage import stage as subcommand
    elif command == "check":
        from apps.cli.check import check as subcommand
    elif command == "sample":
        from apps.cli.sample import sample as subcommand
    elif command == "cache":
        from apps.cli.cache import cache as subcommand
    elif command == "runs":
        from apps.cli.runs import runs as subcommand
    elif command == "report":
        from apps.cli.report import report as subcommand
    elif command == "repeat":
        from apps.cli.repeat import repeat as subcommand
    elif command == "watch":
        from apps.cli.watch import watch as subcommand
    elif command == "devices":
        from apps.cli.devices import devices as subcommand
    elif command == "calibrate":
        from apps.cli.calibrate import calibrate as subcommand
    else:
        from apps.cli.doctor import doctor as subcommand
    return subcommand


if __name__ == "__main__":
    sys.exit(main())
