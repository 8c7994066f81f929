"""``qompass check``: computes a run's fragments another way, and says which one disagrees with what is stored."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from apps.cli.run import opened
from apps.cli.tables import table
from apps.cli.terminal import SCHEMA, say
from resources_xml import read_devices
from tasks.check import check as check_run

USER_ERROR = 2


def check(arguments: argparse.Namespace) -> int:
    """Check every fragment of a run; status 2 where one disagrees."""
    directory, problem, options = opened(arguments)
    noisy = [d.name for d in read_devices(options.resources) if not d.exact] if options.resources else []
    try:
        found = check_run(problem, options, directory, noisy)
    finally:
        directory.close()
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "fragments": [asdict(entry) for entry in found]}, indent=2))
    else:
        words = {True: "agrees", False: "DISAGREES", None: "not judged"}
        rows = [
            (str(entry.fragment), entry.made or "-", ", ".join(entry.devices) or "-", words[entry.agrees], entry.detail)
            for entry in found
        ]
        print(table(("fragment", "made", "devices", "check", "detail"), rows))
    wrong = [entry for entry in found if entry.agrees is False]
    for entry in wrong:
        say(f"fragment {entry.fragment} disagrees: {entry.detail}; delete its results in {directory.path}/fragments, "
            "then `qompass reconstruct` the run")  # fmt: skip
    return USER_ERROR if wrong else 0
