"""What is done stands in the log of the run's folder, with -v on stderr too, and nobody else's logging changes."""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory
from tasks.runs.log import RunLog

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def problem():
    return make_problem(QuantumCircuit(2), "Z0")


def test_warnings_of_a_run_are_in_its_folder_and_in_no_other(tmp_path, problem):
    logger = logging.getLogger("tasks.somewhere")
    before = [list(logging.getLogger(room).handlers) for room in ("tasks", "apps")]
    with RunDirectory.create(tmp_path, {}, problem) as first:
        logger.warning("one")
    logger.warning("between")
    with RunDirectory.open(first.path):
        logger.warning("two")
    lines = [json.loads(line) for line in (first.path / "log.jsonl").read_text().splitlines()]
    assert [line["message"] for line in lines if line.get("room") == "tasks.somewhere"] == ["one", "two"]
    assert {line["run"] for line in lines} == {first.path.name}
    assert [list(logging.getLogger(room).handlers) for room in ("tasks", "apps")] == before


def test_every_line_says_stage_node_and_attempt(tmp_path, problem):
    logger = logging.getLogger("tasks.somewhere")
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        logger.warning("before")
        directory.event("stage", "execute begins", stage="execute", total=1)
        logger.warning("within")
        directory.event("task", "one has ended", node="far", attempt=3)
        directory.event("stage", "execute is done", stage="execute", total=1, done=True)
    with RunDirectory.open(directory.path):
        logger.warning("again")
    lines = [json.loads(line) for line in (directory.path / "log.jsonl").read_text().splitlines()]
    told = {line["message"]: (line["stage"], line["node"], line["attempt"]) for line in lines}
    here = platform.node()
    assert told["before"] == ("", here, 0) and told["within"] == ("execute", here, 0)
    assert told["one has ended"] == ("execute", "far", 3) and told["again"] == ("", here, 1)


def test_a_name_that_is_no_text_is_written_with_its_bytes_spelled_out(tmp_path):
    log = RunLog(tmp_path)
    # Given to the handler itself: what loggers say pytest collects and sends, and this cannot be sent.
    log.emit(logging.LogRecord("elsewhere", logging.WARNING, __file__, 1, "read %s", ("\udcff",), None))
    log.close()
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["message"] == "read \udcff"


@pytest.mark.parametrize("obstacle", ["folder", "link"])
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, problem, obstacle):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        pass
    log = directory.path / "log.jsonl"
    log.unlink()
    log.mkdir() if obstacle == "folder" else log.symlink_to(tmp_path / "precious")
    with RunDirectory.open(directory.path):
        logging.getLogger("tasks").warning("said")
    assert not (tmp_path / "precious").exists()


def test_a_program_without_logging_still_sees_warnings_once(tmp_path):
    code = (
        "import logging, sys; from qiskit import QuantumCircuit\n"
        "from tasks.inputs.validation import make_problem; from tasks.runs import RunDirectory\n"
        "with RunDirectory.create(sys.argv[1], {}, make_problem(QuantumCircuit(2), 'Z0')):\n"
        "    logging.getLogger('tasks.x').warning('said')\n"
        "    logging.getLogger('tasks.x').info('not said')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "said\n")


def test_the_command_logs_what_it_does_and_says_it_where_asked(tmp_path):
    circuit = str(ROOT / "apps" / "circuits" / "ghz12.qasm")
    command = [sys.executable, "-m", "apps.cli", "run", circuit, "--observable", "Z0", "--cache", "off", "--json"]
    said = {}
    for flag in ((), ("-v",)):
        out = tmp_path / f"out{len(flag)}"
        done = subprocess.run([*command, "--out", str(out), *flag], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (log,) = out.glob("*/log.jsonl")
        assert all(
            words in log.read_text() for words in ("begins", "plan: cuts", "task 0, try 0, on ", "is done after")
        )
        said[len(flag)] = done.stderr
    assert "task 0" not in said[0] and "qompass: task 0, try 0, on " in said[1]
