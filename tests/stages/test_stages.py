"""The stages of a run, each alone: the same bits as in one process, whatever is repeated, shared, lost or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from apps.cli.main import main
from tasks.dispatch.errors import RunError
from tasks.options import Options, options_document
from tasks.runs import RunDirectory, RunRecordError, read_record
from tasks.runs.shared import SharedRunDirectory
from tasks.stages import execute_stage, plan_stage, reconstruct_stage, sight, stages, standing_of
from tasks.stages.batches import read_batches
from tasks.stages.stages import create_run
from tasks.workflow import run
from tests.oracles import brickwork, random_problem

ROOT = Path(__file__).resolve().parents[2]
SOME = Options(max_qubits=5, shots=100_000, seed=2, cache="off")


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(17)
    return random_problem(brickwork(9, 3, rng), rng)


def quiet(text: str) -> None:
    pass


@pytest.fixture
def planned(problem, tmp_path):
    """Makes a run of these options in stages, with three batches a round."""

    def make(options=SOME, most=3):
        fields = {"seed": options.seed, "options": options_document(options)}
        assert create_run(tmp_path / "run", fields, problem)
        return plan_stage(tmp_path / "run", options, most=most, told=quiet)

    return make


def finished(path, options=SOME, most=3):
    """Execute and reconstruct until the run is done; the rounds it took."""
    for number in range(6):
        execute_stage(path, options, told=quiet)
        standing = reconstruct_stage(path, options, most=most, wait_s=0, told=quiet)
        if standing.next == "done":
            return number + 1, standing.record["estimates"]
    raise AssertionError("more rounds than there can be")


def in_one_process(problem, options, folder):
    with RunDirectory.create(folder, {"seed": options.seed}, problem) as directory:
        return [vars(estimate) for estimate in run(problem, options, directory).estimates]


@pytest.mark.parametrize(
    ("more", "rounds"),
    [({"shots": None}, 1), ({"shots": 2000}, 1), ({}, 2), ({"shots": None, "target_error": 0.01}, 2)],
)
def test_stages_give_the_bits_of_a_run_in_one_process(problem, planned, tmp_path, more, rounds):
    options = Options(**{**vars(SOME), **more})
    standing = planned(options)
    assert standing.next == "execute" and 1 < len(standing.batches) <= 3
    took, estimates = finished(standing.run, options)
    assert took >= rounds
    assert estimates == in_one_process(problem, options, tmp_path / "runs")
    assert set(read_record(standing.run)["batches"]) == {str(b.index) for b in read_batches(standing.run)}


def test_every_stage_may_be_begun_again(planned):
    standing = planned()
    assert plan_stage(standing.run, SOME, told=quiet) == standing
    heard: list[str] = []
    for _ in range(2):
        execute_stage(standing.run, SOME, 1, told=heard.append)
    assert heard == [f"batch 1 is done, by process {os.getpid()} on {os.uname().nodename}"]
    assert [batch.index for batch in standing_of(standing.run).batches] == [0, 2]
    times = {path.name: path.stat().st_mtime_ns for path in (standing.run / "fragments").iterdir()}
    finished(standing.run)
    again = reconstruct_stage(standing.run, SOME, told=quiet)
    assert again.next == "done" and again.record["estimates"]
    assert execute_stage(standing.run, SOME, 0, told=quiet).next == "done"
    now = {path.name: path.stat().st_mtime_ns for path in (standing.run / "fragments").iterdir()}
    assert times.items() <= now.items(), "a result was computed twice"


def test_a_run_of_stages_can_be_finished_by_resume_and_the_other_way_round(problem, planned, tmp_path):
    standing = planned()
    execute_stage(standing.run, SOME, 0, told=quiet)
    with RunDirectory.open(standing.run) as directory:
        found = run(directory.problem(), SOME, directory)
    assert [vars(e) for e in found.estimates] == in_one_process(problem, SOME, tmp_path / "runs")
    assert standing_of(standing.run).next == "done"
    (other,) = (tmp_path / "runs").iterdir()
    assert plan_stage(other, SOME, told=quiet).next == "done"


def test_batches_that_are_open_are_named_and_no_estimate_is_made_without_them(planned):
    standing = planned()
    execute_stage(standing.run, SOME, 1, told=quiet)
    with pytest.raises(RunError, match=r"batches 0, 2, which are not done: `qompass stage execute`"):
        reconstruct_stage(standing.run, SOME, wait_s=0, told=quiet)
    with pytest.raises(RunError, match="has no batch 3: its batches are 0 to 2"):
        execute_stage(standing.run, SOME, 3, told=quiet)


EXECUTE = [sys.executable, "-m", "apps.cli", "stage", "execute"]


def process(path, *more):
    return subprocess.Popen(
        [*EXECUTE, str(path), *more], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


HELD = """
import runpy, sys, threading, tasks.execute
store = tasks.execute.store_result
def store_and_wait(*result):
    store(*result)
    threading.Event().wait()
tasks.execute.store_result = store_and_wait
sys.argv[0] = "qompass"
runpy.run_module("apps.cli", run_name="__main__", alter_sys=True)
"""
"""A command whose tasks never end once their results are stored."""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_process_that_ends_within_a_batch_is_followed_by_the_next_and_nothing_is_done_twice(
    problem, planned, tmp_path, number
):
    options = SOME
    standing = planned(options, most=1)
    command = [sys.executable, "-c", HELD, *EXECUTE[3:], str(standing.run), "--batch", "0"]
    victim = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list((standing.run / "fragments").glob("[!.]*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    follower = process(standing.run, "--batch", "0")
    victim.send_signal(number)
    assert victim.wait(60) == (130 if number == signal.SIGTERM else -number)
    done = {path.name: path.stat().st_mtime_ns for path in (standing.run / "fragments").glob("[!.]*.npz")}
    assert standing_of(standing.run).next == "execute", "it was ended before the batch was done"
    assert follower.wait(120) == 0, follower.stderr.read()
    now = {path.name: path.stat().st_mtime_ns for path in (standing.run / "fragments").glob("[!.]*.npz")}
    assert done and done.items() <= now.items()
    _, estimates = finished(standing.run, options, most=1)
    assert estimates == in_one_process(problem, options, tmp_path / "runs")


def test_of_two_processes_on_a_batch_one_works_and_the_other_waits(planned):
    standing = planned()
    both = [process(standing.run, "--batch", "1") for _ in range(2)]
    said = [one.communicate(timeout=60)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sum("batch 1 is done, by process" in text for text in said) == 1, said
    report = json.loads((standing.run / "stages/done/1.json").read_text())
    assert report["process"] in {one.pid for one in both}


def test_a_run_is_not_resumed_while_a_batch_is_being_done(planned):
    standing = planned()
    with (
        stages.Claims(standing.run / stages.CLAIMS_OF_BATCHES).wait("1"),
        pytest.raises(RunRecordError, match=rf"process {os.getpid()} on .* works on a part of"),
    ):
        RunDirectory.open(standing.run)
    RunDirectory.open(standing.run).close()


def test_results_that_another_node_wrote_are_waited_for_until_they_are_seen(problem, planned, tmp_path):
    """NFS shows what others wrote late: here the reports come at once and the results a second later."""
    standing = planned()
    execute_stage(standing.run, SOME, told=quiet)
    hidden = tmp_path / "hidden"
    (standing.run / "fragments").rename(hidden)
    (standing.run / "fragments").mkdir()

    def show() -> None:
        for path in sorted(hidden.iterdir()):
            path.rename(standing.run / "fragments" / path.name)

    timer = threading.Timer(1.0, show)
    timer.start()
    standing = reconstruct_stage(standing.run, SOME, most=3, told=quiet)
    timer.join()
    assert (standing.next, standing.round_index) == ("execute", 1)
    assert finished(standing.run)[1] == in_one_process(problem, SOME, tmp_path / "runs")


def test_reports_that_are_seen_late_are_waited_for(planned, tmp_path):
    standing = planned()
    execute_stage(standing.run, SOME, told=quiet)
    (standing.run / "stages/done").rename(tmp_path / "hidden")
    assert standing_of(standing.run).next == "execute"
    timer = threading.Timer(1.0, lambda: (tmp_path / "hidden").rename(standing.run / "stages/done"))
    timer.start()
    assert reconstruct_stage(standing.run, SOME, told=quiet).round_index == 1
    timer.join()


def test_results_that_are_lost_or_damaged_come_into_a_batch_of_their_own(problem, planned, tmp_path, monkeypatch):
    monkeypatch.setattr(sight, "SIGHT_S", 0.5)
    standing = planned()
    execute_stage(standing.run, SOME, told=quiet)
    lost, damaged, *_ = sorted((standing.run / "fragments").iterdir())
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-9])
    standing = reconstruct_stage(standing.run, SOME, most=3, told=quiet)
    assert (standing.next, standing.round_index) == ("execute", 0)
    assert finished(standing.run)[1] == in_one_process(problem, SOME, tmp_path / "runs")


@pytest.mark.parametrize("file", ["stages/batches.json", "stages/done/0.json"])
def test_files_of_a_newer_version_are_one_line(planned, file):
    standing = planned()
    execute_stage(standing.run, SOME, told=quiet)
    path = standing.run / file
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    for stage in (plan_stage, reconstruct_stage, execute_stage):
        with pytest.raises(RunRecordError, match=r"a newer version of Qompass \(format 2, this one reads 1\)"):
            stage(standing.run, SOME, told=quiet)


def test_a_process_with_other_packages_is_told_so_before_it_computes_anything(planned, monkeypatch):
    standing = planned()
    monkeypatch.setattr(stages, "versions", lambda: {**read_record(standing.run)["versions"], "qiskit": "9.9"})
    with pytest.raises(RunRecordError, match=r"another environment .*\(qiskit 9\.9 here, \d.* there\)"):
        execute_stage(standing.run, SOME, told=quiet)
    assert not list((standing.run / "fragments").iterdir())


def test_a_folder_that_anybody_may_write_to_is_not_used(planned):
    standing = planned()
    standing.run.chmod(0o777)
    with pytest.raises(RunRecordError, match="anybody may write to it"):
        execute_stage(standing.run, SOME, told=quiet)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_one_line_and_the_batch_is_done_when_there_is_room(problem, tmp_path):
    options = Options(**{**vars(SOME), "shots": 3_000_000})
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        create_run(disk / "run", {"options": options_document(options)}, problem)
        plan_stage(disk / "run", options, told=quiet)
        (disk / "ballast").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 8192))
        with pytest.raises((RunError, RunRecordError), match="No space left on device"):
            execute_stage(disk / "run", options, told=quiet)
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=20M", disk], check=True)
        _, estimates = finished(disk / "run", options, most=1)
        assert estimates == in_one_process(problem, options, tmp_path / "runs")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_process_without_the_device_of_a_batch_says_what_it_has(problem, tmp_path, monkeypatch):
    """A batch for a kind of device that is not here: as on a node without the QPU."""
    standing_fields = {"options": options_document(SOME)}
    create_run(tmp_path / "run", standing_fields, problem)
    standing = plan_stage(tmp_path / "run", SOME, most=1, told=quiet)
    path = standing.run / "stages/batches.json"
    document = json.loads(path.read_text())
    document["batches"][0] |= {"device": "QPU_A", "kind": "qpu"}
    path.write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"batch 0 is for QPU_A \(QPU\), and the devices here are cpu \(CPU\)"):
        execute_stage(standing.run, SOME, 0, told=quiet)


def test_the_record_of_a_shared_folder_is_not_written_by_who_works_on_a_part(planned):
    standing = planned()
    before = (standing.run / "record.json").read_bytes()
    with SharedRunDirectory.join(standing.run) as directory:
        directory.update(engine={"name": "x"})
    assert (standing.run / "record.json").read_bytes() == before


def test_a_folder_that_holds_another_run_is_not_taken_for_the_one_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.inc").write_text("gate own a { h a; }\n")
    text = 'OPENQASM 2.0;\ninclude "qelib1.inc";\ninclude "own.inc";\nqreg q[4];\nown q[0];\ncx q[0],q[1];\n'
    (tmp_path / "c.qasm").write_text(text)
    plan = ["stage", "plan", "run", "c.qasm", "--max-qubits", "2", "--cache", "off", "--observable"]
    assert main([*plan, "Z1"]) == main([*plan, "Z1"]) == main(["stage", "plan", "run", "--cache", "off"]) == 0
    capsys.readouterr()
    assert main([*plan, "X1"]) == 2 and "run: holds another run" in capsys.readouterr().err
    assert main(["stage", "plan", "run", "--max-qubits", "3"]) == 2
    assert "--max-qubits: run was made with 2" in capsys.readouterr().err
    (tmp_path / "own.inc").write_text("gate own a { x a; }\n")
    assert main([*plan, "Z1"]) == 2 and "run: holds another run" in capsys.readouterr().err
