"""The tables of `qompass motif`: the mini-apps' columns, and a summary that adds up."""

from __future__ import annotations

import csv
import json

import pytest

from apps.cli.main import main
from apps.motifs.couplings import MOTIFS

COLUMNS = {
    "circuit-execution": "timestamp num_qubits n_entries circuit_depth size_of_observable depth_of_recursion"
                         " compute_time_sec quantum_options cluster_info",
    "qml-compression": "timestamp n_samples number_of_nodes cores_per_node compute_time_sec cluster_info",
    "qml-classifier": "timestamp column_1 compute_time_sec cluster_info",
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_the_table_has_the_mini_apps_columns_and_the_summary_adds_up(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    size = ["--qubits", "4", "--depth", "1", "--entries", "2", "--length", "2"]
    assert main(["motif", name, *size, "--units", "1", "2", "--to", "out", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["motifs"]
    with open(f"out/{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS[name].split() and len(rows) == 2
    assert [one["units"] for one in found] == [1, 2] and found[0]["scaling"] == 1
    for one in found:
        assert one["throughput"] == pytest.approx(one["tasks"] / one["seconds"])
        assert one["overhead"] == pytest.approx(max(0, one["units"] * one["seconds"] - one["work"]) / one["tasks"])
        assert 0 <= one["utilisation"] <= 1


def test_a_motif_that_is_none_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["motif", "dance"]) == 2
    assert f"'dance' is no motif: all, {', '.join(MOTIFS)}" in capsys.readouterr().err
    assert main(["motif", "chain", "--qubits", "2"]) == 2
    assert "4 qubits or more" in capsys.readouterr().err
    assert main(["motif", "chain", "--qubits", "1000000"]) == 2
    assert "fit into free memory" in capsys.readouterr().err
    assert main(["motif", "chain", "--units", "1000000"]) == 2
    assert "units or fewer" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
