"""What can go wrong in a run that the user can mend."""

from __future__ import annotations

from typing import Any

from tasks.errors import QompassError
from tasks.runtime import Outcome, Reason, raise_defect


class RunError(QompassError):
    """A fragment could not be run, however often it was tried; what is done is kept."""


class BudgetError(RunError):
    """The budget does not hold what is still to be run; what is done is kept."""


def value_of(outcome: Outcome, what: str) -> Any:
    """The value of an outcome; a failure is raised with what was being done.

    Raises:
        RunError: it failed.
        DefectError: its work has a bug.
    """
    raise_defect(outcome, what)
    if outcome.failure is not None:
        refused = outcome.failure.reason is Reason.REFUSED  # then the message says all that there is to say
        raise RunError(outcome.failure.message if refused else f"{what}: {outcome.failure.message}")
    return outcome.value
