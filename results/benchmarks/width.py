"""Exact values of 100 qubits in fragments of 14: ``python -m results.benchmarks.width [--quick | --full]``.

Brickwork circuits and QAOA on a path, deeper and deeper until a limit stops them: 4 GiB, or the time given. Each runs
end to end (engine, run folder and all) in a process of its own whose whole family's memory is watched, and is held
against a matrix product state truncated below double precision. Writes width.md, width.json and width.png beside this
file (width_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from tests.oracles import brickwork
from tests.truth.test_width import local_labels, mps_values, qaoa_on_a_path

QUBITS, WIDTH, MEMORY = 100, 14, 4 << 30
_HERE = Path(__file__).parent


def main() -> None:
    """Run every case and write the table and the figure; as ``--one FAMILY DEPTH TOOL``, run a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="two depths of each family: under a minute")
    length.add_argument("--full", action="store_true", help="deeper, up to 600 s a case")
    parser.add_argument("--limit", type=float, help="seconds a case may take (default 60, with --full 600)")
    parser.add_argument("--one", nargs=3, metavar=("FAMILY", "DEPTH", "TOOL"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        run_one(chosen.one[0], int(chosen.one[1]), chosen.one[2])
        return
    depths = (2, 4) if chosen.quick else (2, 4, 6, 8, 10, 12, 14) if chosen.full else (2, 4, 6, 8, 10)
    layers = (1, 2) if chosen.quick else (1, 2, 3, 4, 5, 6) if chosen.full else (1, 2, 3, 4)
    limit = chosen.limit or (600.0 if chosen.full else 60.0)
    rows = []
    for family, sizes in (("brickwork", depths), ("qaoa", layers)):
        for depth in sizes:
            row = measure(family, depth, limit)
            rows.append(row)
            sys.stderr.write(f"{family} {depth}: {row.get('stopped', 'done')}\n")
            if "stopped" in row:
                break
    stem = "width_quick" if chosen.quick else "width"
    (_HERE / f"{stem}.json").write_text(json.dumps(rows, indent=1) + "\n")
    (_HERE / f"{stem}.md").write_text(markdown(rows, limit))
    figure(rows, _HERE / f"{stem}.png")


def made(family: str, depth: int) -> tuple[QuantumCircuit, list[str]]:
    """A circuit of 100 qubits and the Pauli strings asked of it: 15 bonds across its width, and Z on all qubits."""
    rng = np.random.default_rng([100, depth])
    build = brickwork if family == "brickwork" else qaoa_on_a_path
    return build(QUBITS, depth, rng), local_labels(QUBITS, rng)


def run_one(family: str, depth: int, tool: str) -> None:
    """Compute the values with Qompass or with the matrix product state; they go to standard output as JSON."""
    circuit, labels = made(family, depth)
    began = time.perf_counter()
    if tool == "mps":
        answer: dict[str, Any] = {"values": mps_values(circuit, labels).tolist()}
    else:
        from tasks.cutting import make_plan
        from tasks.errors import QompassError
        from tasks.inputs.validation import make_problem
        from tasks.workflow import estimate

        operators = [SparsePauliOp(label) for label in labels]
        try:
            found = estimate(circuit, operators, max_qubits=WIDTH, memory_bytes=MEMORY, engine="embedded")
        except QompassError as error:
            answer = {"stopped": str(error)}
        else:
            answer = {"values": [e.value for e in found]}
    answer["seconds"] = time.perf_counter() - began
    if tool != "mps" and "values" in answer:
        plan = make_plan(make_problem(circuit, operators), max_qubits=WIDTH, memory_bytes=MEMORY)
        answer |= {"fragments": len(plan.fragments), "cuts": len(plan.cuts)}
    sys.stdout.write(json.dumps(answer) + "\n")


def measure(family: str, depth: int, limit: float) -> dict[str, Any]:
    """One case with both tools."""
    row: dict[str, Any] = {"family": family, "depth": depth, "gates": made(family, depth)[0].num_nonlocal_gates()}
    ours, peak = watched(family, depth, "qompass", limit)
    row |= {key: ours[key] for key in ("seconds", "fragments", "cuts", "stopped") if key in ours}
    row["peak_bytes"] = peak
    if "stopped" in ours:
        return row
    theirs, mps_peak = watched(family, depth, "mps", limit)
    row |= {"mps_seconds": theirs.get("seconds"), "mps_peak_bytes": mps_peak}
    if "values" in theirs:
        row["difference"] = float(np.abs(np.array(ours["values"]) - np.array(theirs["values"])).max())
    return row


def watched(family: str, depth: int, tool: str, limit: float) -> tuple[dict[str, Any], int]:
    """Run one case in a process of its own; its answer, and the most memory that it and its children held together."""
    return run_watched([sys.executable, "-m", "results.benchmarks.width", "--one", family, str(depth), tool], limit)


def run_watched(command: list[str], limit: float) -> tuple[dict[str, Any], int]:
    """Run a command that prints its answer as JSON; that, and the most memory that all its processes held together."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        peak = max(peak, family_bytes(process))
        if time.perf_counter() - began > limit or peak > MEMORY:
            for each in [*process.children(recursive=True), process]:
                each.kill()
            child.wait()
            reason = f"not done after {limit:.0f} s" if peak <= MEMORY else "more than 4 GiB"
            return {"stopped": reason}, peak
        time.sleep(0.05)
    output = child.stdout.read() if child.stdout else ""
    if child.returncode:
        return {"stopped": f"ended with status {child.returncode}"}, peak
    return json.loads(output.splitlines()[-1]), peak


def family_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def markdown(rows: list[dict[str, Any]], limit: float) -> str:
    """The table."""
    lines = [
        "# 100 qubits, exactly, in fragments of 14",
        "",
        f"`python -m results.benchmarks.width` on {psutil.cpu_count()} cores: 16 observables, end to end, the engine's"
        f" start included; peak memory is that of all processes together. Limits: 4 GiB and {limit:.0f} s.",
        "",
        "| circuit | two-qubit gates | fragments | cuts | time | peak memory | largest difference to MPS | MPS alone |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        name = f"brickwork, {r['depth']} layers" if r["family"] == "brickwork" else f"QAOA on a path, p = {r['depth']}"
        if "stopped" in r:
            lines.append(f"| {name} | {r['gates']} | | | stops: {r['stopped']} | {_gib(r['peak_bytes'])} | | |")
            continue
        difference = f"{r['difference']:.0e}" if "difference" in r else "MPS not done"
        mps = f"{r['mps_seconds']:.1f} s" if r.get("mps_seconds") else "-"
        lines.append(
            f"| {name} | {r['gates']} | {r['fragments']} | {r['cuts']} | {r['seconds']:.1f} s |"
            f" {_gib(r['peak_bytes'])} | {difference} | {mps} |"
        )
    return "\n".join(lines) + "\n"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Time against depth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axis = pyplot.subplots(figsize=(6, 4))
    for family, name, marker in (("brickwork", "brickwork (layers)", "o"), ("qaoa", "QAOA on a path (p)", "s")):
        done = [r for r in rows if r["family"] == family and "stopped" not in r]
        axis.plot([r["depth"] for r in done], [r["seconds"] for r in done], marker=marker, label=name)
    axis.axhline(60, color="grey", linestyle=":", label="one minute")
    axis.set_yscale("log")
    axis.set_xlabel("depth")
    axis.set_ylabel("seconds, end to end")
    axis.set_title("100 qubits in fragments of at most 14, exact")
    axis.legend()
    fig.tight_layout()
    fig.savefig(path, dpi=130)
    pyplot.close(fig)


if __name__ == "__main__":
    main()
