"""Benchmark of shots in rounds: ``python -m results.benchmarks.rounds [--quick]``.

Problems whose variants hardly ever flip, so that luck in the first round could decide how often a variant is asked
again: sums of Z over many near-certain two-qubit parts, and chains of near-certain parts joined by cut gates. Each is
run many times with 500 shots a variant and towards a target error. What counts is the pull, (value - exact) / standard
error: its mean (0 if unbiased), how often it is within 1 and 2 (68 % and 95 %), and the error claimed against the true
one. Certain outcomes (GHZ states, stabilisers) follow, with the same ratio. Outcomes are drawn from exact laws.
Writes rounds.md and .json beside this file (rounds_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from tasks.cutting import make_plan
from tasks.inputs.validation import make_problem
from tests.reconstruction.rounds import SampledProblem, cut_problem, near_certain_parts, pulls

_HERE = Path(__file__).parent


def chain(parts: int) -> tuple[SampledProblem, str]:
    """Two-qubit parts in a row, each pair joined by a cut ``rzz``; the sum of Z, of which little is uncertain."""
    circuit = QuantumCircuit(2 * parts)
    for part in range(parts):
        circuit.ry(0.09, 2 * part)
        circuit.cx(2 * part, 2 * part + 1)
    for part in range(parts - 1):
        circuit.rzz(0.3, 2 * part + 1, 2 * part + 2)
    for part in range(parts):
        circuit.ry(0.09, 2 * part + 1)
    operator = SparsePauliOp.from_sparse_list([("Z", [2 * p + 1], 1.0) for p in range(parts)], 2 * parts)
    # The cut gates are diagonal and the sum is of one-qubit terms: each term sees its part and two neighbours.
    exact = 0.0
    for part in range(parts):
        near = [p for p in (part - 1, part, part + 1) if 0 <= p < parts]
        small = QuantumCircuit(2 * len(near))
        for place in range(len(near)):
            small.ry(0.09, 2 * place)
            small.cx(2 * place, 2 * place + 1)
        for place in range(len(near) - 1):
            small.rzz(0.3, 2 * place + 1, 2 * place + 2)
        for place in range(len(near)):
            small.ry(0.09, 2 * place + 1)
        seen = SparsePauliOp.from_sparse_list([("Z", [2 * near.index(part) + 1], 1.0)], 2 * len(near))
        exact += float(Statevector(small).expectation_value(seen).real)
    problem = make_problem(circuit, operator)
    return cut_problem(problem, make_plan(problem, max_qubits=2, shots=10**6), exact), f"chain of {parts} cut parts"


def certain() -> Iterator[tuple[SampledProblem, str]]:
    """GHZ states and a graph state cut in two, with observables that are 1."""
    ghz = QuantumCircuit(8)
    ghz.h(0)
    for q in range(7):
        ghz.cx(q, q + 1)
    ring = QuantumCircuit(8)
    ring.h(range(8))
    for q in range(8):
        ring.cz(q, (q + 1) % 8)
    for circuit, label, name in (
        (ghz, "ZIIIIIIZ", "GHZ, Z0 Z7"),
        (ghz, "X" * 8, "GHZ, X on all"),
        (ring, "ZXZIIIII", "graph state, inside"),
        (ring, "IIIZXZII", "graph state, across"),
    ):
        problem = make_problem(circuit, SparsePauliOp(label))
        yield cut_problem(problem, make_plan(problem, max_qubits=4, shots=10**6), 1.0), name


def rows(quick: bool) -> Iterator[dict]:
    """One row for each problem and way of stopping."""
    runs = 40 if quick else 300
    for parts in (40, 100) if quick else (40, 100, 200, 400):
        for target in (None, 0.06 * np.sqrt(parts / 200)):
            found = pulls(near_certain_parts(parts), runs, seed=parts, target_error=target)
            yield {"problem": f"{parts} near-certain parts", "target": target, "runs": runs, **found}
    for parts in (4,) if quick else (4, 10, 20):
        problem, name = chain(parts)
        for target in (None, 0.03):
            runs = 20 if quick else 120
            yield {"problem": name, "target": target, "runs": runs, **pulls(problem, runs, seed=1, target_error=target)}
    for problem, name in certain():
        yield {"problem": name, "target": None, "runs": runs, **pulls(problem, runs, seed=2)}


def main() -> None:
    """Run everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few problems and runs")
    options = parser.parse_args()
    found = []
    for row in rows(options.quick):
        row["claimed / true"] = row["claimed"] / max(row["rms error"], 1e-300)
        found.append(row)
        print(row, file=sys.stderr, flush=True)
    name = "rounds_quick" if options.quick else "rounds"
    (_HERE / f"{name}.json").write_text(json.dumps({"rows": found}, indent=1) + "\n")
    names = list(found[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in found:
        cells = ("-" if v is None else f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    command = "python -m results.benchmarks.rounds" + (" --quick" if options.quick else "")
    text = [
        "# Rounds of shots",
        f"Made by `{command}` on {os.cpu_count()} cores: 500 shots a variant, or as many as the target error takes. The"
        " mean pull of N runs is known to 1 / sqrt(N), the coverage within 1 to 0.47 / sqrt(N).",
        "\n".join(lines),
    ]
    (_HERE / f"{name}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
