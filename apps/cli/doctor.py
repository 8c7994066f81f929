"""``qompass doctor``: what this machine has, and how to get what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from apps.cli.groups import DEFAULT_OUT
from apps.cli.tables import table
from apps.cli.terminal import SCHEMA
from apps.extras import INSTALL_EXTRAS
from tasks.errors import QompassError
from tasks.model.sizes import bytes_text
from tasks.runtime.machine import free_memory, usable_cores
from tasks.runtime.ranks import mpirun_path

_BYTES_AN_AMPLITUDE = 48  # of a whole simulation: the state and two more like it, as the planner counts


@dataclass(frozen=True)
class Finding:
    """One thing looked for.

    Attributes:
        name: what.
        found: whether it is here and works.
        detail: which, how much, or what is wrong.
        how: how to get it; empty when there is nothing to do.
    """

    name: str
    found: bool
    detail: str
    how: str = ""


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything Qompass can use; what is missing is no error."""
    findings = [check() for check in CHECKS]
    if arguments.resources is not None:
        findings.append(check_resources(arguments.resources))
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return 0
    rows = [("yes" if finding.found else "no", finding.name, finding.detail) for finding in findings]
    print(table(("here", "what", "detail"), rows))
    missing = [finding for finding in findings if finding.how]
    if missing:
        print("\nHow to get what is missing (Qompass runs without it):")
        print("\n".join(f"  {finding.name}: {finding.how}" for finding in missing))
    return 0


def check_python() -> Finding:
    """The interpreter and the packages that numbers depend on."""
    names = ("qiskit", "qiskit-aer", "qiskit-addon-cutting", "numpy")
    shown = ", ".join(f"{name} {_version(name)}" for name in names)
    return Finding("Python", True, f"{platform.python_version()}; {shown}")


def check_cores() -> Finding:
    """Cores this process may use."""
    return Finding("cores", True, f"{usable_cores()} of {os.cpu_count()}")


def check_memory() -> Finding:
    """Free memory, and how wide a simulation fits."""
    free = free_memory()
    widest = math.floor(math.log2(max(free, 1) / _BYTES_AN_AMPLITUDE))
    return Finding("memory", True, f"{bytes_text(free)} free: fragments of up to {widest} qubits, open legs included")


def check_runs() -> Finding:
    """Whether runs can be written where they go by default."""
    folder = next(path for path in (DEFAULT_OUT.absolute(), *DEFAULT_OUT.absolute().parents) if path.exists())
    if not os.access(folder, os.W_OK):
        return Finding("runs folder", False, f"{folder} cannot be written", "name another with --out DIR")
    return Finding("runs folder", True, f"{DEFAULT_OUT}, {bytes_text(shutil.disk_usage(folder).free)} free")


def check_embedded() -> Finding:
    """The engine of this machine alone."""
    return Finding("embedded engine", True, f"dask.distributed {_version('distributed')}")


def check_compss() -> Finding:
    """COMPSs' launcher."""
    path = shutil.which("runcompss")
    if path is None:
        return Finding(
            "COMPSs engine",
            False,
            "runcompss is not on PATH",
            "install COMPSs 3.3 (https://compss-doc.readthedocs.io), or use its docker image compss/compss",
        )
    how = "launch/local_compss.sh apps/expectation.py takes the arguments of `qompass run`"
    return Finding("COMPSs engine", True, f"{path}: {how}")


def check_mpi() -> Finding:
    """mpi4py and an mpirun that belongs to it."""
    how = "pip install mpi4py mpich (no system package needed), or mpi4py built on the cluster's own MPI"
    launcher = mpirun_path()  # the one that a run takes, whatever the PATH of whoever asks
    if importlib.util.find_spec("mpi4py") is None or launcher is None:
        missing = "mpi4py is not installed" if launcher else "there is no mpirun"
        return Finding("MPI", False, missing, how)
    program = "from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1))"
    worked, output = _output([launcher, "-n", "2", sys.executable, "-I", "-c", program])
    if not worked or output.split() != ["2", "2"]:
        return Finding("MPI", False, f"{launcher} and mpi4py {_version('mpi4py')} do not work together", how)
    return Finding("MPI", True, f"{launcher}, mpi4py {_version('mpi4py')}")


def check_gpu() -> Finding:
    """A GPU, and an array library that can use it."""
    worked, output = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    if not worked or not output.strip():
        return Finding("GPU", False, "nvidia-smi finds none")
    names = "; ".join(output.strip().splitlines())
    from tasks.execution.errors import ExecutionError
    from tasks.execution.simulators.accelerator import accelerator

    try:
        accelerator()
    except ExecutionError:
        how = "pip install array-api-compat cupy-cuda12x (or torch)"
        return Finding("GPU", False, f"{names}, but no library here can use it", how)
    return Finding("GPU", True, names)


def check_qpus() -> Finding:
    """QPUs that QRMI can reach from here."""
    how = f"{INSTALL_EXTRAS} (Python >= 3.11)"
    if importlib.util.find_spec("qrmi") is None:
        return Finding("QPUs", False, "qrmi is not installed", how)
    from tasks.execution.qpu import qpu_resources

    try:
        resources = qpu_resources()
    except QompassError as error:
        return Finding("QPUs", False, str(error), "correct the variables or the file it names")
    if not resources:
        how = "a Slurm job with QRMI's plugin names them; elsewhere set QOMPASS_QRMI_CONFIG=qrmi_config.json"
        return Finding("QPUs", False, f"qrmi {_version('qrmi')}, but no QPU is named", how)
    return Finding("QPUs", True, ", ".join(f"{name} ({entry.type})" for name, entry in resources.items()))


def check_cache() -> Finding:
    """Stores for results that later runs can use."""
    kinds = ["folder (lmdb)"] if importlib.util.find_spec("lmdb") else []
    if importlib.util.find_spec("redis"):
        return Finding("cache stores", True, ", ".join([*kinds, "Redis"]))
    how = f"for one shared between machines: {INSTALL_EXTRAS}"
    return Finding("cache stores", bool(kinds), ", ".join(kinds) or "none", how)


def check_slurm() -> Finding:
    """A batch system."""
    if shutil.which("sbatch") is None:
        return Finding("Slurm", False, "sbatch is not on PATH")
    return Finding("Slurm", True, str(Path(shutil.which("sbatch") or "")))


def check_resources(path: Path) -> Finding:
    """What a COMPSs resources file offers."""
    from resources_xml import read_devices

    try:
        devices = read_devices(path)
    except QompassError as error:
        return Finding("resources file", False, str(error), "correct it; `qompass devices --resources FILE` shows more")
    shown = ", ".join(f"{device.name} ({device.kind.value}, {device.units} units)" for device in devices)
    return Finding("resources file", True, shown)


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_cores,
    check_memory,
    check_runs,
    check_embedded,
    check_compss,
    check_mpi,
    check_gpu,
    check_qpus,
    check_cache,
    check_slurm,
)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _output(command: list[str]) -> tuple[bool, str]:
    """Whether a command succeeded within half a minute, and what it printed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False, ""
    return done.returncode == 0, done.stdout
