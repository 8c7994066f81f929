"""What a simulator's device does where this machine is not what the resources file says."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler_policies import GPU_SPEED, Device, Kind
from tasks.cutting import make_plan
from tasks.execution.errors import ExecutionError
from tasks.execution.jobs import exact_jobs
from tasks.execution.on_device import run_on_device
from tasks.execution.run_devices import holding_qpus
from tasks.execution.simulators.accelerator import accelerator
from tests.conftest import SERVICES
from tests.oracles import brickwork, random_problem


@pytest.mark.skipif(not SERVICES["GPU"](), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_refused_so_that_another_device_is_tried():
    rng = np.random.default_rng(32)
    jobs = exact_jobs(make_plan(random_problem(brickwork(4, 2, rng), rng), max_qubits=3))
    gpu = Device("GPU", Kind.GPU, units=1, speed=GPU_SPEED)
    with pytest.raises(ExecutionError, match="device GPU: no library here finds a GPU"):
        run_on_device(jobs, gpu)


def test_a_library_that_cannot_be_loaded_says_why(monkeypatch):
    def load(name):
        if name == "array_api_compat.torch":
            raise ImportError("libtorch_cpu.so: failed to map\nsegment from shared object")
        raise ModuleNotFoundError("No module named 'cupy'")

    monkeypatch.setattr("tasks.execution.simulators.accelerator.import_module", load)
    with pytest.raises(ExecutionError) as found:
        accelerator()
    words = (
        "no library here finds a GPU (ImportError: libtorch_cpu.so: failed to map segment from shared object): install"
    )
    assert str(found.value).startswith(words)


def test_devices_without_a_qpu_need_no_holding():
    with holding_qpus([Device("CPU", Kind.CPU)]) as held:
        assert held is None
