"""What tasks leave in the run's folder decides in which order they are waited for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.runtime import Ticket, ticket
from tasks.runtime.ticket import in_order_of_end


def waited(tickets, waits):
    """Positions in the order of their results; ``waits`` collects what was waited for in the engine."""

    def wait_on(future):
        waits.append(future)
        return {"waited": future}

    return in_order_of_end(list(range(len(tickets))), tickets, wait_on, dict)


def test_a_slow_first_task_holds_nothing_back(tmp_path):
    tickets = [Ticket(str(tmp_path), number) for number in range(3)]
    for one in tickets:
        one.begin()
    waits: list[int] = []
    found = waited(tickets, waits)
    tickets[2].end({"value": "third"})
    assert next(found) == (2, {"value": "third"})
    tickets[1].end({"value": "second"})
    assert next(found) == (1, {"value": "second"})
    tickets[0].end({"value": "first"})
    assert [*found] == [(0, {"value": "first"})]
    assert waits == [], "the graph was synchronised"


def test_where_no_mark_is_seen_tasks_are_waited_for_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(ticket, "_UNSEEN_S", 0.05)
    tickets = [Ticket(str(tmp_path / "elsewhere"), number) for number in range(2)]
    for one in tickets:
        one.begin()
        one.end({})
    waits: list[int] = []
    assert [position for position, _ in waited(tickets, waits)] == [0, 1] and waits == [0, 1]


def test_a_task_that_has_begun_is_not_waited_for_in_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(ticket, "_UNSEEN_S", 0.0)
    first, second = Ticket(str(tmp_path), 0), Ticket(str(tmp_path), 1)
    first.begin()
    waits: list[int] = []
    looks = iter(range(5))

    def sleep(seconds):
        if next(looks) == 3:
            second.end({"value": 1})
            first.end({"value": 0})

    monkeypatch.setattr(ticket.time, "sleep", sleep)
    assert [position for position, _ in waited([first, second], waits)] == [0, 1] and waits == []


def test_once_one_has_been_seen_the_others_are_looked_for_too(tmp_path, monkeypatch):
    monkeypatch.setattr(ticket, "_UNSEEN_S", 0.0)
    tickets = [Ticket(str(tmp_path), number) for number in range(2)]
    tickets[1].end({"value": 1})
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            tickets[0].end({"value": 0})

    monkeypatch.setattr(ticket.time, "sleep", sleep)
    waits: list[int] = []
    assert [*waited(tickets, waits)] == [(1, {"value": 1}), (0, {"value": 0})]
    assert waits == [] and len(slept) == 3


def test_an_end_is_seen_whole_or_not_at_all(tmp_path, monkeypatch):
    one = Ticket(str(tmp_path), 3)
    assert not one.begun() and one.ended() is None
    one.begin()
    real = Path.replace

    def replace(path, target):
        assert one.ended() is None and json.loads(path.read_text()) == {"value": [1, None]}
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    one.end({"value": [1, None]})
    assert one.begun() and one.ended() == {"value": [1, None]}
    assert Ticket(str(tmp_path), 2).ended() is None and not Ticket(str(tmp_path), 4).begun()


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_ticket_that_nobody_reads_changes_nothing(tmp_path, folder):
    one = Ticket(folder and str(tmp_path / folder), 0)
    one.begin()
    one.end({"value": 1})
    assert list(tmp_path.iterdir()) == [] and one.attempt == 0
