"""Whatever is given is read or refused on one line, soon: a small form of `results/benchmarks/reliability.py`."""

from __future__ import annotations

import time
from pathlib import Path

from tests.inputs.fuzzing import attempt, described


def test_changed_inputs_are_read_or_refused_on_one_line(tmp_path: Path) -> None:
    seed = time.time_ns() % 2**32
    found = [attempt(seed, index, tmp_path) for index in range(60)]
    wrong = [described(seed, index, entry) for index, entry in enumerate(found) if entry.wrong]
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
    assert {0, 2} == {entry.status for entry in found}, f"seed {seed}"
