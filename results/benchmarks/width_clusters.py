"""Dense clusters joined by few gates, 100 to 300 qubits, exactly: ``python -m results.benchmarks.width_clusters``.

What neither a statevector nor a matrix product state does uncut: clusters of 12 to 20 qubits, every pair of a cluster
joined by an rzz of random angle in each of three layers with rotations between, a gate from each cluster to the next
and, on every third, to the one after that. Values are held against Aer's matrix product state where that is done in
time. Writes width_clusters.md, .json and .png beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from qiskit import QuantumCircuit

from results.benchmarks.width import run_watched

CASES = ((12, 25), (16, 12), (18, 10), (20, 10))
LIMIT = 45.0
_HERE = Path(__file__).parent


def clusters(size: int, number: int) -> QuantumCircuit:
    """The circuit."""
    rng = np.random.default_rng([size, number])
    circuit = QuantumCircuit(size * number)
    for _ in range(3):
        for q in range(circuit.num_qubits):
            circuit.ry(float(rng.uniform(0, 3)), q)
        for c in range(number):
            for a in range(size):
                for b in range(a + 1, size):
                    circuit.rzz(float(rng.uniform(0.2, 1.4)), c * size + a, c * size + b)
    for c in range(number - 1):
        circuit.rzz(0.8, c * size + size - 1, (c + 1) * size)
    for c in range(0, number - 2, 3):
        circuit.rzz(0.6, c * size + size // 2, (c + 2) * size + size // 2)
    for q in range(circuit.num_qubits):
        circuit.rx(float(rng.uniform(0, 3)), q)
    return circuit


def observables(qubits: int) -> list[str]:
    """On single qubits and neighbours all over the width."""
    return [f"Z{q}" for q in range(0, qubits, 11)] + [f"X{q} Y{q + 1}" for q in range(4, qubits - 1, 23)]


def main() -> None:
    """Run every case with both tools; as ``--one SIZE NUMBER TOOL``, run a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        run_one(int(chosen.one[0]), int(chosen.one[1]), chosen.one[2])
        return
    path = _HERE / "width_clusters.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    for size, number in CASES:
        if any((row["size"], row["number"]) == (size, number) for row in rows):
            continue
        row: dict[str, Any] = {"size": size, "number": number}
        for tool in ("qompass", "mps"):
            command = [sys.executable, "-m", "results.benchmarks.width_clusters", "--one", str(size), str(number), tool]
            answer, peak = run_watched(command, LIMIT)
            row[tool] = answer | {"peak_bytes": peak}
        rows.append(row)
        path.write_text(json.dumps(rows, indent=1) + "\n")
        sys.stderr.write(f"{size} x {number}: {row['qompass'].get('seconds')}, {row['mps'].get('seconds')}\n")
    (_HERE / "width_clusters.md").write_text(markdown(rows))
    figure(rows, _HERE / "width_clusters.png")


def run_one(size: int, number: int, tool: str) -> None:
    """Compute the values; they go to standard output as JSON."""
    circuit = clusters(size, number)
    asked = observables(circuit.num_qubits)
    began = time.perf_counter()
    if tool == "mps":
        from tasks.inputs.validation import make_problem
        from tests.truth.test_width import mps_values

        terms = make_problem(circuit, asked).terms
        letters = np.array(list("IXZY"))[terms.x + 2 * terms.z]
        answer: dict[str, Any] = {"values": mps_values(circuit, ["".join(row[::-1]) for row in letters]).tolist()}
    else:
        from tasks.workflow import estimate

        found = estimate(circuit, asked, max_qubits=size, memory_bytes=4 << 30, engine="embedded", cache="off")
        answer = {"values": [e.value for e in found]}
    answer["seconds"] = time.perf_counter() - began
    sys.stdout.write(json.dumps(answer) + "\n")


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "# Dense clusters joined by few gates, exactly",
        "",
        f"`python -m results.benchmarks.width_clusters` on {psutil.cpu_count()} shared cores: three layers of an rzz"
        " between every two qubits of a cluster, a gate from each cluster to the next, on every third to the one after;"
        " end to end, peak memory of all processes together. A statevector of the whole would take 2^100 to 2^300"
        f" amplitudes; Aer's matrix product state, truncated below double precision, has {LIMIT:.0f} s.",
        "",
        "| clusters | qubits | two-qubit gates | Qompass | peak memory | matrix product state | largest difference |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        ours, mps = r["qompass"], r["mps"]
        gates = clusters(r["size"], r["number"]).num_nonlocal_gates()
        same = "values" in ours and "values" in mps
        off = f"{np.abs(np.array(ours['values']) - np.array(mps['values'])).max():.0e}" if same else "-"
        seconds = [f"{a['seconds']:.1f} s" if "seconds" in a else f"stops: {a['stopped']}" for a in (ours, mps)]
        memory = f"{ours['peak_bytes'] / 2**30:.2f} GiB"
        lines.append(
            f"| {r['number']} of {r['size']} | {r['size'] * r['number']} | {gates:,} | {seconds[0]} | {memory} |"
            f" {seconds[1]} | {off} |"
        )
    return "\n".join([*lines, "", "![Seconds against the size of a cluster](width_clusters.png)"]) + "\n"


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds of both, case by case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axis = pyplot.subplots(figsize=(7, 4))
    names = [f"{r['number']} x {r['size']}" for r in rows]
    for shift, (tool, name) in enumerate((("qompass", "Qompass"), ("mps", "matrix product state"))):
        heights = [r[tool].get("seconds", LIMIT) for r in rows]
        bars = axis.bar(np.arange(len(rows)) + 0.4 * shift, heights, 0.4, label=name)
        for bar, r in zip(bars, rows, strict=True):
            if "seconds" not in r[tool]:
                axis.annotate("not done", (bar.get_x() + 0.2, LIMIT), rotation=90, ha="center", va="top", color="white")
    axis.set(
        yscale="log",
        ylabel="seconds, end to end",
        xlabel="clusters x qubits of one",
        title="Exact values, 100 to 300 qubits",
    )
    axis.set_xticks(np.arange(len(rows)) + 0.2, names)
    axis.legend()
    fig.tight_layout()
    fig.savefig(path, dpi=130)
    pyplot.close(fig)


if __name__ == "__main__":
    main()
