"""A worker node reached over ssh: it knows the run's devices, and Ctrl-C leaves nothing of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines.launching import LAUNCHER, ROOT, environment, needs_runcompss, on_compss, run
from tests.engines.test_launcher import start, wait_for

ADAPTOR = (
    '<Adaptors><Adaptor Name="es.bsc.compss.nio.master.NIOAdaptor"><SubmissionSystem><Interactive/></SubmissionSystem>'
    "<Ports><MinPort>43201</MinPort><MaxPort>43210</MaxPort></Ports></Adaptor></Adaptors>"
)


def ssh_answers() -> bool:
    """Whether this machine lets its user in without a password, as COMPSs wants it."""
    try:
        done = subprocess.run(["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "localhost", "true"], timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@pytest.fixture(scope="module")
def ssh():
    if not ssh_answers():
        pytest.skip("no ssh to localhost without a password")


pytestmark = [needs_runcompss, pytest.mark.usefixtures("ssh"), pytest.mark.xdist_group("runcompss")]


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A pair of files with one worker node, this machine."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "work").mkdir()
    inside = f"<InstallDir>{compss_home()}</InstallDir><WorkingDir>{tmp_path}/work/</WorkingDir>{ADAPTOR}"
    processor = "<Processor Name='CPU'><ComputingUnits>2</ComputingUnits></Processor>"
    folder = tmp_path / "pair"
    folder.mkdir()
    (folder / "project.xml").write_text(
        f"<Project><MasterNode/><ComputeNode Name='localhost'>{inside}</ComputeNode></Project>"
    )
    (folder / "resources.xml").write_text(
        f"<ResourcesList><ComputeNode Name='localhost'>{processor}{ADAPTOR}</ComputeNode></ResourcesList>"
    )
    return folder


def compss_home() -> str:
    return environment()["COMPSS_HOME"]


@pytest.fixture
def own_view():
    """A prefix for commands that gives them a view of the file system of their own."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True) if shutil.which("unshare") else None
    if tried is None or tried.returncode:
        pytest.skip("no unshare, or it may not be used here")
    return ["unshare", "--mount", "bash", "-c", 'mount -t tmpfs none "$0" && exec "$@"']


def test_a_folder_that_the_node_does_not_see_is_filled_by_the_application(tmp_path, node, own_view):
    """Two rounds of shots, the second of which needs what the first has gathered."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    asked = ["--observable", "Z0 Z1", "--max-qubits", "12", "--shots", "400000", "--seed", "3", "--cache", "off"]
    asked = [str(ROOT / "apps/circuits/vqe40.qasm"), *asked, "--json", "--out"]
    command = ["bash", LAUNCHER, "--logs", tmp_path / "logs", "--resources", node, ROOT / "apps/expectation.py", *asked]
    done = run(tmp_path, *own_view, hidden, *command, hidden / "runs")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "CPU does not see the run's folder: results go through the application" in found["notes"]
    assert not list(hidden.iterdir()), "the node saw the folder"
    here = run(tmp_path, sys.executable, "-m", "apps.cli", "run", *asked, tmp_path / "runs")
    assert json.loads(here.stdout)["estimates"] == found["estimates"]


def left_on_node(folder: Path) -> list[str]:
    """What still has the node's working folder in its command line, and what lies in that folder."""
    found = subprocess.run(["pgrep", "-af", f"{folder}/work"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in found if "pgrep" not in line] + [str(path) for path in (folder / "work").iterdir()]


def test_a_run_on_a_worker_node_gives_the_value_and_ctrl_c_leaves_nothing(tmp_path, node):
    circuit = ["--observable", "Z0 Z11", "--max-qubits", "6", "--cache", "off"]
    done = on_compss(
        tmp_path,
        "--resources",
        node,
        ROOT / "apps/expectation.py",
        ROOT / "apps/circuits/ghz12.qasm",
        *circuit,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["estimates"][0]["value"] == pytest.approx(1.0, abs=1e-9)
    assert left_on_node(tmp_path) == []

    long = ["--observable", "Z50", "--max-qubits", "14", "--cache", "off", "--shots", "9000000000"]
    process = start(
        tmp_path, "--resources", node, ROOT / "apps/expectation.py", ROOT / "apps/circuits/brickwork100.qasm", *long
    )
    wait_for(tmp_path, "run")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130
    assert left_on_node(tmp_path) == [] and not list(tmp_path.glob("pymp-*"))
