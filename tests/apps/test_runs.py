"""``qompass runs`` and ``qompass watch``: runs as objects, seen from their folders alone."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from qiskit import QuantumCircuit, qasm2

from apps.cli.main import main
from apps.cli.tables import fitting, table
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory, read_record
from tasks.runs.live import LiveRun
from tasks.runs.log import LOG_NAME

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "Z0\x1b[2J"


def _write_circuit(path: Path, angle: float) -> Path:
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(angle + qubit, qubit)
    for qubit in range(3):
        circuit.cz(qubit, qubit + 1)
    path.write_text(qasm2.dumps(circuit))
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Two finished runs of one circuit, one of another, one that was interrupted, one damaged, and no run."""
    folder = tmp_path_factory.mktemp("out")
    one, two = (_write_circuit(folder / f"{name}.qasm", angle) for name, angle in (("one", 0.4), ("two", 0.9)))
    for circuit, more in ((one, ()), (one, ("--shots", "20000", "--seed", "2")), (two, ())):
        command = ["run", str(circuit), "--observable", "Z0 Z3", "--max-qubits", "2", "--cache", "off"]
        assert main([*command, *more, "--out", str(folder / "runs")]) == 0
        time.sleep(1.1)  # their names say the second
    problem = make_problem(QuantumCircuit(2), "Z0")
    directory = RunDirectory.create(folder / "runs", {"options": {"max_qubits": 2}}, problem)
    directory.close()  # as if its process had died
    damaged = folder / "runs" / "20200101-000000-abcdef"
    damaged.mkdir()
    (damaged / "record.json").write_text("{")
    (folder / "runs" / "something else").mkdir()
    return folder / "runs"


def _json(capsys, *command: str):
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_says_what_was_asked_and_what_came_out(out, capsys):
    found = _json(capsys, "runs", "list", "--out", str(out))["runs"]
    assert [own["status"] for own in found] == ["unreadable", "done", "done", "done", "interrupted"]
    assert found[1]["question"] == "one.qasm (4 qubits): Z0 Z3" and found[1]["devices"] == ["cpu"]
    assert found[2]["shots"] == 20_000 and found[2]["estimates"][0]["std_error"] > 0
    assert found[0]["error"].count("damaged") == 1
    assert found[1]["bytes"] == sum(p.lstat().st_size for p in Path(found[1]["path"]).rglob("*"))


def test_the_list_is_filtered(out, capsys):
    for given, expected in ((("--status", "interrupted"), 1), (("--device", "cpu"), 3), (("--device", "QPU_9"), 0),
                            (("--older-than", "1"), 1), (("--newer-than", "1"), 4)):  # fmt: skip
        assert len(_json(capsys, "runs", "list", "--out", str(out), *given)["runs"]) == expected, given


def test_an_empty_place_is_no_error(tmp_path, capsys):
    assert main(["runs", "list", "--out", str(tmp_path / "nowhere")]) == 0
    assert capsys.readouterr().err == f"qompass: no such runs in {tmp_path / 'nowhere'}\n"


def test_one_run_is_shown_with_its_devices_and_its_trace(out, capsys):
    name = _json(capsys, "runs", "list", "--out", str(out))["runs"][2]["run"]
    shown = _json(capsys, "runs", "show", name, "--out", str(out))["run"]
    assert shown["uses"]["cpu"]["shots"] == 20_000 and shown["uses"]["cpu"]["failures"] == {}
    assert main(["runs", "show", name, "--trace", "--out", str(out)]) == 0
    assert capsys.readouterr().out == (out / name / "trace.csv").read_text()
    assert main(["runs", "show", name, "--out", str(out)]) == 0
    assert "Z0 Z3" in capsys.readouterr().out


def test_why_a_run_ended_is_said_in_one_screen(out, capsys):
    name = _json(capsys, "runs", "list", "--status", "interrupted", "--out", str(out))["runs"][0]["run"]
    assert main(["runs", "show", name, "--why", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"`qompass resume {out / name}` goes on from here" in text and len(text.splitlines()) < 30


def test_a_failure_names_its_device_reason_and_try(tmp_path, capsys):
    with pytest.raises(ValueError), RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0")) as own:
        own.event("submit", "", task=0, attempt=1, device="QPU_A", kind="QPU", predicted=1.0, pieces=[[3, 0, 0, 5, 50]])
        own.event("task", "", task=0, work="run_jobs", attempt=1, device="QPU_A", node="n1", began=time.time(),
                  seconds=0.5, failure="killed", error="its process was ended", waited=0, done=[], cached=0,
                  bytes=0)  # fmt: skip
        raise ValueError("a defect")
    assert main(["runs", "show", str(own.path), "--why"]) == 0
    text = capsys.readouterr().out
    assert "QPU_A failed 1 of 1 tasks (killed 1)" in text
    assert "try 1 of fragment 3 on QPU_A: its process was ended" in text and "traceback.txt" in text


def test_runs_are_compared_in_standard_errors(out, capsys):
    names = [own["run"] for own in _json(capsys, "runs", "list", "--status", "done", "--out", str(out))["runs"]]
    assert main(["runs", "compare", *names[:2], "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "seed, shots" in text and "standard errors" in text and "circuit" not in text
    assert main(["runs", "compare", names[0], names[2], "--out", str(out)]) == 0
    assert "circuit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command, what",
    [
        (("show",), "needs one run, not 0"),
        (("compare", "x"), "needs two runs"),
        (("show", "nowhere"), "is not a run"),
        (("show", "20200101-000000-abcdef"), "damaged"),
        (("list", "nowhere"), "nowhere is no run in"),
        (("clean", "--yes", "nowhere"), "nowhere is no run in"),
    ],
)
def test_bad_input_is_one_line(out, capsys, command, what):
    capsys.readouterr()
    assert main(["runs", *command, "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert what in said.err and said.err.count("\n") == 1 and said.out == ""


def test_clean_says_what_it_would_free_and_keeps_what_is_unfinished(tmp_path, out, capsys):
    own = tmp_path / "runs"
    shutil.copytree(out, own)
    told = _json(capsys, "runs", "clean", "--out", str(own))
    assert len(told["runs"]) == 3 and told["would_free"] > 0 and len(list(own.iterdir())) == 6
    with RunDirectory.open(Path(told["runs"][0])):  # somebody is reconstructing it
        assert _json(capsys, "runs", "clean", "--yes", "--out", str(own))["runs"] == told["runs"][1:]
    assert _json(capsys, "runs", "clean", "--yes", "--out", str(own))["runs"] == told["runs"][:1]
    assert {p.name for p in own.iterdir()} == {p.name for p in out.iterdir()} - {Path(r).name for r in told["runs"]}


def test_clean_removes_only_the_runs_that_are_named_and_goes_on_after_a_link(tmp_path, out, capsys):
    own = tmp_path / "runs"
    shutil.copytree(out, own)
    first, second, _ = _json(capsys, "runs", "clean", "--out", str(own))["runs"]
    assert _json(capsys, "runs", "clean", Path(second).name, "--yes", "--out", str(own))["runs"] == [second]
    assert Path(first).exists() and not Path(second).exists()
    assert [r["path"] for r in _json(capsys, "runs", "list", first, "--out", str(own))["runs"]] == [first]
    (own / "0-link").symlink_to(first)
    assert main(["runs", "clean", "--yes", "--out", str(own)]) == 0
    said = capsys.readouterr()
    assert "cannot remove" in said.err and "0-link" in said.err and "2 runs removed" in said.out


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_list_of_runs_fits_the_terminal_and_keeps_values_with_their_errors(width):
    names = ("run", "status", "question", "value", "std error", "devices", "shots", "price", "time", "age")
    row = ("20261128-135115-7fbc91", "done", "a circuit of forty qubits: Z0 Z1", "-0.006198882682", "0.00012",
           "cpu QPU_A QPU_B", "1,000,000", "12.5", "6.36 s", "12 min ago")  # fmt: skip
    wanted = ("price", "devices", "shots", "time", "age")
    kept, rows = fitting(names, [row, row], width, shorten="question", drop=wanted)
    assert max(map(len, table(kept, rows).splitlines())) <= width
    assert {"run", "status", "question", "value", "std error"} <= set(kept)
    assert (tuple(kept) == names) == (width == 200) and all(len(own) == len(kept) for own in rows)


def test_names_with_escape_sequences_are_not_obeyed(tmp_path, capsys):
    with RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0")) as directory:
        directory.event("submit", HOSTILE, task=0, attempt=0, device=HOSTILE, kind="QPU", predicted=0, pieces=[])
        directory.event("estimates", HOSTILE, estimates=[{"observable": HOSTILE, "value": 1.0, "std_error": 0.1}])
    for command in (("watch", str(directory.path)), ("runs", "show", str(directory.path))):
        assert main([*command]) == 0
        assert "\x1b[2J" not in capsys.readouterr().out


def test_a_run_that_is_written_is_followed_line_by_line(tmp_path):
    with RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0")) as directory:
        live = LiveRun(directory.path)
        assert live.read() and not live.read() and live.status == "running"
        directory.event("stage", "", stage="execute", total=4)
        directory.event("submit", "", task=0, attempt=0, device="a", kind="CPU", predicted=1, pieces=[[0, 0, 0, 3, 30]])
        with open(directory.path / LOG_NAME, "a") as log:
            log.write('{"half a line')
        live.read()
        assert live.devices["a"].running == {0} and live.stages[-1].steps == 0
        with open(directory.path / LOG_NAME, "a") as log:
            log.write(' is no event"}\n')
        directory.event("task", "", task=0, work="run_jobs", attempt=0, device="b", node="n", began=0.0, seconds=2.0,
                        failure="", error="", waited=0, done=[[0, 0, 0, 3, 30]], cached=0, bytes=8)  # fmt: skip
        live.read()
        assert not live.devices["a"].running and (live.devices["b"].done, live.devices["b"].shots) == (1, 30)
        assert live.stages[-1].steps == 3
    live.read()
    assert live.status == "done"


def test_a_resumed_run_is_shown_as_its_last_process_goes_through_it_without_the_time_between(tmp_path):
    told = [{"observable": "Z0", "value": 0.25, "std_error": 0.125}]
    minutes = iter(range(60))

    def event(name: str, **fields: object) -> str:
        when = f"2026-01-01T00:{next(minutes):02d}:00+00:00"
        return json.dumps({"time": when, "event": name, "message": "", **fields})

    begun = [event("begin"), event("stage", stage="cut", total=1), event("stage", stage="cut", total=1, done=True)]
    answered = [event("estimates", estimates=told), event("end", status="done", estimates=told)]
    for _ in range(30):
        next(minutes)
    again = [event("resume"), event("stage", stage="cut", total=1), event("end", status="done", estimates=told)]
    (tmp_path / LOG_NAME).write_text("\n".join([*begun, *answered, *again]) + "\n")
    live = LiveRun(tmp_path)
    live.read()
    assert [stage.name for stage in live.stages] == ["cut"] and [own for _, own in live.estimates] == [told]
    assert live.worked(live.latest) == 6 * 60 and [end - begin for begin, end in live.pauses] == [31 * 60]


def test_a_terminal_shows_a_run_of_another_process_until_it_ends(tmp_path):
    directory = RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0"))
    directory.event("stage", "", stage="execute", total=4)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from apps.cli.main import main; main()", "watch", str(directory.path)]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, cwd=ROOT, env={**os.environ, "COLUMNS": "100"}
    ) as seen:
        os.close(theirs)
        text = ""
        while "execute" not in text:
            text += os.read(ours, 4096).decode()
        directory.finish("done", estimates=[{"observable": "Z0", "value": 0.25, "std_error": 0.125}])
        directory.close()
        while seen.poll() is None or "0.25" not in text:
            try:
                text += os.read(ours, 4096).decode()
            except OSError:
                break
        assert seen.wait(30) == 0 and "0.25" in text and "done" in text
    os.close(ours)
    assert read_record(directory.path)["status"] == "done"


def test_watching_ends_with_ctrl_c(tmp_path):
    directory = RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0"))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "import sys; from apps.cli.main import main; sys.exit(main())", "watch"]
    with subprocess.Popen([*command, str(directory.path)], stdout=theirs, stderr=theirs, cwd=ROOT) as seen:
        os.close(theirs)
        text = ""
        while "Run" not in text:
            text += os.read(ours, 4096).decode()
        seen.send_signal(signal.SIGINT)
        while True:
            try:
                if not os.read(ours, 4096):
                    break
            except OSError:
                break
        assert seen.wait(30) == 130
    os.close(ours)
    directory.close()
