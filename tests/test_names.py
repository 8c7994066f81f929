"""A public name means one thing: no two modules of the rooms define a class or function of the same name."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.test_architecture import ROOT, sources

# The same name by intent: a program's entry, and what a module offers because another one chooses among such modules.
ONE_A_MODULE = {
    "main": "each program has one",
    "as_completed": "the seam and the embedded engine behind it",
    "wait_on": "the seam and the embedded engine behind it",
}


def definitions() -> dict[str, list[str]]:
    """Where each public class or function is defined; apps name a subcommand after what it calls, so they are apart."""
    found = defaultdict(list)
    for path in sources():
        where = str(path.relative_to(ROOT))
        if not where.startswith("apps/"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                    found[node.name].append(where)
    return found


def test_a_public_name_means_one_thing():
    several = {name: where for name, where in definitions().items() if len(where) > 1 and name not in ONE_A_MODULE}
    assert not several, f"defined more than once: {several}"


def test_what_is_let_through_is_needed():
    found = definitions()
    assert all(len(found[name]) > 1 for name in ONE_A_MODULE)
