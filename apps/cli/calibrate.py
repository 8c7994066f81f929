"""``qompass calibrate``: measure how fast this machine is, so that predicted seconds are its own."""

from __future__ import annotations

import argparse
import json
import time

from apps.cli.tables import table
from apps.cli.terminal import SCHEMA, say
from scheduler_policies import CPU_SPEED
from tasks.errors import QompassError
from tasks.execution.calibration import refined
from tasks.execution.calibration_file import calibration_path, check_writable, write_calibration
from tasks.runs import read_record
from tasks.whole_runs import calibrated as measure


def calibrate(arguments: argparse.Namespace) -> int:
    """Measure, or take what runs took; write the user's own file and show it beside the typical values.

    Raises:
        QompassError: what was measured cannot be trusted; the file stays as it was.
    """
    began = time.perf_counter()
    check_writable(calibration_path())
    if arguments.runs:
        found, counted = refined([read_record(run) for run in arguments.runs])
        say(f"{counted} of {len(arguments.runs)} runs tell how fast this machine is")
    else:
        say("measuring, less than two minutes: other work on this machine makes it look slow")
        found = measure()
    if found.doubt and not arguments.force:
        kept = f"{calibration_path()} stays as it is" if calibration_path().exists() else "nothing is written"
        raise QompassError(f"{found.doubt}; {kept}: calibrate when nothing else runs, or take it with --force")
    path = write_calibration(found)
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "file": str(path), "calibration": found.document()}, indent=2))
        return 0
    typical = vars(CPU_SPEED)
    rows = [
        (name, f"{value:.3g}", f"{typical[name]:.3g}") for name, value in vars(found.speed).items() if typical[name]
    ]
    print(table(("seconds of", "this machine", "typical"), rows, right=(1, 2)))
    if found.gpu is not None:
        states, networks = (
            "never" if least is None else f"from {least:.3g} {what} on"
            for least, what in ((found.gpu.amplitudes, "amplitudes"), (found.gpu.flops, "operations"))
        )
        print(f"\n{found.gpu.gpu}: quicker than a core with fragments {states}, with contractions {networks}")
    print(f"\n{found.machine}: the fit is right to {found.accuracy:.0f} % (median of 100 min/max)")
    print(f"Written to {path} in {time.perf_counter() - began:.0f} s; runs and plans use it from now on.")
    return 0
