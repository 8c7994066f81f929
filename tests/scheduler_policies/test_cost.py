"""The cost model against numbers worked out by other means."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from scheduler_policies import (
    Device,
    DeviceLimits,
    DeviceState,
    GateRate,
    Kind,
    PolicyError,
    Price,
    Speed,
    Work,
    circuit_fidelity,
    exact_seconds,
    expected_fidelity,
    variant_seconds,
    why_not,
    work_price,
    work_seconds,
)
from scheduler_policies.cost import (
    jobs_needed,
    open_state_seconds,
    runs_exact,
    sampled_seconds,
    squared_error,
    start_delays,
    state_bytes,
    statistical_variance,
    steady_pace,
    systematic_error,
)
from scheduler_policies.machine import PLAIN_GATE
from tests.scheduler_policies.instances import qpu, work

CPU = Device("cpu", Kind.CPU, speed=Speed(job=1.0, amplitude_gate=1e-9, shot=1e-6), memory_bytes=16 * 2**20)
QPU = Device(
    "qpu",
    Kind.QPU,
    qubits=5,
    gates=(GateRate("sx", (0,), 0.001), GateRate("cz", (0, 1), 0.01), GateRate("cz", (1, 2), 0.03)),
    readout_errors=(0.02, 0.02, 0.05),
    speed=Speed(job=2.0, circuit=0.5, shot=1e-3, layer=1e-4),
    price=Price(per_job=1.0, per_shot=0.001, per_second=0.1),
    limits=DeviceLimits(mid_circuit_measurement=False, shots_per_job=1000, circuits_per_job=4),
)
WORK = Work(
    fragment=0,
    width=4,
    depth=10,
    one_qubit_gates=20,
    two_qubit_gates=8,
    measured=4,
    branches=2,
    outputs=1,
    factors=2,
    variants=12,
    shots=2500,
    weight=0.3,
)


def test_a_qpu_takes_its_shots_one_after_the_other():
    assert variant_seconds(QPU, 4, 10, 2500) == pytest.approx(0.5 + 2500 * (1e-3 + 10 * 1e-4))


def test_jobs_are_counted_with_both_limits():
    # 2500 shots need 3 pieces of at most 1000, 12 variants make 36 circuits, 4 a job.
    assert jobs_needed(QPU, WORK) == 9
    assert work_seconds(QPU, WORK) == pytest.approx(9 * 2.0 + 12 * (0.5 + 2500 * 0.002))


def test_the_price_adds_jobs_shots_and_seconds():
    assert work_price(QPU, WORK) == pytest.approx(9 + 12 * 2500 * 0.001 + 0.1 * work_seconds(QPU, WORK))


def test_an_exact_tensor_takes_passes_over_its_state_and_pairs_of_branches_of_each_factor():
    device = replace(CPU, speed=Speed(amplitude_gate=1e-9, grams=1e-4, amplitude_pass=1e-7, pair=1e-10, entry=1e-8))
    state = 30 * 2**11 * 1e-9
    one_pass = 1e-4 + 2**11 * 1e-7
    each = 4**4 * (2**7 * 1e-10 + 1e-8)
    assert exact_seconds(device, 8, 0, 3, 1, 50, 30, 7) == pytest.approx(state + 7 * one_pass + 50 * each)
    assert exact_seconds(device, 8, 0, 3, 1, 50, 30) == pytest.approx(state + 50 * one_pass + 50 * each)
    work = replace(WORK, factors=50, passes=7)
    assert work_seconds(device, replace(WORK, factors=50)) > work_seconds(device, work)


@pytest.mark.parametrize("width", range(6, 12))
def test_an_exact_simulation_doubles_with_each_qubit(width):
    small, large = (exact_seconds(CPU, w, 20, 3, 0, 1, gates=100) for w in (width, width + 1))
    assert large == pytest.approx(2 * small)


def test_a_simulator_takes_the_time_of_the_gates_that_there_are():
    assert WORK.gates == 28
    more = replace(WORK, one_qubit_gates=WORK.one_qubit_gates + 100)
    assert work_seconds(CPU, more) - work_seconds(CPU, WORK) == pytest.approx(100 * 2.0**6 * 1e-9, rel=1e-6)


def test_rates_that_are_no_probabilities_and_sizes_below_one_are_refused():
    Device("ideal", Kind.QPU, qubits=1, readout_errors=(0.0, 1.0))
    replace(WORK, weight=0.0, depth=0, branches=0, outputs=0)
    for wrong in ({"readout_errors": (1.1,)}, {"readout_errors": (-0.1,)}, {"units": 0}, {"qubits": None}):
        with pytest.raises(PolicyError, match="device q"):
            Device(**({"name": "q", "kind": Kind.QPU, "qubits": 1} | wrong))
    for wrong in ({"width": 0}, {"variants": 0}, {"shots": 0}, {"depth": -1}, {"branches": -1}, {"weight": -0.1}):
        with pytest.raises(PolicyError, match="fragment 0"):
            replace(WORK, **wrong)


def test_a_simulator_without_memory_for_all_branches_runs_variants():
    wide = replace(WORK, width=16, branches=3, exact_bytes=2**24 + 1)
    assert runs_exact(CPU, replace(wide, exact_bytes=2**24)) and not runs_exact(CPU, wide)
    assert not runs_exact(CPU, replace(wide, branches=5, exact_bytes=0)), "all branches are 32 MiB themselves"
    assert statistical_variance(CPU, wide) == pytest.approx(0.09 / 2500)
    assert statistical_variance(CPU, replace(wide, exact_bytes=2**24)) == 0.0
    assert why_not(CPU, replace(WORK, width=21)) == "has 16777216 bytes of memory, 33554432 needed"
    assert why_not(CPU, replace(wide, drawn_bytes=2**24)) is None
    assert why_not(CPU, replace(wide, drawn_bytes=2**24 + 1)) == "has 16777216 bytes of memory, 16777217 needed"
    assert why_not(CPU, replace(wide, exact_bytes=2**24, drawn_bytes=2**25)) is None, "the whole tensor takes less"


def test_a_full_circuit_is_taken_where_no_gates_are_counted():
    assert variant_seconds(CPU, 4, 10, 0) == pytest.approx(40 * 2**4 * PLAIN_GATE * 1e-9)
    slow = replace(CPU, speed=replace(CPU.speed, gate=1e-3))
    assert variant_seconds(slow, 4, 10, 0) == pytest.approx(40 * (1e-3 + 2**4 * PLAIN_GATE * 1e-9))
    assert open_state_seconds(slow, 4, 10, 3) == pytest.approx(40 * (1e-3 + 2**7 * 1e-9))


def test_counts_come_from_the_open_state_where_it_fits():
    device = replace(CPU, speed=Speed(amplitude_gate=1e-9, draw=1e-6, place=2e-9, shot=1e-8))
    opened = 20 * 2**13 * 1e-9 + 50 * (1e-6 + 2**10 * 2e-9) + 5000 * 1e-8
    few = 20 * 2**13 * 1e-9 + 50 * (1e-6 + 2**3 * 2e-9 + 2**3 * 1e-8)
    single = 50 * 20 * 2**10 * PLAIN_GATE * 1e-9 + 5000 * 1e-8
    assert sampled_seconds(device, 10, 2, 3, 50, 5000, 20) == pytest.approx(opened)
    assert sampled_seconds(device, 10, 2, 3, 50, 5000, 20, 3) == pytest.approx(few)
    tight = replace(device, memory_bytes=state_bytes(10, 3) - 1)
    assert sampled_seconds(tight, 10, 2, 3, 50, 5000, 20) == pytest.approx(single)
    exactly = replace(device, memory_bytes=state_bytes(10, 3))
    assert sampled_seconds(exactly, 10, 2, 3, 50, 5000, 20) == pytest.approx(opened)


def test_ancillas_count_on_every_device_that_is_no_simulator():
    able = replace(QPU, limits=replace(QPU.limits, mid_circuit_measurement=True))
    assert why_not(able, replace(WORK, ancillas=1, mid_circuit_measurements=9)) is None
    assert why_not(able, replace(WORK, ancillas=2)) == "has 5 qubits, 6 needed with ancillas"
    assert why_not(CPU, replace(WORK, ancillas=99)) is None


def test_a_device_without_mid_circuit_measurement_needs_room_for_ancillas():
    assert why_not(QPU, replace(WORK, mid_circuit_measurements=1)) is None
    reason = why_not(QPU, replace(WORK, mid_circuit_measurements=2))
    assert reason is not None and "6 needed with ancillas" in reason
    assert why_not(QPU, replace(WORK, width=6)) == "has 5 qubits, 6 needed"


def test_fidelity_along_a_circuit_is_the_probability_that_nothing_failed():
    operations = [("sx", (0,)), ("cz", (0, 1)), ("cz", (1, 2)), ("cz", (0, 1))]
    rng = np.random.default_rng(7)
    errors = np.array([0.001, 0.01, 0.03, 0.01, 0.02, 0.05])
    sampled = float((rng.random((400_000, 6)) >= errors).all(axis=1).mean())
    assert circuit_fidelity(QPU, operations, (0, 2)) == pytest.approx(sampled, abs=0.002), "seed 7"


def test_infidelity_is_the_shrinking_of_a_value_under_depolarising_noise():
    """weight x (1 - F) against a density matrix: global depolarising after each CZ, <ZZ> of a GHZ pair."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    state = Operator(circuit).data[:, 0]
    rho = np.outer(state, state.conj())
    error = 0.04
    for _ in range(3):
        rho = (1 - error) * rho + error * np.eye(4) / 4
    value = float(np.real(np.trace(rho @ np.diag([1, -1, -1, 1]))))
    noisy = Device("noisy", Kind.QPU, qubits=2, gates=(GateRate("cz", (0, 1), error),))
    work = replace(WORK, width=2, one_qubit_gates=0, two_qubit_gates=3, measured=0, weight=1.0)
    assert systematic_error(noisy, DeviceState(), work) == pytest.approx(1.0 - value)


def test_drift_multiplies_error_rates_to_first_order():
    gates = tuple(replace(gate, error=2 * gate.error) for gate in QPU.gates)
    twice = replace(QPU, gates=gates, readout_errors=(0.04, 0.04, 0.1))
    short = replace(WORK, one_qubit_gates=1, two_qubit_gates=1, measured=1)
    drifted = expected_fidelity(QPU, DeviceState(drift=1.0), short)
    assert 1 - drifted == pytest.approx(1 - expected_fidelity(twice, DeviceState(), short), rel=0.05)
    assert math.isclose(expected_fidelity(CPU, DeviceState(drift=9.0), short), 1.0)


def test_a_known_transpiled_fidelity_replaces_the_mean_model():
    assert expected_fidelity(QPU, DeviceState(), replace(WORK, fidelities=(("qpu", 0.25),))) == 0.25


def test_impossible_devices_and_work_are_refused():
    with pytest.raises(PolicyError, match="needs its number of qubits"):
        Device("q", Kind.QPU)
    with pytest.raises(PolicyError, match="at least one"):
        Device("c", Kind.CPU, units=0)
    with pytest.raises(PolicyError, match="not a probability"):
        replace(QPU, readout_errors=(1.5,))
    with pytest.raises(PolicyError, match="fragment 0"):
        replace(WORK, shots=0)


def test_a_device_of_which_nothing_is_known_costs_nothing_and_is_free_now():
    plain = Device("plain", Kind.QPU, qubits=9)
    assert (work_price(plain, WORK), work_seconds(plain, WORK), plain.units) == (0.0, 0.0, 1)
    assert start_delays(plain, DeviceState()) == (0.0,) and expected_fidelity(plain, DeviceState(), WORK) == 1.0
    assert steady_pace(DeviceState()) == 1.0


def test_squares_of_noise_and_shots_add():
    infidelity = 1.0 - expected_fidelity(QPU, DeviceState(), WORK)
    assert 0.1 < infidelity < 0.5
    assert squared_error(QPU, DeviceState(), WORK) == pytest.approx(0.09 * (1 / 2500 + infidelity**2))
    assert squared_error(CPU, DeviceState(), WORK) == 0.0


@pytest.mark.parametrize(("pace", "steps"), [(2.0, 7), (0.5, -7), (1.04, 0), (1.05, 1), (1.1, 1)])
def test_a_pace_counts_in_steps_of_a_tenth(pace, steps):
    assert steady_pace(DeviceState(pace=pace)) == pytest.approx(1.1**steps)


def test_units_start_when_they_are_free_and_the_queue_has_passed():
    device = Device("q", Kind.QPU, qubits=5, units=3)
    for state, delays in (
        (DeviceState(free_units=3), (0.0, 0.0, 0.0)),
        (DeviceState(free_units=1, busy=(9.0, 4.0), expected_wait=2.0), (2.0, 6.0, 11.0)),
        (DeviceState(free_units=3, busy=(4.0,)), (0.0, 0.0, 4.0)),
        (DeviceState(free_units=0, busy=(4.0,)), (4.0,)),
        (DeviceState(free_units=-1, expected_wait=5.0), (10.0,)),
    ):
        assert start_delays(device, state) == delays


def test_shots_that_are_rounded_up_are_paid():
    device = qpu("q", 20, 0.01, 1e-4, price=1e-3).device
    common = replace(device, limits=replace(device.limits, common_shots=True))
    even, uneven = work(0), replace(work(0), uneven=True)
    assert work_price(common, even) == work_price(device, uneven) == work_price(device, even) == pytest.approx(24.0)
    assert work_price(common, uneven) == pytest.approx(1.25 * 24.0)
