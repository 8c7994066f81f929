"""What a run's log says, event by event, against what happened."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit

from scheduler_policies import DeviceState
from tasks.dispatch import events
from tasks.dispatch.instructions import Move, Submit
from tasks.execution.pieces import Done, Piece, Report
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory
from tasks.runs.trace import read_events
from tasks.runtime.outcome import Failure, Outcome, Reason
from tests.dispatch.script import CPU, counts


@pytest.fixture
def directory(tmp_path):
    with RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0")) as made:
        yield made


def said(directory, kind):
    return [
        {name: value for name, value in event.items() if name != "time"}
        for event in read_events(directory.path)
        if event["event"] == kind
    ]


def submitted(*pieces):
    return Submit(4, CPU, pieces, attempt=1, late=False, placed=None)


def test_a_task_says_what_it_was_given_and_what_came_of_it(directory):
    first, second = counts(0, 3), Piece(1, 2, 5, (7, 8))
    events.task_submitted(directory, submitted(first, second), 1.23456789)
    (event,) = said(directory, "submit")
    assert event["pieces"] == [[0, 0, 0, 3, 300], [1, 2, 5, 2, 15]] and event["predicted"] == 1.234568
    assert (event["task"], event["attempt"], event["device"], event["kind"]) == (4, 1, "cpu", "CPU")

    report = Report((Done(first, "a", {"cache": "hit"}), Done(second, "b")), waited=0.5, bytes=99)
    outcome = Outcome(report, device="cpu", seconds=2.0, node="here", began=7.1234567)
    events.task_ended(directory, submitted(first, second), outcome)
    (event,) = said(directory, "task")
    assert event["done"] == [[0, 0, 0, 3, 300], [1, 2, 5, 2, 15]] and event["cached"] == 1
    assert (event["bytes"], event["waited"], event["error"]) == (99, 0.5, "")
    assert (event["node"], event["began"], event["seconds"], event["failure"]) == ("here", 7.123457, 2.0, "")
    assert event["message"] == "task 4 ended on cpu after 2.000 s: done"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome(failure=Failure(Reason.KILLED, "it was killed")), "it was killed"),
        (Outcome(Report(failure="the queue is closed")), "the queue is closed"),
        (Outcome(Report(left="the queue grew")), "the queue grew"),
    ],
)
def test_a_task_that_failed_or_left_says_why_and_where(directory, outcome, error):
    events.task_ended(directory, submitted(counts(0)), outcome)
    (event,) = said(directory, "task")
    assert event["error"] == error and event["device"] == "cpu" and event["done"] == []


def test_ten_pieces_are_told_by_nine(directory):
    events.task_submitted(directory, submitted(*(counts(f, 1) for f in range(10))), 0.0)
    events.task_submitted(directory, submitted(*(counts(f, 1) for f in range(9))), 0.0)
    many, nine = (event["message"] for event in said(directory, "submit"))
    assert many == nine + " ..."


def test_what_was_seen_of_devices_is_told_and_nothing_of_none(directory):
    events.devices_seen(directory, {}, {})
    assert said(directory, "devices") == []
    state = DeviceState(queue_length=3, expected_wait=1.23456, drift=0.12345678, calibration_age=61.26)
    events.devices_seen(directory, {"A": state, "B": DeviceState()}, {"B": "it is down"})
    (event,) = said(directory, "devices")
    own = {"queue": 3, "wait": 1.235, "drift": 0.123457, "calibration": "", "calibration_age": 61.3, "up": True}
    assert event["devices"]["A"] == own and event["devices"]["B"]["up"] is False
    assert event["message"] == "queues: A 3, B 0"


def test_a_piece_that_moves_is_in_the_log_and_in_the_record(directory):
    events.piece_moved(directory, Move(Piece(1, 2, 5, (7, 8)), "A", "B", "its queue grew"))
    (event,) = said(directory, "move")
    assert event["piece"] == [1, 2, 5, 2, 15] and (event["source"], event["target"]) == ("A", "B")
    (move,) = directory.record["moves"]
    assert (move["fragment"], move["round"], move["first"], move["count"]) == (1, 2, 5, 2)
