"""`from qompass import ...`, as a notebook does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qompass
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector
from qompass import Estimate, Options, Plan, QompassError, engine, estimate, plan, sample

from tasks.evaluate import Evaluator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def circuit() -> QuantumCircuit:
    made = QuantumCircuit(6)
    for qubit in range(6):
        made.ry(0.3 + 0.4 * qubit, qubit)
    for qubit in range(5):
        made.rzz(0.5, qubit, qubit + 1)
        made.rx(0.7, qubit)
    return made


def test_estimates_are_those_of_the_uncut_circuit(circuit: QuantumCircuit) -> None:
    wanted = [SparsePauliOp("ZIIIIZ"), SparsePauliOp(["XXIIII", "IIIIYY"], [0.5, -2])]
    with engine():
        found = estimate(circuit, wanted, max_qubits=3)
        sampled = estimate(circuit, wanted, max_qubits=3, shots=20_000, seed=3)
    truth = [Statevector(circuit).expectation_value(operator).real for operator in wanted]
    assert all(isinstance(entry, Estimate) and entry.std_error == 0 for entry in found)
    assert [entry.value for entry in found] == pytest.approx(truth, abs=1e-9)
    for entry, value in zip(sampled, truth, strict=True):
        assert 0 < entry.std_error < 0.5 and abs(entry.value - value) < 5 * entry.std_error


def test_a_plan_is_made_without_running_it(circuit: QuantumCircuit) -> None:
    found = plan(circuit, max_qubits=3)
    shown = repr(found)
    assert shown.startswith(f"Plan: {len(found.fragments)} fragments of at most 3 qubits") and "array(" not in shown
    assert isinstance(found, Plan) and max(fragment.width for fragment in found.fragments) <= 3


def test_strings_are_drawn_from_the_uncut_circuits_distribution(circuit: QuantumCircuit) -> None:
    counts = sample(circuit, 5000, max_qubits=4, seed=1)
    truth = Statevector(circuit).probabilities_dict()
    assert sum(counts.values()) == 5000 and set(counts) <= set(truth)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    cells = [(counts.get(bits, 0), 5000 * p) for bits, p in truth.items() if 5000 * p >= 10]
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    assert statistic < len(cells) + 5 * np.sqrt(2 * len(cells)), "seed 1"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"max_qubits": "3"}, "max_qubits"),
        ({"max_qubit": 3}, "max_qubit"),
        ({"shots": 0}, "shots"),
        ({"observables": None}, "observables"),
        ({"circuit": "c.qasm"}, "circuit"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(
    circuit: QuantumCircuit, arguments: dict[str, object], field: str
) -> None:
    with pytest.raises(QompassError, match=f"`{field}`|no observable|a NoneType") as error:
        estimate(**{"circuit": circuit, "observables": "Z0", **arguments})  # type: ignore[arg-type]
    assert error.value.field == field


def test_it_is_typed_and_says_what_it_has() -> None:
    folder = Path(qompass.__file__).parent
    assert folder == ROOT / "apps" / "qompass" and (folder / "py.typed").exists()
    assert all(getattr(qompass, name).__doc__ for name in qompass.__all__)
    assert Options().memory_bytes


def test_a_package_that_hides_ours_is_named_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('somebody else')\n")
    command = [sys.executable, "-c", "import qompass"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1 and "somebody else" not in ended.stderr
    assert last.startswith("ImportError: ") and str(tmp_path / "tasks.py") in last and "rename it" in last


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], ["numpy", "qiskit", "psutil"]),
        (["plan", "apps/circuits/ghz12.qasm", "--max-qubits", "6"], ["tasks.dispatch", "openqasm3"]),
    ],
    ids=["help", "plan"],
)
def test_what_a_command_does_not_need_is_not_imported(arguments: list[str], unneeded: list[str]) -> None:
    code = (
        "import contextlib, sys; from apps.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})\n"
        f"sys.exit(str([name for name in {unneeded!r} if name in sys.modules]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == "[]"


def small_cpu(folder: Path, memory_bytes: int) -> Path:
    """A resources file with one CPU of so much memory."""
    words = f"<ComputingUnits>1</ComputingUnits><Type>CPU</Type><InternalMemorySize>{memory_bytes / 1e9}"
    processor = f"<Processor Name='SMALL'>{words}</InternalMemorySize></Processor>"
    (folder / "project.xml").write_text(f"<Project><MasterNode>{processor}</MasterNode></Project>")
    (folder / "resources.xml").write_text("<ResourcesList/>")
    return folder


def brick(parameters: bool) -> QuantumCircuit:
    made = QuantumCircuit(8)
    for layer in range(2):
        for qubit in range(8):
            made.ry(Parameter(f"p{layer}_{qubit}") if parameters else 0.4 + 0.1 * qubit + layer, qubit)
        for qubit in range(layer % 2, 7, 2):
            made.cz(qubit, qubit + 1)
        for qubit in range(8):
            made.rx(0.7, qubit)
    return made


@pytest.mark.parametrize("parameters", [False, True])
def test_exact_plans_keep_to_the_memory_that_a_resources_file_says(tmp_path: Path, parameters: bool) -> None:
    """A state of 8 qubits takes 4,096 bytes, and this device has 8,000: but not what else a fragment takes."""
    asked = SparsePauliOp("Z" * 8)
    made = brick(parameters)

    def planned(**more: Any) -> Plan:
        if not parameters:
            return plan(made, asked, plan_seconds=0, **more)
        return Evaluator(made, [asked], Options(plan_seconds=0, **more)).plan

    (whole,) = planned().fragments
    assert whole.num_qubits == 8
    resources = small_cpu(tmp_path, 8_000)
    cut = planned(resources=resources)
    assert len(cut.fragments) > 1 and max(cost.exact_bytes for cost in cut.costs) <= 8_000
    with pytest.raises(QompassError, match=r"SMALL has 90 bytes of memory, \d+ needed; no plan that was found takes"):
        planned(resources=small_cpu(tmp_path, 90))


def test_exact_plans_keep_to_the_width_that_a_resources_file_says(tmp_path: Path) -> None:
    small_cpu(tmp_path, 10**9)
    words = "<ProcessorProperty><Key>qompass</Key><Value>qubits=4</Value></ProcessorProperty></Processor>"
    text = (tmp_path / "project.xml").read_text()
    (tmp_path / "project.xml").write_text(text.replace("</Processor>", words))
    made = plan(brick(False), SparsePauliOp("Z" * 8), resources=tmp_path, plan_seconds=0)
    assert max(fragment.num_qubits for fragment in made.fragments) <= 4


def test_a_plan_is_drawn_where_it_is_wanted(tmp_path):
    altair = pytest.importorskip("altair", reason="the extra `report` is not installed")
    circuit = QuantumCircuit(4)
    for qubit in range(3):
        circuit.cx(qubit, qubit + 1)
    made = qompass.plan(circuit, "Z0 Z3", max_qubits=2)
    chart = made.draw(tmp_path / "plan.svg")
    assert isinstance(chart, altair.TopLevelMixin) and (tmp_path / "plan.svg").read_text().startswith("<svg")
    assert made.fragments and qompass.plan(circuit, "Z0 Z3", max_qubits=2).cuts == made.cuts
