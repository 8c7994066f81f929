"""Which of the jobs that dead processes left are taken over, left, cancelled or forgotten; the service is a list."""

import time

import pytest

from tasks.execution.qpu import Fault, QpuError, QpuResource
from tasks.execution.qpu.journal import COLLECTED, STARTED, STARTING, Journal, JournalEntry
from tasks.execution.qpu.recovery import KEPT_SECONDS, adopt


class Client:
    """Remembers what it was asked; jobs named ``done`` have a result, ``down`` cannot be asked for."""

    def __init__(self, kind="ibm-quantum-compute-service"):
        self.resource = QpuResource("QPU_A", kind, {})
        self.calls = []

    def task_status(self, job):
        if job == "unknown":
            raise QpuError(Fault.LOST, "QPU_A", "no such job")
        return "Completed" if job == "done" else "Running"

    def stop(self, job):
        self.calls.append(("stop", job))
        if job == "down":
            raise QpuError(Fault.UNAVAILABLE, "QPU_A", "down")

    def release(self, session):
        self.calls.append(("release", session))


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


def leave(journal, keys, state, **more):
    """What a dead process wrote of a job with a circuit of 50 shots for every key."""
    pieces = tuple((key, 50) for key in keys)
    about = {"submitted": time.time(), "run": "theirs", "pieces": pieces, **more}
    entry = JournalEntry("QPU_A", keys[0] * 40, state, **about)
    slot = journal.open(entry)
    slot.close()
    return slot.path


def taken(journal, client, wanted="", run="ours"):
    notes = []
    slots = adopt(client, journal, dict.fromkeys(wanted, 50), run, notes.append)
    return {slot.entry.job for slot in slots}, notes


def test_a_job_that_runs_is_anybodys_and_a_result_is_its_own_runs(journal):
    leave(journal, "a", STARTED, job="1", session="s1")
    leave(journal, "b", COLLECTED, job="2")
    leave(journal, "c", COLLECTED, job="3", run="ours")
    client = Client()
    found, notes = taken(journal, client, "abc")
    assert found == {"1", "3"} and not client.calls and len(notes) == 2


def test_a_job_is_found_in_any_order_and_a_part_of_it_by_its_own_run(journal):
    leave(journal, "ab", STARTED, job="1")
    leave(journal, "cd", COLLECTED, job="2", run="ours")
    leave(journal, "ef", STARTED, job="3", run="ours")
    theirs = leave(journal, "gh", COLLECTED, job="4")
    leave(journal, "ij", STARTED, job="5")
    client = Client()
    assert taken(journal, client, "hgbadfi")[0] == {"1", "2", "3"}, "who wants a part of another's gets none"
    assert client.calls == [("stop", "5")] and theirs.exists()


def test_no_more_jobs_are_taken_than_shots_are_wanted(journal):
    leave(journal, "aab", COLLECTED, job="1", run="ours")
    second = leave(journal, "a", COLLECTED, job="2", run="ours")
    assert len(taken(journal, Client(), "a", run="ours")[0]) == 1 and second.exists()


def test_an_entry_of_an_older_version_is_nobodys(journal):
    leave(journal, "a", STARTED, job="1", pieces=())
    assert taken(journal, Client(), "a")[0] == set()


def test_without_a_name_a_result_is_nobodys(journal):
    path = leave(journal, "a", COLLECTED, job="1", run="")
    assert taken(journal, Client(), "a", run="") == (set(), []) and not path.exists()


def test_one_job_for_each_key(journal):
    for job in ("1", "2"):
        leave(journal, "a", STARTED, job=job)
    client = Client()
    found, notes = taken(journal, client, "a")
    assert len(found) == 1 and [verb for verb, _ in client.calls] == ["stop"] and "cancelled" in notes[1]


def test_a_session_is_not_closed_under_a_job_that_is_taken_over(journal):
    leave(journal, "a", STARTED, job="1", session="shared")
    path = leave(journal, "b", STARTING, session="shared")
    other = leave(journal, "c", STARTING, session="other")
    client = Client()
    found, _ = taken(journal, client, "a")
    assert found == {"1"} and client.calls == [("release", "other")] and not path.exists() and not other.exists()


def test_nor_under_a_job_that_is_left_for_another_piece_of_the_run(journal):
    path = leave(journal, "a", STARTED, job="1", session="shared", run="ours")
    leave(journal, "b", STARTING, session="shared", run="ours")
    client = Client()
    assert taken(journal, client) == (
        set(),
        ["job of unknown id of an earlier run is not wanted any more and was cancelled"],
    )
    assert not client.calls and path.exists()
    assert taken(journal, client, "a")[0] == {"1"}, "it was let go of"


@pytest.mark.parametrize(("age", "kept"), [(KEPT_SECONDS - 60, True), (KEPT_SECONDS + 60, False)])
@pytest.mark.parametrize(("state", "job"), [(STARTED, "done"), (COLLECTED, "2")])
def test_what_another_run_has_paid_for_stays_for_a_while(journal, state, job, age, kept):
    path = leave(journal, "a", state, job=job, session="s", submitted=time.time() - age)
    client = Client()
    found, _ = taken(journal, client)
    assert not found and path.exists() == kept and ("release", "s") in client.calls
    assert ("stop", job) not in client.calls
    taken(journal, client)
    assert client.calls == [("release", "s")], "once is enough"


def test_iqm_holds_a_status_back_so_a_job_is_cancelled_first(journal):
    path = leave(journal, "a", STARTED, job="done")
    client = Client("iqm-server")
    taken(journal, client)
    assert client.calls == [("stop", "done")] and path.exists()


def test_a_job_the_service_does_not_know_is_forgotten_and_its_session_released(journal):
    path = leave(journal, "a", STARTED, job="unknown", session="s")
    client = Client()
    taken(journal, client)
    assert client.calls == [("release", "s")] and not path.exists()


def test_what_cannot_be_cancelled_yet_is_tried_at_the_next_start(journal):
    path = leave(journal, "a", STARTED, job="down", session="s")
    client = Client()
    _, notes = taken(journal, client)
    assert "could not be cancelled yet" in notes[0] and path.exists()
    assert taken(journal, client, "a")[0] == {"down"}


@pytest.mark.parametrize(("kind", "tag"), [("iqm-server", True), ("ibm-quantum-system", False)])
def test_a_submission_without_a_session_is_told_of(journal, kind, tag):
    leave(journal, "a", STARTING, circuits=3)
    _, (note,) = taken(journal, Client(kind))
    assert "submitted 3 circuits" in note and ("tag qompass-aaaaaaaaaaaa" in note) == tag


def test_jobs_of_living_processes_and_of_other_devices_are_left_alone(journal):
    mine = journal.open(JournalEntry("QPU_A", "a" * 40, STARTED, job="1"))
    collected = journal.open(JournalEntry("QPU_A", "a" * 40, COLLECTED, job="2"))
    other = journal.open(JournalEntry("QPU_A-B", "b" * 40, STARTED, job="3"))
    other.close()
    client = Client()
    assert taken(journal, client, "ab") == (set(), []) and not client.calls
    assert journal.in_flight("QPU_A") == 1, "what is collected is with nobody"
    for slot in (mine, collected):
        slot.drop()
    assert journal.in_flight("QPU_A") == 0 and other.path.exists()
