"""COMPSs agents as processes of this machine: the values of ``qompass run`` while workers come, go and die."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from qiskit import qasm2

from launch.docker import agents
from tasks.runs import read_record
from tests.engines.ask_agents import contract, truth
from tests.engines.launching import ROOT, environment, needs_runcompss, run
from tests.oracles import brickwork

PAIRS = ROOT / "launch/docker/resources"
LONG = [ROOT / "apps/circuits/qaoa40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "6", "--shots", "4000000"]
OPTIONS = ["--seed", "3", "--json", "--cache", "off"]
pytestmark = [needs_runcompss, pytest.mark.xdist_group("runcompss")]


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Agents:
    """A master and two workers, which the master has not been told of."""

    def __init__(self, folder, worker_pair=PAIRS / "worker"):
        self.folder = folder
        ports = free_ports(6)
        names = {"master": "127.0.0.1", "one": "127.0.0.2", "two": "127.0.0.3"}  # agents are told apart by their names
        self.hosts = names
        self.rest = dict(zip(names, ports[:3], strict=True))
        self.comm = dict(zip(names, ports[3:], strict=True))
        self.processes = {}
        for name, host in names.items():
            pair = PAIRS / "application" if name == "master" else worker_pair
            command = [sys.executable, ROOT / "launch/docker/agents.py", "serve", host, "--rest", self.rest[name],
                       "--comm", self.comm[name], "--resources", pair, "--folder", folder / name]  # fmt: skip
            with (folder / f"{name}.log").open("w") as log:
                self.processes[name] = subprocess.Popen(
                    list(map(str, command)), env=environment() | {"TMPDIR": str(folder)}, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        for name in names:
            self.wait_for(name)

    @property
    def master(self):
        return f"127.0.0.1:{self.rest['master']}"

    def wait_for(self, name):
        deadline = time.monotonic() + 120
        while True:
            try:
                return agents.resources(f"{self.hosts[name]}:{self.rest[name]}")
            except agents.AgentError:
                assert time.monotonic() < deadline, (self.folder / f"{name}.log").read_text()[-2000:]
                time.sleep(0.2)

    def add(self, name, *processors):
        processors = processors or (agents.processor("CPU", "CPU", 1),)
        agents.add(self.master, self.hosts[name], self.comm[name], processors)

    def run(self, *arguments):
        """Status and standard output of a qompass command."""
        output = io.StringIO()
        out = ["--out", str(self.folder / "runs")] if arguments[0] == "run" else []
        command = [*map(str, arguments), *out]
        with contextlib.redirect_stdout(output):
            return agents.run(self.master, command, self.folder, limit_s=300), output.getvalue()

    def begun(self, name):
        """How many tasks an agent was given so far."""
        return len(list((self.folder / name / "logs/jobs").glob("job*_NEW.out")))

    def kill(self, name):
        """End everything of an agent at once, as a node that loses its power."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()


def started(folder, **more):
    one = Agents(folder, **more)
    try:
        yield one
    finally:
        for name in one.processes:
            one.kill(name)
        left = subprocess.run(["pgrep", "-af", str(folder)], capture_output=True, text=True).stdout.splitlines()
        for line in left:  # workers of Python have sessions of their own
            if "pytest" not in line and "pgrep" not in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.fixture
def pool(tmp_path):
    yield from started(tmp_path)


def on_this_machine(folder, *arguments):
    folder.mkdir(exist_ok=True)
    done = run(folder, sys.executable, "-m", "apps.cli", "run", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["estimates"]


class InBackground(threading.Thread):
    """A run on agents, while the test does something to them."""

    def __init__(self, pool, *arguments):
        super().__init__(daemon=True)
        self.pool, self.arguments, self.found = pool, arguments, None
        self.start()

    def run(self):
        try:
            self.found = self.pool.run("run", *self.arguments)
        except agents.AgentError as error:
            self.found = 2, str(error)

    def wait_for_results(self):
        """Until a first result is on disk: the run is in the middle of it."""
        deadline = time.monotonic() + 120
        while not list((self.pool.folder / "runs").glob("*/fragments/*")):
            assert self.is_alive() and time.monotonic() < deadline, self.found
            time.sleep(0.05)

    def estimates(self):
        self.join(timeout=300)
        assert self.found is not None and self.found[0] == 0, self.found
        return json.loads(self.found[1])["estimates"]


def test_values_of_qompass_run_while_workers_come_go_and_die(tmp_path, pool):
    pool.add("one")
    circuit = [ROOT / "apps/circuits/ghz12.qasm", "--observable", "Z0 Z11", "--max-qubits", "6", *OPTIONS]
    status, output = pool.run("run", *circuit)
    assert status == 0
    assert json.loads(output)["estimates"] == on_this_machine(tmp_path, *circuit)
    assert json.loads(output)["engine"]["name"] == "compss"
    assert pool.begun("one") > 0 and pool.begun("two") == 0

    wanted = on_this_machine(tmp_path, *LONG, *OPTIONS)
    changing = InBackground(pool, *LONG, *OPTIONS)
    changing.wait_for_results()
    pool.add("two")
    agents.remove(pool.master, pool.hosts["one"])
    assert changing.estimates() == wanted
    assert pool.begun("two") > 0, "a worker that came got no work"
    assert set(agents.resources(pool.master)) == {"127.0.0.1", "127.0.0.3"}

    pool.add("one")
    losing = InBackground(pool, *LONG, *OPTIONS)
    before = pool.begun("two")
    deadline = time.monotonic() + 120
    while pool.begun("two") <= before + 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    pool.kill("two")
    agents.lost(pool.master, pool.hosts["two"])
    assert losing.estimates() == wanted


def test_what_is_wrong_with_a_command_is_said_with_its_status(pool, capsys):
    pool.add("one")
    status, output = pool.run("run", ROOT / "apps/circuits/ghz12.qasm", "--observable", "Z0 Z77")
    assert (status, output) == (2, "")
    assert "77" in capsys.readouterr().err


def test_an_agent_that_is_not_there_is_one_line_and_status_2(tmp_path):
    (port,) = free_ports(1)
    for verb in (["add"], ["lost"], ["remove"]):
        done = run(tmp_path, sys.executable, ROOT / "launch/docker/agents.py", *verb, f"127.0.0.1:{port}", "worker")
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "does not answer" in done.stderr


def working(pool, results):
    """The process id of a task's Python on a worker once so many results are stored; it stands still from now on."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        stored = len(list(pool.folder.glob("runs/*/fragments/*.npz")))
        for begun in pool.folder.glob("runs/*/tasks-*/*-begun") if stored >= results else ():
            ended = begun.with_name(begun.name.replace("begun", "ended"))
            with contextlib.suppress(OSError, AttributeError):
                process = int(re.match(r"process (\d+) on 127.0.0.2", begun.read_text())[1])
                os.kill(process, signal.SIGSTOP)
                if not ended.exists():
                    return process
                os.kill(process, signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError("no task was caught at its work")


@pytest.mark.slow
@pytest.mark.parametrize("results", [0, 1], ids=["the first task", "a later one"])
def test_a_task_whose_python_is_killed_is_not_waited_for_and_the_run_goes_on_elsewhere(tmp_path, pool, capsys, results):
    """COMPSs tells nobody of it, and counts its unit as taken until it is told that the agent is lost."""
    pool.add("one")
    (tmp_path / "circuit.qasm").write_text(qasm2.dumps(brickwork(36, 4, np.random.default_rng(3))))
    circuit = [tmp_path / "circuit.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "12", "--shots", "400000000"]
    wanted = on_this_machine(tmp_path / "alone", *circuit, *OPTIONS)
    running = InBackground(pool, *circuit, *OPTIONS)
    process = working(pool, results)
    os.kill(process, signal.SIGKILL)
    running.join(timeout=400)
    assert running.found == (2, "")
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        f"process {process} on 127.0.0.2" in said and "start that worker again, or tell COMPSs that it is lost" in said
    )
    kept = list((pool.folder / "runs").glob("*/fragments/*.npz"))
    agents.lost(pool.master, pool.hosts["one"])
    pool.add("two")
    if results:
        (path,) = (pool.folder / "runs").iterdir()
        assert read_record(path)["status"] == "failed" and f"`qompass resume {path}` goes on from here" in said
        status, output = pool.run("resume", path, "--json")
    else:  # nothing was kept
        status, output = pool.run("run", *circuit, *OPTIONS)
    assert status == 0 and json.loads(output)["estimates"] == wanted
    assert len(kept) >= results and all(file.exists() for file in kept)


@pytest.mark.slow
def test_the_engine_contract_and_a_fifth_of_the_truth_suite(tmp_path):
    for pool in started(tmp_path, worker_pair=Path(__file__).with_name("resources")):
        pool.add("one", *agents.processors(2, ["QPU_A"]))  # both ranks of an MPI task take units of one worker
        pool.add("two", *agents.processors(0, ["QPU_B=2"]))
        assert contract(pool.master, tmp_path) == {}
        truth(pool.master, tmp_path)
