"""One task function per device, so that the engine itself caps how many of its units are in use at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Protocol

from tasks.runtime.engine import constraint, task
from tasks.runtime.errors import EngineError

_PROCESSOR_TYPES = {"CPU": "CPU", "GPU": "GPU", "QPU": "OTHER"}


class DeviceLike(Protocol):
    """What a device must say to be bound to tasks; `scheduler_policies.Device` does."""

    @property
    def name(self) -> str:
        """Unique among the devices of a run."""

    @property
    def kind(self) -> Any:
        """CPU, GPU or QPU."""

    @property
    def processor(self) -> str:
        """Its processor's name in the resources file."""

    @property
    def computing_units(self) -> int:
        """Computing units of that processor one task takes."""

    @property
    def memory_bytes(self) -> int | None:
        """Memory one unit may use for states, None where unknown or meaningless."""


def device_tasks(
    body: FunctionType, devices: Iterable[DeviceLike], namespace: dict[str, Any], **task_arguments: Any
) -> dict[str, Callable[..., Any]]:
    """Make one task of ``body`` for each device, constrained to the device's processor.

    Call it at import time of the module that defines ``body``, with ``namespace=globals()``: COMPSs workers import
    that module and look the tasks up by name. The device list must therefore be the same in every process of a run.

    Args:
        body: the function each task runs.
        devices: the devices; their names end up in the tasks' names.
        namespace: ``globals()`` of the module of ``body``.
        task_arguments: as for ``task`` (``returns``, directions).

    Returns:
        The tasks by device name.

    Raises:
        EngineError: two devices' names differ only in characters that a function's name cannot have.
    """
    made: dict[str, Callable[..., Any]] = {}
    for device in devices:
        name = f"{body.__name__}_on_{''.join(c if c.isalnum() else '_' for c in device.name)}"
        if any(name == one.__name__ for one in made.values()):
            raise EngineError(f"device {device.name}: its name is too like another's: rename it in the resources file")
        # A function object of its own: PyCOMPSs keeps a task's constraints under the function's name.
        bound = FunctionType(body.__code__, body.__globals__, name, body.__defaults__, body.__closure__)
        bound.__kwdefaults__ = body.__kwdefaults__
        bound.__annotations__ = dict(body.__annotations__)
        bound.__module__ = body.__module__
        bound.__qualname__ = name
        bound.__doc__ = body.__doc__
        processor = {
            "ProcessorType": _PROCESSOR_TYPES[str(getattr(device.kind, "value", device.kind))],
            "ProcessorName": device.processor or device.name,
            "ComputingUnits": str(device.computing_units),
        }
        needs: dict[str, Any] = {"processors": [processor]}
        if processor["ProcessorType"] == "CPU" and device.memory_bytes is not None:
            # COMPSs keeps it on compute nodes (not on the master): tasks together stay within the node's memory.
            needs["memory_size"] = f"{device.computing_units * device.memory_bytes / 1e9:.3f}"
        made[device.name] = constraint(**needs)(task(**task_arguments)(bound))
        namespace[name] = made[device.name]
    return made
