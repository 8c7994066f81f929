"""What both primitives have: options, a session, a backend, plans of the circuits they saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from qiskit.primitives import PrimitiveResult

from apps.cli.progress import BarProgress
from tasks.execution.backends import NamedSampler
from tasks.options import Options, options_of

from ..job import QompassJob
from ..shared import Plans, Shared


class Primitive:
    """What both primitives have: options, a session, plans of the circuits they saw."""

    def __init__(
        self, session: Shared | None, options: Options | None, backend: Any, progress: bool, given: dict[str, Any]
    ) -> None:
        self._shown = BarProgress() if progress else None
        base = options or (session.options if session is not None else Options())
        checked = options_of(given)
        self._options = dataclasses.replace(base, **{name: getattr(checked, name) for name in given})
        self._session = session
        self._plans = Plans() if session is None else session.plans
        self._backend = None if backend is None else NamedSampler(backend, self._options.seed)

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

    def _check_open(self) -> None:
        if self._session is not None:
            _ = self._session.executor
