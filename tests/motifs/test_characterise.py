"""The tables of `qompass motif`: the mini-apps' columns, and a summary that adds up."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

from apps.cli.main import main
from apps.motifs.characterise import Characterised, page
from apps.motifs.couplings import MOTIFS
from tasks.runtime.ranks import mpirun_path
from tests.engines.launching import ROOT, needs_runcompss, on_compss
from tests.execution.qpu.test_qpu_run import only_qpus, qpus, say

__all__ = ["qpus", "say"]  # fixtures

# Of the tables that Pilot-Quantum's mini-apps write (radical-cybertools/quantum-mini-apps, January 2026), then ours.
COLUMNS = {
    "circuit-execution": "timestamp num_qubits n_entries circuit_depth size_of_observable depth_of_recursion"
                         " tasks_wait_time total_run_time + quantum_options cluster_info",
    "circuit-cutting": "experiment_start_time subcircuit_size base_qubits circuit_type circuit_depth observables"
                       " scale_factor num_samples number_of_tasks metadata cluster_config full_circuit_qiskit_options"
                       " circuit_cutting_qiskit_options circuit_cutting_task_resources full_circuit_task_resources"
                       " find_cuts_time circuit_cutting_transpile_time_secs circuit_cutting_exec_time_secs"
                       " circuit_cutting_reconstruct_time_secs circuit_cutting_total_runtime_secs"
                       " full_circuit_transpile_time_secs full_circuit_exec_time_secs full_circuit_total_runtime_secs"
                       " circuit_cutting_expval full_circuit_expval error_in_estimation scenario_label num_cuts"
                       " sampling_overhead predicted_speedup actual_speedup speedup_error prediction_accuracy_pct"
                       " gpu_mode gpu_fraction gpu_type num_slots num_gate_cuts num_wire_cuts num_nodes cores_per_node"
                       " gpus_per_node task_runtimes + timestamp cluster_info",
    "distributed-state-vector": "timestamp num_gpus wires layers time expval enable_jacobian enable_qjit"
                                " mpi_startup_time + cluster_info",
    "qml-compression": "n_samples number_of_nodes cores_per_node compute_time_sec + timestamp cluster_info",
    "qml-training": "timestamp scenario_label num_qubits compute_time_sec parameters cluster_info +",
    "qml-classifier": "column_1 compute_time_sec + timestamp cluster_info",
}  # fmt: skip
# Of these nothing is known here: no backend is configured, nothing transpiled or predicted for it, no task timed alone.
EMPTY = {
    "circuit-cutting": "metadata cluster_config full_circuit_qiskit_options circuit_cutting_qiskit_options"
                       " circuit_cutting_task_resources full_circuit_task_resources circuit_cutting_transpile_time_secs"
                       " full_circuit_transpile_time_secs predicted_speedup speedup_error prediction_accuracy_pct"
                       " gpu_fraction gpu_type task_runtimes",
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_the_table_has_the_mini_apps_columns_and_the_summary_adds_up(name, tmp_path, monkeypatch, capsys):
    if name == "distributed-state-vector" and mpirun_path() is None:
        pytest.skip("there is no mpirun")
    monkeypatch.chdir(tmp_path)
    size = ["--qubits", "4", "--depth", "1", "--entries", "2", "--length", "2"]
    assert main(["motif", name, *size, "--units", "1", "2", "--to", "out", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["motifs"]
    with open(f"out/{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    tried = [1] if MOTIFS[name].alone else [1, 2]
    assert list(rows[0]) == COLUMNS[name].replace("+", "").split() and len(rows) == len(tried)
    for row in rows:
        assert {column for column, value in row.items() if not value} == set(EMPTY.get(name, "").split())
    assert [one["units"] for one in found] == tried and found[0]["scaling"] == 1
    for one in found:
        assert one["throughput"] == pytest.approx(one["tasks"] / one["seconds"])
        assert one["overhead"] == pytest.approx(max(0, one["units"] * one["seconds"] - one["work"]) / one["tasks"])
        assert 0 <= one["utilisation"] <= 1


def test_a_table_with_other_columns_is_left_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qml-classifier.csv").write_text("timestamp,column_1,compute_time_sec,cluster_info\n1,2,3,4\n")
    size = ["--qubits", "4", "--depth", "1", "--entries", "2"]
    assert main(["motif", "qml-classifier", *size, "--units", "1", "--to", "."]) == 2
    assert "qml-classifier.csv: has other columns: name another folder with --to" in capsys.readouterr().err
    assert (tmp_path / "qml-classifier.csv").read_text().splitlines()[1:] == ["1,2,3,4"]


def test_a_motif_that_is_none_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["motif", "dance"]) == 2
    assert f"'dance' is no motif: all, {', '.join(MOTIFS)}" in capsys.readouterr().err
    assert main(["motif", "chain", "--qubits", "2"]) == 2
    assert "4 qubits or more" in capsys.readouterr().err
    assert main(["motif", "chain", "--qubits", "1000000"]) == 2
    assert "fit into free memory" in capsys.readouterr().err
    assert main(["motif", "chain", "--entries", "1000000", "--depth", "1000000"]) == 2
    assert "so many angles do not fit into free memory" in capsys.readouterr().err
    assert main(["motif", "chain", "--units", "1000000"]) == 2
    assert "units or fewer" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_what_draws_the_tables_are_written_all_the_same(tmp_path):
    asked = [
        "motif",
        "qml-classifier",
        "--qubits",
        "4",
        "--depth",
        "1",
        "--entries",
        "2",
        "--to",
        str(tmp_path / "out"),
    ]
    program = f"import sys; sys.modules['altair'] = None; from apps.cli.main import main; sys.exit(main({asked!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "pictures and reports need Altair" in done.stderr and "page:" not in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["motifs.csv", "qml-classifier.csv"]


def test_the_help_names_every_motif(capsys):
    with pytest.raises(SystemExit):
        main(["motif", "--help"])
    said = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    assert all(name in said for name in MOTIFS)


def test_qpus_have_rows_of_their_own_for_motifs_whose_tasks_are_circuits(qpus, say, tmp_path):
    emulator, _ = qpus
    size = ["--qubits", "4", "--depth", "1", "--entries", "2", "--length", "2", "--shots", "300", "--units", "1"]
    where = ["--resources", str(only_qpus(tmp_path)), "--to", str(tmp_path / "out")]
    for name, tasks in (("chain", 4), ("qml-classifier", 2)):
        done = say("motif", name, *size, *where, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["motifs"]
        devices = ["CPU", "QPU QPU_A", "QPU QPU_B"] if name == "chain" else ["CPU"]
        assert [one["device"] for one in found] == devices
        assert all(one["tasks"] == tasks and 0 < one["utilisation"] <= 1 for one in found)
    for device in emulator.devices.values():  # the least size first, then the one asked for
        assert [shots for job in device.jobs.values() for _, shots in job.work] == [300] * (2 + 4)
    with open(tmp_path / "out/chain.csv", newline="") as file:
        assert [row["cluster_info"] for row in csv.DictReader(file)] == [
            "embedded, 1 unit of CPU", "embedded, 1 unit of QPU QPU_A", "embedded, 1 unit of QPU QPU_B",
        ]  # fmt: skip


@needs_runcompss
@pytest.mark.xdist_group("runcompss")
@pytest.mark.timeout(400)
def test_motifs_follow_each_other_on_compss_with_the_units_of_its_resources_file(tmp_path):
    (tmp_path / "program.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from apps.cli.main import main\n"
        "asked = ['--qubits', '4', '--depth', '1', '--entries', '2', '--length', '2', '--json']\n"
        "for name in ('fan-in', 'distributed-state-vector', 'chain'):\n"
        "    status = main(['motif', name, *asked, '--to', name])\n"
        "    assert status == 0, status\n"
    )
    done = on_compss(tmp_path, tmp_path / "program.py")
    assert done.returncode == 0, done.stderr
    for name, tasks in (("fan-in", 3), ("distributed-state-vector", 1), ("chain", 4)):
        with open(tmp_path / name / "motifs.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["motif"], row["engine"], row["units"], row["tasks"]) == (name, "compss", "2", str(tasks))


@pytest.mark.parametrize(("units", "panels"), [((1,), 3), ((1, 2), 4)])
def test_scaling_is_drawn_where_several_numbers_of_units_were_tried(units, panels):
    pytest.importorskip("altair", reason="Altair is not installed")
    found = [Characterised("chain", "compss", "CPU", own, 4, 2.0, 1.0, 2.0, 0.25, 0.5, 1.0) for own in units]
    drawn = page(found).to_dict()
    assert sum(len(row["hconcat"]) for row in drawn["vconcat"]) == panels
