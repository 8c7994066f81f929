"""A folder whose name can be guessed is used only if it is the user's own, and nothing in it is reached by a link."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.runtime.private_folder import NO_OTHER_WRITER, PrivateFolder, PrivateFolderError, check_private

OTHER = 65534  # nobody


@pytest.fixture
def open_place():
    """A folder in which everybody may make files, as the temporary directory is; pytest's own are its user's only."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o1777)
        yield Path(place)


def as_another_user(program, *arguments):
    """Run Python as another user."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    code = f"import os, sys\nos.setgroups([]); os.setgid({OTHER}); os.setuid({OTHER})\n{program}"
    return subprocess.run([sys.executable, "-I", "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_a_new_folder_is_for_its_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        with PrivateFolder(tmp_path / "above" / "own") as folder:
            folder.write("file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "above" / "own").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "above" / "own" / "file").stat().st_mode) == 0o600
    assert check_private(tmp_path / "above" / "own") == tmp_path / "above" / "own"


def test_a_folder_of_another_user_is_refused(open_place):
    mine = open_place / "guessed"
    made = as_another_user("os.mkdir(sys.argv[1], 0o777)", mine)
    assert made.returncode == 0, made.stderr
    with pytest.raises(PrivateFolderError, match=f"belongs to another user .uid {OTHER}.; name a folder of your own"):
        PrivateFolder(mine)
    assert not list(mine.iterdir())


def test_a_link_of_another_user_is_not_followed(open_place, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    made = as_another_user("os.symlink(sys.argv[2], sys.argv[1])", open_place / "guessed", victim)
    assert made.returncode == 0, made.stderr
    with pytest.raises(PrivateFolderError, match="is a link"):
        PrivateFolder(open_place / "guessed")
    assert not list(victim.iterdir())


@pytest.mark.parametrize("place", ["link to a folder", "link to nowhere", "file", "pipe"])
def test_what_is_no_folder_is_refused(tmp_path, place):
    guessed = tmp_path / "guessed"
    if place == "file":
        guessed.write_text("kept")
    elif place == "pipe":
        os.mkfifo(guessed)
    else:
        (tmp_path / "real").mkdir(mode=0o700)
        guessed.symlink_to(tmp_path / ("real" if place == "link to a folder" else "nowhere"))
    with pytest.raises(PrivateFolderError, match="is a link or no folder; name a folder of your own"):
        PrivateFolder(guessed)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("mode", "forbidden", "refused"),
    [
        (0o700, 0o077, False), (0o750, 0o077, True), (0o701, 0o077, True), (0o777, 0o077, True),
        (0o755, NO_OTHER_WRITER, False), (0o775, NO_OTHER_WRITER, True), (0o757, NO_OTHER_WRITER, True),
    ],
)  # fmt: skip
def test_a_folder_that_others_may_use_is_refused_and_left_as_it_is(tmp_path, mode, forbidden, refused):
    folder = tmp_path / "own"
    folder.mkdir()
    folder.chmod(mode)
    if refused:
        with pytest.raises(PrivateFolderError, match=f"mode {mode:04o}.*chmod 700 {folder}"):
            check_private(folder, forbidden)
    else:
        check_private(folder, forbidden)
    assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.parametrize("flags", [os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_RDONLY])
def test_a_link_in_the_place_of_a_file_is_neither_followed_nor_truncated(tmp_path, flags):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    with PrivateFolder(tmp_path / "own") as folder:
        (folder.path / "file").symlink_to(victim)
        (folder.path / "new").symlink_to(tmp_path / "created")
        for name in ("file", "new"):
            with pytest.raises(PrivateFolderError, match="is a link; remove it"):
                folder.open(name, flags)
        folder.write("file", b"new")  # takes the link's place
        assert folder.read("file") == b"new"
    assert victim.read_text() == "kept" and not (tmp_path / "created").exists()


def test_a_pipe_in_the_place_of_a_file_stops_nobody(tmp_path):
    with PrivateFolder(tmp_path / "own") as folder:
        os.mkfifo(folder.path / "file")
        with pytest.raises(PrivateFolderError, match="not a regular file of yours"):
            folder.open("file", os.O_RDWR)


def test_files_of_a_folder_that_was_moved_away_stay_with_it(tmp_path):
    """Who moves the folder and makes another in its place does not get what is written next."""
    with PrivateFolder(tmp_path / "own") as folder:
        folder.path.rename(tmp_path / "moved")
        folder.path.mkdir()
        folder.write("file", b"content")
        assert folder.names("*") == ["file"] and folder.has("file")
        folder.remove("file")
        folder.remove("file")
    assert not list(folder.path.iterdir()) and not list((tmp_path / "moved").iterdir())


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def spy(*arguments, name=name, real=real, **more):
            done.append(name)
            return real(*arguments, **more)

        monkeypatch.setattr(os, name, spy)
    with PrivateFolder(tmp_path / "own") as folder:
        folder.write("file", b"content")
    assert done == ["fsync", "rename", "fsync"]
