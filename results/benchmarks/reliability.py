"""What Qompass does with what nobody should give it: ``python -m results.benchmarks.reliability [PART ...]``.

Each part tries many times and counts what went wrong; a wrong one is listed with the numbers that bring it back.

* ``inputs``: circuits, observables, files of cuts, included files and options, changed at random. Wrong is a
  traceback, an exit status other than 0 and 2, more than one line, more than 2 s of processor time, or a dead process.
* ``damages``: folders of finished and interrupted runs: files cut, flipped, exchanged, forged, lost, fields of the
  record changed. Wrong is a traceback, more than one line, or other estimates than before.
* ``loops``: the same of optimisations and sweeps.

Writes reliability.json and reliability.md beside this file (reliability_quick.* with --quick); parts not named keep
what they had.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from results.benchmarks import reliability_damages, reliability_inputs

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Found:
    """What a part found.

    Attributes:
        tried: attempts.
        bad: those that went wrong, each described so that it can be tried again.
        seed: of the random numbers.
        seconds: it took.
    """

    tried: int
    bad: list[str]
    seed: int = 0
    seconds: float = field(default=0.0)


# A part is a function of (attempts, seed) that gives how many it tried and what went wrong; attempts in full, quick.
PARTS: dict[str, tuple[Callable[[int, int], tuple[int, list[str]]], int, int]] = {
    "inputs": (reliability_inputs.inputs, 2000, 100),
    "damages": (reliability_damages.damages, 500, 20),
    "loops": (reliability_damages.loops, 500, 20),
}


def main() -> int:
    """Run the parts named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tries", type=int, help="attempts of each part, in place of the usual number")
    options = parser.parse_args()
    name = "reliability_quick" if options.quick else "reliability"
    written = _HERE / f"{name}.json"
    results = json.loads(written.read_text()) if written.exists() else {}
    for part in options.parts or PARTS:
        measure, full, quick = PARTS[part]
        started = time.monotonic()
        tried, bad = measure(options.tries or (quick if options.quick else full), options.seed)
        found = Found(tried, bad, options.seed, round(time.monotonic() - started, 1))
        results[part] = asdict(found)
        print(f"{part}: {tried:,} tried, {len(bad):,} bad")
        written.write_text(json.dumps(results, indent=2) + "\n")
    (_HERE / f"{name}.md").write_text(table(results))
    return 1 if any(results[part]["bad"] for part in results) else 0


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    rows = ["# Reliability", "", f"`{' '.join(['python -m results.benchmarks.reliability', *sys.argv[1:]])}`", ""]
    rows += ["| part | tried | bad | seed |", "|---|---:|---:|---:|"]
    for part, found in results.items():
        rows.append(f"| {part} | {found['tried']:,} | {len(found['bad']):,} | {found['seed']} |")
    listed = [f"* {part}: `{entry}`" for part, found in results.items() for entry in found["bad"]]
    return "\n".join([*rows, "", *listed]).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
