"""The GPU path: the same tensors as on the CPU. Skipped by name where Aer has no GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.cutting import make_plan
from tasks.execution.jobs import exact_jobs, run_job
from tests.oracles import brickwork, random_problem

pytestmark = pytest.mark.uses("GPU")


@pytest.fixture
def plan():
    rng = np.random.default_rng(31)
    return make_plan(random_problem(brickwork(12, 4, rng), rng), max_qubits=7, shots=10**6)


def test_exact_tensors_agree_with_the_cpu(plan):
    for job in exact_jobs(plan):
        gpu, cpu = (run_job(job, device=device)["values"] for device in ("GPU", "CPU"))
        np.testing.assert_allclose(gpu, cpu, atol=1e-10, err_msg="seed 31")
