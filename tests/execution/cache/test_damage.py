"""A damaged LMDB file costs what was in it, never a run: what is missing is not mapped, and no crash comes twice."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from apps.cli.main import main
from tasks.errors import InputError
from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.entry_store import open_entries
from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.maintenance import export_entries, import_entries
from tasks.execution.cache.requests import CountsRequest
from tasks.execution.cache.stores import lmdb_examination, lmdb_files
from tasks.execution.cache.stores.lmdb_store import LmdbStore
from tests.execution.cache.test_cache import IDEAL, Sampler, bell

BOUND = 1 << 24


def filled(folder: Path, entries: int = 60) -> bytes:
    """A store with entries of many sizes, closed again; returns its data file."""
    store = LmdbStore(folder, BOUND)
    rng = np.random.default_rng(7)
    for number in range(entries):
        store.put(number.to_bytes(32, "big"), [rng.bytes(int(rng.choice([40, 900, 5000, 40_000])))], 0)
    for number in range(0, entries, 7):
        store.delete(number.to_bytes(32, "big"))
    store.close()
    return (folder / "data.mdb").read_bytes()


def use(folder: Path) -> None:
    """Read all, write, claim; what the store had to say goes into a file beside it."""
    store = LmdbStore(folder, BOUND)
    for key in list(store.keys()):
        store.get(key)
    store.put(b"n" * 32, [b"new" * 3000], 0)
    assert store.claim(b"n" * 32, "me", 5.0) is None and store.get(b"n" * 32) == b"new" * 3000
    store.close()
    folder.with_suffix(".notes").write_text(" ".join(store.notes))


def use_all(folders: list[Path]) -> None:
    for folder in folders:
        use(folder)


def status_of(work: Callable[..., None], *arguments: object) -> int | None:
    """Do it in another process; its exit status, negative where a signal ended it."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def test_a_truncated_file_is_set_aside_with_a_note_wherever_it_ends(tmp_path: Path) -> None:
    data = filled(tmp_path / "whole")
    pages = len(data) // 4096
    sizes = [0, 1, 17, 4095, 4096, 8191, 8192, 12288, len(data) // 2 + 5, (pages - 1) * 4096, len(data) - 1]
    folders = []
    for size in sizes:
        folders.append(tmp_path / str(size))
        folders[-1].mkdir(mode=0o700)
        (folders[-1] / "data.mdb").write_bytes(data[:size])
        if size % 2:
            (folders[-1] / "lock.mdb").write_bytes((tmp_path / "whole" / "lock.mdb").read_bytes()[:100])
    assert status_of(use_all, folders) == 0
    # The last byte of the last page is nobody's: what is read through and found sound is kept.
    for folder in folders[1:-1]:
        told = folder.with_suffix(".notes").read_text()
        assert "was damaged" in told and "set aside" in told, (folder.name, told)
        assert (folder / "damaged-data.mdb").read_bytes() == data[: int(folder.name)]
    assert not folders[0].with_suffix(".notes").read_text(), "an empty file is a new store"


def test_a_sound_file_is_opened_as_it_is_and_nothing_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    monkeypatch.setattr(lmdb_files, "_examined", lambda *_: pytest.fail("a sound store was examined"))
    store = LmdbStore(tmp_path, BOUND)
    assert len(list(store.keys())) == 51 and not store.notes
    store.close()


def test_no_page_of_garbage_ends_a_second_process(tmp_path: Path) -> None:
    """The first may die of it; whoever comes after it looks before he maps, and begins anew."""
    data = filled(tmp_path / "whole")
    rng = np.random.default_rng(11)
    folders = []
    for number in range(12):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir(mode=0o700)
        damaged = bytearray(data)
        for page in rng.integers(2, len(data) // 4096, size=6):
            damaged[page * 4096 : page * 4096 + 4096] = rng.bytes(4096) if number % 2 else bytes(4096)
        (folders[-1] / "data.mdb").write_bytes(damaged)
    first = [status_of(use, folder) for folder in folders]
    assert [status_of(use, folder) for folder in folders] == [0] * len(folders), first


def die_inside(folder: Path) -> None:
    with LmdbStore(folder, BOUND)._inside("read"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_died_inside_has_the_store_examined_and_a_sound_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    assert status_of(die_inside, tmp_path) == -signal.SIGKILL
    examined = []
    really = lmdb_files._examined
    monkeypatch.setattr(lmdb_files, "_examined", lambda *a: examined.append(a) or really(*a))
    for _ in range(2):
        store = LmdbStore(tmp_path, BOUND)
        assert len(list(store.keys())) == 51 and not store.notes
        store.close()
    assert len(examined) == 1, "once"


def test_a_process_that_takes_its_file_away_while_another_looks_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    ending = tmp_path / "inside.1.0"
    ending.write_bytes(b"0")
    really = lmdb_files.start_time

    def ends_now(pid: int) -> str:
        if pid == 1:
            ending.unlink()
        return really(pid)

    monkeypatch.setattr(lmdb_files, "start_time", ends_now)
    store = LmdbStore(tmp_path, BOUND)
    assert len(list(store.keys())) == 51 and not store.notes
    store.close()


def test_a_store_in_which_its_examination_dies_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    (tmp_path / "inside.1.0").write_bytes(b"1")  # a process that lives no more
    (tmp_path / "dies.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGBUS)")
    monkeypatch.setattr(lmdb_examination, "__file__", str(tmp_path / "dies.py"))
    store = LmdbStore(tmp_path, BOUND)
    assert list(store.keys()) == [] and "SIGBUS" in store.notes[0]
    assert not (tmp_path / "inside.1.0").exists()
    store.close()


def test_damage_that_lmdb_finds_in_use_sets_the_store_aside_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache, run = open_cache(str(tmp_path)), Sampler()
    cache.counts([CountsRequest(bell(0.3), 100)], IDEAL, run)
    assert cache.flight is not None
    store = cache.flight.store.store
    assert isinstance(store, LmdbStore)

    def corrupted(*_: object) -> int:
        raise lmdb.CorruptedError("page 7")

    with monkeypatch.context() as damaged, caplog.at_level(logging.WARNING):
        damaged.setattr("tasks.execution.cache.stores.lmdb_store._size", corrupted)
        draw = cache.counts([CountsRequest(bell(0.4), 100)], IDEAL, run)[0]
        assert draw is not None and draw.counts.shots == 100
    assert (tmp_path / "damaged-data.mdb").exists() and "page 7" in caplog.text
    assert any("set aside" in note for note in cache.notes()) and cache.notes() == []
    cache.flight._silent_until = 0.0
    for _ in range(2):
        draw = cache.counts([CountsRequest(bell(0.3), 100)], IDEAL, run)[0]
    assert draw is not None and draw.from_cache, "a new store is begun"
    cache.close()


def test_the_command_says_that_a_damaged_store_was_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = filled(tmp_path / "store")
    (tmp_path / "store" / "data.mdb").write_bytes(data[: len(data) // 2])
    assert main(["cache", "stats", "--json", "--cache", str(tmp_path / "store")]) == 0
    printed = capsys.readouterr()
    assert '"entries": 0' in printed.out and "set aside" in printed.err


@pytest.mark.parametrize("place", ["pipe", "folder", "missing folder"])
def test_an_export_is_written_to_and_read_from_nothing_but_a_file(tmp_path, place):
    target = tmp_path / "target"
    if place == "pipe":
        os.mkfifo(target)  # nobody is at its other end: opening it would wait for ever
    elif place == "folder":
        target.mkdir()
    else:
        target = tmp_path / "nowhere" / "target"
    store = open_entries(str(tmp_path / "store"))
    with pytest.raises(InputError, match=r"target: .*: name a file"):
        export_entries(store, target)
    with pytest.raises(InputError, match=r"target: .*: (write it to a file|name a)"):
        import_entries(store, target)
    assert not list(tmp_path.glob("**/*.partial"))
    store.close()


def test_an_export_that_fails_leaves_the_older_one(tmp_path, monkeypatch):
    store = open_entries(str(tmp_path / "store"))
    export_entries(store, tmp_path / "out")
    before = (tmp_path / "out").read_bytes()

    def full(self):
        raise StoreUnavailable("gone")
        yield

    monkeypatch.setattr(type(store), "stored", full)
    with pytest.raises(StoreUnavailable):
        export_entries(store, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == before and not list(tmp_path.glob(".*.partial"))
    store.close()
