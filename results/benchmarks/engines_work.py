"""The tasks that results/benchmarks/engines.py times; importable by every process of every engine."""

from __future__ import annotations

import time

import tasks.execute  # noqa: F401 - the processes that execute tasks hold what those of a run do
from tasks.runtime import constraint, contained, isolated, task

CPU = [{"ProcessorType": "CPU", "ProcessorName": "CPU", "ComputingUnits": "1"}]


def _nothing(value: int) -> int:
    return value


def _variants(seconds: tuple[float, ...]) -> int:
    for each in seconds:
        time.sleep(each)
    return len(seconds)


@constraint(processors=CPU)
@task(returns=1)
def load(seconds):
    """Keep the unit for so long."""
    return contained(time.sleep, seconds)


@constraint(processors=CPU)
@task(returns=1)
def empty(value):
    """Nothing, in the task's own process."""
    return contained(_nothing, value)


@constraint(processors=CPU)
@task(returns=1)
def empty_isolated(value):
    """Nothing, in the task's child process."""
    return isolated(_nothing, value)


@constraint(processors=CPU)
@task(returns=1)
def variants(seconds):
    """Variants that take so long each."""
    return isolated(_variants, seconds)
