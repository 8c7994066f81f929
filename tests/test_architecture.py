"""The rooms and the arrows between them, held by a test: a room imports only rooms below it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("architecture")  # where each file is parsed once
ROOT = Path(__file__).resolve().parents[1]

# From the top floor down; a file belongs to the longest prefix that matches.
FLOORS = [
    ["apps"],
    [
        "tasks.whole_runs",
        "tasks.evaluate",
        "tasks.draw",
        "tasks.bound_runs",
        "tasks.sample_together",
        "tasks.stages",
        "tasks.pilots",
    ],
    ["tasks.workflow", "tasks.sample", "tasks.check"],
    ["tasks.dispatch"],
    ["tasks.forecast"],
    ["tasks.beside", "tasks.cut", "tasks.tensors", "tasks.reconstruct"],
    ["tasks.prediction"],
    ["tasks.execute"],
    ["tasks.parametric"],
    ["tasks.execution"],
    ["tasks.reconstruction"],
    ["tasks.inputs"],
    ["tasks.options"],
    ["tasks.cutting"],
    ["tasks.runs"],
    ["resources_xml"],
    ["scheduler_policies"],
    ["tasks.runtime", "tasks.slurm"],
    ["tasks.model"],
    ["tasks.errors"],
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
PURE = ["tasks.cutting", "tasks.reconstruction", "scheduler_policies"]
# What tells a function the time, the environment or the content of a file.
IMPURE = {"os", "time", "datetime", "subprocess", "socket", "random", "dask", "distributed", "pycompss"}
FILE_CALLS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "fromfile", "memmap", "loadtxt", "savez"}
# The MPI program is a program of its own and spills to disk; so is the part of the simulator that reads traces.
PROGRAMS = {"tasks/reconstruction/mpi.py", "tasks/reconstruction/contraction/network_files.py"}


@functools.cache
def sources() -> list[Path]:
    return [
        p
        for top in ("apps", "tasks", "scheduler_policies", "resources_xml")
        for p in sorted((ROOT / top).rglob("*.py"))
    ]


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """The file as a whole, then everything in it."""
    return list(ast.walk(ast.parse(path.read_text())))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in LEVEL:
            return ".".join(parts[:length])
    return None


@functools.cache
def imports_of(path: Path) -> set[str]:
    return imports_in(nodes_of(path), module_of(path), path.name == "__init__.py")


def imports_in(nodes: Iterable[ast.AST], module: str, is_package: bool = False) -> set[str]:
    """Modules that a file imports, and what it takes from them, as absolute names."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") if is_package else module.split(".")[:-1]
            above = parts[: len(parts) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
    return found


def files_opened_in(nodes: Iterable[ast.AST]) -> list[int]:
    """Lines that open, read or write a file."""
    lines = []
    for node in nodes:
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in FILE_CALLS:
                lines.append(node.lineno)
    return lines


def test_every_file_is_in_a_room():
    assert [module_of(path) for path in sources() if room_of(module_of(path)) is None] == ["tasks"], "see FLOORS"


@pytest.mark.parametrize("room", LEVEL)
def test_a_room_imports_only_rooms_below_it(room):
    own = [path for path in sources() if room_of(module_of(path)) == room]
    assert own, "it has no files"
    for path in own:
        for name in imports_of(path):
            other = room_of(name)
            if other is not None and other != room:
                assert LEVEL[other] >= LEVEL[room], f"{path} ({room}) imports {name}, which is on a floor above"


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_know_no_engine_file_clock_or_environment(room):
    for path in sources():
        if room_of(module_of(path)) != room or str(path.relative_to(ROOT)) in PROGRAMS:
            continue
        tops = {name.split(".")[0] for name in imports_of(path)}
        assert not tops & IMPURE, f"{path} imports {sorted(tops & IMPURE)}"
        opened = files_opened_in(nodes_of(path))
        assert not opened, f"{path} opens files: lines {opened}"


@pytest.mark.parametrize("name", ["state", "instructions", "pool", "batches"])
def test_the_state_of_a_run_knows_no_engine_file_clock_or_log(name):
    path = ROOT / "tasks/dispatch" / f"{name}.py"
    imported = imports_of(path)
    assert not {one.split(".")[0] for one in imported} & (IMPURE | {"logging"})
    assert not files_opened_in(nodes_of(path))
    engine = {one for one in imported if one.startswith("tasks.runtime")}
    assert {".".join(one.split(".")[:3]) for one in engine} <= {"tasks.runtime.outcome", "tasks.runtime.batching"}


def test_no_modules_import_each_other_in_a_circle():
    """Deferred imports count: what needs each other belongs together, or what both need has a file of its own."""
    modules = {module_of(path): path for path in sources()}
    needs = {}
    for module, path in modules.items():
        names = imports_of(path)
        # "from room import file" is an import of the file, not of what the room hands on.
        rooms = {name.rpartition(".")[0] for name in names if name in modules}
        needs[module] = {name for name in names - rooms if name in modules} - {module}
    finished: set[str] = set()

    def visit(module, above):
        assert module not in above, " imports ".join([*above[above.index(module) :], module])
        if module not in finished:
            for other in sorted(needs[module]):
                visit(other, [*above, module])
            finished.add(module)

    for module in sorted(modules):
        visit(module, [])


def test_relative_imports_are_seen():
    assert imports_in(ast.walk(ast.parse("from . import x")), "tasks.cutting.plan") == {
        "tasks.cutting",
        "tasks.cutting.x",
    }
    assert imports_in(ast.walk(ast.parse("from ..apps import y")), "tasks.model.z") == {"tasks.apps", "tasks.apps.y"}
    assert imports_in(ast.walk(ast.parse("from ...apps import y")), "tasks.model.z") == {"apps", "apps.y"}
    assert imports_in(ast.walk(ast.parse("from .plan import x")), "tasks.cutting", True) == {
        "tasks.cutting.plan",
        "tasks.cutting.plan.x",
    }


@pytest.mark.parametrize(
    "text", ["open('x')", "p.open()", "Path('x').read_text()", "p.read_bytes()", "p.write_text('')", "io.open('x')"]
)
def test_opened_files_are_seen(text):
    assert files_opened_in(ast.walk(ast.parse(f"a = 1\n{text}"))) == [2]


def test_only_the_seam_imports_pycompss():
    users = {
        str(path.relative_to(ROOT))
        for path in sources()
        if any(name.split(".")[0] == "pycompss" for name in imports_of(path))
    }
    assert users == {"tasks/runtime/compss.py"}


def test_nothing_is_pickled_from_outside_and_only_programs_print():
    """Pickles travel only between a process and its own children, in tasks/runtime."""
    for path in sources():
        where = str(path.relative_to(ROOT))
        if any(
            name.split(".")[0] in {"pickle", "dill", "cloudpickle", "marshal", "shelve"} for name in imports_of(path)
        ):
            assert where.startswith("tasks/runtime/"), f"{where} pickles"
        if where.startswith("apps/"):
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"print", "eval", "exec"}, f"{where}:{node.lineno} calls {node.func.id}"


def test_messages_below_apps_name_fields_and_not_flags():
    """A notebook must not read "--shots 0": apps turn a field between backticks into the flag."""
    flag = re.compile(r"(?:^|[\s'\"(`])--[a-z]")
    for path in sources():
        where = str(path.relative_to(ROOT))
        if where.startswith("apps/") or where in PROGRAMS:
            continue
        nodes = nodes_of(path)
        documented = [node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        docstrings = {id(node.body[0].value) for node in documented if node.body and isinstance(node.body[0], ast.Expr)}
        called = {id(entry) for node in nodes if isinstance(node, ast.List) for entry in ast.walk(node)}
        for node in nodes:  # a list is the command line of a program that is started
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | called:
                assert not flag.search(node.value), f"{where}:{node.lineno} names a flag: {node.value!r}"
