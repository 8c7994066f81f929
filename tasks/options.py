"""How to run: every option with its default and its range, checked when it is made."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from scheduler_policies.errors import PolicyError
from scheduler_policies.registry import DEFAULT_POLICY, POLICIES, POLICY_GROUP, find_policy
from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.errors import InputError
from tasks.runtime.machine import free_memory

MAX_WIDTH = 10**6
MAX_SHOTS = 10**10
MAX_SEED = 2**63 - 1
ENGINES = ("auto", "embedded", "compss")
MITIGATIONS = ("none", "readout", "readout+zne")


class _Unfit(Exception):
    """A value that an option does not take; its text says what the option takes."""


def default_cache() -> str:
    """The user's own cache folder."""
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qompass")


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            number = least - 1
        if isinstance(value, bool) or not least <= number <= most:
            raise _Unfit(f"a whole number from {least} to {_shown(most)}")
        return number

    return check


def _positive(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else 0.0
    except OverflowError:
        number = math.inf
    if not 0 < number < math.inf:
        raise _Unfit("a positive number")
    return number


def _one_of(*names: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise _Unfit(f"one of {', '.join(names)}")
        return value

    return check


def _truth(value: Any) -> bool:
    if str(value) not in ("True", "False") or isinstance(value, str):  # of Python or of NumPy
        raise _Unfit("True or False")
    return bool(value)


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise _Unfit("the path of a file or folder")
    return Path(value)


def _place(value: Any) -> str:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise _Unfit("a folder, a URL or 'off'")
    return str(value)


def _policy(value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit("the name of a policy")
    if value not in POLICIES:
        try:
            find_policy(value, entry_points(group=POLICY_GROUP))
        except PolicyError as error:
            raise InputError(f"`policy`: {error}", field="policy") from error
    return value


def _cuts(value: Any) -> tuple[Cut, ...]:
    cuts = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(cut, GateCut | WireCut) for cut in cuts):
        raise _Unfit("cuts as `read_cuts` gives them (GateCut and WireCut)")
    return cuts


@dataclass(frozen=True)
class Options:
    """How to run. The defaults are those of the command line.

    Attributes:
        max_qubits: widest fragment, None for any.
        cuts: cut here, None to search.
        shots: total shots, None for the exact path.
        seed: of the search and of every random stream, 0 to 2**63 - 1.
        engine: "auto", "embedded" or "compss".
        resources: a COMPSs resources file that says which devices there are; None means this machine's cores.
        memory_bytes: refuse plans that need more, by default what is free now; None refuses none.
        cache: directory or URL of the semantic cache, by default the user's own, or "off".
        mitigation: what is done against the errors of QPUs: "none", "readout" or "readout+zne".
        policy: which device runs which fragment.
        budget: most money to spend, None for any.
        target_error: standard error to reach, None for whatever the shots give; without shots, as many are spent as
            it takes.
        share_meaning: on QPUs, also use stored counts of circuits that are equal only in the ideal.

    Raises:
        InputError: a value is of another type or out of range; its ``field`` names the option.
    """

    max_qubits: int | None = field(default=None, metadata={"check": _whole(1, MAX_WIDTH)})
    cuts: tuple[Cut, ...] | None = field(default=None, metadata={"check": _cuts})
    shots: int | None = field(default=None, metadata={"check": _whole(1, MAX_SHOTS)})
    seed: int = field(default=0, metadata={"check": _whole(0, MAX_SEED)})
    engine: str = field(default="auto", metadata={"check": _one_of(*ENGINES)})
    resources: Path | None = field(default=None, metadata={"check": _path})
    memory_bytes: int | None = field(default_factory=free_memory, metadata={"check": _whole(0, 2**63 - 1)})
    cache: str = field(default_factory=default_cache, metadata={"check": _place})
    mitigation: str = field(default="readout", metadata={"check": _one_of(*MITIGATIONS)})
    policy: str = field(default=DEFAULT_POLICY, metadata={"check": _policy})
    budget: float | None = field(default=None, metadata={"check": _positive})
    target_error: float | None = field(default=None, metadata={"check": _positive})
    share_meaning: bool = field(default=False, metadata={"check": _truth})

    @property
    def sampled(self) -> bool:
        """Whether shots are taken, or everything is exact."""
        return self.shots is not None or self.target_error is not None

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value, optional = getattr(self, option.name), "None" in str(option.type)
            if value is None and optional:
                continue
            try:
                object.__setattr__(self, option.name, option.metadata["check"](value))
            except _Unfit as unfit:
                fits = f"{unfit} or None" if optional else unfit
                raise InputError(f"`{option.name}`: {_short(value)} is not {fits}", field=option.name) from unfit


def options_of(values: dict[str, Any]) -> Options:
    """Options from keyword arguments.

    Raises:
        InputError: one is unknown, of another type or out of range; ``field`` names it.
    """
    known = [option.name for option in dataclasses.fields(Options)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean `{close[0]}`?" if close else f"the options are {', '.join(known)}"
            raise InputError(f"there is no option `{name}`: {advice}", field=name)
    return Options(**values)


def _shown(number: int) -> str:
    return "2**63 - 1" if number == MAX_SEED else f"{number:,}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
