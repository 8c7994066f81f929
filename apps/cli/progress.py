"""Progress of a run on stderr: one bar for each stage on a terminal, elsewhere a line where a stage takes long."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from apps.cli.tables import seconds_text, value_and_error
from apps.cli.terminal import say, shown
from tasks.model.problem import Estimate
from tasks.model.progress import Progress, Quiet, Stage

_FIRST_S = 10.0  # of a stage that is not done, until a line says so; the next ones come after twice as long each


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


class LineProgress(Quiet):
    """A line where a stage takes long, so that a log shows what a run is at.

    Args:
        record: of the run, where its plan will be.
    """

    def __init__(self, record: Callable[[], Mapping[str, Any]]):
        self._record = record

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A stage that is watched until it is done."""
        done, over = [0.0], threading.Event()

        def watch() -> None:
            waited, pause = 0.0, _FIRST_S
            while not over.wait(pause):
                waited += pause
                pause = waited
                say(f"{name}: {done[0]:.4g} of {total:,} done after {seconds_text(waited)}{self._predicted()}")

        class Counted:
            def advance(self, amount: float = 1) -> None:
                done[0] += amount

        watcher = threading.Thread(target=watch, name=f"watch-{name}", daemon=True)
        watcher.start()
        try:
            yield Counted()
        finally:
            over.set()
            watcher.join()

    def _predicted(self) -> str:
        predicted = (self._record().get("plan") or {}).get("predicted", {}).get("seconds", {}).get("total")
        return "" if predicted is None else f"; the run was predicted to take {seconds_text(predicted)} in all"


def make_progress(record: Callable[[], Mapping[str, Any]] = dict) -> Progress:
    """Bars on a terminal, now and then a line elsewhere; ``record``: as for ``LineProgress``."""
    return BarProgress() if sys.stderr.isatty() else LineProgress(record)
