"""The GPU path: the same tensors and counts as on the CPU, on a GPU where there is one and by a strict array library.

array-api-strict has what the standard of array libraries has and nothing more; CuPy and PyTorch follow it.
"""

from __future__ import annotations

import numpy as np
import pytest

from tasks.cutting import make_plan
from tasks.execution.jobs import exact_jobs, run_job, sampled_jobs, uniform_shots
from tasks.execution.simulators import accelerator, open_state
from tasks.execution.simulators.accelerator import Accelerator
from tasks.execution.simulators.exact import exact_tensor
from tests.oracles import brickwork, random_problem


def plan_of(gate="cz", terms=6):
    rng = np.random.default_rng(31)
    return make_plan(random_problem(brickwork(12, 4, rng, gate=gate), rng, terms=terms), max_qubits=7, shots=10**6)


@pytest.mark.uses("GPU")
def test_exact_tensors_agree_with_the_cpu(monkeypatch):
    monkeypatch.setattr(open_state, "GPU_FROM", 1)
    for job in exact_jobs(plan_of()):
        gpu, cpu = (run_job(job, device=device)["values"] for device in ("GPU", "CPU"))
        np.testing.assert_allclose(gpu, cpu, atol=1e-10, err_msg="seed 31")


@pytest.mark.parametrize("part", [1 << 22, 64])
@pytest.mark.parametrize("gate", ["cz", "swap"])
def test_a_strict_array_library_gives_the_tensors_of_the_cpu(gate, part, monkeypatch):
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    monkeypatch.setattr(open_state, "GPU_FROM", 1)
    monkeypatch.setattr(accelerator, "PART", part)
    plan = plan_of(gate, 60 if gate == "cz" else 4)
    for fragment in plan.fragments:
        if fragment.open_qubits > 14:
            continue
        state = open_state.open_state(fragment, gpu=Accelerator(strict))
        assert state.gpu is not None and not isinstance(state.amplitudes, np.ndarray)
        cpu = open_state.open_state(fragment)
        np.testing.assert_allclose(state.here().amplitudes, cpu.amplitudes, atol=1e-12)
        np.testing.assert_allclose(exact_tensor(fragment, state), exact_tensor(fragment, cpu), atol=1e-12)


def test_jobs_for_a_gpu_run_on_it(monkeypatch):
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    used = []

    class Counted(Accelerator):
        def state(self, program):
            used.append(program)
            return super().state(program)

    monkeypatch.setattr(open_state, "GPU_FROM", 32)
    monkeypatch.setattr("tasks.execution.jobs.accelerator", lambda: Counted(strict))
    plan = plan_of()
    jobs = [*exact_jobs(plan), *sampled_jobs(plan, uniform_shots(plan, 100_000), 3)]
    for job in jobs:
        gpu, cpu = run_job(job, device="GPU"), run_job(job)
        for name, array in cpu.items():
            np.testing.assert_allclose(gpu[name], array, atol=1e-10)
    assert len(used) == len(jobs)
    monkeypatch.setattr(open_state, "GPU_FROM", 1 << 40)
    run_job(jobs[0], device="GPU")
    assert len(used) == len(jobs), "small states stay on the CPU"
