"""What a task on a QPU tells of a run there, whatever came back."""

from __future__ import annotations

import pytest

from scheduler_policies import Device, Kind
from tasks.cutting import make_plan
from tasks.cutting.variants import enumerate_variants
from tasks.execution import on_qpu
from tasks.execution.device_results import ExecutionOptions
from tasks.execution.jobs import SampledJob
from tasks.execution.qpu import CircuitResult, Fault, QpuError, QpuRun
from tasks.execution.qpu.records import JobRecord
from tests.cutting.test_predicted_cost import two_halves


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setattr(on_qpu, "qpu_resource", lambda name: name)
    problem, severed = two_halves(6, 1, ["ZZZZZZ"])
    plan = make_plan(problem, cuts=severed)
    fragment, schemes = plan.fragments[0], plan.schemes[0]
    variants = tuple(enumerate_variants(fragment, schemes))
    return SampledJob(fragment, schemes, variants, (100,) * len(variants))


@pytest.mark.parametrize("fault", [Fault.UNFIT, Fault.UNAVAILABLE])
def test_readout_that_was_measured_is_told_where_nothing_else_was(fault, job, monkeypatch):
    def run(resource, requests, mitigation, options):
        results = [CircuitResult(failure=QpuError(fault, "QPU_A", "it broke")) for _ in requests]
        return QpuRun(results, [JobRecord("j1", 2, 250, 1.0, 3, "now", "now", unwanted=50)], readout_shots=200)

    monkeypatch.setattr(on_qpu, "run_mitigated", run)
    found = on_qpu.run_on_qpu([job], Device("QPU_A", Kind.QPU, qubits=9), ExecutionOptions())
    assert (found.results, found.readout_shots) == ((), 200) and "it broke" in found.failure
    assert found.jobs == {"j1": (250, 50)}
