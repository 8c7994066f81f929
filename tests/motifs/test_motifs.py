"""Each motif gives what the same work gives without an engine; its table has the mini-app's columns."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp, Statevector

from apps.motifs.couplings import chain, circuit_execution, fan_in, loop_ensemble, pipeline, variational_loop
from apps.motifs.programs import (
    circuit_cutting,
    distributed_state_vector,
    qml_classifier,
    qml_compression,
    qml_training,
)
from apps.motifs.size import Size
from apps.motifs.work import layered, state_vector_rank
from apps.variational.spsa import walk
from tasks.runtime import engine
from tasks.runtime.ranks import mpirun_path

SIZE = Size(qubits=4, depth=2, entries=3, length=3, seed=5, units=2)
ENDS = SparsePauliOp("ZIIZ")


@pytest.fixture(scope="module")
def running():
    with engine("embedded", units={"CPU": 2}) as info:
        yield info


def expectation(angles) -> float:
    return float(Statevector(layered(4, 2, angles)).expectation_value(ENDS).real)


def test_independent_circuits(running):
    ran = circuit_execution(SIZE)
    assert ran.values == pytest.approx([expectation(own) for own in SIZE.angles()], abs=1e-12)
    assert ran.tasks == 3 and ran.work > 0


def test_a_chain_passes_its_value_on(running):
    ran = chain(SIZE)
    wanted = []
    for own in SIZE.angles():
        value = 0.0
        for _ in range(3):
            value = expectation(own + value)
        wanted.append(value)
    assert ran.values == pytest.approx(wanted, abs=1e-12) and ran.tasks == 9


def test_a_fan_in_adds_up(running):
    ran = fan_in(SIZE)
    assert ran.values[-1] == pytest.approx(sum(ran.values[:-1]), abs=1e-12)
    assert ran.values[-1] == pytest.approx(sum(map(expectation, SIZE.angles())), abs=1e-12) and ran.tasks == 4


@pytest.mark.parametrize(("motif", "loops"), [(variational_loop, 1), (loop_ensemble, 3)])
def test_loops_take_the_steps_that_they_would_take_here(motif, loops, running):
    ran = motif(SIZE)
    starts = np.random.default_rng(5).uniform(-1, 1, (loops, 8))

    class Here:
        def values(self, points):
            return np.array([sum(expectation(own) for own in point.reshape(loops, 8)) for point in points])

    end, _ = walk(Here(), starts.ravel(), np.full(3, 0.05), np.full(3, 0.1), np.random.default_rng(5))
    assert ran.values == pytest.approx(end.tolist(), abs=1e-10)
    assert ran.tasks == 2 * 3 * loops


def test_a_pipeline_hands_each_item_from_stage_to_stage(running):
    ran = pipeline(SIZE)
    assert ran.tasks == 3 * 3 + 1 and len(ran.values) == 4
    assert ran.values[-1] == pytest.approx(sum(ran.values[:-1]), abs=1e-12)


def test_a_cut_circuit_beside_the_whole_one(running):
    ran = circuit_cutting(SIZE)
    assert ran.values == pytest.approx([expectation(SIZE.angles()[0])] * 2, abs=1e-10)
    assert abs(ran.row["error_in_estimation"]) < 1e-10
    assert ran.row["num_cuts"] == ran.row["num_gate_cuts"] + ran.row["num_wire_cuts"] > 0


def test_compression_finds_a_state_that_a_circuit_makes_and_is_a_fidelity(running):
    ran = qml_compression(SIZE)
    assert ran.tasks == 3 and all(0.5 < value <= 1 + 1e-12 for value in ran.values)


def test_training_goes_down_and_a_batch_is_what_each_input_gives(running):
    ran = qml_training(SIZE)
    assert ran.values[-1] < ran.values[0]
    weights = np.random.default_rng(5).normal(0, 0.3, 8)
    assert ran.values[0] == pytest.approx(expectation(weights), abs=1e-10)
    rng = np.random.default_rng(5)
    weights, inputs = rng.normal(0, 0.3, 8), rng.uniform(-1, 1, (3, 8))
    assert qml_classifier(SIZE).values == pytest.approx([expectation(weights + own) for own in inputs], abs=1e-10)


class Alone:
    """A communicator of one rank."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def Barrier(self):
        pass

    def allreduce(self, value):
        return value


def test_a_state_on_one_rank_and_on_two_is_qiskits():
    angles = SIZE.angles()[0]
    truth = float(Statevector(layered(4, 2, angles)).expectation_value(SparsePauliOp("ZIII")).real)
    assert state_vector_rank(4, 2, angles, Alone())[0] == pytest.approx(truth, abs=1e-12)
    if mpirun_path() is None:
        pytest.skip("there is no mpirun")
    assert distributed_state_vector(SIZE).values == pytest.approx([truth, truth], abs=1e-12)
