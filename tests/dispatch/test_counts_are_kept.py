"""Whether a fragment is sampled or exact is decided before its first shot is paid: counts are never thrown away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scheduler_policies import CPU_SPEED, Device, DeviceState, Kind
from tasks.dispatch import driver
from tasks.execute import run_jobs
from tasks.reconstruct import Allocation
from tasks.runs import RunDirectory
from tasks.runtime import Outcome
from tasks.workflow import Options, run
from tests.oracles import brickwork, random_problem, uncut_values
from tests.scheduler_policies.instances import qpu

GOOD = replace(qpu("QPU_A", 20, 1e-5, 1e-6).device, name="QPU_A")
CPU = Device("cpu", Kind.CPU, speed=CPU_SPEED)


def evenly(plan):
    """A second round that takes more shots of every variant."""
    return {f.index: np.full((2, cost.variants), 10_000) for f, cost in zip(plan.fragments, plan.costs, strict=True)}


@pytest.fixture
def noiseless_qpu(monkeypatch):
    """A QPU without noise that is there for the first round only; the CPU is there always."""
    asked = []

    def state_of(device, trouble):
        asked.append(device.name)
        return DeviceState() if len(asked) == 1 else DeviceState(set_aside_until=1e18)

    def execute_on(device, *, late=False):
        def submit(jobs, device, how, folder, limits, ticket):
            simulator = replace(CPU, name=device.name)
            report, payload = run_jobs(jobs, simulator, how, folder, ticket.attempt)
            return Outcome(report, device=device.name, seconds=0.01), payload

        return submit

    monkeypatch.setattr("tasks.dispatch.start.run_devices", lambda resources, trouble: [GOOD, CPU])
    monkeypatch.setattr("tasks.execute.fidelities_of", lambda plan, devices, mitigation: {})
    monkeypatch.setattr("tasks.dispatch.start.state_of", state_of)
    monkeypatch.setattr(driver, "execute_on", execute_on)
    monkeypatch.setattr("tasks.dispatch.start._small", lambda plan, options, devices: True)
    value_of = driver.Driver.value_of

    def evenly_allocated(self, what, submit):
        return Allocation(evenly(self.plan)) if "allocation" in what else value_of(self, what, submit)

    monkeypatch.setattr(driver.Driver, "value_of", evenly_allocated)


def test_a_later_round_on_a_simulator_adds_shots_to_counts_that_were_paid(noiseless_qpu, tmp_path):
    rng = np.random.default_rng(3)
    problem = random_problem(brickwork(8, 2, rng), rng)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=4, shots=60_000, seed=2, policy="round_robin"), directory)
        stored = list(directory.record["results"].values())
    paid = {entry["fragment"] for entry in stored if entry["device"] == "QPU_A"}
    assert paid, "the first round used the QPU"
    later = [entry for entry in stored if entry.get("round") == 1 and entry["fragment"] in paid]
    assert later and {entry["device"] for entry in later} == {"cpu"}, "the second round went to the simulator"
    for fragment in paid:
        counts = {entry["count"] for entry in stored if entry.get("fragment") == fragment}
        assert len(counts) == 1, "it took every variant"
    errors = np.array([e.std_error for e in result.estimates])
    values = np.array([e.value for e in result.estimates])
    assert (errors > 0).all(), "counts were paid, so the answer is sampled"
    assert (np.abs(values - uncut_values(problem)) < 5 * errors).all(), "seed 2"
