"""A lock is held by one, shared where asked, and ends with its holder; one file of the project asks for locks."""

import ast
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from tasks.runtime.file_lock import lock, try_lock

ROOT = Path(__file__).parents[2]
FORK = multiprocessing.get_context("fork")


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)


def hold(path: Path, ready, shared: bool, of_process: bool) -> None:
    assert try_lock(opened(path), shared=shared, of_process=of_process)
    ready.set()
    signal.pause()


@pytest.mark.parametrize("of_process", [False, True])
def test_a_lock_is_held_by_one_until_he_dies(tmp_path: Path, of_process: bool) -> None:
    ready = FORK.Event()
    holder = FORK.Process(target=hold, args=(tmp_path / "lock", ready, False, of_process))
    holder.start()
    assert ready.wait(20)
    mine = opened(tmp_path / "lock")
    assert not try_lock(mine, of_process=of_process) and not try_lock(mine, shared=True, of_process=of_process)
    holder.kill()
    holder.join(20)
    if not of_process:
        lock(mine)
    assert try_lock(mine, of_process=of_process)


def test_a_shared_lock_is_shared_with_those_who_share(tmp_path: Path) -> None:
    ready = FORK.Event()
    holder = FORK.Process(target=hold, args=(tmp_path / "lock", ready, True, False))
    holder.start()
    assert ready.wait(20)
    assert not try_lock(opened(tmp_path / "lock")) and try_lock(opened(tmp_path / "lock"), shared=True)
    holder.kill()
    holder.join(20)


def test_locks_are_asked_for_in_one_place() -> None:
    """launch/prepare.py runs before anything is installed and stands alone."""
    users = {
        str(path.relative_to(ROOT))
        for top in ("apps", "tasks", "launch", "scheduler_policies", "resources_xml")
        for path in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "fcntl" for alias in node.names)
    }
    assert users == {"tasks/runtime/file_lock.py", "launch/prepare.py"}
