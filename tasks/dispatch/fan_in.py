"""What has been asked and what came of it, as futures that stay with the engine, and the tasks that take them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from tasks.cutting import Plan
from tasks.dispatch.errors import RunError
from tasks.dispatch.events import work_ended
from tasks.execute import Payload
from tasks.execution.jobs import FragmentJob, SampledJob, equal_jobs
from tasks.execution.pieces import Piece
from tasks.runs import RunDirectory
from tasks.runtime import (
    Next,
    Outcome,
    Reason,
    RetryPolicy,
    Span,
    Ticket,
    Tickets,
    limits,
    next_step,
    raise_defect,
    release,
    wait_on,
)

TakesTensors = Callable[[list[Any], Ticket], Any]
"""Submits a task that takes the futures of all tensors, with its ticket; gives the future of its outcome."""


class FanIn:
    """From the payloads of executions to one value a fragment, and on to the task that takes all of these.

    Args:
        plan: the plan that the jobs belong to.
        task: makes one value of all results of a fragment.
        directory: of the run; its log is told of what ended.
        tickets: for the tasks.
    """

    def __init__(self, plan: Plan, task: Callable[..., Any], directory: RunDirectory, tickets: Tickets):
        self._plan, self._task, self._directory, self._tickets = plan, task, directory, tickets
        self._asked: dict[int, dict[int, FragmentJob]] = {f.index: {} for f in plan.fragments}  # by fragment and round
        self._found: dict[int, list[tuple[Piece, Any]]] = {f.index: [] for f in plan.fragments}
        self._payloads: dict[int, dict[int, Any]] = {f.index: {} for f in plan.fragments}  # futures, by task
        self._spans: dict[int, Span] = {}  # of the tasks that made tensors, as far as the log has been told of them
        self._tensors: dict[int, tuple[Any, Ticket]] = {}  # with their futures; of what is in work, too
        self._ahead: tuple[TakesTensors, Any, Ticket] | None = None  # what takes the tensors: its future

    def ask(self, job: FragmentJob) -> None:
        """A job is wanted: what its fragment's tensor was made of is not all of it any more."""
        self._asked[job.fragment.index][job.piece.round_index] = job
        self._tensors.pop(job.fragment.index, None)
        self._ahead = None

    def job(self, piece: Piece) -> FragmentJob:
        """The job that a piece is, with its circuit."""
        asked = self._asked[piece.fragment]
        if piece.exact:
            return next(iter(asked.values())).as_exact()
        job = asked[piece.round_index]
        assert isinstance(job, SampledJob)
        return job.share(piece.first, piece.count)

    def once(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Pieces to run for these results: of equal exact ones a single one, whose job then is for all of them."""
        others = set()
        for first, *rest in equal_jobs(self.job(piece).as_exact() for piece in pieces if piece.exact):
            if rest:
                also = tuple(job.fragment.index for job in rest)
                self._asked[first.fragment.index][first.piece.round_index] = replace(first, also=also)
                others |= set(also)
        return [piece for piece in pieces if not piece.exact or piece.fragment not in others]

    def find(self, piece: Piece, arrays: Any) -> None:
        """An earlier process of the run has left a result."""
        self._found[piece.fragment].append((piece, arrays))

    def add(self, number: int, fragments: Collection[int], payload: Any) -> None:
        """A task was submitted that will have results of these fragments."""
        for fragment in fragments:
            self._payloads[fragment][number] = payload
            self._tensors.pop(fragment, None)

    def gather(self, number: int) -> Payload:
        """A task's payload in this process; it takes the place of the future, which COMPSs forgets after a wait."""
        holders = [payloads for payloads in self._payloads.values() if number in payloads]
        payload: Payload = wait_on(holders[0][number])
        for payloads in holders:
            payloads[number] = payload
        return payload

    def lose(self, number: int, fragments: Collection[int], done: Collection[int]) -> None:
        """A task ended without all of its results: what was submitted to follow lacks something.

        Args:
            number: of the task.
            fragments: that it had pieces of.
            done: those of which it has results nevertheless.
        """
        for fragment in fragments:
            if fragment not in done:
                del self._payloads[fragment][number]
            self._tensors.pop(fragment, None)
        self._ahead = None

    def submit_ahead(self, waiting: Collection[int], ahead: TakesTensors | None) -> None:
        """Submit the fan-in of every fragment but those that wait for a device, and what follows all of them."""
        open_ones = {own for index in waiting for job in self._asked[index].values() for own in job.fragments}
        for index in self._asked:
            if index not in open_ones and index not in self._tensors:
                self._submit(index)
        if ahead is not None and not waiting and self._ahead is None:
            self._ahead = ahead, *self._take(ahead, 0)

    def value_of(self, what: str, submit: TakesTensors) -> Any:
        """The value of a task that takes all tensors; it and they are tried again as often as other work.

        Args:
            what: in words, for the error.
            submit: submits the task.

        Raises:
            RunError: it failed.
            DefectError: its work, or that of a tensor, has a bug.
        """
        history: list[Outcome] = []
        while True:
            ahead, self._ahead = self._ahead, None
            future, ticket = ahead[1:] if ahead and ahead[0] == submit else self._take(submit, len(history))
            outcome: Outcome = wait_on(future, ticket, [needed for _, needed in self._tensors.values()])
            spans = zip(self._asked, outcome.inputs, strict=False)
            made = [(fragment, span) for fragment, span in spans if self._spans.get(fragment) != span]
            self._spans.update(made)  # a tensor that the next task takes as well was made once
            work_ended(self._directory, outcome, made)
            failure = outcome.failure
            if failure is None:
                return outcome.value
            raise_defect(outcome, what)
            if failure.reason is Reason.REFUSED:
                raise RunError(failure.message)  # it says all that there is to say
            history.append(outcome)
            if failure.reason is Reason.DEPENDENCY and len(history) < RetryPolicy().attempts_per_device:
                for index, (fan_in, ticket) in list(self._tensors.items()):
                    found: Outcome = wait_on(fan_in, ticket)
                    self._tensors[index] = found, ticket  # COMPSs knows the future no more
                    raise_defect(found, f"the tensor of fragment {index}")
                    if found.failure is not None:
                        self._submit(index, len(history))
            elif next_step(history, RetryPolicy()) is Next.GIVE_UP:
                raise RunError(f"{what}: {failure.message}")

    def release(self) -> None:
        """Everything has been asked for: the engine may forget payloads and tensors."""
        release(future for payloads in self._payloads.values() for future in payloads.values())
        release(future for future, _ in self._tensors.values())

    def _submit(self, index: int, attempt: int = 0) -> None:
        ticket = self._tickets.next(attempt)
        future = self._task(
            self._plan.fragments[index], self._plan.schemes[index], tuple(self._asked[index].values()),
            tuple(self._found[index]), list(self._payloads[index].values()), limits(), ticket,
        )  # fmt: skip
        self._tensors[index] = future, ticket

    def _take(self, submit: TakesTensors, attempt: int) -> tuple[Any, Ticket]:
        """Submit a task that takes all fragment tensors, in the order of the fragments: its future and ticket."""
        for index in self._asked:
            if index not in self._tensors:
                self._submit(index)
        ticket = self._tickets.next(attempt)
        return submit([self._tensors[index][0] for index in self._asked], ticket), ticket
