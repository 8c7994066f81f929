"""Futures of the embedded engine, alone and inside other values: waited for, found, and replaced by their results."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from tasks.errors import DefectError, QompassError
from tasks.runtime.errors import EngineError
from tasks.runtime.outcome import Failure, Outcome, Reason

_SCHEDULER_ENDED = "the engine's scheduler has ended while a task was waited for: start it again, then `qompass resume`"


@dataclass(frozen=True)
class Reference:
    """Stands for the result of the future with this key, where a call travels without its futures."""

    key: str


def wait_on(value: Any) -> Any:
    """The results behind all futures in ``value``.

    Raises:
        DefectError: when a task's function itself raised, which tasks never do.
    """
    if is_future(value):
        try:
            return value.result()
        except CancelledError:
            raise EngineError(_SCHEDULER_ENDED) from None
        except (QompassError, DefectError):
            raise
        except Exception as error:
            if type(error).__name__ == "CommClosedError":  # while a result was on its way
                raise EngineError(_SCHEDULER_ENDED) from None
            if type(error).__name__ == "KilledWorker":
                words = "the workers that ran it ended, one after the other: does it need more memory than they have?"
                return Outcome(failure=Failure(Reason.KILLED, words))
            raise DefectError(f"task {value.key} raised {type(error).__name__}: {error}") from error
    if isinstance(value, (list, tuple)):
        return type(value)(wait_on(member) for member in value)
    if isinstance(value, dict):
        return {key: wait_on(member) for key, member in value.items()}
    return value


def as_completed(futures: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """(position, result) of each as it completes; values that are no futures first."""
    positions: dict[str, list[int]] = {}
    pending = []
    for position, future in enumerate(futures):
        if not is_future(future):
            yield position, wait_on(future)
            continue
        positions.setdefault(future.key, []).append(position)
        pending.append(future)
    if not pending:
        return
    import distributed

    for future in distributed.as_completed(pending, loop=pending[0].client.loop):
        yield positions[future.key].pop(0), wait_on(future)


def is_future(value: Any) -> bool:
    """Whether it is a future of dask's; without dask there are none."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(value, distributed.Future)


def futures_in(value: Any) -> list[Any]:
    """The futures in lists, tuples and dictionaries, however deep."""
    if is_future(value):
        return [value]
    if isinstance(value, (list, tuple)):
        return [future for member in value for future in futures_in(member)]
    if isinstance(value, dict):
        return [future for member in value.values() for future in futures_in(member)]
    return []


def referred(value: Any) -> Any:
    """The value with references in place of its futures."""
    if is_future(value):
        return Reference(value.key)
    if not futures_in(value):
        return value
    if isinstance(value, dict):
        return {key: referred(member) for key, member in value.items()}
    return type(value)(referred(member) for member in value)


def resolved(value: Any, results: Mapping[str, Any]) -> Any:
    """The value with results in place of its references."""
    if isinstance(value, Reference):
        return results[value.key]
    if isinstance(value, dict):
        return {key: resolved(member, results) for key, member in value.items()} if _holds(value.values()) else value
    if isinstance(value, (list, tuple)) and _holds(value):
        return type(value)(resolved(member, results) for member in value)
    return value


def _holds(members: Any) -> bool:
    """Whether references are among the members, or in lists and dictionaries among them."""
    return any(
        isinstance(member, Reference)
        or (isinstance(member, dict) and _holds(member.values()))
        or (type(member) in (list, tuple) and _holds(member))
        for member in members
    )
