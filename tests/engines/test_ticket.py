"""What tasks leave in the run's folder decides in which order they are waited for, and which are not any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.runtime import Reason, Ticket, heartbeat, ticket
from tasks.runtime.ticket import in_order_of_end, until_end


class Clock:
    """In place of ``time``: a sleep takes no time but moves the clock, and then what happens at that moment happens."""

    def __init__(self):
        self.now, self.sleeps, self.then = 0.0, 0, lambda now: None

    def monotonic(self):
        return self.now

    def sleep(self, _):
        self.now += 0.5  # of sleeps, which are shorter, many at once
        self.sleeps += 1
        assert self.now < 1e5, "waited for ever"
        self.then(self.now)


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(ticket, "time", one)
    return one


def begin(one, beat=0):
    Path(one.folder, f"{one.number}-begun").write_text(f"process 7 on node-{one.number}\n{beat}\n")


def waited(tickets, waits):
    """Positions in the order of their results; ``waits`` collects what was waited for in the engine."""

    def wait_on(future):
        waits.append(future)
        return {"waited": future}

    return in_order_of_end(list(range(len(tickets))), tickets, wait_on, dict)


def test_a_slow_first_task_holds_nothing_back(tmp_path):
    tickets = [Ticket(str(tmp_path), number) for number in range(3)]
    for one in tickets:
        begin(one)
    waits: list[int] = []
    found = waited(tickets, waits)
    tickets[2].end({"value": "third"})
    assert next(found) == (2, {"value": "third"})
    tickets[1].end({"value": "second"})
    assert next(found) == (1, {"value": "second"})
    tickets[0].end({"value": "first"})
    assert [*found] == [(0, {"value": "first"})]
    assert waits == [], "the graph was synchronised"


def test_where_no_mark_is_seen_tasks_are_waited_for_in_order(tmp_path, clock):
    tickets = [Ticket(str(tmp_path / "elsewhere"), number) for number in range(2)]
    for one in tickets:
        with one.held():
            one.end({})
    waits: list[int] = []
    assert [position for position, _ in waited(tickets, waits)] == [0, 1] and waits == [0, 1]
    assert clock.now < 15


def test_a_task_that_has_begun_is_not_waited_for_in_the_engine(tmp_path, clock):
    first, second = Ticket(str(tmp_path), 0), Ticket(str(tmp_path), 1)
    begin(first)
    waits: list[int] = []

    def then(now):
        begin(first, int(now / 5))  # it lives
        if now > 200:
            second.end({"value": 1})
            first.end({"value": 0})

    clock.then = then
    assert [position for position, _ in waited([first, second], waits)] == [0, 1] and waits == []


def test_once_one_has_been_seen_the_others_are_looked_for_longer_and_then_waited_for(tmp_path, clock):
    """They may be queued; or run on another node, which does not see the folder."""
    for ends in (True, False):
        tickets = [Ticket(str(tmp_path / str(ends)), number) for number in range(2)]
        (tmp_path / str(ends)).mkdir()
        tickets[1].end({"value": 1})
        began = clock.now

        def then(now, last=tickets[0], end=began + 30 if ends else 1e9):
            if now > end:
                last.end({"value": 0})

        clock.then = then
        waits: list[int] = []
        assert next(found := waited(tickets, waits)) == (1, {"value": 1})
        assert [*found] == [(0, {"value": 0} if ends else {"waited": 0})]
        assert waits == ([] if ends else [0]) and 25 < clock.now - began < 90


def test_a_task_that_shows_no_sign_of_life_is_killed_and_the_others_are_not(tmp_path, clock):
    dead, living, queued = tickets = [Ticket(str(tmp_path), number, attempt=number) for number in range(3)]
    begin(dead)

    def then(now):
        begin(living, int(now / 5))
        if now > 200:
            for one in (living, queued):
                one.end({"value": one.number})

    clock.then = then
    waits: list[int] = []
    found = waited(tickets, waits)
    position, outcome = next(found)
    assert position == 0 and outcome.failure.reason is Reason.KILLED and 60 < clock.now < 70
    assert outcome.failure.message == "process 7 on node-0 has ended or hangs: no sign of life for 60 s"
    assert [*found] == [(1, {"value": 1}), (2, {"value": 2})] and waits == []


def test_all_that_died_together_are_told_of_together_whoever_asks_anew_in_between(tmp_path, clock):
    tickets = [Ticket(str(tmp_path), number) for number in range(4)]
    for one in tickets:
        begin(one)
    for left in (4, 3, 2, 1):
        _, outcome = next(waited(tickets[-left:], []))
        assert outcome.failure.reason is Reason.KILLED
    assert clock.now < 75


def test_what_no_worker_takes_after_that_is_not_waited_for_in_the_engine(tmp_path, clock):
    """COMPSs counts the dead task's unit as taken: where it was the last one, a wait would never end."""
    begin(Ticket(str(tmp_path), 0))
    waits: list[int] = []
    ((_, first),) = waited([Ticket(str(tmp_path), 0)], waits)
    ((_, again),) = waited([Ticket(str(tmp_path), 1, attempt=1)], waits)
    assert (first.failure.reason, again.failure.reason, again.attempt) == (Reason.KILLED, Reason.KILLED, 1)
    assert "process 7 on node-0" in again.failure.message and "no other takes it" in again.failure.message
    assert waits == [] and clock.now < 140


def test_silence_counts_only_while_somebody_listens(tmp_path, clock):
    """Neither a machine that was asleep nor a file that cannot be read says that a task has died."""
    one = Ticket(str(tmp_path), 0)
    begin(one)

    def then(now):
        if now < 3600:
            clock.now += 600.0  # asleep
        elif now < 3640:
            pass
        elif now < 3690:
            Path(tmp_path, "0-begun").unlink(missing_ok=True)  # a file server that is away
        else:
            begin(one, int(now / 5))
        if now > 3750:
            one.end({"value": 1})

    clock.then = then
    assert [*waited([one], [])] == [(0, {"value": 1})]


def test_a_task_is_waited_for_until_its_ticket_says_so(tmp_path, clock):
    own, needed = Ticket(str(tmp_path), 0), Ticket(str(tmp_path), 1)

    def then(now):
        if now < 100:
            begin(needed, int(now / 5))
        elif now < 200:
            needed.end({})
            begin(own, int(now / 5))
        else:
            own.end({})

    clock.then = then
    assert until_end(own, [needed]) is None and clock.now >= 200


def test_a_task_that_needs_a_dead_one_or_is_dead_has_failed(tmp_path, clock):
    own, needed, living = (Ticket(str(tmp_path), number) for number in range(3))
    begin(needed)
    clock.then = lambda now: begin(living, int(now / 5))
    failure = until_end(own, [needed, living])
    assert failure.reason is Reason.DEPENDENCY and "process 7 on node-1 has ended or hangs" in failure.message
    needed.end({})
    begin(own)
    failure = until_end(own, [needed, living])
    assert failure.reason is Reason.KILLED and "process 7 on node-0 has ended or hangs" in failure.message


def test_the_engine_waits_for_a_task_that_nobody_is_seen_to_take(tmp_path, clock):
    """It may run on the application's own unit, or where the folder is not seen."""
    assert until_end(Ticket("", 0), []) is None and clock.now == 0
    (tmp_path / "run").mkdir()
    one = Ticket(str(tmp_path / "run"), 0)
    assert until_end(one, []) is None and 10 < (first := clock.now) < 20
    one.end({})
    one.waited_for()
    assert until_end(Ticket(one.folder, 1), []) is None and clock.now > first + 10, "the folder is seen"
    Ticket(one.folder, 1).waited_for()
    before = clock.now
    assert until_end(Ticket(one.folder, 2), []) is None and clock.now == before, "it is not: that is known by now"


def test_nor_does_it_once_a_process_has_died(tmp_path, clock):
    begin(Ticket(str(tmp_path), 0))
    assert until_end(Ticket(str(tmp_path), 0), []).reason is Reason.KILLED
    failure = until_end(Ticket(str(tmp_path), 1), [])
    assert failure.reason is Reason.KILLED and "no other takes it" in failure.message


HOLDING = "import sys, time; from tasks.runtime import Ticket\nwith Ticket(sys.argv[1], 3).held(): time.sleep(1000)"


def test_a_process_that_is_killed_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ticket, "_SILENT_S", 0.3)
    monkeypatch.setattr(ticket, "_SIGNS_S", 0.1)
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)])
    one = Ticket(str(tmp_path), 3)
    try:
        while not one.sign():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        ((_, outcome),) = waited([one], [])
    finally:
        process.kill()
        process.wait()
    assert outcome.failure.reason is Reason.KILLED and f"process {process.pid} on " in outcome.failure.message


def test_a_task_beats_while_it_works_and_names_its_agent(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.001)
    monkeypatch.setenv("COMPSS_HOSTNAMES", "agent-7")
    one = Ticket(str(tmp_path), 3)
    seen = set()
    with one.held():
        while len(seen) < 4:
            seen.add(one.sign())
    assert all(f"process {os.getpid()} on agent-7 (" in sign for sign in seen if sign)
    assert one.ended() == {}


def test_an_end_is_seen_whole_or_not_at_all(tmp_path, monkeypatch):
    one = Ticket(str(tmp_path), 3)
    assert not one.sign() and one.ended() is None
    begin(one)
    real = Path.replace

    def replace(path, target):
        assert one.ended() is None and json.loads(path.read_text()) == {"value": [1, None]}
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    one.end({"value": [1, None]})
    assert one.sign() and one.ended() == {"value": [1, None]}
    assert Ticket(str(tmp_path), 2).ended() is None and not Ticket(str(tmp_path), 4).sign()


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_ticket_that_nobody_reads_changes_nothing(tmp_path, folder):
    one = Ticket(folder and str(tmp_path / folder), 0)
    with one.held():
        one.end({"value": 1})
    assert list(tmp_path.iterdir()) == [] and one.attempt == 0
