"""A run that is repeated gives the same bits; one whose answer was not its own is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from qiskit import QuantumCircuit, qasm2

from apps.cli.main import main
from apps.cli.repeat import compared
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory, read_record


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("repeat")
    circuit = QuantumCircuit(5)
    for qubit in range(5):
        circuit.ry(0.3 + qubit, qubit)
    for qubit in range(4):
        circuit.rzz(0.7, qubit, qubit + 1)
    (folder / "five.qasm").write_text(qasm2.dumps(circuit))
    made = {}
    for name, more in (("exact", ()), ("sampled", ("--shots", "9000", "--seed", "4"))):
        command = ["run", str(folder / "five.qasm"), "--observable", "Z0 Z4", "--max-qubits", "3", "--cache", "off"]
        assert main([*command, *more, "--out", str(folder / name)]) == 0
        (made[name],) = (folder / name).iterdir()
    return made


@pytest.mark.parametrize("which", ["exact", "sampled"])
def test_the_same_seed_gives_the_same_bits(which, runs, tmp_path, capsys):
    capsys.readouterr()
    assert main(["repeat", str(runs[which]), "--json", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    (again,) = tmp_path.iterdir()
    assert told["verdict"] == "identical" and told["repeats"] == runs[which].name
    assert read_record(again)["estimates"] == read_record(runs[which])["estimates"]
    assert read_record(again)["repeats"] == runs[which].name


def test_another_seed_agrees_within_the_error_bars(runs, tmp_path, capsys):
    assert main(["repeat", str(runs["sampled"]), "--seed", "11", "--out", str(tmp_path)]) == 0
    assert "agree within 4 standard errors" in capsys.readouterr().out


def test_a_forged_answer_is_found(runs, tmp_path, capsys):
    with RunDirectory.open(runs["exact"]) as directory:  # with a checksum that fits
        right = directory.record["estimates"]
        directory.update(estimates=[{**right[0], "value": right[0]["value"] + 1e-6}])
    try:
        assert main(["repeat", str(runs["exact"]), "--out", str(tmp_path)]) == 2
        said = capsys.readouterr()
        assert "DISAGREE" in said.out and "qompass check" in said.err
    finally:
        with RunDirectory.open(runs["exact"]) as directory:
            directory.update(estimates=right)


def test_the_four_verdicts():
    def own(value, error):
        return [{"observable": "Z0", "value": value, "std_error": error}]

    assert compared(own(0.5, 0.0), own(0.5, 0.0)) == "identical"
    assert compared(own(0.5, 0.0), own(0.5 + 1e-12, 0.0)) == "equal"
    assert compared(own(0.5, 0.1), own(0.9, 0.1)) == "within errors"
    assert compared(own(0.5, 0.1), own(1.5, 0.1)) == "differ"
    assert compared(own(0.5, 0.0), own(0.5 + 1e-6, 0.0)) == "differ"


def test_a_resources_file_that_is_not_here_is_said(runs, tmp_path, capsys):
    options = read_record(runs["exact"])["options"]
    with RunDirectory.open(runs["exact"]) as directory:
        directory.update(options={**options, "resources": str(tmp_path / "gone.xml")})
    assert main(["repeat", str(runs["exact"]), "--out", str(tmp_path / "out")]) == 0
    assert "gone.xml is not here" in capsys.readouterr().err
    with RunDirectory.open(runs["exact"]) as directory:
        directory.update(options=options)


def test_an_unfinished_run_is_not_repeated(tmp_path, capsys):
    RunDirectory.create(tmp_path, {"options": {}}, make_problem(QuantumCircuit(2), "Z0")).close()
    (run,) = tmp_path.iterdir()
    capsys.readouterr()
    assert main(["repeat", str(run)]) == 2
    assert "there is nothing to compare with" in capsys.readouterr().err


def test_a_cut_circuit_is_drawn_in_the_format_that_the_name_says(runs, tmp_path, capsys):
    pytest.importorskip("altair", reason="the extra `report` is not installed")
    circuit = str(runs["exact"].parents[1] / "five.qasm")
    for name, start in (("a.svg", b"<svg"), ("a.png", b"\x89PNG"), ("a.PDF", b"%PDF")):
        assert main(["plan", circuit, "--max-qubits", "3", "--draw", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    picture = (tmp_path / "a.svg").read_text()
    assert "rzz" in picture and "severed" in picture
    for name in ("a.gif", "nowhere/a.svg"):
        capsys.readouterr()
        assert main(["plan", circuit, "--max-qubits", "3", "--draw", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
