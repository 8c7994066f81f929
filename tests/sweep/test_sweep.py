"""`qompass sweep`: a row's value is the whole circuit's, what can be shared is, and a bad row takes no other along."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm2, qpy
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector

from apps.cli.main import main
from apps.sweep import program
from apps.sweep.structure import lifted
from apps.sweep.table import read_table
from tasks.errors import InputError
from tasks.evaluate import Evaluator
from tasks.runs.journal import JOURNAL_NAME, read_journal

pytestmark = pytest.mark.usefixtures("own_folder")

TEXT = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[4];
h q[0];
ry({theta}) q[1];
cx q[0],q[1];
rzz(2*{phi}) q[1],q[2];
ry({theta}/3) q[3];
cx q[2],q[3];
"""


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "c.qasm").write_text(TEXT)
    parameters = {"theta": {"from": 0.1, "to": 1.5, "steps": 4}, "phi": [0.2, -0.7]}
    document = {"circuits": ["c.qasm"], "observables": ["Z0 Z3", "0.5*X2 - Z1"], "parameters": parameters}
    (tmp_path / "grid.json").write_text(json.dumps(document))
    return "grid.json"


def swept(capsys, *arguments):
    assert main(["sweep", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def truth(theta, phi, observable):
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.ry(theta, 1)
    circuit.cx(0, 1)
    circuit.rzz(2 * phi, 1, 2)
    circuit.ry(theta / 3, 3)
    circuit.cx(2, 3)
    terms = {"Z0 Z3": [("ZIIZ", 1)], "0.5*X2 - Z1": [("IXII", 0.5), ("IIZI", -1)]}[observable]
    return Statevector(circuit).expectation_value(SparsePauliOp.from_list(terms)).real


def test_the_steps_of_a_grid_are_written_as_one_would_write_them(tmp_path):
    for (start, stop, steps), wanted in (
        ((0, 1, 11), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ((-np.pi, np.pi, 3), [-np.pi, 0, np.pi]),
        ((0.1, 0.7, 2), [0.1, 0.7]),
        ((0.1, 0.7, 1), [0.1]),
    ):
        parameters = {"theta": {"from": start, "to": stop, "steps": steps}}
        document = {"circuits": ["c.qasm"], "observables": ["Z0"], "parameters": parameters}
        (tmp_path / "grid.json").write_text(json.dumps(document))
        assert [row.parameters["theta"] for row in read_table(tmp_path / "grid.json")] == wanted


def test_a_grid_has_a_row_for_each_combination_with_the_whole_circuits_value(grid, capsys):
    found = swept(capsys, grid, "--max-qubits", "2")
    rows = found["table_rows"]
    assert (found["rows"], found["values"], found["broken"], found["groups"]) == (16, 16, 0, 2)
    assert [row["phi"] for row in rows[:4]] == [0.2, -0.7, 0.2, -0.7]
    for row in rows:
        assert row["value"] == pytest.approx(truth(row["theta"], row["phi"], row["observable"]), abs=1e-10)
        assert row["std_error"] == 0 and not row["error"]
    with open(f"{found['run']}/table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["value"]) for row in table] == [row["value"] for row in rows]


def test_shots_give_error_bars_that_hold_the_truth(grid, capsys):
    rows = swept(capsys, grid, "--max-qubits", "3", "--shots", "20000", "--seed", "4")["table_rows"]
    pulls = [(row["value"] - truth(row["theta"], row["phi"], row["observable"])) / row["std_error"] for row in rows]
    assert max(map(abs, pulls)) < 5 and np.std(pulls) > 0.3
    assert all(0 < row["shots"] <= 20000 for row in rows)


def test_circuits_that_differ_in_angles_alone_share_one_plan(tmp_path, capsys, monkeypatch):
    made = []
    monkeypatch.setattr(program, "Evaluator", lambda *a: made.append(a) or Evaluator(*a))
    lines, values = ["circuit,observable"], []
    for number in range(6):
        circuit = QuantumCircuit(4)
        for qubit in range(4):
            circuit.u(0.1 + number, 0.2 * qubit, 0.3, qubit)
        circuit.cx(0, 1)
        circuit.rzz(0.4 * number, 1, 2)
        circuit.cp(0.3, 2, 3)
        (tmp_path / f"{number}.qasm").write_text(qasm2.dumps(circuit))
        lines.append(f"{number}.qasm,Z0 X3")
        values.append(Statevector(circuit).expectation_value(SparsePauliOp("XIIZ")).real)
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found = swept(capsys, "t.csv", "--max-qubits", "2")
    assert [row["value"] for row in found["table_rows"]] == pytest.approx(values, abs=1e-10)
    assert found["groups"] == 1 and len(made) == 2  # one of them states the run's problem


def test_the_angles_that_are_taken_out_make_the_circuit_again():
    rng = np.random.default_rng(3)
    circuit = QuantumCircuit(3)
    circuit.rx(0.3, 0)
    circuit.u(*rng.uniform(-1, 1, 3), 1)
    circuit.crz(0.4, 0, 1)
    circuit.rxx(-0.4, 1, 2)
    circuit.ccx(0, 1, 2)
    circuit.unitary(np.diag([1, 1j]), [2])
    found = lifted(circuit)
    again = Statevector(found.circuit.assign_parameters(found.angles)).data
    assert abs(np.vdot(again, Statevector(circuit).data)) == pytest.approx(1, abs=1e-12)
    other = circuit.copy()
    other.data[0].operation.params[0] = 0.9
    assert lifted(other).key == found.key
    other.unitary(np.diag([1, -1]), [2])
    assert lifted(other).key != found.key


def test_parameters_of_a_qpy_file_go_by_name(tmp_path, capsys):
    circuit = QuantumCircuit(3)
    circuit.ry(Parameter("b"), 0)
    circuit.rx(Parameter("a"), 1)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    with open("c.qpy", "wb") as file:
        qpy.dump(circuit, file)
    (tmp_path / "t.json").write_text(json.dumps([{"circuit": "c.qpy", "observable": "Z2", "a": 0.4, "b": 1.1}]))
    (row,) = swept(capsys, "t.json", "--max-qubits", "2")["table_rows"]
    bound = circuit.assign_parameters({"a": 0.4, "b": 1.1})
    assert row["value"] == pytest.approx(Statevector(bound).expectation_value(SparsePauliOp("ZII")).real, abs=1e-10)


BROKEN = {
    "none.qasm,Z0,1,1": "none.qasm: No such file",
    "c.qasm,Z9,1,1": "qubit 9",
    "c.qasm,,1,1": "no observable is given",
    ",Z0,1,1": "no circuit is named",
    "c.qasm,Z0,x,1": "parameter 'theta': 'x' is not a finite number",
    "c.qasm,Z0,nan,1": "parameter 'theta': 'nan' is not a finite number",
    "c.qasm,Z0,1,": "parameter 'phi' has no value",
    "c.qasm,Z0,1,1,5": "the row is malformed: wrong number of cells",
    "c.qasm,Z0,1": "the row is malformed: wrong number of cells",
}


def test_broken_rows_are_reported_and_the_others_run(grid, tmp_path, capsys):
    good = "c.qasm,Z0 Z3,0.4,0.2"
    lines = ["circuit,observable,theta,phi", good, *BROKEN, good]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    assert main(["sweep", "t.csv", "--max-qubits", "2", "--to", "out.json"]) == 0
    captured = capsys.readouterr()
    assert "2 of 11 rows have a value" in captured.out and "and 4 more rows" in captured.err
    table = json.loads((tmp_path / "out.json").read_text())
    for row, said in zip(table[1:-1], BROKEN.values(), strict=True):
        assert said in row["error"] and row["value"] is None and "\n" not in row["error"]
    for row in (table[0], table[-1]):
        assert row["value"] == pytest.approx(truth(0.4, 0.2, "Z0 Z3"), abs=1e-10)


def test_a_row_that_fails_while_it_runs_takes_no_other_along(grid, capsys, monkeypatch):
    evaluate = Evaluator.evaluate

    def failing(self, values, **how):
        if np.any(np.isclose(values, 1.5)):
            raise InputError("it does not run")
        return evaluate(self, values, **how)

    monkeypatch.setattr(Evaluator, "evaluate", failing)
    found = swept(capsys, grid, "--max-qubits", "2")
    assert (found["values"], found["broken"]) == (12, 4)
    for row in found["table_rows"]:
        assert row["error"] == ("it does not run" if row["theta"] == 1.5 else "")


@pytest.mark.parametrize("shots", [[], ["--shots", "3000"]])
def test_an_interrupted_sweep_is_resumed_to_the_same_table(shots, grid, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(program, "_TOGETHER", 3)
    whole = swept(capsys, grid, "--max-qubits", "2", *shots, "--out", "whole")
    take, calls = program._evaluated, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return take(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(program, "_evaluated", interrupted)
        assert main(["sweep", grid, "--max-qubits", "2", *shots, "--out", "cut"]) == 130
    (run,) = (tmp_path / "cut").iterdir()
    before = (run / JOURNAL_NAME).read_bytes()
    capsys.readouterr()
    assert main(["resume", str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (run / JOURNAL_NAME).read_bytes().startswith(before)
    columns = ("row", "value", "std_error")
    rows = [[{name: row[name] for name in columns} for row in found["table_rows"]] for found in (whole, again)]
    assert rows[0] == rows[1]


def test_a_sweep_whose_table_or_circuit_changed_is_not_gone_on_with(grid, capsys, tmp_path):
    swept(capsys, grid, "--max-qubits", "2", "--out", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    (tmp_path / "c.qasm").write_text(TEXT.replace("/3", "/4"))
    assert main(["resume", str(run)]) == 2
    assert "c.qasm has changed since" in capsys.readouterr().err
    (tmp_path / "grid.json").write_text("{}")
    assert main(["resume", str(run)]) == 2
    assert "grid.json has changed since" in capsys.readouterr().err
    for old, new in (("circuits", "circuiTs"), ('"seed": 0', '"seed": 1'), ('"format"', '"formaT"')):
        damaged = (text := (run / "sweep.json").read_text()).replace(old, new)
        assert damaged != text
        (run / "sweep.json").write_text(damaged)
        assert main(["resume", str(run)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "sweep.json cannot be used" in line
        (run / "sweep.json").write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "observable\nZ0\n", "has no column 'circuit'"),
        ("t.csv", "circuit,observable,value\na,Z0,1\n", "column 'value' is given twice, or is one of those"),
        ("t.csv", "circuit,observable\n", "has no rows"),
        ("t.csv", "circuit,observable," + "x" * 200_000 + "\n", "line 1: not valid CSV"),
        ("t.json", '{"circuits": ["a"], "observables": [""], "parameters": {"t": {"from": NaN, "to": 1, "steps": 2}}}',
         "parameter 't': 'nan' is not a finite number"),
        ("t.json", '{"circuits": ["a"], "observables": [""], "parameters": {"t": {"from": 0, "to": 1, "steps": 2.5}}}',
         "steps of 't': '2.5' is not a whole number from 1"),
        ("t.json", '{"circuits": ["a"], "observables": [""], "parameters": {"t": []}}', "'t' of a grid is a list"),
        ("t.json", "3", "is neither a list of rows nor a grid"),
        ("t.json", '{"circuits": ["a"], "observable": ["Z0"]}', "'observable' is no part of a grid"),
        ("t.json", '{"circuits": ["a"], "observables": []}', "'observables' of a grid is a list"),
        ("t.json", '{"circuits": ["a"], "observables": {"from": 0, "to": 1, "steps": 1e9}}',
         "steps of 'observables': '1000000000.0' is"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_said_in_one_line(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read_table(tmp_path / name)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_budget_is_for_all_rows_and_what_is_not_spent_goes_on(grid, capsys, monkeypatch):
    given, evaluate = [], Evaluator.evaluate

    def priced(self, values, *, options, **told):
        given.append(options.budget)
        return replace(evaluate(self, values), price=1.0)

    monkeypatch.setattr(Evaluator, "evaluate", priced)
    swept(capsys, grid, "--max-qubits", "2", "--budget", "4")
    assert given == [2.0, 3.0], "two groups of eight rows"


def test_what_a_part_that_was_cut_off_had_promised_is_paid_when_resumed(grid, capsys, monkeypatch, tmp_path):
    given, evaluate = [], Evaluator.evaluate

    def priced(self, values, *, options, promised, **told):
        given.append(options.budget)
        promised(0.5)
        promised(1.5)
        if len(given) == 2:
            raise KeyboardInterrupt
        return replace(evaluate(self, values), price=1.0)

    monkeypatch.setattr(Evaluator, "evaluate", priced)
    assert main(["sweep", grid, "--max-qubits", "2", "--budget", "4", "--out", "runs"]) == 130
    capsys.readouterr()
    (run,) = (tmp_path / "runs").iterdir()
    assert main(["resume", str(run), "--json"]) == 0
    assert given == [2.0, 3.0, 1.5], "1 was paid and 1.5 may have been"
    found = json.loads(capsys.readouterr().out)
    for row in found["table_rows"]:
        assert row["value"] == pytest.approx(truth(row["theta"], row["phi"], row["observable"]), abs=1e-10)
    assert [entry["price"] for entry in read_journal(run)] == [1.0, 1.5, 1.0]
    assert main(["resume", str(run), "--json"]) == 0 and len(given) == 3, "it is paid once"


@pytest.mark.parametrize("where", ["redis://h?password=hunter2", "redis://:hunter2@h"])
def test_a_password_in_the_caches_address_is_refused_before_anything_is_made(where, grid, capsys, tmp_path):
    assert main(["sweep", grid, "--cache", where]) == 2
    error = capsys.readouterr().err
    assert "QOMPASS_REDIS_PASSWORD" in error and "hunter2" not in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_the_table_is_never_written_over(grid, capsys, tmp_path):
    before = (tmp_path / "grid.json").read_bytes()
    assert main(["sweep", grid, "--max-qubits", "2", "--to", str(tmp_path / "grid.json")]) == 2
    assert "is the table itself" in capsys.readouterr().err and (tmp_path / "grid.json").read_bytes() == before


def test_a_sweep_without_any_value_ends_with_a_status_of_its_own(grid, capsys):
    assert main(["sweep", grid, "--max-qubits", "2", "--shots", "3"]) == 2
    assert "0 of 16 rows have a value" in capsys.readouterr().out


def test_the_report_of_a_sweep_shows_its_table_as_it_was_written_only(grid, capsys, tmp_path):
    pytest.importorskip("altair")
    found = swept(capsys, grid, "--max-qubits", "2", "--out", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "grid.json: 16 rows" in page and "16 of 16 rows have a value" in page
    for row in found["table_rows"]:
        assert f"<td>{row['value']}</td>" in page
    table = (run / "table.csv").read_text()
    (run / "table.csv").write_text(table.replace("0.", "1.", 1))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "missing or was changed" in page and '<table class="sorted" id="rows"' not in page
    assert main(["resume", str(run)]) == 0 and (run / "table.csv").read_text() == table
    assert main(["report", str(run)]) == 0 and "missing" not in (run / "report.html").read_text()


@pytest.mark.slow
def test_ten_thousand_problems_take_bounded_memory(tmp_path, capsys):
    import tracemalloc

    (tmp_path / "c.qasm").write_text(TEXT)

    def peak(steps):
        parameters = {"theta": {"from": 0, "to": 1, "steps": steps}, "phi": {"from": 0, "to": 1, "steps": 50}}
        document = {"circuits": ["c.qasm"], "observables": ["Z0 Z3", "X2"], "parameters": parameters}
        (tmp_path / "g.json").write_text(json.dumps(document))
        tracemalloc.start()
        assert main(["sweep", "g.json", "--max-qubits", "2"]) == 0
        assert f"{steps * 100:,} of {steps * 100:,} rows have a value" in capsys.readouterr().out
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(100) < 3 * peak(10) + (64 << 20)
