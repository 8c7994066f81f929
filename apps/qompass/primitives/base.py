"""What both primitives have: options, a session, a backend, plans of the circuits they saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qiskit.primitives import PrimitiveResult

from apps.cli.progress import BarProgress
from tasks.bound_runs import SharedRun
from tasks.errors import InputError
from tasks.execution.backends import NamedSampler
from tasks.options import Options, options_of

from ..job import QompassJob
from ..shared import Plans, Shared


class Primitive:
    """What both primitives have: options, a session, plans of the circuits they saw."""

    def __init__(
        self,
        session: Shared | None,
        options: Options | None,
        backend: Any,
        progress: bool,
        out: Path | str | None,
        given: dict[str, Any],
    ) -> None:
        self._shown = BarProgress() if progress else None
        base = options or (session.options if session is not None else Options())
        checked = options_of(given)
        self._options = dataclasses.replace(base, **{name: getattr(checked, name) for name in given})
        self._session = session
        self._plans = Plans() if session is None else session.plans
        self._backend = None if backend is None else NamedSampler(backend, self._options.seed)
        self._out = None if out is None else Path(out)
        if self._backend is not None and self._out is not None:
            raise InputError("`out`: what a `backend` runs is not kept: leave one of them out", field="out")

    @property
    def options(self) -> Options:
        """How circuits are run; a frozen dataclass whose fields are checked. Assign another one to change it."""
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        if not isinstance(options, Options):
            raise TypeError(f"options are a qompass.Options, not a {type(options).__name__}")
        self._options = options

    def _job(self, name: str, work: Callable[[Callable[[], None]], PrimitiveResult]) -> QompassJob:
        return QompassJob(name, work, None if self._session is None else self._session.executor)

    def _kept(
        self, name: str, runs: Sequence[SharedRun], keep: Callable[[Path, SharedRun], Path]
    ) -> tuple[str, list[Path]]:
        """Folders of the runs, and the name that resumes all of them."""
        assert self._out is not None
        parent = self._out if len(runs) == 1 else self._out / name
        folders = [keep(parent, own) for own in runs]
        return (folders[0].name if len(runs) == 1 else name), folders

    def _check_open(self) -> None:
        if self._session is not None:
            _ = self._session.executor
