"""What the run's log says of tasks: when they were submitted, when and where they ran, what came of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scheduler_policies import Device, DeviceState
from tasks.dispatch.instructions import Move, Submit
from tasks.execution.pieces import Piece, Report
from tasks.model.problem import Estimate
from tasks.model.progress import Progress, Stage
from tasks.runs import RunDirectory
from tasks.runtime import Outcome, Span


def device_came(directory: RunDirectory, device: Device) -> None:
    """A device has come that the run did not know when it began: the record has it from now on."""
    used = directory.record["devices"] | {device.name: {"kind": device.kind.value, "units": device.units}}
    directory.update(devices=used)
    message = f"{device.name} has come: {device.kind.value} of {device.qubits} qubits, {device.units} units"
    directory.event("device", message, device=device.name, units=device.units)


class LoggedProgress:
    """Progress that is shown elsewhere, and whose stages are events of the run's log.

    Args:
        shown: where it is shown.
        directory: of the run.
    """

    def __init__(self, shown: Progress, directory: RunDirectory) -> None:
        self._shown, self._directory = shown, directory

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A stage; see ``Progress``."""
        self._directory.event("stage", f"{name} begins", stage=name, total=total)
        with self._shown.stage(name, total) as stage:
            yield stage
        self._directory.event("stage", f"{name} is done", stage=name, total=total, done=True)

    def estimates(self, rounds: int, told: Sequence[Estimate]) -> None:
        """What the shots so far say; see ``Progress``."""
        first = f": {told[0].value:.6g} ± {told[0].std_error:.2g}" if told else ""
        self._directory.event(
            "estimates", f"after round {rounds}{first}", round=rounds, estimates=list(map(vars, told))
        )
        self._shown.estimates(rounds, told)


def task_submitted(directory: RunDirectory, submit: Submit, predicted_s: float) -> None:
    """A task was submitted to the engine."""
    pieces = submit.pieces
    said = ", ".join(map(str, pieces[:9])) + (" ..." if len(pieces) > 9 else "")
    directory.event(
        "submit",
        f"task {submit.number}, try {submit.attempt}, on {submit.device.name}: {said}",
        task=submit.number, attempt=submit.attempt, device=submit.device.name, kind=submit.device.kind.value,
        pieces=_numbers(pieces), predicted=round(predicted_s, 6),
    )  # fmt: skip


def task_ended(directory: RunDirectory, submit: Submit, outcome: Outcome) -> None:
    """A task that executed pieces has ended; the value of its outcome is a Report."""
    report: Report = outcome.value or Report()
    device = outcome.device or submit.device.name
    error = outcome.failure.message if outcome.failure else report.failure or report.left
    directory.event(
        "task",
        f"task {submit.number} ended on {device} after {outcome.seconds:.3f} s: {error or 'done'}",
        **_placed(outcome.span, device),
        task=submit.number, waited=round(report.waited, 6), done=_numbers(done.piece for done in report.done),
        cached=sum(done.meta.get("cache") == "hit" for done in report.done), bytes=report.bytes, error=error,
    )  # fmt: skip


def work_ended(directory: RunDirectory, outcome: Outcome, made: Iterable[tuple[int, Span]] = ()) -> None:
    """Another task has ended, and so have the tasks that made the tensors it took.

    Args:
        directory: of the run.
        outcome: of the task.
        made: fragments whose tensors were made for it, with the time and place of that.
    """
    for fragment, span in made:
        directory.event("task", f"{span.work} of fragment {fragment}", **_placed(span), fragment=fragment)
    error = outcome.failure.message if outcome.failure else ""
    told = f"{outcome.work} took {outcome.seconds:.3f} s{error and ': ' + error}"
    directory.event("task", told, **_placed(outcome.span), error=error)


def devices_seen(directory: RunDirectory, states: Mapping[str, DeviceState], trouble: Mapping[str, str]) -> None:
    """How the QPUs are doing, where that was read just now; ``trouble``: what is wrong with those that are away."""
    if states:
        known = dict(directory.record.get("devices", {}))
        for name, state in states.items():
            known[name] = _seen(known.get(name, {}), state)
        directory.record.set(devices=known)
        told = {
            name: {
                "queue": state.queue_length, "wait": round(state.expected_wait, 3), "drift": round(state.drift, 6),
                "calibration": state.calibration_epoch, "calibration_age": round(state.calibration_age, 1),
                "up": name not in trouble,
            }
            for name, state in states.items()
        }  # fmt: skip
        directory.event("devices", f"queues: {', '.join(f'{name} {own.queue_length}' for name, own in states.items())}",
                        devices=told)  # fmt: skip


def _seen(device: Mapping[str, Any], state: DeviceState) -> dict[str, Any]:
    """A QPU in the record, with what is seen of it now: its calibrations and the longest queue of others."""
    epochs = [*device.get("calibrations", ()), *filter(None, [state.calibration_epoch])]
    return {
        **device,
        "calibrations": list(dict.fromkeys(epochs)),
        "calibration_age": round(state.calibration_age, 1),
        "queue": max(state.queue_length, device.get("queue", 0)),
        "wait": round(max(state.expected_wait, device.get("wait", 0.0)), 3),
        "drift": round(max(state.drift, device.get("drift", state.drift)), 6),
    }


def piece_moved(directory: RunDirectory, move: Move) -> None:
    """A piece of work goes to another device than the one that it was on; the record keeps that, too."""
    piece = move.piece
    place = {"fragment": piece.fragment, "round": piece.round_index, "first": piece.first, "count": piece.count}
    directory.record.move(place, move.source, move.target, move.why)
    directory.event("move", f"{piece} goes from {move.source} to {move.target}: {move.why}", piece=_numbers([piece])[0],
                    source=move.source, target=move.target, why=move.why)  # fmt: skip


def _numbers(pieces: Iterable[Piece]) -> list[list[int]]:
    """Fragment, round, first variant, number of variants and shots of each piece."""
    return [[piece.fragment, piece.round_index, piece.first, piece.count, sum(piece.shots)] for piece in pieces]


def _placed(span: Span, device: str = "") -> dict[str, Any]:
    return {
        "work": span.work, "device": device or span.device, "node": span.node, "began": round(span.began, 6),
        "seconds": round(span.seconds, 6), "attempt": span.attempt, "failure": span.failure,
    }  # fmt: skip
