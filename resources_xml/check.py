"""Before the first submission: can each task that may be submitted run at all? COMPSs may hang where none can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resources_xml.reader import Node
from scheduler_policies.device import Device, Kind


@dataclass(frozen=True)
class Need:
    """What one task needs of the node it runs on.

    Attributes:
        task: its name, for the message.
        units: computing units.
        processor: of the processor of this name; "" for any of the type.
        type: CPU, GPU or OTHER.
        memory_gb: of the node's memory.
    """

    task: str
    units: int = 1
    processor: str = ""
    type: str = "CPU"
    memory_gb: float = 0.0


def needs_of_devices(task: str, devices: Iterable[Device]) -> tuple[Need, ...]:
    """What the tasks that `tasks.runtime.device_tasks` makes of ``task`` need."""
    types = {Kind.CPU: "CPU", Kind.GPU: "GPU", Kind.QPU: "OTHER"}
    return tuple(
        Need(f"{task} on {device.name}", device.computing_units, device.processor, types[device.kind])
        for device in devices
    )


def unsatisfied(needs: Iterable[Need], nodes: Sequence[Node]) -> list[str]:
    """One line for each need that no node meets, saying what it needs and what there is; empty when all can run."""
    lines = []
    for need in needs:
        if any(_meets(node, need) for node in nodes):
            continue
        what = f"processor {need.processor}" if need.processor else f"processors of Type {need.type}"
        most = max((_units(node, need) for node in nodes), default=0)
        memory = f" and {need.memory_gb:g} GB of memory" if need.memory_gb else ""
        lines.append(
            f"task {need.task} needs {need.units} computing units of {what}{memory} on one node; "
            f"the resources file offers {most}: change the file or leave that device out"
        )
    for node in nodes:
        if node.most_tasks == 0:
            lines.append(
                f"{node.title} has no processor of Type CPU, so COMPSs executes nothing on it: give it one "
                "with a unit for each task that may run at once"
            )
    return lines


def _units(node: Node, need: Need) -> int:
    # A task takes units of one processor; COMPSs does not add up processors of a node for one constraint.
    fits = [
        p.units for p in node.processors if p.type == need.type and (p.name == need.processor or not need.processor)
    ]
    return max(fits, default=0)


def _meets(node: Node, need: Need) -> bool:
    # A node that does not say its memory has, for COMPSs, as much as is asked for.
    enough = node.memory_gb is None or node.memory_gb >= need.memory_gb
    return enough and _units(node, need) >= need.units and node.most_tasks > 0
