"""A program for any engine: a share of the truth suite through the whole workflow, printed exactly."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from qiskit.circuit.random import random_circuit

from tasks.model.problem import Problem
from tasks.runs import RunDirectory
from tasks.runtime import engine
from tasks.workflow import Options, run
from tests.oracles import brickwork, random_problem, uncut_values
from tests.truth.test_exact_path import FAMILIES, benchmark_circuit, random_cuts

KINDS = ("gates", "wires", "mixed")


def exact_cases() -> list[tuple[str, Problem, Options]]:
    """The truth suite's exact cases: the same seeds, circuits and cuts as in tests/truth."""
    cases = []
    for family, qubits, width in FAMILIES:
        problem = random_problem(benchmark_circuit(family, qubits), np.random.default_rng(1000 + qubits))
        cases.append((f"{family} {qubits}", problem, Options(max_qubits=width)))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        qubits = int(rng.integers(6, 17))
        circuit = brickwork(qubits, int(rng.integers(2, 5)), rng, gate=["cz", "cx", "rzz", "ecr"][seed % 4])
        cases.append((f"brickwork {seed}", random_problem(circuit, rng), Options(max_qubits=(qubits + 1) // 2)))
    for kind in KINDS:
        for seed in range(14):
            rng = np.random.default_rng([seed, KINDS.index(kind)])
            qubits = int(rng.integers(4, 9))
            circuit = random_circuit(qubits, int(rng.integers(3, 7)), max_operands=2, seed=int(rng.integers(1 << 30)))
            problem = random_problem(circuit, rng)
            cuts = random_cuts(circuit, rng, gates=kind != "wires", wires=kind != "gates")
            cases.append((f"random {kind} {seed}", problem, Options(cuts=cuts)))
    return cases


def sampled_cases() -> Iterator[tuple[str, Problem, Options]]:
    """Small problems with shots."""
    for seed, (qubits, layers, gate, width) in enumerate([(4, 2, "cz", 2), (6, 2, "rzz", 3), (4, 3, "cx", 2)]):
        rng = np.random.default_rng([77, seed])
        problem = random_problem(brickwork(qubits, layers, rng, gate=gate), rng, terms=5, observables=1)
        yield f"sampled {seed}", problem, Options(max_qubits=width, shots=100_000, seed=seed)


def main() -> None:
    """Run one of so many cases, chosen by the seed: ``run_truth.py SEED ONE_OF``."""
    cases = exact_cases()
    seed, one_of = map(int, sys.argv[1:])
    chosen = np.random.default_rng(seed).choice(len(cases), len(cases) // one_of, replace=False)
    found = {}
    with engine() as info, tempfile.TemporaryDirectory() as folder:
        for name, problem, options in [*(cases[i] for i in sorted(chosen)), *sampled_cases()]:
            with RunDirectory.create(Path(folder), {}, problem) as directory:
                result = run(problem, options, directory)
            found[name] = {
                "values": [estimate.value.hex() for estimate in result.estimates],
                "errors": [estimate.std_error.hex() for estimate in result.estimates],
                "uncut": uncut_values(problem).tolist(),
            }
            sys.stderr.write(f"{name}\n")
    print(json.dumps({"engine": info.name, "cases": found}))


if __name__ == "__main__":
    main()
