"""``qompass run`` on two emulated QPUs: right values, every number's origin, no token anywhere, and failing devices."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from apps.cli.main import main
from launch.emulator.options import IBM, IQM, DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tests.execution.qpu.conftest import HELD, until
from tests.execution.qpu.test_qpu_secrets import MARK

ROOT = Path(__file__).resolve().parents[3]
GHZ = """OPENQASM 3.0;
include "stdgates.inc";
qubit[8] q;
ry(0.9) q[0];
cx q[0], q[1]; cx q[1], q[2]; cx q[2], q[3]; cx q[3], q[4]; cx q[4], q[5]; cx q[5], q[6]; cx q[6], q[7];
"""
BETWEEN = """
OPENQASM 3.0;
include "stdgates.inc";
qubit[8] q;
ry(0.9) q[0];
ry(0.4) q[1];
ry(0.7) q[7];
cx q[0], q[1];
cz q[1], q[2];
ry(0.5) q[2];
cx q[2], q[3];
ry(0.8) q[3];
cx q[3], q[4];
ry(0.3) q[4];
cz q[2], q[4];
cz q[4], q[7];
ry(0.6) q[7];
cx q[7], q[6];
"""
Z_OF_EACH = 0.6216099682706644  # cos(0.9)


@pytest.fixture
def qpus(tmp_path):
    """An emulator of the two QPUs of resources_xml/local_qpu, and a run on them: (emulator, run)."""
    devices = [
        DeviceOptions("QPU_A", IBM, noise=0.2, readout=5.0),
        DeviceOptions("QPU_B", IQM, noise=0.2, readout=5.0, seed=2),
    ]
    emulator = Emulator(devices, MARK)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    entries = [{"name": d.name, "type": d.kind, "environment": environment(d, emulator.url, MARK)} for d in devices]
    config = tmp_path / "secret" / "qrmi_config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"resources": entries}))
    config.chmod(0o600)
    (tmp_path / "ghz.qasm").write_text(GHZ)
    environ = os.environ | {
        "PYTHONPATH": str(ROOT), "QOMPASS_QRMI_CONFIG": str(config), "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "QOMPASS_LEASES": str(tmp_path / "leases"),
    }  # fmt: skip

    def asked(*more):
        return [
            "run", str(tmp_path / "ghz.qasm"), "--observable", "Z0",
            "--observable", "Z7", "--observable", "Z0 Z7", "--max-qubits", "4", "--shots", "40000",
            "--resources", str(ROOT / "resources_xml" / "local_qpu"), "--out", str(tmp_path / "runs"),
            *([] if "--cache" in more else ["--cache", "off"]), "--engine", "embedded", "--json", *more,
        ]  # fmt: skip

    def run(*more):
        command = [sys.executable, "-m", "apps.cli", *asked(*more)]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)
        return done, sorted((tmp_path / "runs").glob("*"))[-1:]

    run.asked, run.environ, run.out = asked, environ, tmp_path / "runs"
    yield emulator, run
    emulator.shutdown()
    emulator.server_close()


def devices_of(folder):
    """The device of every stored result, as the run's record has it."""
    return {result["device"] for result in json.loads((folder / "record.json").read_text())["results"].values()}


def is_right_says_what_ran_where_and_shows_no_token(emulator, tmp_path, done, folder):
    assert done.returncode == 0, done.stderr
    estimates = {e["observable"]: e for e in json.loads(done.stdout)["estimates"]}
    for name, wanted in (("Z0", Z_OF_EACH), ("Z7", Z_OF_EACH), ("Z0 Z7", 1.0)):
        off = abs(estimates[name]["value"] - wanted)
        # Gates err by 0.2 % each here, a fifth of the chip's; readout errors are the chip's own, and mitigated.
        assert off < 5 * estimates[name]["std_error"] + 0.04, (name, estimates[name])
    used = {name for name, device in emulator.devices.items() if device.jobs}
    assert used and used <= devices_of(folder)
    assert f"gate errors of {' and '.join(sorted(used))} are not in the standard errors" in done.stderr
    assert not [session for session in emulator.sessions.values() if session["accepting_jobs"]]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "secret"]
    assert len(written) > 3 and not [path for path in written if MARK.encode() in path.read_bytes()]
    assert MARK not in done.stdout + done.stderr
    return {path.parent.name for path in written}


@pytest.mark.slow  # of the first of the runs that are the same
def test_a_run_on_two_qpus_and_the_cores_is_right_says_what_ran_where_and_shows_no_token(qpus, tmp_path):
    emulator, run = qpus
    done, (folder,) = run("--policy", "round_robin")
    assert "kept" not in is_right_says_what_ran_where_and_shows_no_token(emulator, tmp_path, done, folder)


@pytest.fixture
def say(qpus, own_folder, monkeypatch, capsys):
    """A command in this process that reaches the emulated QPUs, as a process that has ended."""
    _, run = qpus
    for name, value in run.environ.items():
        monkeypatch.setenv(name, value)

    def command(*arguments):
        return subprocess.CompletedProcess(arguments, main(list(arguments)), *capsys.readouterr())

    return command


@pytest.fixture
def here(qpus, say):
    """A run in this process, and its folder."""
    _, run = qpus
    return lambda *more: (say(*run.asked(*more)), sorted(run.out.glob("*"))[-1:])


def test_a_plan_is_that_of_a_run_on_the_same_devices(say, here, tmp_path):
    """IQM's cannot measure in mid-circuit, so gates are cut by Hadamard tests; this machine's cores can."""
    few = ["--shots", "400", "--plan-seconds", "0.05"]
    asked = ["plan", str(tmp_path / "ghz.qasm"), "--observable", "Z0", "--observable", "Z7", "--observable", "Z0 Z7"]
    asked += ["--max-qubits", "4", *few]

    def plan(*more):
        found = json.loads(say(*asked, *more, "--json").stdout)["plan"]
        return found, {leg["kind"] for fragment in found["fragments"] for leg in fragment["legs"]}

    on_qpus, kinds = plan("--resources", str(only_qpus(tmp_path)))
    assert kinds == {"hadamard gate"} and plan()[1] == {"gate"}
    done, _ = here("--resources", str(tmp_path / "qpus"), *few)
    assert json.loads(done.stdout)["plan"]["cuts"] == on_qpus["cuts"]


def test_the_same_run_again_costs_no_shot_and_the_record_says_who_had_measured(qpus, here, tmp_path):
    """Two rounds of shots on two QPUs, mitigated; then again, by task processes and in a folder of its own."""
    emulator, _ = qpus

    def asked(*more):
        where = ["--resources", str(resources), "--cache", str(tmp_path / "kept")]
        done, (folder,) = here("--policy", "round_robin", *where, *more)
        assert done.returncode == 0, done.stderr
        document, record = json.loads(done.stdout), json.loads((folder / "record.json").read_text())
        jobs = [job for device in emulator.devices.values() for job in device.jobs.values()]
        if not runs:
            assert "kept" in is_right_says_what_ran_where_and_shows_no_token(emulator, tmp_path, done, folder)
        runs.append(folder)
        bill = 0.3 * len(jobs) + 1e-4 * sum(shots for job in jobs for _, shots in job.work)
        assert record["price"] == pytest.approx(bill - sum(bills))
        bills.append(bill - sum(bills))
        return document["estimates"], record, sum(shots for job in jobs for _, shots in job.work)

    resources, runs, bills = only_qpus(tmp_path, words="qubits=7 price_per_job=0.3 price_per_shot=0.0001"), [], []
    first, record, paid = asked()
    results = record["results"].values()
    assert {result["round"] for result in results} == {0, 1} and not any("cache" in result for result in results)
    for book in (tmp_path / "state").rglob("*.calibration"):
        book.unlink()  # the readout, too, is remembered by the cache
    again, record, paid_again = asked()
    assert paid_again == paid > 40_000
    assert again == first
    assert {(result["cache"], result["made_by"]) for result in record["results"].values()} == {
        ("hit", "QPU_A"), ("hit", "QPU_B"),
    }  # fmt: skip
    assert all(result["made_in_jobs"] for result in record["results"].values())
    assert record["cache"]["executed"] == 0 and record["cache"]["requests"] > 0
    other, record, paid_other = asked("--seed", "1")
    # A variant that reads no bit takes a shot that no device runs.
    assert paid_other > paid + 39_990 and other != first, "another seed is another repetition"


def test_when_every_qpu_refuses_the_simulator_does_the_work(qpus, here):
    emulator, _ = qpus
    for _ in range(2):
        emulator.command("fault", {"step": "job", "kind": "fail", "times": 1000})
    done, (folder,) = here("--policy", "round_robin")
    assert done.returncode == 0, done.stderr
    estimates = {e["observable"]: e["value"] for e in json.loads(done.stdout)["estimates"]}
    assert estimates["Z0 Z7"] == pytest.approx(1.0, abs=0.1)
    assert "QPU_A" not in devices_of(folder) and "QPU_B" not in devices_of(folder)
    assert "ended as failed" in done.stderr
    notes = json.loads(done.stdout)["notes"]
    used = [name for name, device in emulator.devices.items() if device.received]
    assert used and all(any(n.startswith(f"{name} took no shots: ") for n in notes) for name in used), notes


def test_a_wrong_token_stops_the_run_with_one_line(qpus, tmp_path):
    _, run = qpus
    config = tmp_path / "secret" / "qrmi_config.json"
    config.write_text(config.read_text().replace(MARK, MARK + "-wrong"))
    done, _ = run()
    assert done.returncode == 2
    assert done.stdout == "" or "error" in done.stdout
    assert "authentication failed" in done.stderr and MARK not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_the_devices_are_listed_with_their_state(say):
    command = ["devices", "--resources", str(ROOT / "resources_xml" / "local_qpu")]
    text = say(*command)
    assert text.returncode == 0, text.stderr
    assert [line.split()[0] for line in text.stdout.splitlines()[2:]] == ["CPU", "QPU_A", "QPU_B"]
    told = say(*command, "--json")
    found = {device["name"]: device for device in json.loads(told.stdout)["devices"]}
    assert found["QPU_A"]["status"] == "online" and found["QPU_A"]["qubits"] == 7
    assert len(found["QPU_A"]["readout_errors"]) == 7 and len(found["QPU_A"]["gates"]) > 7
    assert 0 < found["QPU_B"]["two_qubit_error"] < 0.02 and found["QPU_B"]["basis_gates"] == ["cz", "r"]
    assert MARK not in text.stdout + told.stdout


@pytest.mark.parametrize(
    "name, shots, rounds, between, more",
    [
        ("QPU_A", 40_000, 2, False, ()),
        pytest.param("QPU_A", 900, 1, False, ("--mitigation", "none"), marks=pytest.mark.slow),
        pytest.param("QPU_A", 40_000, 2, True, ("--mitigation", "none"), marks=pytest.mark.slow),
        ("QPU_A", 2_500, 1, True, ("--mitigation", "none")),
        pytest.param("QPU_A", 40_000, 2, True, ("--mitigation", "readout+zne"), marks=pytest.mark.slow),
        pytest.param("QPU_B", 900, 1, True, ("--mitigation", "readout+zne"), marks=pytest.mark.slow),
    ],
)
def test_the_price_of_a_plan_is_the_bill_of_its_run(qpus, here, tmp_path, name, shots, rounds, between, more):
    """Shots and jobs of both rounds, where there are two, and the readout where it is measured.

    A fragment that is asked nothing stands between two others: many of its variants read no bit.
    """
    emulator, _ = qpus
    if between:
        (tmp_path / "ghz.qasm").write_text(BETWEEN)
    where = only_qpus(tmp_path, name, words="qubits=7 price_per_job=0.3 price_per_shot=0.0001")
    done, (folder,) = here("--resources", str(where), "--shots", str(shots), *more)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "record.json").read_text())
    assert {result["round"] for result in record["results"].values()} == set(range(rounds))
    jobs = [job for device in emulator.devices.values() for job in device.jobs.values()]
    bill = 0.3 * len(jobs) + 0.0001 * sum(taken for job in jobs for _, taken in job.work)
    assert record["plan"]["predicted"]["price"] == pytest.approx(bill, rel=1e-3)
    assert record["price"] == pytest.approx(bill)


def only_qpus(folder, *qpus, words="qubits=7"):
    """A resources file without a processor that could simulate: QPU_A and QPU_B, or those named."""
    named = {"Clients": "CPU"} | dict.fromkeys(qpus or ("QPU_A", "QPU_B"), "OTHER")
    processors = "".join(
        f'<Processor Name="{name}"><ComputingUnits>{3 if kind == "CPU" else 1}</ComputingUnits><Type>{kind}</Type>'
        f"<ProcessorProperty><Key>qompass</Key><Value>{'clients' if kind == 'CPU' else words}</Value>"
        "</ProcessorProperty></Processor>"
        for name, kind in named.items()
    )
    (folder / "qpus").mkdir()
    (folder / "qpus" / "resources.xml").write_text("<ResourcesList/>")
    (folder / "qpus" / "project.xml").write_text(f"<Project><MasterNode>{processors}</MasterNode></Project>")
    return folder / "qpus"


def test_a_killed_run_is_resumed_and_no_shot_is_paid_twice(qpus, say, tmp_path):
    emulator, run = qpus
    for device in emulator.devices.values():
        device.options = replace(device.options, queue=HELD, hold=0.2)
    asked = ["run", str(tmp_path / "ghz.qasm"), "--observable", "Z0 Z7", "--max-qubits", "4", "--shots", "20000"]
    asked += ["--resources", str(only_qpus(tmp_path)), "--out", str(run.out), "--cache", "off"]
    asked += ["--engine", "embedded", "--policy", "round_robin", "--mitigation", "none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.cli", *asked], cwd=ROOT, env=run.environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        journal = tmp_path / "state" / "qompass" / "qpu"
        until(lambda: all(device.jobs for device in emulator.devices.values()), 120)
        until(lambda: sum('"started"' in path.read_text() for path in journal.glob("*.json")) >= len(emulator.devices))
    finally:
        process.kill()
        process.wait()
    for device in emulator.devices.values():
        device.options = replace(device.options, queue=0.0)
    (folder,) = run.out.iterdir()
    done = say("resume", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    (estimate,) = json.loads(done.stdout)["estimates"]
    # Nothing is mitigated here, and two readouts that err by a fifth leave 0.36 of the 1 that it should be.
    assert estimate["value"] == pytest.approx(0.36, abs=0.15)
    jobs = [job for device in emulator.devices.values() for job in device.jobs.values() if job.status == "completed"]
    on_qpus = sum(
        result["shots"]
        for result in json.loads((folder / "record.json").read_text())["results"].values()
        if result["device"].startswith("QPU")
    )
    assert on_qpus > 0
    # IQM rounds shots up to a few levels; twice the same job would be far more than that.
    assert sum(shots for job in jobs for _, shots in job.work) <= 1.25 * on_qpus


def test_the_same_command_twice_takes_shots_of_its_own_and_leaves_nothing_behind(qpus, here, tmp_path):
    """Without a cache nothing is shared: two runs with one seed are two repetitions on a QPU."""
    emulator, _ = qpus
    asked = ("--policy", "round_robin", "--resources", str(only_qpus(tmp_path)), "--shots", "900")
    received, values = [], []
    for _ in range(2):
        done, _ = here(*asked, "--mitigation", "none")
        assert done.returncode == 0, done.stderr
        values.append([estimate["value"] for estimate in json.loads(done.stdout)["estimates"]])
        received.append(sum(device.received for device in emulator.devices.values()))
        journal = tmp_path / "state" / "qompass" / "qpu"
        assert not [path.name for path in journal.iterdir() if path.suffix != ".calibration"]
    assert received[1] == 2 * received[0] > 0
    assert values[0] != values[1]


def test_qpus_that_are_down_are_told_of_in_the_record_and_the_document(qpus, here):
    emulator, _ = qpus
    emulator.shutdown()
    emulator.server_close()
    done, (folder,) = here("--policy", "round_robin")
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["notes"]
    assert notes == json.loads((folder / "record.json").read_text())["notes"]
    for name in ("QPU_A", "QPU_B"):
        (note,) = [note for note in notes if note.startswith(f"{name} took no shots: it is unreachable: ")]
        assert note in done.stderr
