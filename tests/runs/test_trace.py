"""A run's log tells what its tasks did, in rows that add up with the record."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from tasks import workflow
from tasks.inputs.validation import make_problem
from tasks.options import options_of
from tasks.runs import RunDirectory
from tasks.runs.log import LOG_NAME
from tasks.runs.trace import COLUMNS, TRACE_NAME, read_events, task_rows, trace_csv


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    circuit = QuantumCircuit(6)
    for qubit in range(6):
        circuit.ry(0.3 + qubit, qubit)
    for qubit in range(5):
        circuit.rzz(0.7, qubit, qubit + 1)
    problem = make_problem(circuit, "Z0 Z5")
    with RunDirectory.create(tmp_path_factory.mktemp("runs"), {}, problem) as directory:
        workflow.run(problem, options_of({"max_qubits": 3, "shots": 20_000, "seed": 5}), directory)
    return directory.path


def test_every_shot_and_every_task_is_in_the_trace(run):
    record = json.loads((run / "record.json").read_text())
    rows = task_rows(read_events(run))
    assert sum(row.shots for row in rows) == 20_000
    assert {"cut", "execute", "tensor", "allocate", "reconstruct"} == {row.stage for row in rows}
    executed = [row for row in rows if row.stage == "execute"]
    assert sum(row.variants for row in executed) == sum(result["count"] for result in record["results"].values())
    assert all(row.node and row.seconds is not None and row.ended >= row.started >= 0 for row in rows)
    assert all(row.started >= row.submitted - 0.01 and row.predicted_s > 0 and row.bytes > 0 for row in executed)
    assert [row.task for row in executed] == list(range(len(executed)))
    made = [(row.fragments, row.started) for row in rows if row.stage == "tensor"]
    assert len(made) == len(set(made))  # one that several tasks take is told once


def test_the_file_has_the_rows_with_a_header(run):
    content = (run / TRACE_NAME).read_text()
    assert content == trace_csv(task_rows(read_events(run)))
    table = list(csv.DictReader(io.StringIO(content)))
    assert tuple(table[0]) == COLUMNS and {row["device"] for row in table if row["stage"] == "execute"} == {"cpu"}


def test_lines_cut_short_or_of_another_kind_are_left_out(run, tmp_path):
    lines = (run / LOG_NAME).read_text().splitlines()
    odd = ["null", "[1]", '{"time": "yesterday"}', '{"time": 5}', "\x00\xff", "[" * 100_000, json.dumps(
        {"time": "2026-01-01T00:00:00+00:00", "event": "task", "message": "", "work": []})]  # fmt: skip
    (tmp_path / LOG_NAME).write_text("\n".join([lines[0], *odd, *lines[1:], lines[-1][:40]]), errors="replace")
    assert task_rows(read_events(tmp_path)) == task_rows(read_events(run))


def test_tasks_that_a_killed_process_left_stay_open_and_are_seen_again(run, tmp_path):
    lines = (run / LOG_NAME).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if '"event": "submit"' in line)
    resumed = json.dumps({**json.loads(lines[0]), "event": "resume"})
    (tmp_path / LOG_NAME).write_text("\n".join([*lines[: first + 1], resumed, *lines[first:]]))
    lost, again = [row for row in task_rows(read_events(tmp_path)) if row.task == 0]
    assert (lost.seconds, again.attempt, again.variants) == (None, 0, lost.variants) and again.seconds is not None


def test_no_log_is_no_rows_and_a_full_disk_stops_nothing(tmp_path):
    assert task_rows(read_events(tmp_path)) == []
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    problem = make_problem(QuantumCircuit(2), "Z0")
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        stream = directory._log._file
        directory._log._file = open("/dev/full", "w")
        directory.event("stage", "x" * 100_000, stage="cut")
        assert directory._log._file is None
        stream.close()
    assert json.loads((directory.path / "record.json").read_text())["status"] == "done"


def test_a_repeated_reconstruction_keeps_what_was_measured_of_the_executions(run, tmp_path):
    shutil.copytree(run, tmp_path / run.name)
    with RunDirectory.open(tmp_path / run.name) as directory:
        before = dict(directory.record["tasks"])
        options = options_of({"max_qubits": 3, "shots": 20_000, "seed": 5})
        workflow.run(directory.problem(), options, directory)
        assert directory.record["tasks"] == before and before["tasks"] > 0
