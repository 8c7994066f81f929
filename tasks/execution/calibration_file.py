"""The user's own file of what was measured of this machine, under ``$XDG_CONFIG_HOME``.

It says which machine and which version it is of, and is not used on another.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scheduler_policies.device import Speed
from scheduler_policies.machine import CPU_SPEED
from tasks.errors import QompassError
from tasks.runtime.regular_file import open_regular

logger = logging.getLogger(__name__)

VERSION = 5
_MOST_BYTES = 1 << 16
_FROM_TYPICAL = 1e4  # times faster or slower than a typical core no machine is
_NUMBERS = ("accuracy", "waited")
# Processor time tells how long the work takes beside other work too, but not what that drives from the caches.
_MOST_WAITED = 0.25
_LEAST_ACCURACY = 55.0  # on a quiet machine 80 to 90, beside others 65


@dataclass(frozen=True)
class GpuCrossover:
    """From where on a GPU is quicker than a core.

    Attributes:
        gpu: its name, and the library that it is used through.
        amplitudes: of a state and all that is made of it; None: it never was.
        flops: floating-point operations of a contraction; None: it never was.
    """

    gpu: str
    amplitudes: float | None
    flops: float | None


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        machine: processor and cores.
        speed: of one core.
        accuracy: median over the measurements of 100 min / max of predicted and measured seconds.
        waited: part of the time measured in which the processor did other work than this.
        gpu: of the GPU; None where none was here.
    """

    machine: str
    speed: Speed
    accuracy: float
    waited: float = 0.0
    gpu: GpuCrossover | None = None

    @property
    def doubt(self) -> str:
        """Why the constants should not be used, in words; empty where they may be."""
        if self.waited > _MOST_WAITED:
            return f"this machine is busy: {100 * self.waited:.0f} % of the time measured went to other work"
        if self.accuracy < _LEAST_ACCURACY:
            return f"the measurements contradict each other: the fit is right to {self.accuracy:.0f} % only"
        return ""

    def document(self) -> dict[str, Any]:
        """As the file has it."""
        return {"version": VERSION, **asdict(self)}


def calibration_path() -> Path:
    """Where the user's own file is."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "qompass" / "calibration.json"


def machine_name() -> str:
    """Processor and cores, as far as the system says."""
    names = [platform.machine(), platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names += [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line][
            :1
        ]
    return f"{' '.join(dict.fromkeys(name for name in names if name))}, {os.cpu_count()} cores"


def read_calibration(path: Path | None = None) -> Calibration | None:
    """The calibration of this machine, None where there is none; one that cannot be used is said and left alone.

    A process reads a file once, and again only where it has changed: runs ask for it.
    """
    file = path or calibration_path()
    try:
        state = file.stat()
    except OSError:
        return None
    return _read(file, (state.st_ino, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _read(file: Path, version: tuple[int, ...]) -> Calibration | None:
    try:
        with open_regular(file) as opened:
            document = json.loads(opened.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        _say_unused(file, f"it cannot be read ({type(error).__name__})")
        return None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        _say_unused(file, "it is of another version")
        return None
    if document.get("machine") != machine_name():
        _say_unused(file, f"it is of another machine ({str(document.get('machine'))[:80]})")
        return None
    try:
        speed = Speed(**{name: float(value) for name, value in document["speed"].items()})
        accuracy, waited = (float(document.get(name, 0.0)) for name in _NUMBERS)
        gpu = None if document.get("gpu") is None else GpuCrossover(**document["gpu"])
        found = Calibration(document["machine"], speed, accuracy, waited, gpu)
        crossings = [] if gpu is None else [float(v) for v in (gpu.amplitudes, gpu.flops) if v is not None]
        typical, numbers = np.array([*vars(CPU_SPEED).values()]), np.array([*vars(speed).values()])
        possible = (numbers <= _FROM_TYPICAL * typical) & (numbers >= typical / _FROM_TYPICAL)
        if not (possible.all() and np.isfinite(crossings).all() and min(crossings, default=0.0) >= 0):
            raise ValueError("a number is out of range")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        _say_unused(file, "its content is damaged")
        return None
    return found


def check_writable(file: Path) -> None:
    """Refuse a place where nothing can be written, before anything is measured.

    Raises:
        QompassError: it is one.
    """
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=next(folder for folder in file.parents if folder.exists())):
            pass
    except OSError as error:
        raise QompassError(f"{file}: cannot be written ({error.strerror})") from error


def write_calibration(found: Calibration, path: Path | None = None) -> Path:
    """Write the user's own file, whole or not at all.

    Raises:
        QompassError: it cannot be written.
    """
    file = path or calibration_path()
    check_writable(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.name}.{os.getpid()}.partial")
        unfinished.write_text(json.dumps(found.document(), indent=1))
        os.replace(unfinished, file)
    except OSError as error:
        raise QompassError(f"{file}: cannot be written ({error.strerror})") from error
    return file


def _say_unused(file: Path, why: str) -> None:
    logger.warning("%s is not used, typical values are: %s; `qompass calibrate` makes it anew", file, why)
