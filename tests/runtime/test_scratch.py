"""Temporary folders: one a process, gone when it ends, and those of killed processes gone with the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.runtime import scratch

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import sys; from tasks.runtime.scratch import scratch_folder; folder = scratch_folder()\n"
    "(folder / 'x').write_text(''); print(folder, flush=True); sys.stdin.readline()"
)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of our own, and no scratch folder in it yet."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(scratch, "_made", None)
    yield tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)


def started():
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_what_lives_is_not(temporary):
    killed, left = started()
    living, used = started()
    ended, gone = started()
    ended.communicate("\n", timeout=60)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert left.exists() and used.exists() and not gone.exists()
    others = [temporary / name for name in ("qompass-compss.1", "qompass-file", "else")]
    others[0].mkdir()
    others[1].write_text("")
    others[2].mkdir()
    own = scratch.scratch_folder()
    assert own == scratch.scratch_folder() and own.stat().st_mode & 0o777 == 0o700
    assert not left.exists() and (used / "x").exists() and all(other.exists() for other in others)
    living.communicate("\n", timeout=60)
    assert not used.exists()


def test_what_others_have_is_not_touched(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "alive").write_text("")
    (temporary / "qompass-link").symlink_to(elsewhere)
    trap = temporary / "qompass-trap"
    trap.mkdir()
    (trap / "alive").symlink_to(elsewhere / "alive")
    if os.geteuid() == 0:
        theirs = temporary / "qompass-theirs"
        theirs.mkdir()
        (theirs / "alive").write_text("")
        os.chown(theirs, 4242, 4242)
    before = sorted(temporary.rglob("*"))
    own = scratch.scratch_folder()
    assert sorted(p for p in temporary.rglob("*") if own not in (p, *p.parents)) == before
    assert (elsewhere / "alive").exists()
