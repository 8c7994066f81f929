"""A pilot's folder: what was asked for, what is wanted now, and what its keeper says; the user's own, mode 0700.

The folder is that of a dask cluster (``tasks.runtime.cluster_folder``) and something more, so that a run is bound to a
pilot by naming it. ``pilot.json`` is written once, ``wanted.json`` by whoever changes the size, ``state.json`` by the
keeper alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.pilots.errors import PilotError
from tasks.runtime.private_folder import PrivateFolder, PrivateFolderError

FORMAT_OF_PILOT = 1
MOST_NODES = 10_000
_ABOUT, _WANTED, _STATE = "pilot.json", "wanted.json", "state.json"


@dataclass(frozen=True)
class Pilot:
    """What a pilot was started with.

    Attributes:
        name: letters, digits, ``-`` and ``_``.
        folder: of the pilot; seen by all its nodes.
        target: "local" or "slurm".
        nodes: at the start.
        units: computing units of each processor of a node; empty for the cores it has.
        shared: those that the first node offers besides: the QPUs, which all nodes reach.
        walltime_s: when it ends, after its start.
        resources: the resources file that runs use by default, "" for none.
        started: seconds since 1970.
        extra: what Slurm is asked for besides (``--partition=...``).
    """

    name: str
    folder: Path
    target: str
    nodes: int
    units: Mapping[str, int]
    shared: Mapping[str, int]
    walltime_s: float
    resources: str
    started: float
    extra: tuple[str, ...] = ()

    @property
    def ends(self) -> float:
        """When its time is over, in seconds since 1970, counted from the start of its keeper where that is known."""
        return float(self.state().get("began", self.started)) + self.walltime_s

    def write(self) -> None:
        """Put it into its folder."""
        document = {**dataclasses.asdict(self), "schema": FORMAT_OF_PILOT, "folder": str(self.folder)}
        self._write(_ABOUT, document)

    def wanted(self) -> dict[str, Any]:
        """What is wanted now.

        ``nodes``: how many; ``jobs``: (id, nodes) of Slurm; ``brought``: units that the node of this number offers
        besides; ``stop``: whether it should end.
        """
        return {"nodes": self.nodes, "jobs": [], "brought": {}, "stop": False, **self._read(_WANTED)}

    def want(self, **changed: Any) -> None:
        """Change what is wanted."""
        self._write(_WANTED, {**self.wanted(), **changed})

    def state(self) -> dict[str, Any]:
        """What the keeper said last: ``status``, ``why``, ``began``, ``pid``, ``workers``; {} before it has begun."""
        return self._read(_STATE)

    def say(self, **state: Any) -> None:
        """The keeper's way to say so."""
        self._write(_STATE, {**self.state(), **state, "told": time.time()})

    def _read(self, name: str) -> dict[str, Any]:
        try:
            with PrivateFolder(self.folder) as private:
                return dict(json.loads(private.read(name))) if private.has(name) else {}
        except (OSError, ValueError, TypeError) as error:
            raise PilotError(
                f"{self.folder / name}: cannot be read ({error}): stop the pilot, start it again"
            ) from None

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        try:
            with PrivateFolder(self.folder) as private:
                private.write(name, json.dumps(document, indent=1).encode())
        except OSError as error:
            raise PilotError(f"{self.folder}: cannot be written ({error.strerror}): is the disk full?") from None


def pilot_folder(name: str) -> Path:
    """Where a pilot of this name is.

    Raises:
        PilotError: it is no name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise PilotError(f"'{name:.40}' cannot name a pilot: use letters, digits, - and _")
    base = Path(os.environ.get("QOMPASS_PILOTS") or _state_folder() / "pilots")
    return base.absolute() / name


def read_pilot(name: str) -> Pilot:
    """The pilot of a name.

    Raises:
        PilotError: there is none, or its folder is not to be trusted or understood.
    """
    folder = pilot_folder(name)
    if not (folder / _ABOUT).exists():
        raise PilotError(f"there is no pilot {name}: `qompass pilot start` starts one")
    try:
        with PrivateFolder(folder) as private:
            document = dict(json.loads(private.read(_ABOUT)))
        if document.pop("schema") != FORMAT_OF_PILOT:
            raise PilotError(f"{folder}: was written by another version of Qompass: stop the pilot with that one")
        return Pilot(**{**document, "folder": folder, "extra": tuple(document["extra"])})
    except PrivateFolderError as error:
        raise PilotError(str(error)) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PilotError(f"{folder / _ABOUT}: is damaged ({error}): remove the folder, start the pilot again") from None


def names_of_pilots() -> list[str]:
    """The names of all pilots that have a folder."""
    base = pilot_folder("x").parent
    return sorted(path.parent.name for path in base.glob(f"*/{_ABOUT}")) if base.is_dir() else []


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "qompass"
