"""Two drivers: one that waits for what other processes do, one that does a batch of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scheduler_policies import Device
from tasks.dispatch.driver import Driver, steps_of
from tasks.dispatch.errors import RunError
from tasks.dispatch.fan_in import TakesTensors
from tasks.dispatch.instructions import GiveUp, Instruction, Look, Submit
from tasks.dispatch.pool import LAST_RESORT
from tasks.execution.jobs import FragmentJob
from tasks.execution.pieces import Piece
from tasks.model.progress import Stage
from tasks.prediction import greedy_flops
from tasks.runtime import raise_defect
from tasks.stages.batches import Batch, batches_of, read_batches, write_batches
from tasks.stages.reports import read_report


class RoundWanted(Exception):
    """A round lacks results; the file of batches says which process is to run what."""


class WaitingDriver(Driver):
    """Takes what the run's folder holds and runs nothing: what a round lacks is placed and put into batches.

    Args:
        arguments: as for ``Driver``.
        most: as for ``batches_of``.
    """

    def __init__(self, *arguments: Any, most: int | None = None) -> None:
        super().__init__(*arguments)
        self._most = most

    def run(self, jobs: Sequence[FragmentJob], stage: Stage, ahead: TakesTensors | None = None) -> None:
        """See to it that every job has its result or is in a batch.

        Raises:
            RoundWanted: some have none yet.
            RunError: a piece fits no device.
        """
        todo = self._recalled(jobs)
        stage.advance(sum(steps_of(job.piece) for job in jobs) - sum(map(steps_of, todo)))
        if not todo:
            return
        run = self.directory.path
        round_index = max(job.piece.round_index for job in jobs)
        known = read_batches(run)
        open_ones = [b for b in known if b.round_index == round_index and read_report(run, b.index) is None]
        missing = [part for piece in todo for part in _outside(piece, open_ones)]
        if missing:
            self.directory.update(network_flops=greedy_flops(self.plan))
            made = batches_of(
                self._placed(missing), self._predicted,
                first=len(known), round_index=round_index, most=self._most,
            )  # fmt: skip
            write_batches(run, [*known, *made])
        raise RoundWanted

    def _placed(self, pieces: Sequence[Piece]) -> list[tuple[Device, Piece]]:
        self.state.ask(pieces)
        while True:
            instructions = self.state.place(self._seen(), time.monotonic())
            submits = [one for one in instructions if isinstance(one, Submit)]
            # What has to wait for a device that is set aside comes into batches of a later call, unless all has.
            self._follow([one for one in instructions if not isinstance(one, Submit | Look) or not submits])
            if submits:
                return [(submit.device, piece) for submit in submits for piece in submit.pieces]


class GivenBack(Exception):
    """A batch's device does not do it; what it has not done is to be placed again."""


class BatchDriver(Driver):
    """Runs one batch of a round; tensors are none of its business.

    Args:
        arguments: as for ``Driver``.
        give_back: whether what its device does not do is left for others, rather than for the simulator of last resort.
    """

    def __init__(self, *arguments: Any, give_back: bool = False) -> None:
        super().__init__(*arguments)
        self._give_back = give_back

    def run_batch(self, jobs: Sequence[FragmentJob], batch: Batch, stage: Stage) -> None:
        """See to it that the pieces of a batch have their results.

        Args:
            jobs: of the batch's round, all or those of its fragments.
            batch: which parts of them.
            stage: takes a step for each variant.

        Raises:
            GivenBack: its device failed, and that is not to be made good here.
            RunError: a piece failed too often, or everywhere.
        """
        todo = [part for piece in self._recalled(jobs) for part in _inside(piece, batch)]
        stage.advance(sum(max(1, count) for *_, count in batch.parts) - sum(map(steps_of, todo)))
        self._finish(todo, stage, None)

    def _follow(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions if self._give_back else ():
            if isinstance(instruction, GiveUp):
                if instruction.outcome is not None:
                    raise_defect(instruction.outcome, instruction.text)
                raise GivenBack(instruction.text)
            if isinstance(instruction, Submit) and instruction.device.name == LAST_RESORT:
                raise GivenBack("; ".join(f"{name}: {why}" for name, why in self.trouble.items()))
        super()._follow(instructions)

    def _submit_ahead(self, ahead: TakesTensors | None) -> None:
        """Nothing follows here."""

    def _how_to_go_on(self) -> str:
        return "; what is done is kept: start the stage again, or `qompass resume` for all that is left"


def check_batch(run: Path, index: int) -> Batch:
    """The batch of a run that has this index.

    Raises:
        RunError: there is none.
    """
    batches = read_batches(run)
    if not batches:
        raise RunError(f"{run} has no batches: `qompass stage plan {run}` makes them")
    if not 0 <= index < len(batches):
        raise RunError(f"{run} has no batch {index}: its batches are 0 to {len(batches) - 1}")
    return batches[index]


def _inside(piece: Piece, batch: Batch) -> Iterator[Piece]:
    """What of a piece is in a batch."""
    for fragment, first, count in batch.parts:
        if fragment != piece.fragment:
            continue
        if not count or piece.exact:
            yield piece.as_exact()
            return
        begin, end = max(first, piece.first), min(first + count, piece.first + piece.count)
        if begin < end:
            yield piece.share(begin, end - begin)


def _outside(piece: Piece, batches: Sequence[Batch]) -> list[Piece]:
    """What of a piece is in none of some batches."""
    parts = [part for batch in batches for part in batch.parts if part[0] == piece.fragment]
    if any(not count for *_, count in parts):
        return []
    return piece.missing([(first, count) for _, first, count in parts])
