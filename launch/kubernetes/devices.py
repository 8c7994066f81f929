"""What a site's file says of its devices: ``cpu CORES``, ``gpu NUMBER``, ``qpu NAME QUBITS UNITS TYPE``, one a line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(
    r"(?P<kind>cpu|gpu) (?P<units>\d+)|qpu (?P<name>[A-Za-z]\w*) (?P<qubits>\d+) (?P<jobs>\d+) (?P<type>[a-z-]+)"
)


@dataclass
class SiteDevices:
    """The devices of a site.

    Attributes:
        cpu: cores.
        gpu: how many.
        qpus: for each its ``name``, ``qubits``, ``units`` (jobs at once) and QRMI ``type``.
    """

    cpu: int = 1
    gpu: int = 0
    qpus: list[dict[str, int | str]] = field(default_factory=list)


def read_site_devices(path: Path) -> SiteDevices:
    """Read the file.

    Raises:
        ValueError: a line of it cannot be read.
    """
    found = SiteDevices()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = " ".join(line.partition("#")[0].split())
        if not words:
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            forms = "`cpu CORES`, `gpu NUMBER`, `qpu NAME QUBITS UNITS TYPE`"
            raise ValueError(f"{path}, line {number}: '{words:.60}' is none of {forms}")
        if match["name"]:
            qubits, units = int(match["qubits"]), int(match["jobs"])
            found.qpus.append({"name": match["name"], "qubits": qubits, "units": units, "type": match["type"]})
        elif match["kind"] == "cpu":
            found.cpu = int(match["units"])
        else:
            found.gpu = int(match["units"])
    return found
