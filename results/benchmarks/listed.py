"""Benchmark of listed bit strings: ``python -m results.benchmarks.listed [--quick] [--only WORD]``.

``qompass sample --top K --fragment-shots N`` lists what looks most likely in counts. On flat and on peaked
distributions of cut circuits the list is made many times, and the pulls (listed - exact) / standard error of all
strings listed are held against a normal distribution of mean 0 and variance 1: with one half of the shots choosing and
the other telling, as Qompass does, and with the same shots doing both. Outcomes are drawn from exact laws.

The estimates are unbiased; their pulls still lean to the low side where a string rests on few counts, because the error
bar of a product of counts grows with its value. A product of k independent counts, each of mean m, has a relative error
s = sqrt(k / m), and to first order in s a mean pull of s (1 / (2 k) - 1): -1 / (2 sqrt(m)) for one count.
Writes listed.md and .json beside this file (listed_quick.* with --quick). With ``--only`` rows of distributions without
the word in their name stay as they are.
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

from results.benchmarks.rounds import ghz, w_state
from tasks.cutting import make_plan, structure_of
from tasks.cutting.variants import enumerate_variants
from tasks.execution.samples import sampled_data
from tasks.execution.simulators.drawing import draw_counts
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import variant_distributions
from tasks.inputs.validation import make_problem
from tasks.reconstruction.distribution.likely import most_likely
from tasks.reconstruction.distribution.outputs import Outputs, SampledOutputs

_HERE = Path(__file__).parent

LEAN = (
    "Told by halves the values are right on average. Their pulls lean to the low side where a string rests on few"
    " counts, because the error bar of a product of counts grows with its value: a product of k counts, each of mean m,"
    " has a relative error s = sqrt(k / m) and to first order a mean pull of s (1 / (2 k) - 1). Flat strings at 200"
    " shots a variant rest on m = 12.5 counts of each fragment's half: -0.30 for k = 2, -0.41 for k = 3; at 2,000 on"
    " 125: -0.09 and -0.13."
)


class TellsOnItself(SampledOutputs):
    """Outputs whose shots both choose and tell."""

    def in_halves(self, seed: int) -> tuple[Outputs, Outputs]:
        """The same twice."""
        return self, self


def circuits() -> Iterator[tuple[str, QuantumCircuit, int]]:
    """Name, circuit and the width it is cut to: flat, nearly flat and peaked distributions."""
    rng = np.random.default_rng(7)
    flat = QuantumCircuit(6)
    flat.h(range(6))
    flat.cz(2, 3)
    yield "flat, 64 strings", flat, 3
    wide = QuantumCircuit(9)
    wide.h(range(9))
    wide.cz(2, 3)
    wide.cz(5, 6)
    yield "flat, 512 strings", wide, 3
    brick = QuantumCircuit(6)
    for layer in range(3):
        for q in range(6):
            brick.u(*rng.uniform(0, np.pi, 3), q)
        for q in range(layer % 2, 5, 2):
            brick.cz(q, q + 1)
    yield "random circuit, 64 strings", brick, 3
    slope = QuantumCircuit(6)
    for q in range(6):
        slope.ry(0.9, q)
    slope.rzz(0.4, 2, 3)
    for q in range(6):
        slope.rx(0.3, q)
    yield "peaked, product-like", slope, 3
    yield "GHZ, 2 strings", ghz(6), 3
    yield "W, 6 strings", w_state(6), 3


def rows(quick: bool, only: str) -> Iterator[dict]:
    """One row for each distribution, number of shots and way of telling."""
    runs = 30 if quick else 200
    for number, (name, circuit, width) in enumerate(circuits()):
        if only not in name:
            continue
        qubits = circuit.num_qubits
        problem = make_problem(circuit, SparsePauliOp("Z" * qubits))
        plan = make_plan(problem, max_qubits=width, shots=10**6)
        exact = Statevector(circuit).probabilities()
        made = []
        for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
            variants = enumerate_variants(fragment, schemes)
            laws = list(variant_distributions(fragment, schemes, open_state(fragment), variants))
            made.append((fragment, schemes, variants, laws, tuple(q for _, q in sorted(fragment.outputs))))
        joined = structure_of(problem, plan)
        for each in (200, 2000):
            rng = np.random.default_rng([number, each])
            for kind, way in ((SampledOutputs, "halves"), (TellsOnItself, "the same shots")):
                pulls, errors = [], []
                for run in range(runs):
                    outputs = []
                    for fragment, schemes, variants, laws, outs in made:
                        counts = [draw_counts(law, each, rng) for law in laws]
                        outputs.append(kind(outs, sampled_data(fragment, schemes, variants, counts)))
                    found = most_likely(joined, outputs, qubits, 4, seed=run)
                    truth = exact[found.bits.astype(np.int64) @ (1 << np.arange(qubits))]
                    errors.append(found.probabilities - truth)
                    pulls.append(errors[-1] / found.std_errors)
                table = np.array(pulls)
                true = np.array(errors)
                yield {
                    "distribution": name,
                    "shots a variant": each,
                    "told by": way,
                    "runs": runs,
                    "mean error / true error": float(true.mean() / np.sqrt(np.square(true).mean())),
                    "mean pull": float(table.mean()),
                    "its error": float(table.mean(axis=1).std(ddof=1) / np.sqrt(runs)),
                    "variance": float(table.var()),
                    "within 1": float((np.abs(table) < 1).mean()),
                    "within 2": float((np.abs(table) < 2).mean()),
                }


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs")
    parser.add_argument("--only", default="", help="run only distributions with this in their name")
    options = parser.parse_args()
    name = "listed_quick" if options.quick else "listed"
    path = _HERE / f"{name}.json"
    kept = json.loads(path.read_text())["rows"] if options.only and path.exists() else []
    found = [row for row in kept if options.only not in row["distribution"]]
    for row in rows(options.quick, options.only):
        found.append(row)
        print(row, file=sys.stderr, flush=True)
    order = [title for title, _, _ in circuits()]
    found.sort(key=lambda row: order.index(row["distribution"]))
    path.write_text(json.dumps({"rows": found}, indent=1) + "\n")
    names = list(found[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in found:
        cells = (f"{row[n]:.3f}" if isinstance(row[n], float) else str(row[n]) for n in names)
        lines.append("| " + " | ".join(cells) + " |")
    command = "python -m results.benchmarks.listed" + (" --quick" if options.quick else "")
    text = [
        "# Listed bit strings",
        f"Made by `{command}` on {os.cpu_count()} cores: pulls of the 4 strings that each run lists. *Halves*: one half"
        " of the shots chooses, the other tells. *Mean error / true error*: of the value alone, without its bar.",
        LEAN,
        "\n".join(lines),
    ]
    (_HERE / f"{name}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
