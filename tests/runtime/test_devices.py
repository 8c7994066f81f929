"""What a device's tasks ask of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace

import pytest

from tasks.runtime import EngineError, devices


class Kind(Enum):
    CPU = "CPU"


@dataclass(frozen=True)
class Device:
    name: str
    kind: object = "CPU"
    processor: str = ""
    computing_units: int = 1
    memory_bytes: int | None = None


def body(value, *, factor=2):
    """What every device runs."""
    return value * factor


@pytest.fixture
def asked(monkeypatch):
    """The constraints of each task, by the name of its function."""
    found: dict[str, dict] = {}

    def constraint(**needs):
        def decorate(made):
            found[made.__name__] = needs
            return made

        return decorate

    monkeypatch.setattr(devices, "constraint", constraint)
    monkeypatch.setattr(devices, "task", lambda **arguments: lambda function: function)
    return found


def processor(kind, name, units):
    return [{"ProcessorType": kind, "ProcessorName": name, "ComputingUnits": units}]


def test_a_task_asks_for_its_devices_processor_and_a_cpus_memory(asked):
    pool = [
        Device("cpu", Kind.CPU, "CPU_A", 3, 2 * 10**9),
        Device("small", "CPU", memory_bytes=1_500_000),
        Device("unknown", "CPU"),
        Device("gpu", "GPU", "GPU_A", 1, 8 * 10**9),
        Device("ibm-1", "QPU", memory_bytes=10**9),
    ]
    namespace: dict[str, object] = {}
    made = devices.device_tasks(body, pool, namespace)
    assert asked == {
        "body_on_cpu": {"processors": processor("CPU", "CPU_A", "3"), "memory_size": "6.000"},
        "body_on_small": {"processors": processor("CPU", "small", "1"), "memory_size": "0.002"},
        "body_on_unknown": {"processors": processor("CPU", "unknown", "1")},
        "body_on_gpu": {"processors": processor("GPU", "GPU_A", "1")},
        "body_on_ibm_1": {"processors": processor("OTHER", "ibm-1", "1")},
    }
    assert list(made) == [device.name for device in pool]
    assert {task.__name__: task for task in made.values()} == namespace, "workers look them up in the module"
    one = made["ibm-1"]
    assert (one.__module__, one.__qualname__, one.__doc__) == (__name__, "body_on_ibm_1", body.__doc__)
    assert one(3) == 6 and one(3, factor=5) == 15 and one.__code__ is body.__code__ and one is not body


def test_names_that_no_two_functions_can_have_are_refused(asked):
    with pytest.raises(EngineError, match=r"a\.b: its name is too like another's: rename it"):
        devices.device_tasks(body, [Device("a_b"), Device("a.b")], {})


def test_the_arguments_of_the_task_are_handed_on(asked, monkeypatch):
    seen = SimpleNamespace(arguments=None)

    def task(**arguments):
        seen.arguments = arguments
        return lambda function: function

    monkeypatch.setattr(devices, "task", task)
    devices.device_tasks(body, [Device("one")], {}, returns=2, pieces="COLLECTION_IN")
    assert seen.arguments == {"returns": 2, "pieces": "COLLECTION_IN"}
