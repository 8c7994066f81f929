"""Standard streams that are full, closed or plain ASCII, names with escape sequences, and limits of the shell."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from apps.cli import progress
from apps.cli.main import main
from apps.cli.terminal import say, shown
from tasks.errors import system_limit

ROOT = Path(__file__).resolve().parents[2]
GHZ = str(ROOT / "apps" / "circuits" / "ghz12.qasm")
PLAN = ("plan", GHZ, "--max-qubits", "6", "--json")


def shell(line: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which "$@" is the command with these arguments."""
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "apps.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_full_standard_output_is_one_line_and_no_success():
    done = shell('"$@" > /dev/full', *PLAN)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "standard output cannot be written: No space left on device" in done.stderr


def test_a_reader_that_leaves_is_no_error():
    done = shell('"$@" | true', *PLAN)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("streams", ["2> /dev/full", "2>&-", "2>&- <&-"], ids=["full", "closed", "two closed"])
def test_without_a_standard_error_the_result_is_the_same(streams):
    done = shell(f'"$@" {streams}', *PLAN)
    assert done.returncode == 0 and json.loads(done.stdout)["plan"]["fragments"]


def test_errors_without_a_standard_error_stay_off_standard_output():
    done = shell('"$@" 2>&-', "plan", "none.qasm")
    assert (done.returncode, done.stdout) == (2, "")


def test_nobody_wants_the_result_where_standard_output_is_closed():
    done = shell('"$@" >&-', *PLAN)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "\x1b]0;title\x07none.qasm"],
        ["plan", GHZ, "--observable", "Z0 \x1b[2J"],
        ["plan", GHZ, "--no-such\x1b[31m"],
        ["resume", "none\x9b31m\u202e\udcff"],
        ["optimise", "long\x1b[31m" * 1000],
        ["watch", "long\x1b[31m" * 1000],
    ],
    ids=["file", "observable", "option", "run", "long graph", "long run"],
)
def test_escape_sequences_in_names_are_spelled_out(arguments, capfd):
    try:
        assert main(arguments) == 2
    except SystemExit as leaving:
        assert leaving.code == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and all(c.isprintable() or c == "\n" for c in said), ascii(said)


def test_off_a_terminal_a_line_tells_of_a_stage_that_takes_long(monkeypatch, capsys):
    record, told = {}, threading.Event()
    monkeypatch.setattr(progress, "_FIRST_S", 0.01)
    monkeypatch.setattr(progress, "say", lambda text: (say(text), told.set()))
    shown_to = progress.make_progress(lambda: record)
    with shown_to.stage("cut", 1):
        assert told.wait(60)
    record["plan"] = {"predicted": {"seconds": {"total": 3.6}}}
    with shown_to.stage("execute", 7) as stage:
        stage.advance(2)
        told.clear()
        assert told.wait(60)
    lines = [line.split(" after ") for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == ["qompass: cut: 0 of 1 done", "10 ms"]
    assert lines[-1][0] == "qompass: execute: 2 of 7 done"
    assert lines[-1][1].endswith("ms; the run was predicted to take 3.6 s in all")
    monkeypatch.undo()
    with shown_to.stage("reconstruct", 1):
        pass
    assert not capsys.readouterr().err, "a short one is not worth a line"


def test_what_is_shown_keeps_letters_and_line_ends():
    assert shown("a\tb\nπ ± ⟨Z⟩") == "a\tb\nπ ± ⟨Z⟩"
    assert shown("\x1b[31m\x00\r\x9b\u2028\ufeff") == r"\x1b[31m\x00\r\x9b\u2028\ufeff"


def test_a_terminal_without_our_characters_gets_others():
    done = shell('"$@"', "plan", "π.qasm", PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert done.returncode == 2 and r"\u03c0.qasm: No such file" in done.stderr


def test_too_little_address_space_is_said_before_a_library_hangs():
    done = shell('ulimit -v 300000; "$@"', *PLAN)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "`ulimit -v` allows 292 MiB" in done.stderr


def test_a_file_that_may_not_grow_is_one_line(tmp_path):
    arguments = ("run", GHZ, "--observable", "Z0", "--cache", "off", "--out", str(tmp_path))
    done = shell('ulimit -f 1; "$@"', *arguments)
    lines = [line for line in done.stderr.splitlines() if "measurements dropped" not in line]
    assert done.returncode == 2 and len(lines) == 1 and "File too large" in lines[0], done.stderr


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
    ids=lambda number: number.name,
)
def test_a_signal_in_the_first_moments_ends_with_130(number, ready_venv, tmp_path):
    """As launch/qompass starts it. Seeded delays; on a busy machine they fall into every stage of the start.

    The signals have their default effect, also where the tests run under nohup. What comes before the first line of the
    shell ends it by the signal itself.
    """
    generator = random.Random(int(number))
    command = [str(ROOT / "launch" / "qompass"), "run", GHZ, "--observable", "Z0", "--out", str(tmp_path)]
    for _ in range(4):
        delay = generator.uniform(0.02, 0.3)
        process = subprocess.Popen(
            command, env={**os.environ, "QOMPASS_VENV": str(ready_venv)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        )  # fmt: skip
        time.sleep(delay)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (130, -number), f"after {delay:.3f} s: {said}"
        assert "Traceback" not in said, f"after {delay:.3f} s: {said}"


def test_limits_are_told_from_defects():
    def raised(error, cause=None):
        try:
            raise error from cause
        except type(error) as caught:
            return caught

    assert "ulimit -n" in system_limit(raised(RuntimeError("cluster"), OSError(24, "Too many open files")))
    assert "ulimit -v" in system_limit(raised(MemoryError()))
    assert "ulimit -u" in system_limit(raised(RuntimeError("can't start new thread")))
    assert "shorten the name" in system_limit(raised(OSError(36, "File name too long", "x" * 5000)))
    assert "ask its owner" in system_limit(raised(OSError(13, "Permission denied", "x")))
    assert system_limit(raised(KeyError("x"))) == "" == system_limit(raised(OSError(2, "No such file")))
