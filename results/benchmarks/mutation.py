"""Do the tests notice? One-line mutants of the program: ``python -m results.benchmarks.mutation --mutants 300``.

A seeded draw of one-line changes (mutation_operators.py) in the rooms that numbers, money or waiting depend on. Each is
written into a copy of the tree, and those tests of its room that execute the line run against it, quickest first, until
one fails; a failure that want of time can cause counts only where the test passes without the mutant. Where no test's
own process executes the line (children, import) it is the tests of the file, else all of the room.
The process that runs them (mutation_tests.py) has program and tests loaded and forks for each mutant; what it cannot
put into loaded functions is asked of a process that imports the program anew. Needs ``pip install coverage``.

Mutants that cannot change any result are listed with a reason in mutation_equivalent.json. Writes mutation.md and
mutation.json beside this file. A run that was stopped goes on where it was, and one after more tests were written asks
again only about survivors: a mutant that was noticed stays so while its line is the same. ``--room`` judges some of
the drawn only.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from results.benchmarks.mutation_operators import Mutant, mutants_of

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_RUNNER = "results/benchmarks/mutation_tests.py"
_MOST_SECONDS = 10.0  # of tests for one mutant, as they take without it
_QUICK = (
    0.5  # seconds: a test that takes longer may fail for want of time, and its verdict is checked without the mutant
)

ROOMS = {
    "reader": ("resources_xml",),
    "policies": ("scheduler_policies",),
    "cutting": ("tasks/cutting",),
    "reconstruction": ("tasks/reconstruction",),
    "dispatch": ("tasks/dispatch",),
    "runtime": ("tasks/runtime",),
    "execution": ("tasks/execution",),
}
_WHOLE_WAY = ("tests/truth/test_exact_path.py", "tests/truth/test_sampled_path.py")
# Of tests/engines those whose tasks run in the test's own process or in its children, not under runcompss.
_EMBEDDED = tuple(f"tests/engines/test_{name}.py" for name in ("contract", "embedded", "batching", "ticket"))
TESTS = {
    "reader": ("tests/resources_xml",),
    "policies": ("tests/scheduler_policies",),
    "cutting": ("tests/cutting", *_WHOLE_WAY),
    "reconstruction": ("tests/reconstruction", *_WHOLE_WAY),
    "dispatch": ("tests/dispatch", "tests/workflow"),
    "runtime": ("tests/runtime", *_EMBEDDED),
    "execution": ("tests/execution", *_WHOLE_WAY),
}
_SAME = ("file", "text", "before", "after")  # what tells mutants apart, wherever their line has moved to
_KEPT = ("room", "line", "operator", *_SAME, "status", "killer", "reason", "tests", "seconds")


class Copy:
    """A copy of the tree with an environment of its own, whose children import the copy too."""

    def __init__(self, folder: Path):
        self.tree = folder / "tree"
        self.maps = folder / "maps"
        self.maps.mkdir(parents=True, exist_ok=True)
        self.times = int(time.time())
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listing, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        shutil.rmtree(self.tree, ignore_errors=True)
        for file in files:
            if (_ROOT / file).is_file():
                (self.tree / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(_ROOT / file, self.tree / file)
        self.python = folder / "venv/bin/python"
        if not self.python.exists():
            venv.create(folder / "venv", symlinks=True)
            for name in ("mpirun", "mpiexec", "mpiexec.hydra", "hydra_pmi_proxy"):  # where tests look for them
                if (Path(sys.executable).parent / name).exists():
                    (self.python.parent / name).symlink_to(Path(sys.executable).parent / name)
        (packages,) = (folder / "venv/lib").glob("python*/site-packages")
        # A folder named in a .pth file is searched, but the .pth files in it (the checkout's own) are not read.
        here = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "qompass.pth").write_text("\n".join([str(self.tree), *here]))

    def run(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """mutation_tests.py with these arguments."""
        names = {"TMPDIR": str(self.tree.parent / "tmp"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        Path(names["TMPDIR"]).mkdir(exist_ok=True)
        paths = f"{self.python.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [str(self.python), str(self.tree / _RUNNER), *arguments]
        return subprocess.Popen(command, env=os.environ | names | {"PATH": paths}, text=True, **options)

    def map_of(self, room: str) -> dict[str, Any]:
        """Lines, tests and durations of the tests of a room; each folder of tests is measured once."""
        merged: dict[str, Any] = {"seconds": {}, "lines": {}}
        for folder in TESTS[room]:
            out = self.maps / f"{Path(folder).stem}.json"
            if not out.exists():
                print(f"mapping {folder}", flush=True)
                with open(out.with_suffix(".log"), "w") as log:
                    self.run("map", str(self.tree), str(out), folder, stdout=log, stderr=log).wait()
            found = json.loads(out.read_text())
            merged["seconds"].update(found["seconds"])
            for file, lines in found["lines"].items():
                of_file = merged["lines"].setdefault(file, {})
                for line, tests in lines.items():
                    of_file[line] = of_file.get(line, []) + tests
        return merged

    def write(self, file: str, content: bytes) -> None:
        """Write a file with a time of its own, so that no compiled form of another content is taken for its."""
        self.times += 2
        (self.tree / file).write_bytes(content)
        os.utime(self.tree / file, (self.times, self.times))


def drawn(tree: Path, rooms: Iterable[str], count: int, seed: int) -> list[tuple[str, Mutant]]:
    """``count`` mutants, one a line, each room with a share that grows with the root of what can be changed in it."""
    candidates: dict[str, list[Mutant]] = {}
    for room in rooms:
        files = sorted(path for top in ROOMS[room] for path in (tree / top).rglob("*.py"))
        found = [m for path in files for m in mutants_of(str(path.relative_to(tree)), path.read_bytes())]
        order = random.Random(f"{seed} {room}")
        order.shuffle(found)
        one_a_line = {(mutant.file, mutant.line): mutant for mutant in reversed(found)}
        candidates[room] = list(one_a_line.values())
        order.shuffle(candidates[room])
    weights = {room: len(found) ** 0.5 for room, found in candidates.items()}
    total = sum(weights.values())
    shares = {room: -(-count * weight // total) for room, weight in weights.items()}
    chosen: list[tuple[str, Mutant]] = []
    for room, found in candidates.items():
        good = (mutant for mutant in found if mutant.compiles((tree / mutant.file).read_bytes()))
        chosen += [(room, mutant) for mutant in islice(good, int(shares[room]))]
    return chosen


def tests_for(mutant: Mutant, room: str, seconds: Mapping[str, float], lines: Mapping[str, Any]) -> list[str]:
    """The tests to run, quickest first, within the limit."""
    of_file = lines.get(mutant.file, {})
    tests = set(of_file.get(str(mutant.line), ()))
    tests = tests or {test for found in of_file.values() for test in found}
    tests = tests or {test for test in seconds if test.startswith(TESTS[room])}
    chosen: list[str] = []
    total = 0.0
    for test in sorted(tests, key=lambda test: (seconds.get(test, 1.0), test)):
        total += seconds.get(test, 1.0)
        if chosen and total > _MOST_SECONDS:
            break
        chosen.append(test)
    return chosen


class Judge:
    """Asks the processes that run the tests: one that has all of them loaded, and one that imports the program anew."""

    def __init__(self, copy: Copy, room: str, seconds: Mapping[str, float]):
        self.copy = copy
        self.seconds = seconds
        self.sound: dict[str, bool] = {}  # whether a test passes without a mutant where all are loaded
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.loaded = copy.run("serve", str(copy.tree), *TESTS[room], **pipes)
        self.anew = copy.run("serve", str(copy.tree), **pipes)

    def ask(self, server: subprocess.Popen[str], file: str, tests: list[str]) -> dict[str, Any]:
        """``{"status", "killer", "seconds"}`` of these tests on the copy as it is."""
        assert server.stdin is not None and server.stdout is not None
        limit = 10 + 4 * sum(self.seconds.get(test, 1.0) for test in tests)
        print(json.dumps({"file": file, "tests": tests, "limit": limit}), file=server.stdin, flush=True)
        answer: dict[str, Any] = json.loads(server.stdout.readline())
        return answer

    def verdict(self, mutant: Mutant, source: bytes, tests: list[str]) -> dict[str, Any]:
        """The answer about a mutant; what may have failed for want of time has to pass without the mutant."""
        while tests:
            self.copy.write(mutant.file, mutant.applied(source))
            asked = self.loaded
            answer = self.ask(asked, mutant.file, tests)
            if answer["status"] == "unknown" or not self.is_sound(answer["killer"]):
                asked = self.anew
                answer = self.ask(asked, mutant.file, tests)
            self.copy.write(mutant.file, source)
            killer = answer["killer"]
            if answer["status"] == "survived" or self.seconds.get(killer, _QUICK if "::" in killer else 1.0) < _QUICK:
                return answer
            if self.ask(asked, "", [killer] if killer in self.seconds else tests)["status"] == "survived":
                return answer
            tests = [test for test in tests if test != killer] if killer in self.seconds else tests[: len(tests) // 2]
        return {"status": "survived", "killer": "", "seconds": 0.0}

    def is_sound(self, killer: str) -> bool:
        """Whether what killed a mutant in the loaded process passes there without one."""
        if killer in self.seconds and killer not in self.sound:
            self.sound[killer] = self.ask(self.loaded, "", [killer])["status"] == "survived"
        return self.sound.get(killer, True)

    def close(self) -> None:
        """End the processes."""
        for server in (self.loaded, self.anew):
            assert server.stdin is not None
            server.stdin.close()
            server.wait()


def judge(
    copy: Copy, room: str, chosen: list[Mutant], tests_map: Mapping[str, Any], known: Path
) -> list[dict[str, Any]]:
    """Run the tests against every mutant; results are written as they come."""
    seconds, lines = tests_map["seconds"], tests_map["lines"]
    results: dict[str, dict[str, Any]] = json.loads(known.read_text()) if known.exists() else {}
    asked = Judge(copy, room, seconds)
    found = []
    for number, mutant in enumerate(chosen, 1):
        source = (copy.tree / mutant.file).read_bytes()
        tests = tests_for(mutant, room, seconds, lines)
        text = source[source.rfind(b"\n", 0, mutant.start) + 1 : source.find(b"\n", mutant.end)]
        change = (mutant.file, text, mutant.operator, mutant.before, mutant.after)
        noticed, survived = (
            _digest(change),
            _digest((*change, source, [(test, _content(copy, test)) for test in tests])),
        )
        key = noticed if noticed in results else survived
        if key not in results:
            answer = asked.verdict(mutant, source, tests)
            key = survived if answer["status"] == "survived" else noticed
            results[key] = answer
            known.write_text(json.dumps(results))
        entry = {"room": room, **asdict(mutant), "text": text.decode().strip(), "tests": len(tests), **results[key]}
        found.append(entry)
        print(f"{number}/{len(chosen)} {entry['status']:8} {room} {shown(entry)}", flush=True)
    asked.close()
    return found


def _digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


@functools.cache
def _content(copy: Copy, test: str) -> bytes:
    return hashlib.sha256((copy.tree / test.split("::")[0]).read_bytes()).digest()


def shown(entry: Mapping[str, Any]) -> str:
    """A mutant in one line."""
    return f"{entry['file']}:{entry['line']} {entry['operator']}: {entry['before']} -> {entry['after']}"


def equivalents() -> dict[tuple[str, ...], str]:
    """Mutants that change no result, with the reason: by file, line, and the piece before and after."""
    path = _HERE / "mutation_equivalent.json"
    listed = json.loads(path.read_text()) if path.exists() else []
    return {tuple(entry[key] for key in _SAME): entry["reason"] for entry in listed}


def report(found: list[dict[str, Any]], seed: int) -> str:
    """The table, and the mutants that no test noticed."""
    reasons = equivalents()
    for entry in found:
        reason = reasons.get(tuple(entry[key] for key in _SAME))
        if entry["status"] == "survived" and reason is not None:
            entry["status"], entry["reason"] = "equivalent", reason
    rows = []
    for room in [*ROOMS, "all"]:
        counts = Counter(entry["status"] for entry in found if room in (entry["room"], "all"))
        total = counts.total()
        if not total:
            continue
        noticed = counts["killed"] + counts["timeout"]
        share = noticed / max(1, total - counts["equivalent"])
        rows.append(
            f"| {room} | {total} | {noticed} | {counts['timeout']} | {counts['equivalent']} | {counts['survived']} "
            f"| {share:.1%} |"
        )
    left = [f"* `{shown(entry)}`" for entry in found if entry["status"] == "survived"]
    kinds = Counter(entry["operator"] for entry in found)
    lines = [
        "# What the tests notice",
        "",
        f"{len(found)} one-line mutants, seed {seed}, made by `python -m results.benchmarks.mutation`: "
        + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        + ". A mutant is noticed when a test fails, or when the tests do not end in time (four times what they take "
        "and 10 s; counted apart). Equivalent: no test could tell, for the reason in mutation_equivalent.json.",
        "",
        "| room | mutants | noticed | of these by time | equivalent | survived | noticed of what is not equivalent |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "## Survivors",
        "",
        *(left or ["None."]),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Draw, judge, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--room", action="append", choices=ROOMS, help="judge only these")
    parser.add_argument("--folder", type=Path, required=True, help="where the copy and what is known of it lie")
    parser.add_argument("--map", action="store_true", help="measure again which test executes which line")
    parser.add_argument("--out", type=Path, default=_HERE / "mutation.md")
    arguments = parser.parse_args()
    copy = Copy(arguments.folder.resolve())
    if arguments.map:
        shutil.rmtree(copy.maps)
        copy.maps.mkdir()
    chosen = drawn(copy.tree, ROOMS, arguments.mutants, arguments.seed)
    found: list[dict[str, Any]] = []
    for room in arguments.room or ROOMS:
        mine = [mutant for where, mutant in chosen if where == room]
        found += judge(copy, room, mine, copy.map_of(room), arguments.folder / "known.json")
        arguments.out.write_text(report(found, arguments.seed))
        table = [{key: entry[key] for key in _KEPT if key in entry} for entry in found]
        document = json.dumps({"seed": arguments.seed, "mutants": table}, indent=1)
        arguments.out.with_suffix(".json").write_text(document + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
