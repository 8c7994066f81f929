"""Tables that compare Qompass with others: every "yes" of ours names a test, and every test named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READMES = ("launch/README.md", "launch/kubernetes/README.md")
NAMED = re.compile(r"`(test_\w+?)(_\.\.\.)?`")


def rows():
    """(what, ours) of the tables."""
    found = []
    for name in READMES:
        text = (ROOT / name).read_text()
        table = text[text.index("| | Qompass |") :].split("\n\n")[0].splitlines()[2:]
        found += [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table]
    return found


def existing():
    """Names of all tests."""
    return [
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    ]


def lacking(text):
    """The tests that a text names, by a name or its beginning, and that do not exist."""
    there = existing()
    return [
        name
        for name, shortened in NAMED.findall(text)
        if not any(test.startswith(f"{name}_") if shortened else test == name for test in there)
    ]


@pytest.mark.parametrize(("what", "ours"), rows(), ids=[what for what, _ in rows()])
def test_what_qompass_does_is_held_by_a_test_that_exists(what, ours):
    files = re.findall(r"`(tests/[\w/]+\.py)`", ours)
    assert not ours.startswith("yes") or NAMED.search(ours) or files, f"{what}: {ours}"
    assert not lacking(ours)
    assert all((ROOT / file).exists() for file in files), files


@pytest.mark.parametrize("readme", READMES)
def test_every_test_that_the_page_names_exists(readme):
    assert not lacking((ROOT / readme).read_text())
