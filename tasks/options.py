"""How to run: every option with its default and its range, checked when it is made."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError
from tasks.model.sizes import MAX_SHOTS

# What checks a value is imported where there is one to check: `qompass --help` needs none of it.
if TYPE_CHECKING:
    from tasks.cutting.cuts import Cut

MAX_WIDTH = 10**6
MAX_SEED = 2**63 - 1
LEAST_ERROR, MOST_ERROR = 1e-100, 1e100
MOST_PLAN_SECONDS = 86_400
ENGINES = ("auto", "embedded", "compss")
_SHOTS_FOR_TARGET = 10_000_000  # what a plan may count on where as many shots are spent as it takes
AIMS = ("error", "time", "cost")
MITIGATIONS = ("none", "readout", "readout+zne")


class Unfit(Exception):
    """A value that an option does not take; its text says what the option takes."""


def default_cache() -> str:
    """The user's own cache folder."""
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qompass")


def _free_memory() -> int:
    """Bytes that this process may still take."""
    from tasks.runtime import machine

    return machine.free_memory()


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            number = least - 1
        if isinstance(value, bool) or not least <= number <= most:
            raise Unfit(f"a whole number from {least} to {_shown(most)}")
        return number

    return check


def _positive(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else 0.0
    except OverflowError:
        number = math.inf
    if not 0 < number < math.inf:
        raise Unfit("a positive number")
    return number


def _error(value: Any) -> float:
    try:
        number = _positive(value)
    except Unfit:
        number = 0.0
    if not LEAST_ERROR <= number <= MOST_ERROR:  # beyond them squares are 0 or infinite
        raise Unfit(f"a number from {LEAST_ERROR:g} to {MOST_ERROR:g}")
    return number


def _effort(value: Any) -> float:
    try:
        number = 0.0 if isinstance(value, numbers.Real) and value is not False and value == 0 else _positive(value)
    except Unfit:
        number = math.inf
    if number > MOST_PLAN_SECONDS:
        raise Unfit(f"a number from 0 to {MOST_PLAN_SECONDS}")
    return number


def _one_of(*names: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise Unfit(f"one of {', '.join(names)}")
        return value

    return check


def _truth(value: Any) -> bool:
    if str(value) not in ("True", "False") or isinstance(value, str):  # of Python or of NumPy
        raise Unfit("True or False")
    return bool(value)


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise Unfit("the path of a file or folder")
    return Path(value)


def _place(value: Any) -> str:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise Unfit("a folder, a URL or 'off'")
    return str(value)


def _cluster(value: Any) -> str:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise Unfit("the folder of a cluster or tls://HOST:PORT")
    return str(value)


def _policy(value: Any) -> str:
    from importlib.metadata import entry_points

    from scheduler_policies.errors import PolicyError
    from scheduler_policies.registry import POLICIES, POLICY_GROUP, find_policy

    if not isinstance(value, str):
        raise Unfit("the name of a policy")
    if value not in POLICIES:
        try:
            find_policy(value, entry_points(group=POLICY_GROUP))
        except PolicyError as error:
            raise InputError(f"`policy`: {error}", field="policy") from error
    return value


def _cuts(value: Any) -> tuple[Cut, ...]:
    from tasks.cutting.cuts import GateCut, WireCut

    cuts = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(cut, GateCut | WireCut) for cut in cuts):
        raise Unfit("cuts as `read_cuts` gives them (GateCut and WireCut)")
    return cuts


def _kept(check: Callable[[Any], Any], form: str | tuple[str, ...], says: str) -> dict[str, Any]:
    """What is known of an option besides its default: its check; its form and meaning on the command line."""
    return {"check": check, "form": form, "says": says}


@dataclass(frozen=True)
class Options:
    """How to run. The defaults are those of the command line.

    Attributes:
        max_qubits: widest fragment, None for any.
        cuts: cut here, None to search.
        shots: total shots, None for the exact path.
        seed: of the search and of every random stream, 0 to 2**63 - 1.
        engine: "auto", "embedded" or "compss".
        scheduler: a dask cluster whose workers execute the tasks: its folder, or its scheduler's ``tls://host:port``;
            None for this machine.
        resources: a COMPSs resources file that says which devices there are; None means this machine's cores.
        memory_bytes: refuse plans that need more, by default what is free now; None refuses none.
        cache: directory or URL of the semantic cache, by default the user's own, or "off".
        mitigation: what is done against the errors of QPUs: "none", "readout" or "readout+zne".
        policy: which device runs which fragment.
        budget: most money to spend, None for any.
        target_error: standard error to reach, None for whatever the shots give; without shots, as many are spent as
            it takes.
        plan_seconds: effort of the search for cuts, in seconds of a typical core, a day at most; None for what the
            circuit is worth.
        minimise: what a plan is chosen for: "error" for the shots, "time", or "cost", for which the policy ``balanced``
            also runs fragments where they cost least; None for the error of a sampled run and the time of an exact one.
        share_meaning: on QPUs, also use stored counts of circuits that are equal only in the ideal.

    Raises:
        InputError: a value is of another type or out of range; its ``field`` names the option.
    """

    max_qubits: int | None = field(
        default=None, metadata=_kept(_whole(1, MAX_WIDTH), "N", "widest fragment; cuts are searched for")
    )
    cuts: tuple[Cut, ...] | None = field(
        default=None, metadata=_kept(_cuts, "FILE.json", "cut here instead of searching")
    )
    shots: int | None = field(
        default=None, metadata=_kept(_whole(1, MAX_SHOTS), "N", "shots in total, over all fragments and variants")
    )
    seed: int = field(default=0, metadata=_kept(_whole(0, MAX_SEED), "N", "same seed, same result (default 0)"))
    engine: str = field(
        default="auto", metadata=_kept(_one_of(*ENGINES), ENGINES, "default auto: COMPSs under runcompss")
    )
    scheduler: str | None = field(
        default=None,
        metadata=_kept(_cluster, "DIR|ADDRESS", "execute on a dask cluster: its folder, or tls://HOST:PORT"),
    )
    resources: Path | None = field(
        default=None, metadata=_kept(_path, "FILE.xml", "COMPSs resources file (or its folder): the devices")
    )
    memory_bytes: int | None = field(
        default_factory=_free_memory,
        metadata=_kept(_whole(0, MAX_SEED), "SIZE", "refuse plans that need more, e.g. 4GiB (default: what is free)"),
    )
    cache: str = field(
        default_factory=default_cache,
        metadata=_kept(_place, "DIR|URL|off", "where results of circuits are kept for later runs (default: your own)"),
    )
    mitigation: str = field(
        default="readout",
        metadata=_kept(_one_of(*MITIGATIONS), MITIGATIONS, "what is done against the errors of QPUs (default readout)"),
    )
    policy: str = field(
        default="balanced", metadata=_kept(_policy, "NAME", "decides which device runs what (default balanced)")
    )
    budget: float | None = field(default=None, metadata=_kept(_positive, "PRICE", "spend no more than this on devices"))
    target_error: float | None = field(
        default=None, metadata=_kept(_error, "E", "standard error wanted of every observable")
    )
    plan_seconds: float | None = field(
        default=None,
        metadata=_kept(_effort, "S", "effort of the search for cuts (default: what the circuit is worth)"),
    )
    minimise: str | None = field(
        default=None,
        metadata=_kept(
            _one_of(*AIMS),
            AIMS,
            "what a plan is chosen for; cost: and where it runs (default: error of shots, time of exact runs)",
        ),
    )
    share_meaning: bool = field(
        default=False,
        metadata=_kept(_truth, "", "on QPUs, also use stored counts of circuits that are equal only without noise"),
    )

    @property
    def sampled(self) -> bool:
        """Whether shots are taken, or everything is exact."""
        return self.shots is not None or self.target_error is not None

    @property
    def cheapest(self) -> bool:
        """Whether every fragment runs where it costs least; other policies than ``balanced`` place as they do."""
        return self.minimise == "cost" and self.policy == "balanced"

    @property
    def room(self) -> int | None:
        """Memory that one piece of work may use: half of what is allowed, the other half holds the results."""
        return None if self.memory_bytes is None else self.memory_bytes // 2

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value, optional = getattr(self, option.name), "None" in str(option.type)
            if value is None and optional:
                continue
            try:
                object.__setattr__(self, option.name, option.metadata["check"](value))
            except Unfit as unfit:
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


def plan_limits(options: Options) -> dict[str, Any]:
    """The keyword arguments of ``make_plan`` that options say."""
    return {
        "max_qubits": options.max_qubits,
        "shots": options.shots if options.target_error is None else options.shots or _SHOTS_FOR_TARGET,
        "memory_bytes": options.memory_bytes,
        "seed": options.seed,
        "plan_seconds": options.plan_seconds,
    }


def options_document(options: Options) -> dict[str, Any]:
    """Options as JSON values, for a run's record."""
    from tasks.cutting.cuts import cuts_document

    document = {option.name: getattr(options, option.name) for option in dataclasses.fields(options)}
    document["cuts"] = None if options.cuts is None else cuts_document(options.cuts)
    document["resources"] = None if options.resources is None else str(options.resources.resolve())
    return document


def options_again(document: Mapping[str, Any], changed: Mapping[str, Any]) -> Options:
    """The options of a record, but for those that are changed now; the memory is what is free now.

    Raises:
        InputError: a value is of another type or out of range; ``field`` names it.
    """
    from tasks.cutting.cuts import cuts_from

    again = {option.name: document[option.name] for option in dataclasses.fields(Options) if option.name in document}
    again.pop("memory_bytes", None)
    if again.get("cuts") is not None:
        again["cuts"] = cuts_from(again["cuts"])
    return Options(**{**again, **changed})


def _shown(number: int) -> str:
    return "2**63 - 1" if number == MAX_SEED else f"{number:,}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
