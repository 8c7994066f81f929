"""Jobs that wait in a queue are taken back when it grows or the device gets worse; those that run, or were, are not."""

import json
import threading
import time
from dataclasses import replace

import pytest

from launch.emulator.jobs import Device as EmulatedDevice
from launch.emulator.options import DeviceOptions
from scheduler_policies.device import Device, DeviceState, Kind
from scheduler_policies.machine import QPU_SPEED
from tasks.execution.qpu import Fault, describe_qpu, retry
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.queue_monitor import QueueMonitor
from tests.execution.qpu.circuits import ghz, run_variants
from tests.execution.qpu.conftest import HELD, until

KINDS = ["ibm", "iqm"]
OTHERS = {
    "ibm": (
        "QiskitPrimitive",
        {
            "input": json.dumps(
                {"pubs": [['OPENQASM 3.0; include "stdgates.inc"; bit[1] c; x $0; c[0] = measure $0;', None, 5]],
                 "version": 2}
            ),
            "program_id": "sampler",
        },
    ),
    "iqm": (
        "IQMServer",
        {
            "iqmjson": json.dumps(
                {
                    "circuits": [
                        {
                            "name": "theirs",
                            "instructions": [{"name": "measure", "locus": ["QB1"], "args": {"key": "m_1_0_0"}}],
                            "metadata": None,
                        }
                    ],
                    "shots": 5,
                }
            ),
            "job_type": "circuit",
            "use_timeslot": None,
            "tag": "theirs",
        },
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_places(monkeypatch, tmp_path):
    monkeypatch.setenv("QOMPASS_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def watched(options):
    """Options of a run that looks often, for a device that was idle and as calibrated when its jobs were placed."""

    def make(running, **more):
        device = describe_qpu(Device("QPU_A", Kind.QPU, qubits=1, speed=QPU_SPEED), running.resource())
        return replace(options, monitor=QueueMonitor(device, DeviceState()), **{"look": 0.1, **more})

    return make


def others_come(running, kind, jobs):
    """Jobs of somebody else, the first of which never ends."""
    running.fault("job:stall=600")
    with QpuClient(running.resource()) as client:
        for _ in range(jobs):
            client.start(*OTHERS[kind])


def ours(running, kind):
    names = {"ibm": lambda job: len(job.work) > 1 or job.work[0][1] != 5, "iqm": lambda job: job.tag != "theirs"}
    return [job for job in running.jobs() if names[kind](job)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_behind_a_queue_that_grew_is_cancelled_before_it_starts(service, watched, kind):
    running = service(kind, hold=0.2)
    others_come(running, kind, 20)
    options = watched(running, look=20.0)
    run = run_variants(running.resource(), [ghz(2), ghz(3)], [50, 50], options)
    assert set(run.failures) == {0, 1}
    assert {error.fault for error in run.failures.values()} == {Fault.LEFT}, run.failures
    assert "queue grew" in str(run.failures[0]) and any("queue grew" in note for note in run.notes)
    assert run.counts == [None, None] and not run.jobs
    assert [(job.status, job.charged) for job in ours(running, kind)] == [("cancelled", 0.0)]
    assert not running.open_sessions() and not list(options.journal.glob("*.json"))


def test_without_a_watch_it_stays(service, options):
    running = service("ibm", queue=1.0)
    with QpuClient(running.resource()) as client:
        for _ in range(3):
            client.start(*OTHERS["ibm"])
    assert run_variants(running.resource(), [ghz(2)], [50], replace(options, look=0.1)).counts[0].shots == 50


def test_jobs_that_came_later_are_no_reason_to_leave(service, watched):
    running = service("ibm", queue=2.0)

    def pile_up():
        until(running.jobs)
        with QpuClient(running.resource()) as client:
            for _ in range(20):
                client.start(*OTHERS["ibm"])

    thread = threading.Thread(target=pile_up)
    thread.start()
    run = run_variants(running.resource(), [ghz(2)], [50], watched(running))
    thread.join()
    assert not run.failures, run.failures
    assert run.counts[0].shots == 50


def test_a_job_that_runs_is_not_cancelled(service, watched):
    running = service("ibm", overhead=1.5)
    options = watched(running)
    thread = threading.Thread(
        target=lambda: (until(lambda: running.jobs() and running.jobs()[0].status == "running"), worse(running))
    )
    thread.start()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    thread.join()
    assert not run.failures, run.failures
    assert run.counts[0].shots == 50 and len(running.jobs()) == 1


def worse(running, factor=3.0):
    """The device's error rates triple, and its next calibration says so."""
    chip = running.emulator.devices["QPU_A"].chip
    chip.worsen(factor)
    chip.publish()


@pytest.mark.parametrize("kind", KINDS)
def test_a_waiting_job_leaves_a_device_whose_calibration_got_worse(service, watched, kind):
    running = service(kind, queue=HELD, hold=0.2)
    options = watched(running, believe=0.0)
    thread = threading.Thread(target=lambda: (until(running.jobs), worse(running)))
    thread.start()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    thread.join()
    assert run.failures[0].fault is Fault.LEFT
    assert "error rates grew" in str(run.failures[0])
    assert [job.status for job in running.jobs()] == ["cancelled"]


def test_what_was_done_before_is_kept_and_only_the_rest_leaves(service, watched):
    running = service("ibm", circuits=1, overhead=0.5)
    options = watched(running, believe=0.0)
    device = running.emulator.devices["QPU_A"]

    def later():
        until(lambda: any(job.status == "completed" for job in running.jobs()))
        device.options = replace(device.options, queue=HELD)
        worse(running)

    thread = threading.Thread(target=later)
    thread.start()
    run = run_variants(running.resource(), [ghz(2, 0.1 * k) for k in range(5)], [50] * 5, options)
    thread.join()
    kept = [index for index, counts in enumerate(run.counts) if counts is not None]
    completed = [job for job in running.jobs() if job.status == "completed"]
    assert kept and len(kept) < 5
    assert set(run.failures) == set(range(5)) - set(kept)
    assert {error.fault for error in run.failures.values()} == {Fault.LEFT}
    # Every job that was done and paid is among the results, and only those.
    assert len(completed) == len(run.jobs) == len(kept)


def test_a_cancellation_that_fails_leaves_the_job_where_it_is(service, watched):
    running = service("ibm", queue=3.0)
    running.fault("job_cancel:500x1000")
    options = watched(running, patience=0.2, believe=0.0)
    thread = threading.Thread(target=lambda: (until(running.jobs), worse(running)))
    thread.start()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    thread.join()
    assert not run.failures, run.failures
    assert run.counts[0].shots == 50 and len(running.jobs()) == 1


def test_a_waiting_job_leaves_a_device_that_went_offline(service, watched):
    running = service("ibm", queue=HELD)
    device = running.emulator.devices["QPU_A"]
    # Where every device is away the service itself is down, so there is a second one.
    running.emulator.devices["QPU_Z"] = EmulatedDevice(DeviceOptions("QPU_Z"), running.emulator.faults)

    def leave():
        device.options = replace(device.options, up=1e-9, down=1e9)

    thread = threading.Thread(target=lambda: (until(running.jobs), leave()))
    thread.start()
    run = run_variants(running.resource(), [ghz(2)], [50], watched(running, believe=0.0))
    thread.join()
    assert run.failures[0].fault is Fault.LEFT and "offline" in str(run.failures[0])
    assert [job.status for job in running.jobs()] == ["cancelled"]


def test_a_device_that_got_worse_before_anything_was_submitted_is_left_at_once(service, watched):
    running = service("ibm")
    options = watched(running)
    worse(running)
    retry._targets.clear()
    time.sleep(0.2)  # longer than a look: the jobs have waited for a unit, say
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.failures[0].fault is Fault.LEFT and not running.jobs()
