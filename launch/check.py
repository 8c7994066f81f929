"""Lint, types and tests in one go, and what the tests covered on this machine; called by launch/test.

usage: check.py [PYTEST ARGUMENTS...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lxml import etree

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PARALLEL = ["-n", "3", "--dist", "loadgroup"]  # many wait; those of one xdist_group share a worker


def main(arguments: list[str]) -> int:
    """Run ruff, mypy (Python 3.11 or newer) and pytest, all even when one fails; 0 only when all pass."""
    os.chdir(ROOT)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers' idle threads would take each other's cores
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of the many processes of tests compiles what it imports
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        steps = [
            ("ruff", [PYTHON, "-m", "ruff", "check", "."]),
            # NumPy for Python 3.10 describes its arrays' shapes differently; the code is written for newer ones.
            *([("mypy", [PYTHON, "-m", "mypy"])] if sys.version_info >= (3, 11) else []),
            ("pytest", [PYTHON, "-m", "pytest", *PARALLEL, "-rs", f"--junitxml={report}", *arguments]),
        ]
        failed = [name for name, command in steps if not step(name, command)]
        if report.exists():
            print("\n".join(["", "Covered here:", *covered(report)]), flush=True)
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nAll passed.", flush=True)
    return 1 if failed else 0


def step(name: str, command: list[str]) -> bool:
    """Run one step, say how long it took, and return whether it passed."""
    print(f"--- {name}", flush=True)
    began = time.monotonic()
    passed = subprocess.run(command).returncode == 0
    print(f"--- {name} {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return passed


def covered(report: Path) -> list[str]:
    """One line for each engine and service that tests use: how many passed, failed, and why others did not run."""
    found: dict[str, list[etree._Element]] = {}
    for case in etree.parse(str(report)).iter("testcase"):
        for name in case.xpath("properties/property[@name='uses']/@value"):
            found.setdefault(str(name), []).append(case)
    lines = []
    for name, cases in sorted(found.items()):
        skipped = [case.find("skipped") for case in cases if case.find("skipped") is not None]
        reasons = sorted({entry.get("message") or "" for entry in skipped})
        failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        line = f"  {name:16} {len(cases) - len(skipped) - len(failed):4} tests passed"
        if failed:
            line += f", {len(failed)} failed"
        if skipped:
            line += f", {len(skipped)} skipped: {'; '.join(reasons)}"
        lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
