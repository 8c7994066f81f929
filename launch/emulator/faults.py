"""Faults the emulator commits on request: at which step, of which kind, how many times."""

from __future__ import annotations

import threading
from dataclasses import dataclass

HTTP_STEPS = (
    "token", "backends", "configuration", "properties", "session", "release", "job_create", "job_get", "job_cancel",
    "result", "health", "any",
)  # fmt: skip
JOB_STEPS = ("job",)
HTTP_KINDS = ("slow", "500", "401", "404", "truncate", "garbage", "hang", "reset")
JOB_KINDS = ("fail", "lose", "zeros", "stall", "calibrate", "worsen", "publish")


@dataclass
class Rule:
    """One fault: at ``step``, of ``kind``, for the next ``times`` occasions, after skipping ``skip``."""

    step: str
    kind: str
    amount: float = 0.0
    times: int = 1
    skip: int = 0


class Faults:
    """The rules in force; asked at every step, from many threads."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Put a rule in force.

        Raises:
            ValueError: there is no such step or kind.
        """
        steps, kinds = (JOB_STEPS, JOB_KINDS) if rule.step == "job" else (HTTP_STEPS, HTTP_KINDS)
        if rule.step not in steps or rule.kind not in kinds:
            raise ValueError(f"fault {rule.step}:{rule.kind}: steps are {steps}, kinds are {kinds}")
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def at(self, step: str) -> Rule | None:
        """The fault to commit at ``step`` now, used up by asking; None for none."""
        with self._lock:
            for rule in self._rules:
                if rule.step == step or (rule.step == "any" and step != "job"):
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    rule.times -= 1
                    if rule.times <= 0:
                        self._rules.remove(rule)
                    return rule
        return None


def parse_fault(text: str) -> Rule:
    """Read ``STEP:KIND[=AMOUNT][xTIMES]``, for example ``job_get:slow=0.5x3``.

    Raises:
        ValueError: it is not of that form.
    """
    step, _, rest = text.partition(":")
    rest, _, times = rest.partition("x")
    kind, _, amount = rest.partition("=")
    return Rule(step, kind, float(amount or 0), int(times or 1))
