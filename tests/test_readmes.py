"""The READMEs: short enough at the top, every link leads somewhere, and the Python in them runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", *(p for top in ("apps", "tasks", "launch", "results", "scheduler_policies")
                                 for p in sorted((ROOT / top).rglob("README.md")))]  # fmt: skip


def test_the_first_page_has_at_most_900_words():
    assert len((ROOT / "README.md").read_text().split()) <= 900


@pytest.mark.parametrize("path", READMES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_python_of_the_first_page_runs(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    for words, expected in ((first, 1.0), (second, 0.5)):
        value, error = float(words[-3]), float(words[-1])
        assert abs(value - expected) < 5 * error + 1e-9


def test_the_list_of_benchmarks_names_every_table():
    text = (ROOT / "results" / "README.md").read_text()
    folder = ROOT / "results" / "benchmarks"
    tables = [path.name for path in sorted(folder.glob("*.md")) if not path.stem.endswith("_quick")]  # ignored by git
    assert [name for name in tables if f"](benchmarks/{name})" not in text.split("## How fast")[0]] == []
