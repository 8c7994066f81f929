"""Runs through a real Slurm: refused before submission, the same bits, ended early and resumed, nodes that fail."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launch.emulator.options import IBM, DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from launch.slurm.enqueue import enqueue
from launch.slurm.jobs import write_resources
from tasks.errors import QompassError
from tasks.slurm import JobRequest, SlurmError, check_request, minutes_of, qpu_flags, read_site
from tests.engines.launching import environment as environment_of_tests
from tests.engines.test_ranks import PROGRAM
from tests.pilots.test_pilots import wait_until
from tests.slurm.cluster import Slurm, steps_of

ROOT = Path(__file__).resolve().parents[2]
CIRCUIT = [str(ROOT / "apps/circuits/vqe40.qasm"), "--observable", "Z0 Z1", "--observable", "-0.5*Z3 + X9"]
SHORT = [*CIRCUIT, "--max-qubits", "12", "--shots", "400000", "--seed", "5", "--cache", "off"]
LONG = [*CIRCUIT, "--max-qubits", "16", "--shots", "4000000", "--seed", "5", "--cache", "off"]
TIMES = ["--walltime", "5", "--margin", "20"]


def alone(folder: Path, arguments: list[str]) -> list[dict[str, object]]:
    """What one process finds."""
    command = [sys.executable, "-m", "apps.cli", "run", *arguments, "--json", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["estimates"]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("alone"), SHORT)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("alone"), LONG)


def submitted(capsys, *arguments: str) -> tuple[Path, list[str]]:
    """A run's folder and its jobs."""
    assert enqueue(list(arguments)) == 0
    said = capsys.readouterr().out
    run = re.search(r"^Run: (\S+)$", said, re.MULTILINE)
    jobs = re.search(r"^Jobs: ([\d, ]+);", said, re.MULTILINE)
    assert run and jobs, said
    return Path(run[1]), jobs[1].split(", ")


def finished(slurm: Slurm, run: Path, seconds: float = 900) -> list[dict[str, object]]:
    """The estimates of a run, as soon as its output is there."""
    deadline = time.monotonic() + seconds
    output = run / "job/output.json"
    while not output.exists():
        said = outputs(run)
        assert time.monotonic() < deadline, said
        assert slurm("squeue", "-h") or output.exists(), said
        time.sleep(0.3)
    return json.loads(output.read_text())["estimates"]


def first_results(run: Path, seconds: float = 200) -> dict[str, int]:
    deadline = time.monotonic() + seconds
    while not list((run / "fragments").glob("[!.]*.npz")):
        assert time.monotonic() < deadline, outputs(run)
        time.sleep(0.02)
    return stored(run)


def command_of(process: int) -> bytes:
    """Its command line, b"" of one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


@contextlib.contextmanager
def held(processes: list[int]) -> Iterator[None]:
    """They stand still as long as the block lasts."""
    assert processes
    for one in processes:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in processes:
            os.kill(one, signal.SIGCONT)


def outputs(run: Path) -> str:
    """What its jobs have said."""
    return "".join(path.read_text() for path in sorted(run.glob("job/*.out")))


def events(run: Path) -> list[str]:
    """What happened, by the run's log."""
    path = run / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for line in lines if (event := json.loads(line)["event"]) in ("resume", "plan")]


def stored(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run / "fragments").glob("[!.]*.npz")}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--partition", "gone"], "there is no partition gone: `partition` is one of main, compss"),
        (["--nodes", "0"], "`--nodes 0`: is less than 1"),
        (["--cpus", "-1"], "`--cpus -1`: is less than 0"),
        (["--nodes", "3"], "partition main has 2 nodes, and 3 are asked for"),
        (["--cpus", "3"], "partition main has 2 cores on a node, and 3 are asked for"),
        (["--walltime", "2:00:00"], "partition main has 60 minutes, and 120 are asked for"),
        (["--gpus", "1"], "partition main has 0 GPUs on a node, and 1 are asked for"),
        (["--qpu", "QPU_Z"], "QRMI knows no QPU QPU_Z: it knows QPU_A, QPU_B, QPU_C"),
        (["--qpu", "QPU_C"], "Slurm has no QPU QPU_C in partition main: it has licence QPU_A, GRES qpu:QPU_B"),
        (["--qpu", "QPU_A=2"], "Slurm has 1 units of QPU QPU_A, and 2 are asked for"),
        (["--qpu", "QPU_B=3"], "Slurm has 2 units of QPU QPU_B, and 3 are asked for"),
        (["--qpu", "QPU_B", "--partition", "compss"], "Slurm has no QPU QPU_B in partition compss"),
        (["--qpu", "QPU_A=many"], "the units of a QPU are a whole number"),
        (["--site", "no-such.cfg"], "no-such.cfg: no such file"),
        (["--folder", "/proc/runs"], "/proc/runs: cannot be written"),
        (["--folder", "a,b"], "a blank, comma, colon, quote or # in its name is lost"),
        (["--margin", "300"], "does not fit into 5 minutes"),
        (["--observable", "Q0"], "Q0"),
    ],
)
def test_what_can_never_run_is_refused_before_it_is_submitted(slurm, qpus, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resources").mkdir()
    with pytest.raises((QompassError, SystemExit)) as refused:
        enqueue(["--with", "dask", *TIMES, "--folder", "runs", *SHORT, *options])
    assert words in str(refused.value)
    assert not slurm("squeue", "-h") and not list(tmp_path.glob("runs/*"))


def test_a_controller_that_is_down_is_one_line(slurm, tmp_path, monkeypatch):
    text = Path(slurm.environment["SLURM_CONF"]).read_text()
    (tmp_path / "slurm.conf").write_text(re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=1", text) + "MessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(SlurmError, match=r"Unable to contact slurm controller|does not answer"):
        enqueue(["--with", "dask", *TIMES, "--folder", str(tmp_path / "runs"), *SHORT])
    assert not (tmp_path / "runs").exists()


def test_every_way_gives_the_bits_of_one_process(slurm, tmp_path, capsys, short):
    """On one node, on two through dask, and as array jobs over the stages: round by round."""
    folder = ["--folder", str(tmp_path)]
    runs = [
        submitted(capsys, "--with", "dask", *TIMES, *folder, *SHORT),
        submitted(capsys, "--with", "dask", "--nodes", "2", *TIMES, *folder, *SHORT),
        submitted(capsys, "--with", "array", "--batches", "3", "--cpus", "1", *TIMES, *folder, *SHORT),
    ]
    assert [len(jobs) for _, jobs in runs] == [1, 1, 2]
    for run, _ in runs:
        assert finished(slurm, run) == short
    _, (two, (job,)), (array, _) = runs
    assert (two / f"job/slurm-{job}.out").read_text().count("offers CPU=2") == 2
    assert len(json.loads((array / "record.json").read_text())["batches"]) == 6, "three batches in each of two rounds"


@pytest.mark.parametrize("way", ["dask", pytest.param("array", marks=pytest.mark.slow)])
def test_a_job_that_slurm_ends_soon_is_requeued_and_pays_nothing_twice(slurm, tmp_path, capsys, long, way):
    """The signal is the one that Slurm sends before the time is over."""
    run, jobs = submitted(capsys, "--with", way, *TIMES, "--folder", str(tmp_path), *LONG)
    before = first_results(run)
    slurm("scancel", "--signal=USR1", "--batch", jobs[0])
    slurm.wait(jobs[0], "PENDING", "RUNNING", "COMPLETED")
    deadline = time.monotonic() + 100
    while "is requeued" not in outputs(run):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not (run / "job/output.json").exists(), "it was ended before it was done"
    assert finished(slurm, run) == long
    assert before.items() <= stored(run).items()


@pytest.mark.slow
def test_a_job_that_reaches_its_time_limit_is_resumed_to_the_same_value(slurm, tmp_path, capsys, long):
    """Its program is held from its first result until Slurm says that the time is over."""
    limits = ["--walltime", "1", "--margin", "30"]
    run, _ = submitted(capsys, "--with", "dask", *limits, "--folder", str(tmp_path), *LONG)
    before = first_results(run)
    with held([one for one in steps_of(slurm.folder) if f"resume\0{run}".encode() in command_of(one)]):
        assert not (run / "job/output.json").exists()
        wait_until(lambda: "the allocation ends soon" in outputs(run), "Slurm did not say so", 100)
    assert finished(slurm, run) == long
    assert "is requeued" in outputs(run) and before.items() <= stored(run).items()


def test_a_job_whose_node_fails_is_requeued_elsewhere_and_goes_on(slurm, tmp_path, capsys, long):
    run, jobs = submitted(capsys, "--with", "dask", *TIMES, "--folder", str(tmp_path), "--sbatch=--nodelist=n1", *LONG)
    before = first_results(run)
    assert not (run / "job/output.json").exists()
    lost(slurm, jobs[0])
    assert finished(slurm, run) == long
    assert before.items() <= stored(run).items()


def lost(slurm: Slurm, job: str) -> None:
    """Node n1 fails with all that runs there; what Slurm has of the job begins again on n2."""
    slurm.lose("n1")
    try:
        deadline = time.monotonic() + 100
        while slurm("sinfo", "-h", "-n", "n1", "-o", "%T").strip().rstrip("*") != "down":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        slurm.wait(job, "PENDING")
        slurm("scontrol", "update", f"JobId={job}", "ReqNodeList=n2")
        slurm.wait(job, "RUNNING", "COMPLETED")
    finally:
        slurm.start_node("n1")


@pytest.mark.slow
def test_a_node_that_fails_while_a_run_is_planned_costs_the_plan_alone(slurm, tmp_path, capsys):
    arguments = [*LONG, "--plan-seconds", "20"]
    run, (job,) = submitted(
        capsys, "--with", "dask", *TIMES, "--folder", str(tmp_path), "--sbatch=--nodelist=n1", *arguments
    )
    wait_until(lambda: events(run), "it did not begin", 100)
    lost(slurm, job)
    assert finished(slurm, run) == alone(tmp_path / "alone", arguments)
    assert events(run) == ["resume", "resume", "plan"]


@pytest.mark.slow
def test_a_node_that_fails_while_a_run_is_reconstructed_costs_the_contraction_alone(slurm, tmp_path, capsys, short):
    run, (execute, last) = submitted(
        capsys, "--with", "array", "--batches", "2", "--cpus", "1", *TIMES, "--folder", str(tmp_path), *SHORT
    )
    slurm("scontrol", "update", f"JobId={last}", "ReqNodeList=n1")
    slurm.wait(execute, "COMPLETED")
    before = stored(run)
    wait_until(lambda: "begins reconstruct" in outputs(run), "it did not begin", 100)
    lost(slurm, last)
    assert finished(slurm, run) == short
    assert before.items() <= stored(run).items()


def test_a_run_that_gets_nowhere_gives_up_and_says_so(slurm, tmp_path, capsys):
    """Two allocations that end before there was a result: the third would be like them."""
    run, (job,) = submitted(capsys, "--with", "dask", *TIMES, "--folder", str(tmp_path), *LONG, "--plan-seconds", "20")
    for number in (1, 2):
        wait_until(lambda count=number: outputs(run).count(f"job {job} begins whole") == count, "it waits", 200)
        slurm("scancel", "--signal=USR1", "--batch", job)
    slurm.wait(job, "FAILED")
    assert outputs(run).count("is requeued") == 1
    assert f"2 allocations have brought no result: submit {run} again with more walltime" in outputs(run)
    assert not stored(run) and not (run / "job/output.json").exists()


def test_the_ranks_of_a_contraction_are_processes_of_the_allocation(slurm, tmp_path, capsys):
    """MPI's launcher must not take Slurm's variables for a wish to start its ranks by srun."""
    run = dry_run(capsys, "--folder", str(tmp_path), *SHORT)
    write_resources(Path(run) / "job/resources", 2, 0, [])  # as the job does when it begins
    (tmp_path / "ranks.py").write_text(PROGRAM)
    script = f". {run}/job/environment.sh; exec {sys.executable} {tmp_path}/ranks.py"
    job = slurm(
        "sbatch", "--parsable", "--cpus-per-task=2", f"--output={tmp_path}/ranks.out", f"--wrap={script}"
    ).strip()
    slurm.wait(job, "COMPLETED")
    ranks, *numbers = (tmp_path / "ranks.out").read_text().split()
    assert ranks == "2"
    variables = environment_of_tests() | {"QOMPASS_RANKS": "3"}
    here = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert here.stdout.split()[1:] == numbers, here.stderr


def dry_run(capsys, *arguments: str) -> str:
    """The folder of a run that is written and not submitted."""
    assert enqueue(["--with", "dask", "--dry-run", *TIMES, *arguments]) == 0
    return re.search(r"^Run: (\S+)$", capsys.readouterr().out, re.MULTILINE)[1]


@pytest.mark.parametrize("loaded", [True, False])
def test_a_job_loads_its_modules_and_sources_the_script_of_the_site_or_ends(
    slurm, tmp_path, capsys, monkeypatch, loaded
):
    """``module`` is a function that sites export to the shells of jobs."""
    monkeypatch.setitem(
        slurm.environment, "BASH_FUNC_module%%", f"() {{ echo module $*; {'true' if loaded else 'false'}; }}"
    )
    (tmp_path / "site.sh").write_text("echo the site of $SLURM_JOB_NODELIST")
    more = ["--module", "COMPSs/3.3", "--module", "python", "--before", str(tmp_path / "site.sh")]
    run = dry_run(capsys, "--folder", str(tmp_path / "runs"), *more, *SHORT)
    script = f". {run}/job/environment.sh; echo $QOMPASS_RESOURCES"
    (tmp_path / "job.sh").write_text(f"#!/bin/bash\n{script}\n")
    job = slurm("sbatch", "--parsable", f"--output={tmp_path}/out", str(tmp_path / "job.sh")).strip()
    slurm.wait(job, "COMPLETED" if loaded else "FAILED")
    said = ["module load COMPSs/3.3", "module load python", "the site of n1", f"{run}/job/resources"]
    assert (tmp_path / "out").read_text().splitlines() == (said if loaded else said[:1])


@pytest.fixture
def qpus(tmp_path, monkeypatch):
    """An emulator of three QPUs, of which Slurm has two."""
    devices = [DeviceOptions(name, IBM, noise=0.0, readout=0.0) for name in ("QPU_A", "QPU_B", "QPU_C")]
    emulator = Emulator(devices, "token-of-the-tests")
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    entries = [
        {"name": d.name, "type": d.kind, "environment": environment(d, emulator.url, "token-of-the-tests")}
        for d in devices
    ]
    (tmp_path / "qrmi.json").write_text(json.dumps({"resources": entries}))
    (tmp_path / "qrmi.json").chmod(0o600)
    monkeypatch.setenv("QOMPASS_QRMI_CONFIG", str(tmp_path / "qrmi.json"))
    monkeypatch.setenv("QOMPASS_LEASES", str(tmp_path / "leases"))
    yield emulator
    emulator.shutdown()
    emulator.server_close()


def ghz(folder: Path) -> str:
    """A file with a circuit of six qubits; Z of each is the cosine of 0.9."""
    gates = "".join(f"cx q[{i}], q[{i + 1}];" for i in range(5))
    path = folder / "ghz.qasm"
    path.write_text(f'OPENQASM 3.0; include "stdgates.inc"; qubit[6] q; ry(0.9) q[0]; {gates}')
    return str(path)


@pytest.mark.uses("QPU emulator")
@pytest.mark.parametrize(
    ("way", "qpu"),
    [("dask", "QPU_A"), ("dask", "QPU_B"), pytest.param("array", "QPU_A", marks=pytest.mark.slow)],
)
def test_a_run_holds_its_qpu_and_uses_it(slurm, qpus, tmp_path, capsys, way, qpu):
    arguments = [ghz(tmp_path), "--observable", "Z5", "--max-qubits", "3", "--shots", "20000"]
    run, jobs = submitted(
        capsys, "--with", way, "--qpu", qpu, *TIMES, "--folder", str(tmp_path / "runs"), *arguments,
        "--cache", "off", "--policy", "round_robin", "--seed", "3",
    )  # fmt: skip
    shown = slurm("scontrol", "show", "job", jobs[-2] if way == "array" else jobs[0])
    assert ("Licenses=QPU_A:1" in shown) == (qpu == "QPU_A") and ("gres:qpu:QPU_B:1" in shown) == (qpu == "QPU_B")
    (estimate,) = finished(slurm, run)
    assert abs(estimate["value"] - 0.6216099682706644) < 0.1
    record = json.loads((run / "record.json").read_text())
    assert qpu in {result["device"] for result in record["results"].values()}
    for path in run.rglob("*"):
        if path.is_file():
            assert b"token-of-the-tests" not in path.read_bytes(), path


@pytest.mark.uses("QPU emulator")
def test_a_job_whose_qpu_is_away_stays_pending_until_it_is_back(slurm, qpus, tmp_path, capsys):
    there = qpus.devices["QPU_A"].options
    qpus.devices["QPU_A"].options = replace(there, up=1e-9, down=1e9)
    arguments = ["--qpu", "QPU_A", *TIMES, "--folder", str(tmp_path / "runs"), ghz(tmp_path), "--observable", "Z5",
                 "--max-qubits", "3", "--shots", "20000", "--cache", "off", "--policy", "round_robin"]  # fmt: skip
    with pytest.raises(SlurmError, match="a QPU that is away cannot be planned for"):
        enqueue(["--with", "array", *arguments])
    assert not slurm("squeue", "-h") and not list(tmp_path.glob("runs/*"))
    run, (job,) = submitted(capsys, "--with", "dask", *arguments)
    slurm.wait(job, "COMPLETED")
    said = re.search(r"QPU_A is offline: job (\d+) tries again in 5 minutes", outputs(run))
    assert said, outputs(run)
    shown = slurm("scontrol", "show", "job", said[1])
    assert "JobState=PENDING" in shown and "Licenses=QPU_A:1" in shown and "Requeue=1" in shown
    assert not (run / "job/output.json").exists()
    qpus.devices["QPU_A"].options = there
    slurm("scontrol", "update", f"JobId={said[1]}", "StartTime=now")
    (estimate,) = finished(slurm, run)
    assert abs(estimate["value"] - 0.6216099682706644) < 0.1
    assert "QPU_A" in {result["device"] for result in json.loads((run / "record.json").read_text())["results"].values()}


@pytest.mark.parametrize(("qpu", "units"), [("QPU_A", 1), ("QPU_B", 2)])
def test_never_more_units_of_a_qpu_are_held_than_declared(slurm, tmp_path, qpu, units):
    partitions, licences, spank = read_site()
    flags = qpu_flags(JobRequest(1, 1, 1, qpus=((qpu, 1),)), partitions[0], licences, spank)
    jobs = [
        slurm("sbatch", "--parsable", "-n1", "--time=2", *flags, f"--output={tmp_path}/%j.out",
              "--wrap=date +%s.%N; sleep 1; date +%s.%N").strip()
        for _ in range(4)
    ]  # fmt: skip
    for job in jobs:
        slurm.wait(job, "COMPLETED")
    held = [list(map(float, (tmp_path / f"{job}.out").read_text().split())) for job in jobs]
    events = sorted([(begin, 1) for begin, _ in held] + [(end, -1) for _, end in held])
    most = max(sum(step for _, step in events[: index + 1]) for index in range(len(events)))
    assert most == units


def test_gpus_and_qpus_are_asked_for_in_one_gres_and_spank_beside_what_holds_the_qpu():
    from tasks.slurm import SlurmPartition

    partition = SlurmPartition("main", True, 4, 64, None, (("gpu", "a100", 4), ("qpu", "", 2)))
    request = JobRequest(1, 8, 10, gpus=1, qpus=(("QPU_A", 1), ("QPU_B", 1)))
    assert qpu_flags(request, partition, {}, False) == ["--gres=gpu:1,qpu:2"]
    assert qpu_flags(request, partition, {"qpu_a": 3}, True) == [
        "--gres=gpu:1,qpu:1", "--licenses=qpu_a:1", "--qpu=QPU_A,QPU_B",
    ]  # fmt: skip
    assert qpu_flags(request, partition, {"qpu_a": 3}, True, "spank") == ["--gres=gpu:1", "--qpu=QPU_A,QPU_B"]
    with pytest.raises(SlurmError, match="2 units of QPU QPU_B, and 3"):
        qpu_flags(JobRequest(1, 1, 1, qpus=(("QPU_A", 2), ("QPU_B", 1))), partition, {}, False)
    assert check_request(request, [partition]) is partition


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30", 30), ("1:30", 2), ("01:00:00", 60), ("2-00:00:00", 2880), ("1-12", 2160), ("infinite", None), ("0:01", 1)],
)
def test_times_are_read_as_slurm_reads_them(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["soon", "", "1:2:3:4", "-5"])
def test_what_is_no_time_is_said(text):
    with pytest.raises(SlurmError, match="is no time"):
        minutes_of(text)


@pytest.mark.uses("COMPSs engine")
def test_compss_through_enqueue_compss_gives_the_same_and_its_lines_are_apart(slurm, tmp_path, capsys, short):
    """On one node: workers of several would share the ports of this machine."""
    run, jobs = submitted(
        capsys, "--with", "compss", "--partition", "compss", *TIMES, "--folder", str(tmp_path), *SHORT
    )
    assert finished(slurm, run) == short
    document = json.loads((run / "job/output.json").read_text())
    assert document["engine"]["name"] == "compss"
    devices = json.loads((run / "record.json").read_text())["devices"]
    assert [device["units"] for device in devices.values()] == [2], "what COMPSs has described reaches Qompass"
    slurm.wait(jobs[0], "COMPLETED")


@pytest.mark.slow
@pytest.mark.uses("COMPSs engine")
@pytest.mark.uses("QPU emulator")
def test_compss_gets_the_qpu_as_a_processor_of_the_resources_that_it_has_generated(slurm, qpus, tmp_path, capsys):
    arguments = ["--observable", "Z5", "--max-qubits", "3", "--shots", "20000", "--cache", "off", "--seed", "3"]
    run, jobs = submitted(
        capsys, "--with", "compss", "--partition", "compss", "--qpu", "QPU_A", *TIMES,
        "--folder", str(tmp_path / "runs"), ghz(tmp_path), *arguments, "--policy", "round_robin",
    )  # fmt: skip
    assert "Licenses=QPU_A:1" in slurm("scontrol", "show", "job", jobs[0])
    (estimate,) = finished(slurm, run)
    assert abs(estimate["value"] - 0.6216099682706644) < 0.1
    record = json.loads((run / "record.json").read_text())
    assert "QPU_A" in {result["device"] for result in record["results"].values()}
    slurm.wait(jobs[0], "COMPLETED")


@pytest.mark.slow
@pytest.mark.uses("COMPSs engine")
def test_compss_is_ended_in_time_and_a_second_job_goes_on(slurm, tmp_path, capsys, long):
    """What looks at the time that is left ends the program, which is held from its first result until then."""
    limits = ["--partition", "compss", "--walltime", "2", "--margin", "60"]
    run, _ = submitted(capsys, "--with", "compss", *limits, "--folder", str(tmp_path), *LONG)
    before = first_results(run)
    with held([int((run / "job/pid").read_text())]):
        assert not (run / "job/output.json").exists()
        wait_until(lambda: (run / "job/cancelled").exists(), "nobody looked at the time", 150)
    assert finished(slurm, run) == long
    assert "is requeued" in outputs(run) and before.items() <= stored(run).items()
