"""launch/local_compss.sh: the program's own output and status, restarts of what died, and nothing left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.runs import read_record
from tests.engines.launching import LAUNCHER, ROOT, environment, needs_runcompss, on_compss, run

PROGRAMS = Path(__file__).with_name("programs.py")
# One worker of pytest-xdist for all that starts runcompss or many processes: they would only slow each other.
pytestmark = pytest.mark.xdist_group("runcompss")


def left_running(folder):
    """Processes that still mention the folder, where the runtime's state and logs are."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if str(folder) in text and "pytest" not in text:
            found.append(text)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    deadline = time.monotonic() + 10
    while left_running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_running(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no program"),
        (["no-such.py"], "no program no-such.py"),
        (["--restarts", "many", PROGRAMS], "not a number"),
        (["--colour", PROGRAMS], "unknown option --colour"),
        (["--resources", ROOT / "apps", PROGRAMS], "project.xml"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(folder, arguments, words):
    done = run(folder, "bash", LAUNCHER, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_machine_without_compss_is_told_what_to_do(folder, monkeypatch):
    tools = folder / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "basename", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tools))
    done = run(folder, "bash", LAUNCHER, PROGRAMS)
    assert done.returncode == 2
    assert "runcompss is not on the PATH" in done.stderr and "./launch/qompass" in done.stderr


@pytest.fixture
def fake(folder, monkeypatch):
    """A runcompss that only writes down how it was called, and ends."""
    tools = folder / "fake"
    tools.mkdir()
    (tools / "runcompss").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{tools}/called"\n')
    (tools / "runcompss").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("COMPSS_HOME", raising=False)  # of a real one, which may lack what is asked for
    return tools / "called"


def test_what_compss_would_die_on_is_refused_before_it_starts(folder, fake):
    pair = folder / "pair"
    pair.mkdir()
    (pair / "resources.xml").write_text("<ResourcesList/>")
    (pair / "project.xml").write_text(
        "<Project><MasterNode><Processor Name='QPU_A'><ComputingUnits>1</ComputingUnits><Type>QPU</Type></Processor>"
        "</MasterNode></Project>"
    )
    done = run(folder, "bash", LAUNCHER, "--resources", pair, PROGRAMS)
    assert done.returncode == 2 and not fake.exists()
    assert "OTHER is COMPSs' type for a QPU" in done.stderr and len(done.stderr.splitlines()) == 1


def test_options_of_compss_reach_it_before_the_program(folder, fake):
    options = ["-g", "-t", "--summary", "--scheduler", "a.B", "--logs", folder / "logs"]
    run(folder, "bash", LAUNCHER, *options, "--restarts", 0, "--", "--streaming=NONE", "--comm=c.D", PROGRAMS, "-g")
    called = fake.read_text().splitlines()
    assert {"-g", "-t", "--summary", "--scheduler=a.B", "--streaming=NONE", "--comm=c.D"} <= set(called)
    assert called[-1] == str(ROOT / "launch/compss_main.py") and called.count("-g") == 1


def test_an_option_that_compss_does_not_know_is_one_line_and_status_2(folder, fake):
    Path(fake.parent / "runcompss").write_text(
        '#!/bin/sh\nprintf "\\033[31mBad argument: ear=false\\033(B\\033[m" >&2\nexit 1\n'
    )
    done = run(folder, "bash", LAUNCHER, "--", "--ear=false", PROGRAMS)
    assert done.returncode == 2 and "does not know --ear=false" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(folder.glob("qompass-compss.*"))


def test_tracing_without_extrae_is_one_line_and_status_2(folder, fake, monkeypatch):
    (folder / "compss/Dependencies/extrae").mkdir(parents=True)
    monkeypatch.setenv("COMPSS_HOME", str(folder / "compss"))
    done = run(folder, "bash", LAUNCHER, "-t", PROGRAMS)
    assert done.returncode == 2 and not fake.exists()
    assert "needs Extrae" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("variable", ["QOMPASS_VENV", "QOMPASS_PYTHON"])
def test_the_environment_named_is_the_one_used(folder, fake, monkeypatch, variable):
    venv = folder / "environment"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    names = {name: value for name, value in environment().items() if name not in ("QOMPASS_VENV", "QOMPASS_PYTHON")}
    names[variable] = str(venv if variable == "QOMPASS_VENV" else python)
    command = ["bash", str(LAUNCHER), "--restarts", "0", str(PROGRAMS)]
    subprocess.run(command, env=names, cwd=folder, capture_output=True, timeout=100)
    assert f"--python_interpreter={python}" in fake.read_text().splitlines()


def test_without_an_environment_it_is_set_up_or_one_line_says_why_not(folder, fake):
    checkout = folder / "checkout"
    for name in ("launch", "resources_xml"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("emulator", "__pycache__"))
    names = environment() | {"QOMPASS_PYTHON": "/bin/false"}
    command = ["bash", str(checkout / "launch/local_compss.sh"), str(PROGRAMS)]
    done = subprocess.run(command, env=names, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and not fake.exists()
    assert "/bin/false is not a Python >= 3.10" in done.stderr and done.stderr.count("\n") == 1


def test_sockets_nobody_listens_to_are_removed_and_others_left(folder, monkeypatch):
    def listening(name):
        (folder / name).mkdir()
        listener = socket.socket(socket.AF_UNIX)
        monkeypatch.chdir(folder / name)  # the path of a socket must be short
        listener.bind(str(folder / name / "listener-1") if len(str(folder)) < 80 else "listener-1")
        listener.listen()
        return listener

    dead, alive = listening("pymp-dead"), listening("pymp-alive")
    dead.close()
    (folder / "work").mkdir()
    program = [sys.executable, ROOT / "launch/end_workers.py", "no-such-run", 0, folder / "work"]
    assert run(folder, *program).returncode == 0
    alive.close()
    assert sorted(path.name for path in folder.iterdir()) == ["pymp-alive"]


@needs_runcompss
def test_graph_and_summary_are_where_the_launcher_says(folder):
    done = on_compss(folder, "-g", "--summary", "--scheduler=es.bsc.compss.scheduler.lookahead.fifo.FifoTS",
                     PROGRAMS, "two tasks")  # fmt: skip
    assert done.returncode == 0 and done.stdout == "2\n", done.stderr
    (graph,) = [line.split()[-1] for line in done.stderr.splitlines() if "wrote" in line]
    assert Path(graph).read_text().count("->") >= 2
    assert "Total executed tasks: 2" in done.stderr


@needs_runcompss
def test_with_provenance_there_is_one_crate_and_it_is_compss_own(folder):
    pytest.importorskip("rocrate", reason="what COMPSs writes crates with is not installed")
    (folder / "ro-crate-info.yaml").write_text(
        f"COMPSs Workflow Information:\n  name: a run\n  sources: [{ROOT / 'apps/expectation.py'}]\n"
    )
    asked = [ROOT / "apps/circuits/ghz12.qasm", "--observable", "Z0 Z1", "--max-qubits", 7, "--cache", "off"]
    done = on_compss(folder, "-p", ROOT / "apps/expectation.py", *asked, "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    (crate,) = folder.rglob("ro-crate-metadata.json")
    assert crate.parent.name.startswith("COMPSs_RO-Crate_") and f"wrote ./{crate.parent.name}" in done.stderr
    assert len(list((folder / "runs").glob("*/record.json"))) == 1


@needs_runcompss
def test_output_status_and_arguments_are_the_programs_own(folder):
    done = on_compss(folder, PROGRAMS, "arguments", "Z0 Z1", "", "a'b\"c", "*", "$HOME", "é")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "Z0 Z1\n\na'b\"c\n*\n$HOME\né\n"
    assert done.stderr == "said aside\n"


@needs_runcompss
def test_a_task_that_raises_ends_the_application_and_the_reason_is_said_without_a_stack(folder):
    done = on_compss(folder, PROGRAMS, "task raises")
    assert done.returncode == 1
    assert "LookupError: no such thing as this" in done.stderr
    assert f"logs: {folder / 'logs'}" in done.stderr
    assert "at es.bsc" not in done.stderr and len(done.stderr.splitlines()) < 15, done.stderr


@needs_runcompss
def test_restarts_are_bounded(folder):
    (folder / "run").mkdir()
    (folder / "run/record.json").write_text("{")  # what is resumed cannot be read, so each restart fails at once
    done = on_compss(folder, "--restarts", 1, PROGRAMS, "always dies", folder / "run")
    assert done.stderr.count("resuming") == 1, done.stderr
    assert done.returncode != 0


@needs_runcompss
def test_a_run_whose_application_is_killed_is_resumed_and_gives_the_same(folder):
    arguments = [ROOT / "apps/circuits/qaoa40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "6"]
    arguments += ["--shots", "400000", "--seed", "3", "--json", "--cache", "off"]
    plain = run(folder, sys.executable, "-m", "apps.cli", "run", *arguments)
    assert plain.returncode == 0, plain.stderr
    process = start(folder, ROOT / "apps/expectation.py", *arguments)
    run_folder = Path(wait_for(folder, "run"))
    deadline = time.monotonic() + 60
    while not any((run_folder / "fragments").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int(wait_for(folder, "pid")), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "resuming" in err and "ended by a signal: Killed" in err
    assert json.loads(out)["estimates"] == json.loads(plain.stdout)["estimates"]
    assert json.loads((run_folder / "record.json").read_text())["status"] == "done"


@needs_runcompss
def test_ctrl_c_ends_everything_and_leaves_the_run_marked_interrupted(folder):
    arguments = [ROOT / "apps/circuits/qaoa40.qasm", "--observable", "Z0", "--max-qubits", "6", "--shots", "100000000"]
    process = start(folder, ROOT / "apps/expectation.py", *arguments, "--cache", "off")
    run_folder = Path(wait_for(folder, "run"))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    # A run that had stored nothing may leave no folder.
    assert not run_folder.exists() or read_record(run_folder)["status"] == "interrupted"


def start(folder, *command):
    return subprocess.Popen(
        ["bash", str(LAUNCHER), "--logs", str(folder / "logs"), *map(str, command)],
        env=environment(),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(folder, name):
    """The content of a file of the launcher's state, once it is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in folder.glob(f"qompass-compss.*/{name}"):
            if text := path.read_text():
                return text
        time.sleep(0.02)
    raise AssertionError(f"{name} did not appear")
