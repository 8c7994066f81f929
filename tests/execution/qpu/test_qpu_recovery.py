"""A client that dies between start and collect: its job is found again or cancelled, and never paid twice."""

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tasks.execution.qpu import Fault, QpuError, recovery, retry
from tasks.execution.qpu.journal import Journal, JournalEntry
from tests.execution.qpu.circuits import ghz, run_variants
from tests.execution.qpu.client import PROCESSES, run_client
from tests.execution.qpu.conftest import HELD, until


@pytest.fixture
def client():
    """Starts a process that runs ``ghz(2)`` of some angles, and ends it and its workers after the test."""
    started = []

    def start(resource, options, run="run-1", angles=(0.7,)):
        returned = PROCESSES.Event()
        asked = (resource, options.journal, run, angles, dict(os.environ), returned)
        process = PROCESSES.Process(target=run_client, args=asked, daemon=True)
        process.start()
        started.append(process)
        process.returned = returned
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def workers(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def kill(process, with_worker=False):
    helpers = workers(process)
    for pid in [*(helpers if with_worker else []), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.join()


def started(options):
    return any('"started"' in path.read_text() for path in options.journal.glob("*.json"))


def paid(running):
    return [job for job in running.jobs() if job.status not in {"cancelled", "queued"}]


def test_ibm_releases_when_its_client_is_killed_and_the_next_start_pays_once(service, options, client):
    running = service("ibm", queue=HELD)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process)
    until(lambda: not running.open_sessions())
    until(lambda: running.jobs()[0].status == "cancelled")
    running.let_go()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.counts[0].shots == 50
    assert len(paid(running)) == 1
    assert any("run anew" in note for note in run.notes)


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_a_job_whose_client_and_worker_died_is_found_again(service, options, client, kind):
    running = service(kind, queue=HELD)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process, with_worker=True)
    running.let_go()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.counts[0].shots == 50
    assert run.jobs[0].recovered and len(running.jobs()) == 1


def test_iqm_jobs_outlive_their_client_and_are_found_again(service, options, client):
    running = service("iqm", queue=HELD)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process)
    running.let_go()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.jobs[0].recovered and len(running.jobs()) == 1


def test_a_result_collected_but_not_handed_over_is_kept(service, options, client):
    running = service("ibm")
    process = client(running.resource(), options)
    assert process.returned.wait(90)
    kill(process)
    run = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-1"))
    assert run.jobs[0].recovered and len(running.jobs()) == 1
    assert run.jobs[0].polls == 0


def test_a_retry_in_another_order_pays_what_is_new_to_it(service, options, client):
    running = service("iqm", noise=0.0, readout=0.0)
    process = client(running.resource(), options, angles=(0.0, 1.57, 3.14159, 1.0))
    assert process.returned.wait(90)
    kill(process)
    angles, shots = (3.14159, 2.0, 1.57, 0.0), (50, 30, 90, 40)  # one that nobody wants again, one new, one with more
    run = run_variants(running.resource(), [ghz(2, a) for a in angles], shots, replace(options, run="run-1"))
    assert [job.unwanted for job in run.jobs if job.recovered] == [50]
    assert [[n for _, n in job.work] for job in running.jobs()] == [[50] * 4, [30], [40]]
    for angle, wanted, counts, sources in zip(angles, shots, run.counts, run.sources, strict=True):
        share = sum(counts.counts[counts.outcomes[:, 0] == 3]) / counts.shots
        expected = np.sin(angle / 2) ** 2
        assert abs(share - expected) <= 6 * np.sqrt(expected * (1 - expected) / counts.shots) + 1e-6, angle
        assert counts.shots == sum(source.shots for source in sources) >= wanted


def test_another_run_does_not_use_shots_that_an_earlier_one_may_have_used(service, options, client):
    running = service("ibm")
    process = client(running.resource(), options)
    assert process.returned.wait(90)
    kill(process)
    run = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-2"))
    assert not run.jobs[0].recovered and len(running.jobs()) == 2


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_a_job_nobody_wants_any_more_is_cancelled(service, options, client, kind):
    running = service(kind, queue=HELD, hold=0.1)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process, with_worker=True)
    thread = running.let_go_when(lambda: running.jobs()[0].status == "cancelled")
    run = run_variants(running.resource(), [ghz(2, 1.5)], [50], options)
    thread.join()
    assert run.counts[0].shots == 50
    assert [job.status for job in running.jobs()] == ["cancelled", "completed"]
    assert any("cancelled" in note for note in run.notes)


def test_a_client_killed_while_it_submits_leaves_no_session(service, options, client):
    running = service("ibm")
    running.fault("job_create:slow=3")  # it is killed before there is an answer
    running.fault("job:stall=60")
    process = client(running.resource(), options)
    until(lambda: running.emulator.requests.get("job_create"))
    kill(process, with_worker=True)
    until(lambda: running.jobs())
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.counts[0].shots == 50
    assert not running.open_sessions() and len(paid(running)) == 1


def test_a_job_of_a_living_client_is_left_alone(service, options, client):
    running = service("ibm", queue=1.0)
    client(running.resource(), options)
    until(lambda: started(options))
    run = run_variants(running.resource(), [ghz(2, 1.5)], [50], options)
    assert run.counts[0].shots == 50 and not run.jobs[0].recovered
    assert "cancelled" not in {job.status for job in running.jobs()}


def test_a_torn_entry_is_told_of_and_does_no_harm(service, options):
    running = service("ibm")
    slot = Journal(options.journal).open(JournalEntry("QPU_A", "k" * 64, "started", job="1"))
    slot.path.write_text(json.dumps(asdict(slot.entry))[:30])
    slot.close()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.counts[0].shots == 50 and run.notes


def test_a_job_found_again_after_a_calibration_keeps_the_qubits_it_ran_on(service, options, client):
    running = service("iqm", queue=HELD)
    process = client(running.resource(), options)
    until(lambda: started(options))
    (slot,) = options.journal.glob("*.json")
    ran_on = json.loads(slot.read_text())["measured"]
    kill(process, with_worker=True)
    chip = running.emulator.devices["QPU_A"].chip
    for gate in chip._properties["gates"]:  # the best pair of qubits is another one now
        if len(gate["qubits"]) == 2 and sorted(gate["qubits"]) == sorted(ran_on[0]):
            gate["parameters"][0]["value"] = 0.4
    chip.calibrate()
    retry._targets.clear()
    running.let_go()
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.jobs[0].recovered
    assert [list(program.measured) for program in run.programs] == ran_on
    fresh = run_variants(running.resource(), [ghz(2)], [60], options)
    assert [list(program.measured) for program in fresh.programs] != ran_on


def test_the_journal_is_for_its_owner_only(service, options):
    run_variants(service("ibm").resource(), [ghz(2)], [50], options)
    files = list(options.journal.iterdir())
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in [options.journal, *files])


@pytest.mark.parametrize("ending", ["completed", "failed", "collected"])
def test_the_session_of_a_job_taken_over_is_released(service, options, client, ending):
    running = service("ibm", queue=HELD if ending != "collected" else 0.0)
    if ending == "failed":
        running.fault("job:fail")
    process = client(running.resource(), options)
    if ending == "collected":
        running.fault("release:hang")  # dies between the result and the end of its session
        until(lambda: "release" in running.emulator.requests)
    else:
        until(lambda: started(options))
    (session,) = running.open_sessions()
    kill(process, with_worker=True)
    running.let_go()
    run = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-1"))
    assert run.counts[0].shots == 50
    assert not running.open_sessions() and session["state"] == "closed"
    assert running.received() == (2 if ending == "failed" else 1)


def test_what_another_piece_of_the_same_run_left_waits_for_that_piece(service, options, client):
    """A resumed run comes back piece by piece; the first must not cancel the jobs of the second."""
    running = service("iqm", queue=HELD, hold=0.1)
    process = client(running.resource(), options, run="run-1")
    until(lambda: started(options))
    kill(process, with_worker=True)
    thread = running.let_go_when(lambda: len(running.jobs()) == 2)
    first = run_variants(running.resource(), [ghz(2, 1.5)], [50], replace(options, run="run-1"))
    thread.join()
    second = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-1"))
    assert not first.jobs[0].recovered and second.jobs[0].recovered
    assert [job.status for job in running.jobs()] == ["completed"] * 2 and running.received() == 2


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_what_a_dead_run_has_paid_for_is_there_when_it_is_resumed_after_another_run(service, options, client, kind):
    running = service(kind, queue=HELD, hold=0.1)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process, with_worker=True)
    running.let_go()
    until(lambda: running.jobs()[0].status == "completed")
    other = run_variants(running.resource(), [ghz(2, 1.5)], [50], replace(options, run="run-2"))
    assert not other.jobs[0].recovered and not running.open_sessions()
    resumed = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-1"))
    assert resumed.jobs[0].recovered and running.received() == 2


def test_what_a_dead_run_has_paid_for_is_not_kept_for_ever(service, options, client, monkeypatch):
    running = service("ibm")
    process = client(running.resource(), options)
    assert process.returned.wait(90)
    kill(process)
    (old,) = options.journal.glob("*.json")
    run_variants(running.resource(), [ghz(2, 1.5)], [50], replace(options, run="run-2"))
    assert old.exists()
    monkeypatch.setattr(recovery, "KEPT_SECONDS", 0.0)
    run_variants(running.resource(), [ghz(2, 1.5)], [50], replace(options, run="run-3"))
    assert not old.exists() and not old.with_suffix(".result").exists()


@pytest.mark.parametrize("living", [True, False])
def test_entries_of_stored_results_are_dropped_and_no_others(service, options, client, living):
    running = service("ibm")
    process = client(running.resource(), options)
    assert process.returned.wait(90)
    if not living:
        kill(process)
    (entry,) = options.journal.glob("*.json")
    journal, (job,) = Journal(options.journal), running.jobs()
    journal.forget("QPU_B", [job.id])
    journal.forget("QPU_A", ["another"])
    assert entry.exists() and entry.with_suffix(".result").exists()
    journal.forget("QPU_A", [job.id])
    assert not list(options.journal.iterdir())
    run = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-1"))
    assert not run.jobs[0].recovered and running.received() == 2


def test_a_journal_that_others_may_write_is_refused(service, options):
    options.journal.mkdir()
    options.journal.chmod(0o777)
    running = service("ibm")
    with pytest.raises(QpuError, match=f"chmod 700 {options.journal}") as caught:
        run_variants(running.resource(), [ghz(2)], [50], options)
    assert caught.value.fault is Fault.CONFIGURATION and running.received() == 0
