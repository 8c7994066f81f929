"""Makes the .venv that launch/qompass and launch/test run in: standard library only, Python >= 3.10.

usage: prepare.py VENV PINS

Safe when two calls start at once (one waits) and when an earlier call was interrupted (it begins anew): the folder
``VENV/.qompass`` holds a copy of the pins only while everything in them is installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PROJECT = ROOT / "pyproject.toml"
PIP_FOR_VENV = "pip>=24"


class SetUpError(Exception):
    """The environment cannot be made; the message is one line that says what to do."""


def main() -> int:
    """Prepare the environment; 0 when it is ready, 2 with one line on stderr when it cannot be, 130 on Ctrl-C."""
    venv, pins = Path(sys.argv[1]).absolute(), sys.argv[2]
    try:
        with locked(venv):
            prepare(venv, pins)
    except SetUpError as error:
        say(f"qompass: {error}")
        return 2
    except OSError as error:
        say(f"qompass: cannot write {error.filename or venv}: {error.strerror}; QOMPASS_VENV names another folder")
        return 2
    except KeyboardInterrupt:
        say("\nqompass: set-up stopped; the next call begins it anew")
        return 130
    return 0


def say(text: str, end: str = "\n") -> None:
    """Progress goes to stderr: stdout belongs to the program that runs afterwards."""
    print(text, end=end, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(venv: Path) -> Iterator[None]:
    """Hold the environment's lock, which the system frees should this process die."""
    marker = venv / ".qompass"
    if venv.is_dir() and any(venv.iterdir()) and not marker.is_dir():
        raise SetUpError(f"{venv} was not made by Qompass: move it away, or set QOMPASS_VENV to another folder")
    owner = checkout_of(marker)
    if owner is not None and owner != ROOT and (owner / "launch" / "prepare.py").is_file():
        raise SetUpError(f"{venv} is the environment of {owner}: set QOMPASS_VENV to another folder")
    marker.mkdir(parents=True, exist_ok=True)
    with open(marker / "lock", "w") as lock:
        try:
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("qompass: waiting for another set-up of the same environment ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError) as error:
            say(f"qompass: no file lock here ({error}): do not start two first calls at once")
        yield


def prepare(venv: Path, pins: str) -> None:
    """Install the pins and the project itself, unless they are there already.

    Raises:
        SetUpError: pip or the venv module is missing, or pip failed.
    """
    marker = venv / ".qompass"
    wanted = HERE / pins
    project = marker / PROJECT.name
    if is_ready(marker, pins):  # another call finished it while this one waited, or only the project has changed
        if not project.is_file() or project.read_bytes() != PROJECT.read_bytes():
            install_project(venv)
            copy_whole(PROJECT, project)
        return
    unfinished = not is_ready(marker, None)
    for copy in marker.glob("requirements*.txt"):
        copy.unlink()
    if unfinished:
        for entry in venv.iterdir():
            if entry != marker:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        create(venv)
    install(venv, pins)
    (marker / "root").write_text(f"{ROOT}\n")
    superseded = ["requirements.txt"] if pins == "requirements-test.txt" else []
    copy_whole(PROJECT, project)
    for name in [*superseded, wanted.name]:
        copy_whole(HERE / name, marker / name)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that the copy is there whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def is_ready(marker: Path, pins: str | None) -> bool:
    """Whether everything in these pins (None: in any version of any pins) was installed for this checkout."""
    if checkout_of(marker) != ROOT:
        return False
    if pins is None:
        return any(marker.glob("requirements*.txt")) and (marker.parent / "bin" / "python").exists()
    copy = marker / pins
    return copy.is_file() and copy.read_bytes() == (HERE / pins).read_bytes()


def checkout_of(marker: Path) -> Path | None:
    """The checkout that an environment was made for; None where it was not finished."""
    root = marker / "root"
    return Path(root.read_text().strip()) if root.is_file() else None


def create(venv: Path) -> None:
    """Make an empty environment with pip in it, also where the system's Python comes without ensurepip (Debian)."""
    if importlib.util.find_spec("venv") is None:
        raise SetUpError(f"{sys.executable} has no venv module: name a complete Python with QOMPASS_PYTHON")
    bundled = subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, cwd=HERE).returncode == 0
    if not bundled and importlib.util.find_spec("pip") is None:
        raise SetUpError(
            f"{sys.executable} has no pip: see https://pip.pypa.io/en/stable/installation/,"
            " or name a Python that has it with QOMPASS_PYTHON"
        )
    run(venv, [sys.executable, "-m", "venv", *([] if bundled else ["--without-pip"]), str(venv)])
    if not bundled:
        site = next((venv / "lib").glob("python3*/site-packages"))
        run(venv, [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), PIP_FOR_VENV])


def install(venv: Path, pins: str) -> None:
    """Install the pins, then the project itself as an editable package without looking at its dependencies."""
    version = ".".join(map(str, sys.version_info[:2]))
    say(f"qompass: setting up {venv} (Python {version}, once; about a minute and 0.6 GB of disk)")
    pip = pip_install(venv)
    total = sum("==" in line for line in (HERE / pins).read_text().splitlines())
    exact = ["--require-hashes", "--only-binary", ":all:"]
    run(venv, [*pip, "--progress-bar", "off", *exact, "-r", str(HERE / pins)], total)
    install_project(venv)
    say("qompass: ready")


def install_project(venv: Path) -> None:
    """Make this checkout's packages and its command known to the environment."""
    run(venv, [*pip_install(venv), "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def pip_install(venv: Path) -> list[str]:
    """The beginning of every pip command."""
    return [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]


def run(venv: Path, command: list[str], total: int = 0) -> None:
    """Run a step with its output in a log file; show what pip works on, and its own last error when it fails.

    Raises:
        SetUpError: the step failed.
    """
    path = venv / ".qompass" / "setup.log"
    live = sys.stderr.isatty()
    seen = 0
    error = ""
    with open(path, "a") as log:
        log.write(f"$ {' '.join(command)}\n")
        # Here, not where the user stands: `python -m` searches the current folder first.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                if line.startswith("ERROR:"):
                    error = line.removeprefix("ERROR:").strip()
                if total and line.startswith("Collecting "):
                    seen += 1
                    name = line.split()[1].split("=")[0]
                    if live:
                        say(f"\r\033[Kqompass: fetching {seen} of at most {total}: {name}", end="")
                elif total and line.startswith("Installing collected"):
                    say(("\r\033[K" if live else "") + "qompass: installing ...")
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status:
        say("\r\033[K" if live else "", end="")
        raise SetUpError(f"set-up failed: {error or f'exit status {status}'}; what pip said is in {path}")


if __name__ == "__main__":
    sys.exit(main())
