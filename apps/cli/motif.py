"""``qompass motif NAME|all``: what this machine does with the field's execution motifs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os

from apps.cli.tables import table
from apps.cli.terminal import SCHEMA, say
from apps.motifs.characterise import PAGE_NAME, Where, characterise, page
from apps.motifs.couplings import MOTIFS
from scheduler_policies import Kind
from tasks.errors import InputError, QompassError
from tasks.execution.run_devices import run_devices
from tasks.runtime import under_compss
from tasks.runtime.machine import free_memory

_MOST_UNITS = 32  # each is a process
_MOST_SCALING = 1.5  # times the units: caches and turbo clocks give a little more than the units, nothing gives this


def motif(arguments: argparse.Namespace) -> int:
    """Run motifs with one unit and with all, write their tables and draw the page.

    Raises:
        InputError: there is no such motif, or it is too large for this machine.
    """
    names = list(MOTIFS) if arguments.name == "all" else [arguments.name]
    if arguments.name != "all" and arguments.name not in MOTIFS:
        raise InputError(f"'{arguments.name:.40}' is no motif: all, {', '.join(MOTIFS)}")
    sizes = {name: _size(arguments, MOTIFS[name].quick) for name in names}
    on_qpus = {name: _size(arguments, quick) for name in names if (quick := MOTIFS[name].on_qpus)}
    cores = len(os.sched_getaffinity(0))
    resources = getattr(arguments, "resources", None)
    devices = () if resources is None and not under_compss() else tuple(run_devices(resources))
    cpus = sum(device.units for device in devices if device.kind is Kind.CPU) or cores
    units = arguments.units or sorted({1, cpus})
    if max(units) > max(_MOST_UNITS, 4 * cores):
        raise InputError(
            f"--units {max(units):,}: this machine has {cores} cores: take {max(_MOST_UNITS, 4 * cores)} units or fewer"
        )
    scheduler = getattr(arguments, "scheduler", None)
    label = "pilot" if hasattr(arguments, "pilot") else "cluster" if scheduler else ""
    where = Where(getattr(arguments, "engine", "auto"), scheduler, label, devices, on_qpus, arguments.shots)
    found = characterise(names, sizes, units, where, arguments.seed, arguments.to, lambda line: say(line))
    rows = [
        (one.motif, one.device, str(one.units), str(one.tasks), f"{one.seconds:.2f}", f"{one.throughput:.3g}",
         f"{1e3 * one.overhead:.3g}", f"{one.utilisation:.0%}", f"{one.scaling:.2f}")
        for one in found
    ]  # fmt: skip
    drawn = ""
    try:
        drawing = page(found).to_dict()
        # Imported here: without the extra that draws, the tables are all there is.
        from apps.report.drawing import rendered

        (arguments.to / PAGE_NAME).write_bytes(rendered(drawing, "svg"))
        drawn = str(arguments.to / PAGE_NAME)
    except QompassError as error:  # the tables are there all the same
        say(str(error))
    if arguments.json:
        document = {"schema": SCHEMA, "motifs": [dataclasses.asdict(one) for one in found], "page": drawn}
        print(json.dumps({**document, "folder": str(arguments.to)}, indent=1))
        return 0
    names_ = ("motif", "device", "units", "tasks", "seconds", "tasks/s", "overhead, ms", "utilisation", "scaling")
    print(table(names_, rows, right=range(2, 9)))
    tried = min(one.units for one in found)
    if any(one.device == "CPU" and one.scaling > _MOST_SCALING * one.units / tried for one in found):
        say("some motifs scale better than units can: other work kept this machine busy; run again when it is quiet")
    print(f"Tables: {arguments.to}" + (f"; page: {drawn}" if drawn else ""))
    return 0


def _size(arguments: argparse.Namespace, quick: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """What is given, else a motif's usual size.

    Raises:
        InputError: it is too small for a motif, or too large for this machine.
    """
    usual = quick if arguments.quick else _full(quick)
    given = (arguments.qubits, arguments.depth, arguments.entries, arguments.length)
    qubits, depth, entries, length = (own or default for own, default in zip(given, usual, strict=True))
    most = free_memory().bit_length() - 6  # each of four vectors of complex numbers has 16 bytes an entry
    if not 4 <= qubits <= most:
        raise InputError(f"--qubits {qubits:,}: a motif has 4 qubits or more, and {most} fit into free memory")
    if 32 * qubits * depth * entries > free_memory():  # the angles, and as much again for what is made of them
        raise InputError(
            f"--qubits {qubits:,} --depth {depth:,} --entries {entries:,}: so many angles do not fit into free memory"
        )
    return qubits, depth, entries, length


def _full(quick: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    qubits, depth, entries, length = quick
    return (qubits + 2, depth, 4 * entries, 2 * length)
