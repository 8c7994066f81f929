"""Claims: one owner at a time, whatever the clocks say, and no owner for ever."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from tasks.runs import RunRecordError
from tasks.runs.claims import Claim, Claims, Owner


@pytest.fixture
def claims(tmp_path):
    return Claims(tmp_path / "claims", beat_s=0.05, dead_s=0.5)


def other_node(folder: Path, name: str = "7.0", **changes: object) -> Path:
    """A claim that a process of another computer has made."""
    folder.mkdir(exist_ok=True)
    owner = {"node": "n2", "process": 12, "machine": "another start of a computer", "started": 5, **changes}
    (folder / name).write_text(json.dumps(owner) + "\n")
    return folder / name


def test_one_has_it_and_the_other_sees_who(claims, tmp_path):
    claim = claims.take("7")
    assert isinstance(claim, Claim)
    with claim:
        seen = Claims(tmp_path / "claims").take("7")
        assert isinstance(seen, Owner) and seen.process == os.getpid()
        free = claims.take("8")
        assert isinstance(free, Claim)
        free.__exit__()
    assert claims.owner("7") is None
    with claims.wait("7"):
        pass


def racer(folder, barrier, found):
    barrier.wait()
    taken = Claims(folder).take("7")
    found.put(isinstance(taken, Claim))
    if isinstance(taken, Claim):
        time.sleep(1)


def test_of_many_that_begin_at_once_one_has_it(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(8), context.Queue()
    racers = [context.Process(target=racer, args=(tmp_path, barrier, found)) for _ in range(8)]
    for one in racers:
        one.start()
    assert sorted(found.get(timeout=30) for _ in racers) == [False] * 7 + [True]
    for one in racers:
        one.join()
    taken = Claims(tmp_path).take("7")
    assert isinstance(taken, Claim), "its process has ended: nobody waits for it"
    taken.__exit__()


@pytest.mark.parametrize("skew", [-3.15e7, -60.0, 60.0, 3.15e7])
def test_a_node_whose_clock_is_wrong_keeps_its_claim_as_long_as_it_says_that_it_lives(claims, tmp_path, skew):
    """The times of the file are those of a clock that is off by a minute or a year; they decide nothing."""
    file = other_node(tmp_path / "claims")
    end = time.monotonic() + 1.5  # three times as long as one is believed that says nothing
    while time.monotonic() < end:
        with open(file, "a") as opened:
            opened.write("\n")
        os.utime(file, (time.time() + skew,) * 2)
        assert isinstance(claims.take("7"), Owner)
        time.sleep(0.05)
    began = time.monotonic()
    with claims.wait("7"):
        assert 0.3 < time.monotonic() - began < 5


def test_who_was_silent_and_lives_learns_that_another_took_over(claims, tmp_path):
    lost = threading.Event()
    silent = claims.take("7")
    assert isinstance(silent, Claim)
    silent.on_loss = lost.set
    content = (tmp_path / "claims/7.0").read_bytes()
    other_node(tmp_path / "claims", "7.1")  # as whoever heard nothing of it would make it
    assert lost.wait(10) and silent.lost
    silent.__exit__()
    assert isinstance(claims.take("7"), Owner), "what the silent one does ends nobody else's claim"
    assert content.startswith(b"{")


def test_what_is_damaged_is_waited_for_and_then_taken(claims, tmp_path, caplog):
    other_node(tmp_path / "claims").write_bytes(b"\x00\xff")
    assert isinstance(claims.take("7"), Owner)
    with claims.wait("7"):
        assert "damaged" in caplog.text


def test_a_file_system_without_links_still_knows_one_owner(claims, tmp_path, monkeypatch):
    def refuses(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuses)
    with claims.wait("7"):
        assert isinstance(Claims(tmp_path / "claims").take("7"), Owner)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "claims").write_text("a file")
    with pytest.raises(RunRecordError, match=r"cannot write .*claims"):
        Claims(tmp_path / "claims").take("7")


def test_whoever_asks_for_any_owner_waits_for_a_sign_and_believes_it(claims, tmp_path):
    file = other_node(tmp_path / "claims")
    assert claims.any_owner() is None, "it said nothing while it was listened to"
    stop = threading.Event()

    def beats() -> None:
        while not stop.wait(0.05):
            with open(file, "a") as opened:
                opened.write("\n")

    thread = threading.Thread(target=beats)
    thread.start()
    try:
        owner = Claims(tmp_path / "claims", beat_s=0.05, dead_s=0.5).any_owner()
    finally:
        stop.set()
        thread.join()
    assert owner is not None and owner.node == "n2"
