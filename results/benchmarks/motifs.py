"""Execution motifs on the engines that are here: ``python -m results.benchmarks.motifs``.

The same as ``qompass motif all --quick`` with one unit and with all cores, on the embedded engine; under runcompss
(``launch/local_compss.sh results/benchmarks/motifs.py``) on COMPSs, where units are those of its resources file. Rows
of the engine and motifs that ran replace the earlier ones in motifs.json; motifs.md and motifs.svg are made of all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from apps.motifs.characterise import Characterised, characterise, page
from apps.motifs.couplings import MOTIFS
from apps.report.drawing import rendered

_HERE = Path(__file__).parent


def main() -> None:
    """Measure, keep what other engines gave, write the table and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--only", choices=list(MOTIFS), nargs="*", default=list(MOTIFS))
    parser.add_argument("--scheduler", help="folder of a pilot or a cluster that executes the tasks")
    chosen = parser.parse_args()
    names = [name for name in MOTIFS if name in chosen.only]
    path = _HERE / "motifs.json"
    before = json.loads(path.read_text()) if path.exists() else {"seconds": {}, "motifs": []}
    sizes = {name: motif.quick for name, motif in MOTIFS.items()}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = characterise(
            names, sizes, chosen.units, "auto", 0, Path(folder), lambda line: print(line, file=sys.stderr),
            chosen.scheduler,
        )  # fmt: skip
    if chosen.scheduler:  # the embedded engine, whose tasks go to other processes over the network
        found = [replace(row, engine="cluster") for row in found]
    own = found[0].engine
    kept = [Characterised(**row) for row in before["motifs"] if row["engine"] != own or row["motif"] not in chosen.only]
    earlier = before["seconds"].get(own, 0.0) if any(row.engine == own for row in kept) else 0.0
    seconds = {**before["seconds"], own: earlier + time.perf_counter() - began}
    rows = [*kept, *found]
    path.write_text(json.dumps({"seconds": seconds, "motifs": [asdict(row) for row in rows]}, indent=1) + "\n")
    (_HERE / "motifs.md").write_text(_markdown(rows, seconds))
    (_HERE / "motifs.svg").write_bytes(rendered(page(rows).to_dict(), "svg"))


def _markdown(rows: list[Characterised], seconds: dict[str, float]) -> str:
    took = ", ".join(f"{name} {own:.0f} s" for name, own in seconds.items())
    lines = [
        "# Execution motifs",
        "",
        f"`python -m results.benchmarks.motifs` wrote this (in all: {took}), on {os.cpu_count()} cores that were busy"
        " with other work: a utilisation below 100 % and a scaling below the units are partly theirs. Circuits of 12"
        " qubits and 4 layers take a few milliseconds, so what is measured is the engine. Overhead: seconds of units"
        " beside the work inside of tasks, a task. Scaling: throughput over that with the fewest units measured on that"
        " engine. `compss`: `launch/local_compss.sh results/benchmarks/motifs.py --units 2 --only ...`, the state"
        " vector in a run of its own: two runs of all motifs there were ended by their time limit, why is not"
        " known. `cluster`: workers of `qompass cluster` (`--scheduler`). Training and classifier"
        " are this process' own work, on one core; the state vector is its MPI ranks', their start included.",
        "",
        "| motif | engine | device | units | tasks | seconds | tasks/s | overhead, ms a task | utilisation | scaling |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.motif} | {row.engine} | {row.device} | {row.units} | {row.tasks} | {row.seconds:.2f} |"
            f" {row.throughput:.3g} | {1e3 * row.overhead:.3g} | {row.utilisation:.0%} | {row.scaling:.2f} |"
        )
    return "\n".join([*lines, "", "![Throughput, overhead, utilisation and scaling of every motif](motifs.svg)"]) + "\n"


if __name__ == "__main__":
    main()
