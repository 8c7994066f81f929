"""The process in the copy that runs tests for mutation.py: once with coverage a test, then a fork for each mutant.

usage: mutation_tests.py map ROOT OUT.json TESTS...      which test executes which line, and how long it takes
       mutation_tests.py serve ROOT [TESTS...]           one JSON request a line in, one JSON answer a line out

With TESTS the serving process has them and the program loaded and collected, and a fork gives the functions the changed
code: no mutant pays for an import. It answers "unknown" where that cannot be done (module level, defaults, class
bodies).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

ROOMS = ("tasks", "scheduler_policies", "resources_xml")
# Imported before the first fork: what every test needs of others, and nothing of the project.
WARM = ("numpy", "scipy.linalg", "qiskit", "qiskit.qasm2", "qiskit_aer", "qiskit_addon_cutting", "cotengra", "rich")
ALWAYS = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "--override-ini=addopts="]


_LONGEST = 3.0  # seconds of processor: a test that takes longer is too dear to ask about a mutant


class Contexts:
    """Tells coverage which test runs, ends it when it is too dear, keeps how long it took and whether it passed."""

    def __init__(self, coverage: Any):
        self.coverage = coverage
        self.seconds: dict[str, float] = {}
        self.bad: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Switch the context around a test with its fixtures."""
        self.coverage.switch_context(item.nodeid)
        began = sum(os.times()[:4])  # of cores, here and in children that ended: the machine may be busy with others
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = sum(os.times()[:4]) - began
            self.coverage.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Any:
        """Fail where it takes too long."""
        signal.signal(signal.SIGPROF, lambda *_: pytest.fail("takes too long"))
        signal.setitimer(signal.ITIMER_PROF, _LONGEST)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that fails or is skipped without a mutant can say nothing about one."""
        if not report.passed:
            self.bad.add(report.nodeid)


def make_map(root: Path, out: Path, tests: list[str]) -> int:
    """Run the tests with coverage; write ``{"seconds": {test: s}, "lines": {file: {line: [tests]}}}``."""
    from coverage import Coverage

    coverage = Coverage(data_file=None, config_file=False, source=[str(root / room) for room in ROOMS])
    contexts = Contexts(coverage)
    coverage.start()
    pytest.main([*ALWAYS, "--durations=40", "-m", "not slow", *tests], plugins=[contexts])
    coverage.stop()
    data = coverage.get_data()
    lines = {
        str(Path(file).relative_to(root)): {
            line: sorted(set(names) - contexts.bad - {""}) for line, names in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    seconds = {test: took for test, took in contexts.seconds.items() if test not in contexts.bad}
    out.write_text(json.dumps({"seconds": seconds, "bad": sorted(contexts.bad), "lines": lines}))
    return 0


class Killer:
    """Remembers the first test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first failure."""
        if report.failed and not self.name:
            self.name = report.nodeid


class Loaded:
    """The program's functions in this process, by file."""

    def __init__(self, root: Path):
        self.functions: dict[str, list[FunctionType]] = {}
        for found in gc.get_objects():
            if type(found) is FunctionType and found.__code__.co_filename.startswith(f"{root}{os.sep}"):
                self.functions.setdefault(found.__code__.co_filename, []).append(found)
        self.codes = {file: compile(Path(file).read_bytes(), file, "exec") for file in self.functions}

    def take(self, file: str) -> bool:
        """Give the functions of a file the code that it has now; False where that is not all of the change."""
        if file not in self.codes:
            return False
        changed = _changed(self.codes[file], compile(Path(file).read_bytes(), file, "exec"))
        if not changed:
            return False
        for function in self.functions[file]:
            for before, after in changed:
                if function.__code__ == before:
                    try:
                        function.__code__ = after
                    except ValueError:  # other free variables
                        return False
                    break
        return True


def _changed(before: CodeType, after: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """Pairs of the code of functions, outer and inner ones, that differ; None where other code does too."""
    pairs = [] if _own(before) == _own(after) else [(before, after)]
    inner = list(zip(_inner(before), _inner(after), strict=False))
    if len(_inner(before)) != len(_inner(after)):
        return None
    for old, new in inner:
        if old != new:
            found = _changed(old, new)
            if found is None:
                return None
            pairs += [(old, new), *found]
    # Code without local variables of its own is that of a module or of a class: it has run already.
    return (
        None if any(not old.co_flags & inspect.CO_OPTIMIZED and _own(old) != _own(new) for old, new in pairs) else pairs
    )


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _own(code: CodeType) -> CodeType:
    """Code without that of the functions in it, and without the columns in which its pieces stand."""
    constants = tuple(None if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"")


def serve(root: Path, tests: list[str]) -> int:
    """Answer requests ``{"file", "tests": [...], "limit": s}`` with ``{"status", "killer", "seconds"}``.

    ``file`` is the one that has changed, "" for none.
    """
    for name in WARM:
        importlib.import_module(name)
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)

    def answer(run: Callable[[str, list[str]], tuple[int, str]]) -> None:
        for line in requests:
            request = json.loads(line)
            began = time.monotonic()
            file = str(root / request["file"]) if request["file"] else ""
            status, killer = _in_a_fork(functools.partial(run, file, request["tests"]), request["limit"])
            found = {"status": status, "killer": killer, "seconds": round(time.monotonic() - began, 2)}
            print(json.dumps(found), file=answers, flush=True)

    if tests:
        pytest.main([*ALWAYS, "-s", *tests], plugins=[InTheLoop(root, answer)])
    else:
        answer(_run_anew)
    return 0


class InTheLoop:
    """Answers requests where pytest would run the tests that it has collected."""

    def __init__(self, root: Path, answer: Callable[[Callable[[str, list[str]], tuple[int, str]]], None]):
        self.root = root
        self.answer = answer

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of running them all."""
        loaded = Loaded(self.root)
        items = {item.nodeid: item for item in session.items}
        killer = Killer()
        session.config.pluginmanager.register(killer)
        gc.freeze()

        def run(file: str, tests: list[str]) -> tuple[int, str]:
            if not items.keys() >= set(tests) or (file and not loaded.take(file)):
                return -1, ""
            chosen = [items[test] for test in tests]
            for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if killer.name:
                    return 1, killer.name
            return 0, ""

        self.answer(run)
        return True


def _run_anew(_: str, tests: list[str]) -> tuple[int, str]:
    """The status of pytest with these tests, which imports the program as it is now, and the one that failed."""
    killer = Killer()
    return int(pytest.main([*ALWAYS, "-x", *tests], plugins=[killer])), killer.name


def _in_a_fork(run: Callable[[], tuple[int, str]], limit: float) -> tuple[str, str]:
    """killed, survived, timeout or unknown, and the test that failed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reader)
        try:
            code, name = run()
        except BaseException as error:  # a mutant may raise anything
            code, name = 3, f"{type(error).__name__} outside the tests"
        os.write(writer, json.dumps([code, name]).encode())
        os._exit(0)
    os.close(writer)
    waits: dict[int, float] = {}
    late = False
    began = time.monotonic()
    text = b""
    while not text.endswith(b"]"):
        if select.select([reader], [], [], 2.0)[0]:
            if not (part := os.read(reader, 65536)):
                break
            text += part
        elif time.monotonic() - began > limit:  # seconds in which others had the cores are not counted
            _see_waits(child, waits)
            if late := time.monotonic() - began > limit + sum(waits.values()):
                break
        else:
            _see_waits(child, waits)
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not text:
        return ("timeout", "no end in time") if late else ("killed", "the process died")
    code, name = json.loads(text)
    return {-1: "unknown", 0: "survived"}.get(code, "killed"), name


def _see_waits(session: int, waits: dict[int, float]) -> None:
    """Note for each process of a session how many seconds it has waited for a core."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(folder.name)) == session:
                waits[int(folder.name)] = int((folder / "schedstat").read_text().split()[1]) / 1e9


if __name__ == "__main__":
    root = Path(sys.argv[2]).resolve()
    os.chdir(root)
    sys.path.insert(0, str(root))
    sys.exit(make_map(root, Path(sys.argv[3]), sys.argv[4:]) if sys.argv[1] == "map" else serve(root, sys.argv[3:]))
