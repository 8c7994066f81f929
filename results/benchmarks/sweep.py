"""Sweeps of small problems: ``python -m results.benchmarks.sweep [--rows N ...] [--budget SECONDS]``.

Rows are two circuits of 8 qubits (layers of RY, RZZ and CX on a line, two angles from the table), two observables and
a grid of the angles, in fragments of at most 4 qubits. ``qompass sweep`` in a process of its own, with 100, 1,000 and
10,000 rows: seconds and the most memory that the process had. Beside it, on the same rows: a call of
``qompass.estimate`` for each, qiskit-addon-cutting with the same cuts (4,096 shots a sub-experiment, extrapolated from
what fits the budget), both on a few rows, and the uncut circuit's state vector. Then the longest sweep again, killed
with SIGKILL on the way and resumed. Writes sweep.md, .json and .png beside this file.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp, Statevector
from qompass import estimate

from apps.sweep.groups import Reader
from apps.sweep.table import Row, read_table
from results.benchmarks.speed_peers import addon_times
from results.benchmarks.speed_problems import Case
from tasks.cut import plan_problem
from tasks.inputs.observables import parse_text
from tasks.inputs.validation import make_problem
from tasks.options import Options

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_ROWS = (100, 1000, 10_000)
_WIDTH, _SHOTS = 4, 4096
_OBSERVABLES = ("Z0 Z7", "Z3 Z4 + 0.5*Z1")
_SINGLE, _PEER, _UNCUT = 20, 2, 200  # rows


def main() -> None:
    """Measure, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=_ROWS)
    parser.add_argument("--budget", type=float, default=3.0, help="seconds that the peer may take for a row")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        made = [_sweep(folder, count) for count in chosen.rows]
        table = _table(folder, max(chosen.rows))
        rows = read_table(table)
        document = {
            "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "qiskit": version("qiskit")},
            "budget_s": chosen.budget, "sweeps": made, "killed": _killed(folder, table, made[-1]["values"]),
            **_others(rows, folder, made[-1]["values"], chosen.budget),
        }  # fmt: skip
    for own in made:
        del own["values"]
    (_HERE / "sweep.json").write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / "sweep.md").write_text(_markdown(document))
    _figure(document)


def _table(folder: Path, rows: int) -> Path:
    """A grid of so many rows, and its circuits."""
    for name, entangler in (("rzz", "rzz({b}/2)"), ("cx", "cx")):
        lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[8];"]
        for layer in (1, 2):
            lines += [f"ry({layer}*{{a}}+{qubit}/7) q[{qubit}];" for qubit in range(8)]
            lines += [f"{entangler if q == 3 else 'cx'} q[{q}],q[{q + 1}];" for q in (*range(0, 7, 2), *range(1, 7, 2))]
            lines += [f"rz({{b}}) q[{qubit}];" for qubit in range(8)]
        (folder / f"{name}.qasm").write_text("\n".join(lines) + "\n")
    steps = max(k for k in range(1, rows) if k * k <= rows // 4 and rows // 4 % k == 0)
    grid = {
        "circuits": ["rzz.qasm", "cx.qasm"], "observables": list(_OBSERVABLES),
        "parameters": {
            "a": {"from": 0, "to": 1, "steps": rows // 4 // steps}, "b": {"from": -1, "to": 1, "steps": steps},
        },
    }  # fmt: skip
    path = folder / f"grid{rows}.json"
    path.write_text(json.dumps(grid))
    return path


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "apps.cli", *map(str, arguments)]


def _sweep(folder: Path, count: int) -> dict[str, Any]:
    """Seconds and the most memory of a sweep in a process of its own, and what it found."""
    table, to = _table(folder, count), folder / f"values{count}.csv"
    command = _command("sweep", table, "--max-qubits", str(_WIDTH), "--out", folder / "runs", "--to", to)
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return {"rows": len(values := _values(to)), "seconds": seconds, "mebibytes": used.ru_maxrss / 1024,
            "processor_s": used.ru_utime + used.ru_stime, "values": values}  # fmt: skip


def _values(path: Path) -> list[float]:
    with path.open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file)]


def _killed(folder: Path, table: Path, wanted: Sequence[float]) -> dict[str, Any]:
    """A sweep that SIGKILL ends half way, and its resumption: rows at that time, seconds of both, whether all fit."""
    out = folder / "killed"
    began = time.perf_counter()
    process = subprocess.Popen(_command("sweep", table, "--max-qubits", str(_WIDTH), "--out", out), cwd=_ROOT,
                               stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    half = len(wanted) / 2
    while (done := _journalled(out)) < half:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    middle = time.perf_counter()
    (run,) = out.iterdir()
    subprocess.run(_command("resume", run), cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
    ended = time.perf_counter()
    same = _values(run / "table.csv") == list(wanted)
    return {"rows": done, "before": middle - began, "after": ended - middle, "same": same}


def _journalled(out: Path) -> int:
    """Rows in the journal of the only run."""
    lines = [line for path in out.glob("*/journal.jsonl") for line in path.read_text().splitlines()[1:]]
    return sum(len(json.loads(line.partition(" ")[2])["rows"]) for line in lines[:-1])  # the last may be half written


def _others(rows: Sequence[Row], folder: Path, values: Sequence[float], budget: float) -> dict[str, Any]:
    """Seconds a row of a loop of calls, of the peer and of uncut circuits, and how far values are from uncut ones."""
    reader = Reader(folder)
    chosen = np.random.default_rng(1).permutation(len(rows)).tolist()
    off = 0.0

    def uncut(row: Row) -> float:
        circuit = reader.circuit(row)
        found = Statevector(circuit).expectation_value(_operator(row)).real
        nonlocal off
        off = max(off, abs(float(found) - values[row.number]))
        return float(found)

    def single(row: Row) -> None:
        estimate(reader.circuit(row), row.observable, max_qubits=_WIDTH, cache="off")

    def peer(row: Row) -> float:
        circuit, operator = reader.circuit(row), _operator(row)
        problem = make_problem(circuit, [operator])
        plan = plan_problem(problem, Options(max_qubits=_WIDTH, cache="off"), runs=False)
        case = Case("row", "gate", problem.circuit, plan.cuts, tuple(operator.paulis.to_labels()), operator.coeffs.real)
        return addon_times(case, _SHOTS, budget, seed=1).total

    return {
        "single": _each(single, [rows[k] for k in chosen[:_SINGLE]]),
        "uncut": _each(uncut, [rows[k] for k in chosen[:_UNCUT]]), "off": off,
        "peer": median(peer(rows[k]) for k in chosen[:_PEER]),
    }  # fmt: skip


def _operator(row: Row) -> SparsePauliOp:
    own = parse_text(row.observable, 8)
    labels = ["".join("IZ"[z] for z in zs[::-1].astype(int)) for zs in own.z]
    return SparsePauliOp(labels, own.coefficients)


def _each(work: Callable[[Row], object], rows: Sequence[Row]) -> float:
    taken = []
    for row in rows:
        began = time.perf_counter()
        work(row)
        taken.append(time.perf_counter() - began)
    return median(taken)


def _markdown(document: dict[str, Any]) -> str:
    machine, killed, last = document["machine"], document["killed"], document["sweeps"][-1]
    each = last["seconds"] / last["rows"]
    lines = [
        "# Sweeps of small problems",
        "",
        "`python -m results.benchmarks.sweep` wrote this: two circuits of 8 qubits, two observables and a grid of two"
        f" angles, exact, fragments of at most {_WIDTH} qubits; each sweep is a process of its own, with its start."
        f" {machine['cores']} cores, Python {machine['python']}, Qiskit {machine['qiskit']}.",
        "",
        "| rows | seconds | of processor | ms a row | most memory, MiB |",
        "|---:|---:|---:|---:|---:|",
        *(f"| {own['rows']:,} | {own['seconds']:.1f} | {own['processor_s']:.1f} |"
          f" {1e3 * own['seconds'] / own['rows']:.2f} | {own['mebibytes']:.0f} |" for own in document["sweeps"]),
        "",
        "| the same rows | ms a row | of a sweep's |",
        "|---|---:|---:|",
        f"| `qompass sweep`, {last['rows']:,} rows | {1e3 * each:.2f} | 1 |",
        f"| a call of `qompass.estimate` each (median of {_SINGLE} rows) | {1e3 * document['single']:.1f} |"
        f" {document['single'] / each:.1f} |",
        f"| qiskit-addon-cutting 0.10, the same cuts, {_SHOTS:,} shots a sub-experiment ({_PEER} rows,"
        f" {document['budget_s']:g} s each, extrapolated) | {1e3 * document['peer']:,.0f} |"
        f" {document['peer'] / each:,.0f} |",
        f"| uncut, Qiskit's state vector (median of {_UNCUT} rows) | {1e3 * document['uncut']:.2f} |"
        f" {document['uncut'] / each:.2f} |",
        "",
        f"Values differ from uncut ones by {document['off']:.0e} at most. Killed with SIGKILL after {killed['rows']:,}"
        f" rows and {killed['before']:.1f} s, the sweep was resumed and done in {killed['after']:.1f} s more, with"
        f" {'the same values, bit for bit' if killed['same'] else 'OTHER VALUES'}.",
        "",
        "![Seconds and memory](sweep.png)",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _figure(document: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    rows = [own["rows"] for own in document["sweeps"]]
    left.loglog(rows, [own["seconds"] for own in document["sweeps"]], "o-", label="qompass sweep")
    for key, label in (("single", "a call each"), ("peer", "addon-cutting"), ("uncut", "uncut state vector")):
        left.loglog(rows, [document[key] * count for count in rows], ":", label=label)
    left.set(xlabel="rows", ylabel="seconds")
    left.legend(fontsize=8)
    right.semilogx(rows, [own["mebibytes"] for own in document["sweeps"]], "o-")
    right.set(xlabel="rows", ylabel="most memory, MiB", ylim=(0, None))
    figure.savefig(_HERE / "sweep.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
