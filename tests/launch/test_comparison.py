"""launch/README.md compares Qompass with others: every "yes" of ours names a test, and every test named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def rows():
    """(what, ours) of the table."""
    text = (ROOT / "launch/README.md").read_text()
    table = text[text.index("| | Qompass |") :].split("\n\n")[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table]


def existing():
    """Names of all tests."""
    return [
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    ]


@pytest.mark.parametrize(("what", "ours"), rows(), ids=[what for what, _ in rows()])
def test_what_qompass_does_is_held_by_a_test_that_exists(what, ours):
    named = re.findall(r"`(test_\w+?)(_\.\.\.)?`", ours)
    files = re.findall(r"`(tests/[\w/]+\.py)`", ours)
    assert not ours.startswith("yes") or named or files, f"{what}: {ours}"
    for name, shortened in named:
        found = [test for test in existing() if test.startswith(name + "_") or (test == name and not shortened)]
        assert found if shortened else name in found, name
    for file in files:
        assert (ROOT / file).exists(), file
