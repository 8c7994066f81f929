"""The launchers before anything is installed: one line where they cannot go on, and nobody's folder is touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The launchers alone, so that nothing can be installed by mistake."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "launch", folder / "launch", ignore=shutil.ignore_patterns("emulator", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def launched(checkout: Path, program: str = "qompass", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("QOMPASS_")} | variables
    command = [str(checkout / "launch" / program), "--help"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("qompass: ")
    return done.stderr


@pytest.mark.parametrize("program", ["qompass", "test"])
def test_without_python_it_says_how_to_get_one(checkout: Path, tmp_path: Path, program: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "cmp"):
        (tools / name).symlink_to(shutil.which(name) or "")
    assert "no Python >= 3.10 on PATH" in one_line(launched(checkout, program, PATH=str(tools)))


def test_a_named_python_that_is_none_is_refused(checkout: Path) -> None:
    assert "/bin/false is not a Python >= 3.10" in one_line(launched(checkout, QOMPASS_PYTHON="/bin/false"))


def test_an_environment_of_somebody_else_is_left_alone(checkout: Path) -> None:
    theirs = checkout / ".venv" / "theirs"
    theirs.mkdir(parents=True)
    message = one_line(launched(checkout, QOMPASS_PYTHON=sys.executable))
    assert "was not made by Qompass" in message and "QOMPASS_VENV" in message
    assert [path.name for path in (checkout / ".venv").iterdir()] == ["theirs"]


def test_an_environment_of_another_checkout_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    other, marker = tmp_path / "another checkout", tmp_path / "venv" / ".qompass"
    (other / "launch").mkdir(parents=True)
    shutil.copy(ROOT / "launch" / "prepare.py", other / "launch")
    marker.mkdir(parents=True)
    (marker / "root").write_text(f"{other}\n")
    (marker.parent / "lib").mkdir()
    where = {"QOMPASS_PYTHON": sys.executable, "QOMPASS_VENV": str(marker.parent)}
    message = one_line(launched(checkout, **where))
    assert f"is the environment of {other}" in message and "QOMPASS_VENV" in message
    assert (marker.parent / "lib").is_dir() and (marker / "root").read_text() == f"{other}\n"


def test_an_environment_that_cannot_be_written_is_one_line(checkout: Path) -> None:
    (checkout / "file").write_text("")
    where = str(checkout / "file" / "venv")
    assert "cannot write" in one_line(launched(checkout, QOMPASS_PYTHON=sys.executable, QOMPASS_VENV=where))


def test_a_ready_environment_is_used_at_once_with_its_programs_on_the_path(checkout: Path) -> None:
    marker = checkout / ".venv" / ".qompass"
    marker.mkdir(parents=True)
    (marker / "root").write_text(f"{checkout}\n")
    shutil.copy(checkout / "launch" / "requirements.txt", marker)
    shutil.copy(checkout / "pyproject.toml", marker)
    program = checkout / ".venv" / "bin" / "python"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$0 $1 $2 $3 $VIRTUAL_ENV"\n')
    program.chmod(0o755)
    done = launched(checkout)
    start = checkout / "launch" / "start.py"
    assert done.stdout == f"{program} -S {start} --help {checkout / '.venv'}\n" and done.stderr == ""


def pins_of(name: str) -> dict[str, str]:
    """Each pin (``name==version ; marker``) and what follows until the next one."""
    found: dict[str, str] = {}
    pin = ""
    for line in (ROOT / "launch" / name).read_text().splitlines():
        if line[:1] not in ("#", " "):
            pin = line.rstrip("\\ ")
        found[pin] = found.get(pin, "") + line
    return {pin: text for pin, text in found.items() if pin}


def test_every_pin_is_exact_and_hashed_and_each_set_is_a_part_of_the_next() -> None:
    sets = [pins_of(name) for name in ("requirements.txt", "requirements-extras.txt", "requirements-test.txt")]
    for pins in sets:
        assert all("==" in pin.split(";")[0] and "--hash=sha256:" in text for pin, text in pins.items())
    versions = [{pin.split(";")[0].strip() for pin in pins} for pins in sets]
    assert versions[0] < versions[1] < versions[2]


def test_a_package_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    wheel = tmp_path / "harmless-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("harmless-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n")
        archive.writestr(
            "harmless-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("harmless-1.0.dist-info/RECORD", "")
    pins = tmp_path / "pins.txt"
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".qompass").mkdir()
    (venv / "bin" / "python").symlink_to(sys.executable)
    code = f"import pathlib, prepare; prepare.install(pathlib.Path({str(venv)!r}), {str(pins)!r})"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_TARGET": str(tmp_path / "installed")}
    pins.write_text(f"harmless==1.0 --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "launch", env=os.environ | offline, capture_output=True, text=True
    )
    log = (venv / ".qompass" / "setup.log").read_text()
    assert done.returncode == 1 and "SetUpError: set-up failed" in done.stderr
    assert "DO NOT MATCH THE HASHES" in log and "--require-hashes" in log
    assert not (tmp_path / "installed").exists()


def test_a_signal_while_python_ends_changes_nothing_of_what_is_done(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, own=os.getpid(), write=os.write):\n"
        "        write(2, b'late ')\n"
        f"        kill(own, {int(signal.SIGHUP)})\n"
        "sys.late = Late()\n"
    )
    command = [sys.executable, "-S", str(ROOT / "launch" / "start.py"), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("usage: qompass") and done.stderr == "late ", done
