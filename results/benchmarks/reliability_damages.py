"""Damaged folders of runs: ``resume`` and ``reconstruct`` give the same values as before, or refuse in one line.

Parts "damages" and "loops" of results/benchmarks/reliability.py; tests/runs/test_damages.py runs a few of each.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from apps.cli.main import main
from tasks.inputs.validation import make_problem
from tasks.options import Options
from tasks.runs import RunDirectory, RunRecord
from tasks.runs.journal import JOURNAL_NAME
from tasks.runs.storage import pack, unpack
from tasks.workflow import run

VERBS = ("resume", "reconstruct")
_AGAIN = ("computed again", "made again")  # in what is said of damage that costs nothing but time
Damage = Callable[[Path, random.Random], str]
"""Does it to a run's folder, and says to what."""
Bases = dict[str, tuple[Path, Any]]
"""By name (folder, answer) of runs to damage."""


def damages(count: int, seed: int) -> tuple[int, list[str]]:
    """Damage copies of runs: how many, and those that were handled badly: what was done, and what came of it.

    Args:
        count: how many damages.
        seed: of the damages.
    """
    with tempfile.TemporaryDirectory() as folder:
        return count, _damages(count, seed, Path(folder), base_runs(Path(folder) / "bases"), VERBS, KINDS)


def loops(count: int, seed: int) -> tuple[int, list[str]]:
    """The same of optimisations and sweeps."""
    kinds = {kind: damage for kind, damage in KINDS.items() if damage not in (_forged, _without_fragments, _with_rests)}
    with tempfile.TemporaryDirectory() as folder:
        return count, _damages(count, seed, Path(folder), base_loops(Path(folder) / "bases"), ("resume",), kinds)


def _damages(
    count: int, seed: int, folder: Path, bases: Bases, verbs: Sequence[str], kinds: Mapping[str, Damage]
) -> list[str]:
    bad = []
    for number in range(count):
        generator = random.Random(f"{seed} {number}")
        name = generator.choice(sorted(bases))
        copy = folder / str(number)
        shutil.copytree(bases[name][0], copy, symlinks=True)
        verb = generator.choice(verbs)
        kind = generator.choice(sorted(kinds))
        what = f"{number}: {verb} of a {name} run, {kind} {KINDS[kind](copy, generator)}"
        problem = outcome(verb, copy, None if kind == "sealed edit of" else bases[name][1])
        if problem:
            bad.append(f"{what}: {problem}")
        if not copy.is_symlink():
            shutil.rmtree(copy, ignore_errors=True)
    return bad


def base_runs(folder: Path) -> Bases:
    """(folder, estimates) of runs to damage: finished and interrupted, exact and sampled."""
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(0.3 + 0.2 * qubit, qubit)
    for qubit in range(3):
        circuit.rzz(0.7, qubit, qubit + 1)
    problem = make_problem(circuit, ["Z0 Z3", "X1"])
    made = {}
    for precision, shots in (("exact", None), ("sampled", 40_000)):
        options = Options(max_qubits=2, shots=shots, cache="off", engine="embedded")
        fields = {"options": _document(options), "seed": 0, "shots": shots, "memory": None}
        for status in ("finished", "interrupted"):
            with RunDirectory.create(folder, fields, problem) as directory:
                estimates = [vars(estimate) for estimate in run(problem, options, directory).estimates]
                if status == "interrupted":
                    min((directory.path / "fragments").iterdir()).unlink()
                    directory.finish("interrupted", estimates=None)
            made[f"{status} {precision}"] = (directory.path, estimates)
    return made


_LOOPS = {
    "optimise": ("graph.json", "--iterations", "3", "--seed", "3"),
    "sweep": ("table.csv",),
}


def base_loops(folder: Path) -> Bases:
    """(folder, what it printed) of optimisations and sweeps to damage: finished and interrupted, exact and sampled."""
    folder.mkdir()
    nodes, links = [{"id": k} for k in range(4)], [(0, 1, 1.0), (1, 2, 0.5), (2, 3, 1.0), (3, 0, 0.7)]
    edges = [dict(zip(("source", "target", "weight"), link, strict=True)) for link in links]
    (folder / "graph.json").write_text(json.dumps({"nodes": nodes, "edges": edges}))
    gates = "h q[0]; ry({t}) q[1]; cx q[0],q[1]; rzz(2*{t}) q[1],q[2]; cx q[2],q[3];"
    (folder / "circuit.qasm").write_text(f'OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; {gates}\n')
    rows = [f"circuit.qasm,{observable},{t}" for observable in ("Z0 Z3", "X2 - Z1") for t in (0.1, 0.9, 1.5)]
    (folder / "table.csv").write_text("\n".join(["circuit,observable,t", *rows, ""]))
    made: Bases = {}
    for verb, (asked, *more) in _LOOPS.items():
        for precision, shots in (("exact", ()), ("sampled", ("--shots", "4000"))):
            runs, command = folder / f"{verb} {precision}", [verb, str(folder / asked), *more, *shots]
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
                status = main([*command, "--max-qubits", "2", "--json", "--out", str(runs)])
            assert status == 0, f"{command}: status {status}"
            (path,) = runs.iterdir()
            made[f"finished {verb} {precision}"] = path, _answer(out.getvalue())
            copy = folder / f"interrupted {verb} {precision}"
            shutil.copytree(path, copy)
            lines = (copy / JOURNAL_NAME).read_bytes().splitlines(keepends=True)
            (copy / JOURNAL_NAME).write_bytes(b"".join(lines[: max(2, len(lines) // 2)]))
            with RunDirectory.open(copy) as directory:
                directory.finish("interrupted", estimates=None)
            made[copy.name] = copy, made[f"finished {verb} {precision}"][1]
    return made


def _answer(text: str) -> Any:
    """Of what a command printed, what must be the same again."""
    document = json.loads(text)
    same = {name: own for name, own in document.items() if name not in ("run", "timings", "table", "notes")}
    return document.get("estimates", same)


def _document(options: Options) -> dict[str, Any]:
    from apps.cli.run import options_document

    return options_document(options)


def outcome(verb: str, path: Path, wanted: Any) -> str:
    """What is wrong with what a command makes of a run, "" where nothing is; ``wanted``: its answer, None for any."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(
                [verb, str(path), "--json", "--cache", "off"] if verb == "resume" else [verb, str(path), "--json"]
            )
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    if status == 0:
        found = _answer(out.getvalue())
        return "" if wanted is None or found == wanted else f"gave {found} instead of {wanted}"
    lines = [line for line in err.getvalue().splitlines() if not any(words in line for words in _AGAIN)]
    if status != 2 or len(lines) != 1 or not lines[0].startswith("qompass: "):
        return f"status {status}, and said {err.getvalue()!r}"
    return ""


def _file(run: Path, generator: random.Random) -> Path:
    return generator.choice(sorted(path for path in run.rglob("*") if path.is_file()))


def _rewritten(change: Callable[[bytes, random.Random], bytes]) -> Damage:
    def damage(run: Path, generator: random.Random) -> str:
        path = _file(run, generator)
        path.write_bytes(change(path.read_bytes(), generator))
        return path.name

    return damage


def _flipped(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content or b"x")
    changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _replaced(make: Callable[[Path], None]) -> Damage:
    def damage(run: Path, generator: random.Random) -> str:
        path = _file(run, generator)
        path.unlink()
        make(path)
        return path.name

    return damage


def _swapped(run: Path, generator: random.Random) -> str:
    one, other = (_file(run, generator) for _ in range(2))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return f"{one.name} and {other.name}"


def _forged(run: Path, generator: random.Random) -> str:
    """Another value in a fragment, with a checksum of its own that fits."""
    path = generator.choice(sorted((run / "fragments").glob("*.npz")))
    stored = unpack(path.read_bytes())
    name = generator.choice(sorted(stored.arrays))
    array = np.array(stored.arrays[name])
    if array.size:
        array.flat[generator.randrange(array.size)] += 1
    path.write_bytes(pack({**stored.arrays, name: array}, stored.meta))
    return f"{path.name}, array {name}"


_VALUES: tuple[Any, ...] = (None, True, -1, 10**30, 1e308, "", "x", [], {}, [[]], {"a": 1}, "\x1b[31m")


def _edited(sealed: bool) -> Damage:
    def damage(run: Path, generator: random.Random) -> str:
        document = json.loads((run / "record.json").read_bytes())
        seal = document.pop("sha256")
        place, where = document, []
        while True:
            key = generator.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
            where.append(str(key))
            deeper = place[key]
            if not (isinstance(deeper, dict | list) and deeper and generator.random() < 0.7):
                break
            place = deeper
        if isinstance(place, dict) and generator.random() < 0.3:
            del place[key]
        else:
            place[key] = generator.choice(_VALUES)
        if sealed:
            content = RunRecord(document).to_bytes()
        else:
            content = json.dumps({"sha256": seal, **document}).encode()
        (run / "record.json").write_bytes(content)
        return "/".join(where)

    return damage


def _without_fragments(run: Path, generator: random.Random) -> str:
    shutil.rmtree(run / "fragments")
    if generator.random() < 0.5:
        (run / "fragments").write_text("")
        return "(a file in its place)"
    return ""


def _with_rests(run: Path, generator: random.Random) -> str:
    for name in (".record.json.1.partial", "fragments/.x.npz.1.partial", "network/tensor.npy", "fragments/strange.npz"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(generator.randbytes(40))
    return ""


KINDS: dict[str, Damage] = {
    "truncation of": _rewritten(lambda content, generator: content[: generator.randrange(max(len(content), 1))]),
    "a flipped bit in": _rewritten(_flipped),
    "garbage in": _rewritten(lambda content, generator: generator.randbytes(generator.randrange(1, 2000))),
    "more at the end of": _rewritten(lambda content, generator: content + generator.randbytes(9)),
    "loss of": _replaced(lambda path: None),
    "a folder in place of": _replaced(lambda path: path.mkdir()),
    "a link to nothing in place of": _replaced(lambda path: path.symlink_to("nothing")),
    "a link to itself in place of": _replaced(lambda path: path.symlink_to(path.name)),
    "an exchange of": _swapped,
    "a forged value in": _forged,
    "an edit of": _edited(sealed=False),
    "sealed edit of": _edited(sealed=True),
    "loss of all fragments": _without_fragments,
    "rests of a killed process": _with_rests,
}
