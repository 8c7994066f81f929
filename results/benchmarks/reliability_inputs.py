"""The part ``inputs`` of the reliability benchmark: changed inputs, read in a child process of bounded memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.inputs.fuzzing import attempt, described

_BATCH = 200  # attempts a process
_MEMORY = 4 * 2**30  # bytes of address space; the libraries alone map more than one GiB
_GROWTH = 2**20  # KiB of memory that one process may ever have in use


def inputs(count: int, seed: int) -> tuple[int, list[str]]:
    """Try that many inputs; how many were tried, and what went wrong, one entry each."""
    tried, bad = 0, []
    for first in range(0, count, _BATCH):
        numbers = [str(number) for number in (seed, first, min(first + _BATCH, count))]
        ended = subprocess.run(
            [sys.executable, "-m", "results.benchmarks.reliability_inputs", *numbers],
            capture_output=True,
            text=True,
            timeout=3600,
            check=False,
        )
        lines = ended.stdout.splitlines()
        tried += len(lines)
        bad += [line.removeprefix("bad ") for line in lines if line.startswith("bad ")]
        if ended.returncode != 0:
            tried += 1
            bad.append(json.dumps({"seed": seed, "index": first + len(lines), "wrong": f"died: {ended.returncode}"}))
    return tried, bad


def _child(seed: int, first: int, end: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for index in range(first, end):
            found = attempt(seed, index, Path(folder))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if found.wrong or peak > _GROWTH:
                print("bad", described(seed, index, found), f"{peak} KiB" if not found.wrong else "", flush=True)
            else:
                print("good", "read" if found.status == 0 else "refused on one line", flush=True)


if __name__ == "__main__":
    _child(*map(int, sys.argv[1:]))
