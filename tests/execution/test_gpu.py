"""The GPU path: the same tensors, distributions and counts as on the CPU, by every array library that is here.

array-api-strict has what the standard of array libraries has and nothing more; PyTorch on a CPU is the library that
many GPUs are used through.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tasks.cutting import GateCut, make_plan
from tasks.cutting.drawn_bytes import Room
from tasks.cutting.variants import enumerate_variants
from tasks.execution.jobs import exact_jobs, run_job, sampled_jobs, uniform_shots
from tasks.execution.simulators import first_laws, sampled
from tasks.execution.simulators.accelerator import Accelerator
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.outputs import exact_outputs
from tests.execution.test_distributions import mixed_plan
from tests.oracles import brickwork, random_problem


def plan_of(gate="cz", terms=6):
    rng = np.random.default_rng(31)
    return make_plan(random_problem(brickwork(12, 4, rng, gate=gate), rng, terms=terms), max_qubits=7, shots=10**6)


@pytest.mark.parametrize("part", [1 << 22, 64])
@pytest.mark.parametrize("gate", ["cz", "swap"])
def test_tensors_are_those_of_the_cpu(gate, part, gpu):
    gpu.part = part
    plan = plan_of(gate, 60 if gate == "cz" else 4)
    for fragment in plan.fragments:
        if fragment.open_qubits > 14:
            continue
        state = open_state(fragment, gpu=gpu)
        assert state.gpu is not None and not isinstance(state.amplitudes, np.ndarray)
        cpu = open_state(fragment)
        np.testing.assert_allclose(state.here().amplitudes, cpu.amplitudes, atol=1e-12)
        np.testing.assert_allclose(exact_tensor(fragment, state), exact_tensor(fragment, cpu), atol=1e-12)


WAYS = {"joint": (11, 1 << 26, 1), "in turn": (0, 1 << 26, 1), "table here": (0, 1 << 26, 40), "highest": (0, 1, 1)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("seed", "part"), [(0, 8), (1, 1 << 22), (2, 8), (3, 1 << 22)])
def test_variants_are_drawn_from_the_cpus_distributions_and_get_its_counts(seed, way, part, gpu, monkeypatch):
    joint, table, smallest = WAYS[way]
    monkeypatch.setattr(first_laws, "JOINT_BITS", joint)
    plan, _ = mixed_plan(seed)
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        there = copy.copy(gpu)
        there.part, there.smallest = part, smallest
        variants = enumerate_variants(fragment, schemes)
        rows, cpu, state = sampled.setting_rows(fragment, schemes), open_state(fragment), open_state(fragment, gpu=gpu)
        state = type(state)(state.amplitudes, state.rest, state.branchings, there)
        for group in {variant.group for variant in variants}:
            own = [variant.settings for variant in variants if variant.group == group]
            settings = np.array(own, dtype=np.int64).reshape(len(own), len(rows))
            one, other = (sampled._Seen(fragment, s, group, rows, settings, Room(table)) for s in (cpu, state))
            for a, b in zip(one.first.each(settings), other.first.each(settings), strict=True):
                np.testing.assert_array_equal(a.members, b.members)
                np.testing.assert_allclose(a.laws, b.laws, atol=1e-13, err_msg=f"seed {seed}")
        for shots in (30, 5000):
            some = variants[::4]
            asked = some, [shots] * len(some), [f"{seed}:{v}" for v in some], Room(table)
            here, found = (sampled.sample_open(fragment, schemes, s, *asked) for s in (cpu, state))
            for name, array in here.items():
                np.testing.assert_array_equal(found[name], array, err_msg=f"seed {seed}, {name}")


def test_outputs_are_those_of_the_cpu(gpu):
    rng = np.random.default_rng(7)
    circuit = brickwork(8, 3, rng)
    middle = [i for i, item in enumerate(circuit.data) if {circuit.find_bit(q).index for q in item.qubits} == {3, 4}]
    plan = make_plan(random_problem(circuit, rng), cuts=tuple(map(GateCut, middle)), shots=10**6)
    for fragment in plan.fragments:
        there, here = (exact_outputs(fragment, open_state(fragment, gpu=own)) for own in (gpu, None))
        assert there.qubits == here.qubits
        np.testing.assert_allclose(there.values, here.values, atol=1e-13, err_msg="seed 7")


def test_jobs_for_a_gpu_run_on_it(gpu, monkeypatch):
    used = []

    class Counted(Accelerator):
        def state(self, program):
            used.append(program)
            return super().state(program)

    there = copy.copy(gpu)
    there.__class__, there.smallest = Counted, 32
    monkeypatch.setattr("tasks.execution.jobs.accelerator", lambda: there)
    plan = plan_of()
    jobs = [*exact_jobs(plan), *sampled_jobs(plan, uniform_shots(plan, 100_000), 3)]
    for job in jobs:
        found, cpu = run_job(job, device="GPU"), run_job(job)
        for name, array in cpu.items():
            np.testing.assert_allclose(found[name], array, atol=1e-10)
    assert len(used) == len(jobs)
    there.smallest = 1 << 40
    run_job(jobs[0], device="GPU")
    assert len(used) == len(jobs), "small states stay on the CPU"
