"""Two checkouts end to end, in turn: ``python -m results.benchmarks.end_to_end --before CHECKOUT [--runs N]``.

The same commands through the launchers of another checkout and of this one, both set up beforehand, A B A B ..., so
that a machine whose speed drifts changes both. Writes end_to_end.md and .json beside this file: medians of wall and
processor seconds and their ratios, and whether the values agree.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMANDS = {
    "12 qubits in 2, exact": ["ghz12.qasm", "--observable", "Z0 Z11", "--max-qubits", "6"],
    "12 qubits in 2, 100,000 shots": ["ghz12.qasm", "--observable", "Z0 Z11", "--max-qubits", "6", "--shots", "100000"],
    "40 qubits in 12, exact": ["vqe40.qasm", "--observable", "Z0 Z1", "--max-qubits", "12"],
    "40 qubits in 12, 1,000,000 shots": [
        "vqe40.qasm", "--observable", "Z0 Z1", "--max-qubits", "12", "--shots", "1000000",
    ],
}  # fmt: skip


def timed(checkout: Path, arguments: list[str]) -> dict[str, Any]:
    """One run: wall and processor seconds, children included, and the estimate."""
    with tempfile.TemporaryDirectory() as out:
        command = [str(checkout / "launch" / "qompass"), "run", str(checkout / "apps" / "circuits" / arguments[0])]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [*command, *arguments[1:], "--cache", "off", "--json", "--out", out],
            cwd=checkout,
            capture_output=True,
            check=True,
        )
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, **json.loads(done.stdout)["estimates"][0]}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows = {}
    for name, arguments in COMMANDS.items():
        timed(ROOT, arguments), timed(options.before, arguments)
        pairs = [(timed(options.before, arguments), timed(ROOT, arguments)) for _ in range(options.runs)]
        rows[name] = {
            key: [median(old[key] for old, _ in pairs), median(new[key] for _, new in pairs)] for key in ("wall", "cpu")
        } | {key: [pairs[-1][0][key], pairs[-1][1][key]] for key in ("value", "std_error")}
    (HERE / "end_to_end.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "# End to end, before and after the house was rebuilt",
        "",
        f"`python -m results.benchmarks.end_to_end --before CHECKOUT --runs {options.runs}`, before: commit f3feb21; "
        "medians, a run of each in turn, everything included (start of Python, engine, folder).",
        "",
        "| command | wall s, before | after | ratio | processor s, before | after | ratio | value, before | after |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        times = " | ".join(f"{old:.2f} | {new:.2f} | {old / new:.1f}x" for old, new in (row["wall"], row["cpu"]))
        values = " | ".join(f"{v:.6f} ± {e:.6f}" for v, e in zip(row["value"], row["std_error"], strict=True))
        lines.append(f"| {name} | {times} | {values} |")
    (HERE / "end_to_end.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
