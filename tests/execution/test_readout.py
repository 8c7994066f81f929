"""Readout errors taken out of counts: which rates, with which weights; no device is needed for that."""

import stat
from dataclasses import replace

import numpy as np
import pytest
from qiskit.transpiler import Target

from scheduler_policies.device import DeviceLimits
from tasks.execution.mitigation.extrapolation import Mitigation, extrapolate_result
from tasks.execution.mitigation.readout import LEAST_CONTRAST, ReadoutCalibration, learn, mitigate, readings
from tasks.execution.qpu import CircuitResult, Fault, QpuError, QpuRun, QpuTarget
from tasks.execution.qpu.records import Source
from tasks.model.tensor import VariantCounts

OLD = ((0.01, 0.02), (0.03, 0.04))  # (qubit,) P(1|0), P(0|1)
NEW = ((0.11, 0.12), (0.05, 0.08))


def target(epoch, readout):
    return QpuTarget("QPU_A", Target(num_qubits=2), epoch, 1.0, (), readout, 0.0, DeviceLimits(), ("$0", "$1"))


def counts(shots, bits=1, ones=0):
    rows = np.array([[0], [2**bits - 1]], dtype=np.uint8)
    return VariantCounts(rows, np.array([shots - ones, ones]), bits)


def run_of(*results):
    targets = {"old": target("old", OLD), "new": target("new", NEW)}
    return QpuRun(list(results), target=targets["new"], targets=targets)


def mean(pairs, weights=None):
    return tuple(np.average(pairs, axis=0, weights=weights))


def test_shots_of_two_calibrations_weigh_as_many_as_they_are(tmp_path):
    sources = [Source(100, (0,), ("old",)), Source(700, (1,), ("new",))]
    run = run_of(CircuitResult(counts(800), sources=sources))
    mitigate(tmp_path / "j", run)
    np.testing.assert_allclose(run.results[0].counts.readings, readings([mean([OLD[0], NEW[1]], [100, 700])]))


def test_a_job_across_a_recalibration_takes_the_mean_of_both(tmp_path):
    run = run_of(CircuitResult(counts(50, bits=2), sources=[Source(50, (1, 0), ("old", "new"))]))
    mitigate(tmp_path / "j", run)
    expected = readings([mean([OLD[1], NEW[1]]), mean([OLD[0], NEW[0]])])
    np.testing.assert_allclose(run.results[0].counts.readings, expected)


def test_what_was_measured_goes_before_what_is_published_and_only_at_its_calibration(tmp_path):
    ReadoutCalibration(tmp_path / "j", "QPU_A", "old").add({0: (0.2, 0.25)})
    results = [CircuitResult(counts(9), sources=[Source(9, (0,), (epoch,))]) for epoch in ("old", "new", "forgotten")]
    run = run_of(*results)
    mitigate(tmp_path / "j", run)
    for result, rates in zip(results, [(0.2, 0.25), NEW[0], NEW[0]], strict=True):
        np.testing.assert_allclose(result.counts.readings, readings([rates]))


@pytest.mark.parametrize(("contrast", "taken"), [(LEAST_CONTRAST + 1e-9, True), (LEAST_CONTRAST - 1e-9, False)])
def test_a_qubit_that_hardly_tells_0_from_1_is_refused(tmp_path, contrast, taken):
    run = run_of(CircuitResult(counts(9), sources=[Source(9, (0,), ("new",))]))
    run.targets["new"] = replace(run.targets["new"], readout=((0.3, 0.7 - contrast), NEW[1]))
    mitigate(tmp_path / "j", run)
    (result,) = run.results
    assert (result.counts is not None) == taken and (result.failure is None) == taken
    assert taken or (result.failure.fault is Fault.IMPLAUSIBLE and not result.sources)


def test_the_readout_circuits_are_learnt_from_unless_their_calibration_is_in_doubt(tmp_path):
    folder = tmp_path / "j"

    def pair(*epochs):
        sources = [Source(1000, (1, 0), epochs)]
        low = VariantCounts(np.array([[0], [1], [2]], dtype=np.uint8), np.array([900, 60, 40]), 2)
        high = VariantCounts(np.array([[3], [2]], dtype=np.uint8), np.array([930, 70]), 2)
        return [CircuitResult(low, sources=sources), CircuitResult(high, sources=sources)]

    learn(folder, "QPU_A", pair("old", "new"))
    learn(folder, "QPU_A", [pair("old")[0], CircuitResult(failure=QpuError(Fault.FAILED, "QPU_A", "no"))])
    assert ReadoutCalibration(folder, "QPU_A", "old").read() == {}
    learn(folder, "QPU_A", pair("old"))
    found = ReadoutCalibration(folder, "QPU_A", "old").read()
    assert found == {1: (pytest.approx(0.06), pytest.approx(0.07)), 0: (pytest.approx(0.04), pytest.approx(0.0))}
    assert ReadoutCalibration(folder, "QPU_A", "new").read() == ReadoutCalibration(folder, "QPU_B", "old").read() == {}
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ReadoutCalibration(folder, "QPU_A", "old").add({5: (0.5, 0.25)})
    assert set(ReadoutCalibration(folder, "QPU_A", "old").read()) == {0, 1, 5}
    path.write_text(path.read_text()[:-4])
    assert ReadoutCalibration(folder, "QPU_A", "old").read() == {}


def test_a_circuit_fails_with_any_of_its_noise_factors_and_is_from_the_cache_with_all():
    shares = np.array([1.5, -0.5])
    error = QpuError(Fault.FAILED, "QPU_A", "no")
    failed = extrapolate_result([CircuitResult(counts(75)), CircuitResult(failure=error)], shares)
    assert failed.counts is None and failed.failure is error
    half = extrapolate_result([CircuitResult(counts(75), origin={"a": "b"}), CircuitResult(counts(25))], shares)
    assert half.origin == {} and half.counts.shots == 100
    np.testing.assert_allclose(half.counts.weights, [2, 2, -2, -2])
    both = [CircuitResult(counts(75), origin={"a": "b"}), CircuitResult(counts(25), origin={"a": "b"})]
    assert extrapolate_result(both, shares).origin == {"a": "b"}


def test_the_default_calibration_is_good_to_half_a_percent():
    assert 0.5 / np.sqrt(Mitigation().calibration_shots) < 0.006
