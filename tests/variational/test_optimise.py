"""`qompass optimise` from the command line: what it finds, how it is resumed, and what it refuses."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest
from qiskit.quantum_info import Statevector

from apps.cli.main import main
from apps.variational.ansatz import qaoa
from apps.variational.energies import find_hamiltonian
from apps.variational.loop import JournalledObjective
from tasks.runs.journal import JOURNAL_NAME

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def ring(tmp_path):
    nx.write_edgelist(nx.cycle_graph(8), "ring.txt")
    return "ring.txt"


def optimised(capsys, *arguments):
    assert main(["optimise", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_qaoa_of_a_ring_cuts_three_quarters_of_it(ring, capsys):
    found = optimised(capsys, ring, "--max-qubits", "5")
    assert found["energy"] == pytest.approx(-6, abs=1e-6)  # Farhi, Goldstone, Gutmann, arXiv:1411.4028, section IV
    assert found["bits"] in ("01010101", "10101010") and found["bits_energy"] == -8
    assert found["std_error"] == 0 and found["shots"] == 0 and set(found["parameters"]) == {"beta[0]", "gamma[0]"}


def test_vqe_of_hydrogen_reaches_chemical_accuracy(capsys):
    found = optimised(capsys, "h2", "--layers", "2", "--max-qubits", "3", "--seed", "3")
    assert 0 <= found["energy"] - found["exact"] + 1e-9 < 1.6e-3


def test_a_plane_of_spins_is_near_its_ground_state(capsys):
    found = optimised(capsys, "ising2d", "--layers", "1", "--iterations", "30", "--plan-seconds", "0")
    assert 0 < found["energy"] - found["exact"] < 0.02 * abs(found["exact"])


def test_shots_end_with_an_error_bar_that_holds_the_truth(ring, capsys):
    found = optimised(capsys, ring, "--max-qubits", "5", "--shots", "4000", "--iterations", "40", "--seed", "3")
    hamiltonian = find_hamiltonian(ring)
    circuit = qaoa(hamiltonian, 1, 0).circuit
    state = Statevector(circuit.assign_parameters([found["parameters"][p.name] for p in circuit.parameters]))
    exact = state.expectation_value(hamiltonian.operator).real
    assert found["std_error"] > 0 and found["shots"] > 40 * 2 * 3000
    assert abs(found["energy"] - exact) < 5 * found["std_error"]
    assert exact < -4, "it begins near 0, and the least is -6"


def test_an_interrupted_optimisation_is_resumed_to_the_same_end(ring, capsys, monkeypatch, tmp_path):
    given = [ring, "--max-qubits", "5", "--optimiser", "cobyla", "--iterations", "20", "--out"]
    whole = optimised(capsys, *given, "whole")
    take = JournalledObjective._take

    def interrupted(self, *arguments):
        take(self, *arguments)
        if self.state.evaluations == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JournalledObjective, "_take", interrupted)
        assert main(["optimise", *given, "cut"]) == 130
    said = capsys.readouterr().err
    (run,) = (tmp_path / "cut").iterdir()
    assert f"`qompass resume cut/{run.name}` goes on from here" in said
    assert main(["resume", str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    differ = {name for name in whole if whole[name] != again[name]}
    assert differ <= {"run", "timings"}
    (other,) = (tmp_path / "whole").iterdir()
    assert (run / JOURNAL_NAME).read_bytes() == (other / JOURNAL_NAME).read_bytes()
    assert main(["resume", str(run), "--json"]) == 0  # done: only shown
    assert json.loads(capsys.readouterr().out)["energy"] == whole["energy"]
    assert main(["runs", "show", str(run)]) == 0 and "done" in capsys.readouterr().out
    pytest.importorskip("altair")
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "How the energy fell" in page and "red: the lowest so far" in page
    for name, value in whole["parameters"].items():
        assert f'<td>{name}</td><td class="n" data-value="{value}"' in page
    assert f"<code>{whole['bits']}</code>" in page and "ring.txt (8 qubits): lowest energy, cobyla" in page


def test_a_loop_that_fails_keeps_what_it_has(ring, capsys, monkeypatch, tmp_path):
    values = JournalledObjective.values

    def failing(self, points):
        return values(self, np.full_like(points, np.nan) if self.state.evaluations == 3 else points)

    with monkeypatch.context() as patch:
        patch.setattr(JournalledObjective, "values", failing)
        assert main(["optimise", ring, "--optimiser", "cobyla", "--out", "runs"]) == 2
    error = capsys.readouterr().err
    assert "no numbers after 3 evaluations" in error and "--start or --optimiser" in error.replace("`", "")
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "record.json").read_text())["status"] == "failed"
    assert main(["resume", str(run), "--json"]) == 0  # what it had is not measured again
    assert json.loads(capsys.readouterr().out)["energy"] == pytest.approx(-6, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--start", "one.json"], "--start: 1 values for 2 parameters: give one for each of beta[0], gamma[0]"),
        (["--optimiser", "de", "--population", "4"], "takes 5 members or more"),
        (["--optimiser", "cobyla", "--population", "9"], "--population: cobyla has no members"),
        (["--optimiser", "de", "--population", "1000000", "--memory", "100MiB"], "members of 2 parameters take"),
        (["--shots", "1000", "--most-shots", "10"], "--most-shots: 10 are fewer than the 1,000"),
        (["--most-shots", "10"], "--most-shots: nothing takes shots: give --shots too"),
        (["--target-error", "0.1", "--most-shots", "10"], "--most-shots: an evaluation takes as many as its error"),
        (["--ansatz", "hamiltonian", "--layers", "0"], "'0' is not a whole number from 1"),
        (["--layers", "1000000"], "--layers: 1,000,000 of them are about"),
        (["--target-error", "1e-300"], "'1e-300' is not a number from 1e-100 to 1e+100"),
        (["--exact", "--target-error", "0.1"], "--exact has no error to aim at"),
        (["--cache", "redis://h?password=hunter2"], "QOMPASS_REDIS_PASSWORD"),
        (["--cache", "redis://:hunter2@h"], "QOMPASS_REDIS_PASSWORD"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(arguments, said, ring, capsys, tmp_path):
    (tmp_path / "one.json").write_text("[0.5]")
    try:
        status = main(["optimise", ring, *arguments])
    except SystemExit as end:
        status = end.code
    error = capsys.readouterr().err.replace("`", "")
    assert status == 2 and said in error and error.count("\n") == 1 and "hunter2" not in error
    assert not (tmp_path / "results").exists()


def test_settings_that_were_changed_are_not_gone_on_with(ring, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("apps.cli.optimise.optimise", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["optimise", ring, "--out", "runs"]) == 130
    (run,) = (tmp_path / "runs").iterdir()
    path = run / "optimise.json"
    path.write_text(path.read_text().replace('"layers": 1', '"layers": 2'))
    capsys.readouterr()
    assert main(["resume", str(run)]) == 2
    assert "its checksum does not fit" in capsys.readouterr().err
