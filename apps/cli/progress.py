"""Progress of a run: one bar for each stage on a terminal's stderr, nothing anywhere else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from apps.cli.tables import value_and_error
from apps.cli.terminal import shown
from tasks.model.problem import Estimate
from tasks.model.progress import Progress, Quiet, Stage


class BarProgress:
    """One bar for each stage, which stays when it is finished."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A bar that shows steps done, steps in all and time."""
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description:<14}"),
            progress.BarColumn(bar_width=30),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
        )
        with progress.Progress(*columns, console=Console(stderr=True)) as bars:
            bar = bars.add_task(name, total=total)

            class Bar:
                def advance(self, amount: float = 1) -> None:
                    bars.advance(bar, amount)

            yield Bar()

    def estimates(self, rounds: int, told: Sequence[Estimate]) -> None:
        """A line for each of the first three observables, so that the error bar is seen to shrink."""
        from rich.console import Console

        for own in told[:3]:
            value, error = value_and_error(own.value, own.std_error)
            text = f"{'':<14} after round {rounds}: {own.observable[:40]} = {value} ± {error}"
            Console(stderr=True).print(shown(text), markup=False, highlight=False)


def make_progress() -> Progress:
    """Bars on a terminal, silence elsewhere."""
    return BarProgress() if sys.stderr.isatty() else Quiet()
