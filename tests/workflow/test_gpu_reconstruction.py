"""A contraction that is large enough is done on a GPU of the run; one that the GPU refuses, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks import reconstruct, workflow
from tasks.execution.calibration_file import Calibration, GpuCrossover, machine_name, write_calibration
from tasks.execution.errors import ExecutionError
from tasks.execution.run_devices import run_devices
from tasks.runtime import engine
from tests.oracles import brickwork
from tests.reconstruction.test_batches import sampled_problem

LOCAL_GPU = Path(__file__).resolve().parents[2] / "resources_xml/local_gpu"


@pytest.fixture
def device():
    (found,) = [device for device in run_devices(LOCAL_GPU) if device.kind.value == "GPU"]
    return found


def test_the_work_on_a_gpu_gives_the_cpus_answer(gpu, device, monkeypatch):
    monkeypatch.setattr(reconstruct, "accelerator", lambda: gpu)
    structure, tensors = sampled_problem(1)
    cpu = reconstruct.contract_network(structure, tensors, None, None)
    there = reconstruct.contract_network(structure, tensors, 1 << 30, None, device)
    np.testing.assert_allclose(there.values, cpu.values, atol=1e-11)
    np.testing.assert_allclose(there.std_errors, cpu.std_errors, rtol=1e-9)


def test_a_gpu_that_does_not_do_it_is_no_defect(device, monkeypatch):
    structure, tensors = sampled_problem(1)

    def broken():
        raise ExecutionError("no library here finds a GPU")

    monkeypatch.setattr(reconstruct, "accelerator", broken)
    with pytest.raises(OSError, match="device GPU: the network is not contracted there: no library"):
        reconstruct.contract_network(structure, tensors, None, None, device)


def test_a_run_tries_its_gpu_first_and_a_cpu_after_it(tmp_path, monkeypatch):
    """The threshold itself is lowered; everything behind it is what a large network would meet."""
    circuit, asked = brickwork(8, 3, np.random.default_rng(3)), ["Z0 Z7", "X3 + 0.5*Z4 Z5"]
    options = {"max_qubits": 4, "cache": "off", "policy": "availability"}
    alone = workflow.estimate(circuit, asked, **options)
    monkeypatch.setattr(reconstruct, "GPU_FLOPS", 0.0)
    found = workflow.estimate(circuit, asked, resources=LOCAL_GPU, out=tmp_path, **options)
    for one, other in zip(alone, found, strict=True):
        assert other.value == pytest.approx(one.value, abs=1e-10)
    (log,) = tmp_path.glob("*/log.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    tried = [event["device"] for event in events if str(event.get("work")) == "contract_network"]
    assert tried in (["GPU"], ["GPU", "CPU"]), "with a GPU here it does it"


def test_a_program_whose_engine_has_no_gpu_uses_none(tmp_path, monkeypatch):
    circuit, asked = brickwork(8, 3, np.random.default_rng(3)), ["Z0 Z7", "X3 + 0.5*Z4 Z5"]
    alone = workflow.estimate(circuit, asked, max_qubits=4, cache="off")
    monkeypatch.setattr(reconstruct, "GPU_FLOPS", 0.0)
    with engine("embedded", units={"CPU": 1}):
        found = workflow.estimate(circuit, asked, resources=LOCAL_GPU, out=tmp_path, max_qubits=4, cache="off")
    assert found == alone
    (record,) = tmp_path.glob("*/record.json")
    assert "GPU is not used: the engine runs without units of processor GPU" in json.loads(record.read_text())["notes"]


def test_what_is_large_enough_for_a_gpu_is_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert reconstruct.worth_gpu(reconstruct.GPU_FLOPS) and not reconstruct.worth_gpu(reconstruct.GPU_FLOPS / 2)
    speed = run_devices(None)[0].speed
    for flops, worth in ((1e6, True), (1e8, False), (None, False)):
        write_calibration(Calibration(machine_name(), speed, 2e9, 90.0, gpu=GpuCrossover("abacus", 1e5, flops)))
        assert reconstruct.worth_gpu(1e7) is worth
