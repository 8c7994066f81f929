"""What a Slurm cluster has, as its own commands say it, and whether a request fits: refused before it is submitted.

Slurm takes some requests that can never run and some that are not what was meant: the SPANK plugin of QRMI ignores a
QPU's name that it does not know, and a second ``--gres`` replaces the first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import QompassError


class SlurmError(QompassError):
    """Slurm does not answer, or a request does not fit what it has."""


@dataclass(frozen=True)
class SlurmPartition:
    """A partition.

    Attributes:
        name: of it.
        default: whether jobs that name none go there.
        nodes: how many it has.
        cores: of its largest node.
        minutes: most a job may take, None for any.
        gres: (name, type, units of the node that has most) of what its nodes have; type "" where there is none.
    """

    name: str
    default: bool
    nodes: int
    cores: int
    minutes: int | None
    gres: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class JobRequest:
    """What a job asks for.

    Attributes:
        nodes: how many.
        cores: of each node.
        minutes: wall clock.
        partition: its name, "" for the default one.
        gpus: of each node.
        qpus: (name, units).
    """

    nodes: int
    cores: int
    minutes: int
    partition: str = ""
    gpus: int = 0
    qpus: tuple[tuple[str, int], ...] = ()


def ask_slurm(*command: str, script: str | None = None) -> str:
    """What a command of Slurm prints.

    Args:
        command: and its arguments.
        script: its standard input.

    Raises:
        SlurmError: there is no such command here, or the controller does not answer.
    """
    if shutil.which(command[0]) is None:
        raise SlurmError(f"{command[0]} is not on the PATH: submit from a node of the cluster (`module load slurm`?)")
    try:
        done = subprocess.run(command, input=script or "", capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"Slurm's controller does not answer (`{command[0]}` took a minute): try later") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise SlurmError(f"Slurm does not take `{' '.join(command[:4])}`: {said}")
    return done.stdout


def partitions_of(text: str) -> list[SlurmPartition]:
    """From ``sinfo -h -o '%P|%D|%c|%l|%G'``."""
    found: dict[str, SlurmPartition] = {}
    for line in text.splitlines():
        name, nodes, cores, limit, gres = line.split("|")
        own = found.get(
            name.rstrip("*"), SlurmPartition(name.rstrip("*"), name.endswith("*"), 0, 0, minutes_of(limit), ())
        )
        found[own.name] = SlurmPartition(
            own.name, own.default, own.nodes + int(nodes), max(own.cores, int(cores.rstrip("+"))), own.minutes,
            tuple(dict.fromkeys([*own.gres, *_gres_of(gres)])),
        )  # fmt: skip
    return list(found.values())


def licences_of(text: str) -> dict[str, int]:
    """Units of each licence, from ``scontrol show licenses -o``."""
    return {name: int(total) for name, total in re.findall(r"LicenseName=(\S+)\s+Total=(\d+)", text)}


def minutes_of(text: str) -> int | None:
    """Minutes from Slurm's ``[days-]hours:minutes:seconds``, ``minutes:seconds`` or ``minutes``; None for any.

    Raises:
        SlurmError: it is none of these.
    """
    if text.strip().lower() in ("infinite", "unlimited", "n/a"):
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if not match:
        raise SlurmError(f"'{text:.40}' is no time: write minutes, HH:MM:SS or D-HH:MM:SS")
    days, *parts = (None if part is None else int(part) for part in match.groups())
    first, second, third = parts
    assert first is not None
    if third is not None:
        seconds = first * 3600 + (second or 0) * 60 + third
    elif days is not None:
        seconds = first * 3600 + (second or 0) * 60
    else:
        seconds = first * 60 + (second or 0)
    return max(1, -(-((days or 0) * 86400 + seconds) // 60))


def _gres_of(text: str) -> list[tuple[str, str, int]]:
    found = []
    for word in re.sub(r"\([^)]*\)", "", text).split(","):
        parts = word.split(":")
        if parts[0] and parts[0] != "null" and word != "(null)":
            count = parts[-1] if len(parts) > 1 and parts[-1].isdecimal() else "1"
            kind = parts[1] if len(parts) > 2 or (len(parts) == 2 and not parts[1].isdecimal()) else ""
            found.append((parts[0], kind, int(count)))
    return found


def check_request(request: JobRequest, partitions: Sequence[SlurmPartition]) -> SlurmPartition:
    """The partition that a request goes to.

    Raises:
        SlurmError: there is none, or the request is more than it has.
    """
    named = [p for p in partitions if p.name == request.partition or (not request.partition and p.default)]
    if not named:
        known = ", ".join(p.name for p in partitions) or "none"
        missing = f"no partition {request.partition}" if request.partition else "no default partition"
        raise SlurmError(f"there is {missing}: `partition` is one of {known}")
    partition = named[0]
    gpus = max([count for name, _, count in partition.gres if name == "gpu"], default=0)
    for what, wanted, there in (
        ("nodes", request.nodes, partition.nodes),
        ("cores on a node", request.cores, partition.cores),
        ("minutes", request.minutes, partition.minutes),
        ("GPUs on a node", request.gpus, gpus),
    ):
        if there is not None and wanted > there:
            raise SlurmError(f"partition {partition.name} has {there} {what}, and {wanted} are asked for: ask for less")
    return partition


def qpu_flags(
    request: JobRequest, partition: SlurmPartition, licences: dict[str, int], spank: bool, way: str = ""
) -> list[str]:
    """How to ask ``sbatch`` for QPUs and GPUs: one ``--gres`` for all, licences, or SPANK's ``--qpu``.

    A QPU is a licence of its name, a GRES ``qpu`` of its name as type, or one of the GRES ``qpu`` without types, in
    that order, unless ``way`` says which. The SPANK plugin does not hold a QPU; where a licence or GRES has it too both
    are asked for.

    Args:
        request: what is asked for.
        partition: where.
        licences: units of each.
        spank: whether ``sbatch`` knows ``--qpu``.
        way: "licence", "gres" or "spank"; "" for what there is.

    Raises:
        SlurmError: there is no such QPU, or there are fewer units of it.
    """
    gres = {(name, kind): count for name, kind, count in partition.gres}
    words: dict[str, int] = {"gpu": request.gpus} if request.gpus else {}
    named_licences = {}
    for name, units in request.qpus:
        licence = next((own for own in licences if own.lower() == name.lower()), None)
        kind = next((k for n, k in gres if n == "qpu" and k.lower() == name.lower()), None)
        generic = ("qpu", "") in gres
        if licence is not None and way in ("", "licence"):
            most, named_licences[licence] = licences[licence], units
        elif kind is not None and way in ("", "gres"):
            most, words[f"qpu:{kind}"] = gres["qpu", kind], units
        elif generic and way in ("", "gres"):
            words["qpu"] = units = words.get("qpu", 0) + units
            most = gres["qpu", ""]
        elif spank and way in ("", "spank"):
            most = units
        else:
            there = [*(f"licence {own}" for own in licences), *(f"GRES {n}:{k}".rstrip(":") for n, k in gres)]
            raise SlurmError(
                f"Slurm has no QPU {name} in partition {partition.name}: it has {', '.join(there) or 'none'}"
            )
        if units > most:
            raise SlurmError(f"Slurm has {most} units of QPU {name}, and {units} are asked for: ask for less")
    flags = []
    if words:
        flags += ["--gres=" + ",".join(f"{name}:{count}" for name, count in words.items())]
    if named_licences:
        flags += ["--licenses=" + ",".join(f"{name}:{count}" for name, count in named_licences.items())]
    if spank and request.qpus and way in ("", "spank"):
        flags += ["--qpu=" + ",".join(name for name, _ in request.qpus)]
    return flags


def read_partitions() -> list[SlurmPartition]:
    """The partitions of this cluster.

    Raises:
        SlurmError: Slurm does not answer.
    """
    return partitions_of(ask_slurm("sinfo", "-h", "-o", "%P|%D|%c|%l|%G"))


def read_site() -> tuple[list[SlurmPartition], dict[str, int], bool]:
    """Partitions, licences, and whether ``sbatch`` has SPANK's ``--qpu``.

    Raises:
        SlurmError: Slurm does not answer.
    """
    partitions = read_partitions()
    licences = licences_of(ask_slurm("scontrol", "show", "licenses", "-o"))
    return partitions, licences, bool(re.search(r"\B--qpu\b", ask_slurm("sbatch", *["--help"])))
