"""The graph that COMPSs draws of a sampled run: fan-out, fan-in, and few synchronisations."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from qiskit import qasm2

from tests.engines.launching import ROOT, needs_runcompss, on_compss
from tests.oracles import brickwork

pytestmark = [needs_runcompss, pytest.mark.xdist_group("runcompss"), pytest.mark.timeout(400)]


def read_graph(path: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """({node: name of its task, or "sync"}, edges) of a complete_graph.dot."""
    text = path.read_text()
    legend = r'<td align="right">tasks\.\w+\.(\w+?)(?:_bound_on_\w+)?(?:\.ms\d+)?</td>\s*<td bgcolor="(#\w+)">'
    named = re.findall(legend, text)
    name_of = {color: name for name, color in named}
    nodes = {
        node: "sync" if node.startswith("Synchro") else name_of[color]  # COMPSs gives both the same colours
        for node, color in re.findall(r"(\w+)\[[^\n]*?fillcolor=\"(#\w+)\"", text)
    }
    return nodes, re.findall(r"(\w+) -> (\w+)", text)


def test_a_sampled_run_fans_out_and_in_and_waits_only_where_values_decide(tmp_path):
    circuit = brickwork(36, 4, np.random.default_rng(3))
    (tmp_path / "circuit.qasm").write_text(qasm2.dumps(circuit))
    done = on_compss(
        tmp_path, "-g", "--logs", tmp_path / "logs", ROOT / "apps/expectation.py", tmp_path / "circuit.qasm",
        "--observable", " ".join(f"Z{q}" for q in range(36)),
        "--max-qubits", 12, "--shots", 400_000_000, "--seed", 5, "--cache", "off",
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fragments = len(json.loads(done.stdout)["plan"]["fragments"])
    assert fragments >= 3
    (dot,) = (tmp_path / "logs").glob(".COMPSs/*/monitor/complete_graph.dot")
    nodes, edges = read_graph(dot)
    count = Counter(nodes.values())
    # What has ended by then is not drawn: the wait for it, or the edge to what takes its result.
    assert count["sync"] <= 1 + 3, "the program, the plan, the allocation of shots, the end"
    assert count["cut"] == count["allocate"] == count["reconstruct"] == 1
    assert count["tensor"] == 2 * fragments, "one for each fragment and round"
    assert count["execute"] >= 2 * 2, "both rounds fan out"
    assert_only_ways_of_data(nodes, edges)
    kinds = Counter((nodes[a], nodes[b]) for a, b in edges)
    assert kinds["execute", "tensor"] >= fragments, kinds


# Which task may take a result of which; everything else would be a wait that nobody needs.
WAYS = {
    ("execute", "tensor"), ("tensor", "allocate"), ("tensor", "reconstruct"),
    ("cut", "sync"), ("allocate", "sync"), ("reconstruct", "sync"),
}  # fmt: skip


def assert_only_ways_of_data(nodes: dict[str, str], edges: list[tuple[str, str]]) -> None:
    """No task waits for another but where it takes its result."""
    kinds = {(nodes[a], nodes[b]) for a, b in edges if nodes[a] != "sync"}
    assert kinds <= WAYS, kinds - WAYS


PUBS = """
import sys
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qompass import QompassEstimator

def chain(qubits):
    circuit = QuantumCircuit(qubits)
    circuit.ry(Parameter("angle"), 0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit

four, five = chain(4), chain(5)
pubs = [
    (four, [["ZIIZ"], ["XXXX"]], [[0.3], [1.2], [0.5]]),
    (five, ["ZIIII", "IIZII"], [[0.4]]),
    (four, ["IZZI"], [[0.3], [0.9]]),
]
job = QompassEstimator(max_qubits=2, cache="off", out=sys.argv[1]).run(pubs)
for own in job.result():
    print(own.data.evs.round(6).tolist())
print(job.job_id())
"""


def test_all_pubs_of_a_job_are_one_graph(tmp_path):
    (tmp_path / "three.py").write_text(PUBS)
    done = on_compss(tmp_path, "-g", "--logs", tmp_path / "logs", tmp_path / "three.py", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    *values, name = done.stdout.strip().splitlines()
    sines = np.sin([0.3, 1.2, 0.5]).round(6)
    np.testing.assert_allclose(json.loads(values[0]), [[1] * 3, sines], atol=2e-6)
    np.testing.assert_allclose(json.loads(values[1]), [np.cos(0.4)] * 2, atol=2e-6)
    np.testing.assert_allclose(json.loads(values[2]), [1, 1], atol=2e-6)
    fragments = len(json.loads((tmp_path / "runs" / name / "record.json").read_text())["plan"]["fragments"])
    (dot,) = (tmp_path / "logs").glob(".COMPSs/*/monitor/complete_graph.dot")
    nodes, edges = read_graph(dot)
    count = Counter(nodes.values())
    assert count["cut"] == count["reconstruct"] == 1 and count["tensor"] == fragments, count
    assert count["sync"] <= 1 + 2, "the program, the plan, the end"
    assert_only_ways_of_data(nodes, edges)
    assert ("tensor", "reconstruct") in {(nodes[a], nodes[b]) for a, b in edges}
