"""Ask COMPSs agents for the engine contract and a fifth of the truth suite: ``ask_agents.py AGENT [ANSWERS]``.

The program of launch/docker/compose.test.yaml; status 1 where something is not as it should be.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # an agents' container runs this file, not a package

from launch.docker import agents
from tests.engines.contract import CHECKS
from tests.engines.test_same_results import SEED, check_truth

PROGRAM = "tests.engines.on_agent.program"
# Agents of COMPSs 3.3 cannot send a dictionary of futures, which no task of Qompass takes, to another agent:
# CommAgentJob.java throws UnsupportedOperationException for DICT_COLLECTION_T, and the task is never heard of again.
NOT_ON_AGENTS = {"dictionaries_of_futures"}
LIMIT_S = 900.0


def ask(agent: str, answers: Path, program: str, arguments: Sequence[str] = ()) -> Any:
    """The JSON that a program of this folder prints when an agent runs it."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = agents.run(agent, [program, *arguments], answers, PROGRAM, LIMIT_S)
    if status:
        raise AssertionError(f"{program} ended with status {status}")
    return json.loads(output.getvalue())


def contract(agent: str, answers: Path) -> dict[str, str]:
    """What failed of the contract, by the name of the check."""
    found = ask(agent, answers, "run_contract", [name for name in CHECKS if name not in NOT_ON_AGENTS])
    return {name: check["failure"] for name, check in found["checks"].items() if check["failure"]}


def truth(agent: str, answers: Path) -> None:
    """Make sure that a fifth of the truth suite agrees with the uncut circuits."""
    check_truth(ask(agent, answers, "run_truth", [str(SEED), "5"]), "compss")


def main() -> int:
    """Ask for both."""
    agent, answers = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".").resolve()
    failed = contract(agent, answers)
    for name, failure in failed.items():
        print(f"{name} failed:\n{failure}")
    print(f"contract: {len(CHECKS) - len(NOT_ON_AGENTS) - len(failed)} of {len(CHECKS)} checks hold; "
          f"not asked: {', '.join(NOT_ON_AGENTS)}")  # fmt: skip
    truth(agent, answers)
    print(f"truth: a fifth of the suite agrees (seed {SEED})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
