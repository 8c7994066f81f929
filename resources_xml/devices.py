"""From the nodes of a resources file to the devices that Qompass may use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resources_xml.errors import ResourcesError
from resources_xml.reader import Node, Processor, read_nodes, whole_number
from scheduler_policies.device import Device, Kind, Price
from scheduler_policies.machine import CPU_SPEED, GPU_SPEED, QPU_SPEED

_KINDS = {"CPU": (Kind.CPU, CPU_SPEED), "GPU": (Kind.GPU, GPU_SPEED), "OTHER": (Kind.QPU, QPU_SPEED)}
_GIGABYTE = 10**9
_MOST_QUBITS = 10**6


def read_devices(path: Path, qubits: Mapping[str, int] | None = None) -> tuple[Device, ...]:
    """The devices of a pair of files, in the files' order.

    Args:
        path: a folder with project.xml and resources.xml, or either file.
        qubits: number of qubits of each QPU, where its target says it better than the file.

    Raises:
        ResourcesError: the files cannot be used, or a QPU's size is said nowhere.
    """
    return devices_of(read_nodes(path), qubits)


def devices_of(nodes: Iterable[Node], qubits: Mapping[str, int] | None = None) -> tuple[Device, ...]:
    """One device for each processor name that can run fragments.

    A processor of that name on several nodes is one device with the units of all, since a constraint names the
    processor and COMPSs chooses the node. FPGAs and processors for clients are no devices.

    Raises:
        ResourcesError: a QPU's size is said nowhere, or its name does not suit QRMI.
    """
    places: dict[str, list[tuple[Node, Processor]]] = {}
    for node in nodes:
        for processor in node.processors:
            if processor.type in _KINDS and not processor.clients:
                places.setdefault(processor.name, []).append((node, processor))
    return tuple(_device(name, where, qubits or {}) for name, where in places.items())


def units_of(devices: Iterable[Device]) -> dict[str, int]:
    """Computing units of each processor, as the embedded engine wants them."""
    return {device.processor: device.units * device.computing_units for device in devices if device.processor}


def this_machine(cores: int) -> tuple[Device, ...]:
    """The devices where no resources file was given: the cores of this machine."""
    return (Device("CPU", Kind.CPU, units=cores, speed=CPU_SPEED, processor="CPU"),)


def _device(name: str, places: Sequence[tuple[Node, Processor]], qubits: Mapping[str, int]) -> Device:
    processor = places[0][1]
    kind, speed = _KINDS[processor.type]
    words = dict(word.split("=", 1) for word in processor.words if "=" in word)
    size: int | None = None
    if kind is not Kind.QPU and "qubits" in words:
        size = whole_number(words["qubits"], _MOST_QUBITS)
        if size is None:
            raise ResourcesError(
                f"Processor {name}: qubits={words['qubits']:.40} is not a width: write a whole number, as 20, or leave "
                "it out where only memory limits it"
            )
    if kind is Kind.QPU:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ResourcesError(
                f"Processor {name}: QRMI finds a QPU by variables that begin with its name: use letters, digits and _"
            )
        text = str(qubits.get(name, words.get("qubits", "")))
        size = whole_number(text, _MOST_QUBITS)
        if size is None:
            raise ResourcesError(
                f"Processor {name}: how many qubits it has is said nowhere: add <ProcessorProperty><Key>qompass</Key>"
                "<Value>qubits=27</Value></ProcessorProperty>"
            )
    return Device(
        name,
        kind,
        units=sum(where.units for _, where in places),
        qubits=size,
        speed=speed,
        price=_price(name, words),
        memory_bytes=None if kind is Kind.QPU else _memory(kind, places),
        processor=name,
        node=places[0][0].name if len(places) == 1 else "",
        resource_type=words.get("type", ""),
    )


def _memory(kind: Kind, places: Iterable[tuple[Node, Processor]]) -> int | None:
    """Bytes one unit may use, on the node that has least."""
    sizes = []
    for node, processor in places:
        if processor.memory_gb is not None:
            sizes.append(processor.memory_gb / processor.units)
        elif kind is Kind.CPU and node.memory_gb is not None:
            sizes.append(node.memory_gb / processor.units)
        else:
            return None
    return int(min(sizes) * _GIGABYTE)


def _price(name: str, words: Mapping[str, str]) -> Price:
    """What using a processor costs: ``price_per_job``, ``price_per_shot`` and ``price_per_second`` in its property."""
    found = {}
    for key in ("per_job", "per_shot", "per_second"):
        text = words.get(f"price_{key}", "0")
        try:
            found[key] = float(text)
        except ValueError:
            found[key] = math.nan
        if not 0 <= found[key] < math.inf:
            raise ResourcesError(
                f"Processor {name}: price_{key}={text} is not a price: write a number that is not negative, as 0.0002"
            )
    unknown = [word for word in words if word.startswith("price") and word.removeprefix("price_") not in found]
    if unknown:
        raise ResourcesError(
            f"Processor {name}: there is no {unknown[0]}: prices are price_per_job, price_per_shot, price_per_second"
        )
    return Price(**found)
