"""``QompassEstimator`` by the cases that Qiskit holds its own estimators to, on fragments narrower than circuits."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import BaseEstimatorV2, PrimitiveResult, PubResult, StatevectorEstimator
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.providers import JobError, JobStatus
from qiskit.quantum_info import Pauli, SparseObservable, SparsePauliOp
from qompass import InputError, Options, QompassEstimator, QompassJob, Session

from apps.cli.main import main

MOLECULE = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
FIRST, SECOND = real_amplitudes(2, reps=2), real_amplitudes(2, reps=3)
H1 = SparsePauliOp.from_list([("II", 1), ("IZ", 2), ("XI", 3)])
H2 = SparsePauliOp.from_list([("IZ", 1)])
H3 = SparsePauliOp.from_list([("ZI", 1), ("ZZ", 1)])
THETA1, THETA2, THETA3 = [0, 1, 1, 2, 3, 5], [0, 1, 1, 2, 3, 5, 8, 13], [1, 2, 3, 4, 5, 6]


BELL = QuantumCircuit(2)
BELL.h(0)
BELL.cx(0, 1)


@pytest.fixture
def estimator() -> QompassEstimator:
    return QompassEstimator(max_qubits=1)


def test_it_is_qiskits_interface(estimator):
    assert isinstance(estimator, BaseEstimatorV2)
    assert estimator.default_precision == 0 and estimator.options.max_qubits == 1


def test_one_pub_and_several(estimator):
    job = estimator.run([(FIRST, [H1], [THETA1])])
    assert isinstance(job, QompassJob)
    result = job.result()
    assert isinstance(result, PrimitiveResult) and isinstance(result[0], PubResult)
    np.testing.assert_allclose(result[0].data.evs, [1.5555572817900956], rtol=1e-7)
    pubs = [(FIRST, [H1, H3], [THETA1, THETA3]), (SECOND, H2, THETA2)]
    found, wanted = estimator.run(pubs).result(), StatevectorEstimator().run(pubs).result()
    assert len(found) == 2 and found.metadata == {"version": 2}
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own.data.evs, other.data.evs, atol=1e-9)
        assert own.data.evs.shape == other.data.evs.shape == own.data.stds.shape == own.data.shape
        assert not own.data.stds.any() and not own.data.ensemble_standard_error.any()


def test_known_numbers(estimator):
    bound = FIRST.assign_parameters([0, 1, 1, 2, 3, 5])
    pub = (real_amplitudes(2, reps=2).decompose(), MOLECULE, [0, 1, 1, 2, 3, 5])
    for given in (pub, (bound, MOLECULE), (bound, [MOLECULE]), EstimatorPub.coerce(pub)):
        assert float(np.ravel(estimator.run([given]).result()[0].data.evs)[0]) == pytest.approx(-1.284366511861733)


SHAPES = [
    ((), ()),
    ((3,), ()),
    ((), (2,)),
    ((3,), (3,)),
    ((3, 1), (2,)),
    ((4, 1), (1, 2)),
    ((2, 1, 2), (3, 1)),
    ((0,), ()),
]


@pytest.mark.parametrize(("sets", "asked"), SHAPES)
def test_shapes_broadcast_as_qiskit_does(estimator, sets, asked):
    rng = np.random.default_rng(7)
    labels = ["".join(rng.choice(list("IXYZ"), 2)) for _ in range(int(np.prod(asked)))]
    observables = ObservablesArray(np.array(labels, dtype=object).reshape(asked)) if asked else labels[0]
    pub = (FIRST, observables, rng.normal(size=(*sets, FIRST.num_parameters)))
    found, wanted = (primitive.run([pub]).result()[0].data for primitive in (estimator, StatevectorEstimator()))
    assert found.evs.shape == wanted.evs.shape, "seed 7"
    np.testing.assert_allclose(found.evs, wanted.evs, atol=1e-9)


def test_one_qubit(estimator):
    up, flipped = QuantumCircuit(1), QuantumCircuit(1)
    flipped.x(0)
    for circuit, value in ((up, 1), (flipped, -1)):
        evs = estimator.run([(circuit, ["I", "Z", "X"])]).result()[0].data.evs
        np.testing.assert_allclose(evs, [1, value, 0], atol=1e-12)


@pytest.mark.parametrize(
    "observable",
    [
        "ZZ",
        {"ZZ": 1.0},
        Pauli("ZZ"),
        SparsePauliOp("ZZ"),
        SparseObservable("ZZ"),
        {"00": 1, "11": 1, "01": -1, "10": -1},
    ],
)
def test_every_form_of_observable(estimator, observable):
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    assert estimator.run([(bell, observable)]).result()[0].data.evs == pytest.approx(1)


def test_parameters_by_name_and_in_parts(estimator):
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.ry(a, 0)
    circuit.rzz(2 * b - a, 0, 1)
    circuit.rx(b, 1)
    values = {"b": [0.3, 0.4], "a": [0.1, -2.0]}
    pub = (circuit, "ZY", values)
    found, wanted = (primitive.run([pub]).result()[0].data.evs for primitive in (estimator, StatevectorEstimator()))
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("pub", "kind"),
    [
        ((QuantumCircuit(1), ["ZZ"]), ValueError),
        ((QuantumCircuit(2), ["I"]), ValueError),
        ((QuantumCircuit(2), ["II"], [[1.0]]), ValueError),
        ((FIRST, ["II"]), ValueError),
        ((FIRST, ["II"], [[1.0, 2.0]]), ValueError),
        ((FIRST, ["II", "IZ"], np.zeros((3, 6))), ValueError),
        ((FIRST, ["II"], [THETA1], -0.1), ValueError),
        ((FIRST, ["II"], [THETA1], "0.1"), TypeError),
        ((), ValueError),
        ("circuit", (TypeError, ValueError)),
        ((FIRST, ["II"], [[np.nan, 0, 0, 0, 0, 0]]), InputError),
        ((FIRST, ["II"], [[0, 0, np.inf, 0, 0, 0]]), InputError),
    ],
)
def test_what_does_not_fit_is_refused_at_once(estimator, pub, kind):
    with pytest.raises(kind):
        estimator.run([pub])


def test_a_value_that_is_no_number_is_named(estimator):
    with pytest.raises(InputError, match=r"nan for parameter 'θ\[2\]' in set 1"):
        estimator.run([(FIRST, ["II"], [THETA1, [0, 0, np.nan, 0, 0, 0]])])


def test_sampled_values_have_true_standard_errors():
    estimator = QompassEstimator(max_qubits=1, shots=20_000, seed=11)
    truth = StatevectorEstimator().run([(FIRST, ["ZZ", "XX"], [THETA1])]).result()[0].data.evs
    result = estimator.run([(FIRST, ["ZZ", "XX"], [THETA1])]).result()[0]
    assert (result.data.stds > 0).all() and (abs(result.data.evs - truth) < 5 * result.data.stds).all()
    np.testing.assert_array_equal(result.data.stds, result.data.ensemble_standard_error)
    assert result.metadata["shots"] == 20_000 and result.metadata["devices"] and result.metadata["plan"]["cuts"]


def test_precision_is_the_standard_error_reached():
    estimator = QompassEstimator(max_qubits=1, seed=5)
    pub = (FIRST, ["ZZ", "XX"], [THETA1])
    by_pub = estimator.run([(*pub, 0.05)]).result()[0]
    by_run = estimator.run([pub], precision=0.05).result()[0]
    by_default = QompassEstimator(max_qubits=1, seed=5, default_precision=0.05).run([pub]).result()[0]
    for own in (by_pub, by_run, by_default):
        assert own.metadata["target_precision"] == 0.05
        assert (own.data.stds > 0).all() and (own.data.stds <= 1.06 * 0.05).all()
        np.testing.assert_array_equal(own.data.evs, by_pub.data.evs)


def test_a_precision_out_of_reach_says_how_many_shots_it_takes(estimator):
    with pytest.raises(Exception, match=r"shots.*hours"):
        estimator.run([(FIRST, ["ZZ"], [THETA1])], precision=1e-9).result()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_precision_that_is_no_number_is_refused_at_once(estimator, wrong):
    for given, more in (((FIRST, ["ZZ"], [THETA1], wrong), {}), ((FIRST, ["ZZ"], [THETA1]), {"precision": wrong})):
        with pytest.raises(InputError, match=r"`precision`: (nan|inf) is no standard error"):
            estimator.run([given], **more)


def test_devices_that_take_shots_ask_for_them(tmp_path):
    from qompass import QompassSampler, devices

    measured = BELL.copy()
    measured.measure_all()
    with devices("aer", simulate=False) as resources:
        with pytest.raises(InputError, match="aer takes shots: say how many"):
            QompassEstimator(max_qubits=1, resources=resources).run([(BELL, "ZZ")]).result()
        with pytest.raises(Exception, match=r"error of 1e-09 would take about .*shots.*hours"):
            QompassEstimator(max_qubits=1, resources=resources).run([(BELL, "ZI", None, 1e-9)]).result()
        with pytest.raises(InputError, match="not extrapolated to zero noise"):
            sampler = QompassSampler(max_qubits=1, resources=resources, mitigation="readout+zne")
            sampler.run([measured], shots=10).result()


def test_pubs_in_an_iterator_and_metadata(estimator):
    circuit = QuantumCircuit(2, metadata={"mine": 1})
    circuit.h(0)
    result = estimator.run(iter([(circuit, ["XI", "IX"]), (circuit, ["ZZ"])])).result()
    assert [len(own.data.evs) for own in result] == [2, 1]
    assert result[0].metadata["circuit_metadata"] == {"mine": 1} and result[0].metadata["target_precision"] == 0


def test_a_job_is_there_at_once_and_ends(estimator):
    job = estimator.run([(FIRST, [H1], [THETA1])])
    assert job.job_id() and job.result()[0].data.evs.shape == (1,)
    assert job.done() and job.in_final_state() and not job.running() and not job.cancelled()
    assert job.status() == JobStatus.DONE and job.cancel() is False
    again = pickle.loads(pickle.dumps(job))
    assert again.job_id() == job.job_id() and again.done() and again.result()[0].data.evs == job.result()[0].data.evs


def test_a_job_is_cancelled_once(estimator):
    values = np.random.default_rng(3).normal(size=(300, SECOND.num_parameters))
    job = QompassEstimator(max_qubits=1, shots=50_000).run([(SECOND, ["ZZ"], values)])
    assert job.cancel() is True
    with pytest.raises(JobError, match="cancelled already"):
        job.cancel()
    with pytest.raises(JobError, match="has no result"):
        job.result()
    assert job.cancelled() and job.in_final_state() and not job.done()


def test_a_failed_job_says_why():
    circuit = QuantumCircuit(3)
    circuit.ccx(0, 1, 2)
    circuit.reset(1)
    job = QompassEstimator(max_qubits=2).run([(circuit, "ZZZ")])
    with pytest.raises(InputError, match="reset"):
        job.result()
    assert job.status() == JobStatus.ERROR


def test_options_are_checked():
    with pytest.raises(InputError, match="did you mean `max_qubits`"):
        QompassEstimator(max_qubit=3)
    estimator = QompassEstimator(options=Options(max_qubits=4), seed=2)
    assert (estimator.options.max_qubits, estimator.options.seed) == (4, 2)
    with pytest.raises(TypeError):
        estimator.options = {"max_qubits": 3}


def test_a_job_with_a_folder_is_resumed_by_its_id(tmp_path):
    job = QompassEstimator(max_qubits=1, out=tmp_path).run([(FIRST, ["ZZ"], THETA1)])
    value = float(job.result()[0].data.evs[0])
    folder = tmp_path / job.job_id()
    assert job.result()[0].metadata["runs"] == [str(folder)]
    shown = _resumed(job.job_id(), tmp_path, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["estimates"][0]["value"] == value


CRASH = """
import os, sys, time
from pathlib import Path
import numpy as np
from qiskit.circuit.library import real_amplitudes
from qompass import QompassEstimator
circuit = real_amplitudes(6, reps=2)
values = np.random.default_rng(1).normal(size=(6, circuit.num_parameters))
job = QompassEstimator(max_qubits=3, shots=100_000, out=sys.argv[1]).run([(circuit, ["ZZIIII"], values)])
print(job.job_id(), flush=True)
while not any(Path(sys.argv[1]).glob("*/fragments/*")):
    time.sleep(0.005)
os._exit(9)
"""


def test_what_a_crash_left_of_a_job_is_finished_by_its_id(tmp_path):
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert crashed.returncode == 9, crashed.stderr
    (record,) = tmp_path.glob("*/record.json")
    assert '"status": "done"' not in record.read_text()
    shown = _resumed(crashed.stdout.strip(), tmp_path, "--json")
    assert shown.returncode == 0, shown.stderr
    assert len(json.loads(shown.stdout)["estimates"]) == 6


def _resumed(name, folder, *more):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = main(["resume", name, "--out", str(folder), *more])
    return subprocess.CompletedProcess(name, status, out.getvalue(), err.getvalue())


def test_a_session_is_used_from_threads_and_not_after_it_closed():
    with Session(max_qubits=1) as session:
        estimator = session.estimator()
        jobs = [estimator.run([(FIRST, [H1], [THETA1])]) for _ in range(6)]
        for job in jobs:
            np.testing.assert_allclose(job.result()[0].data.evs, [1.5555572817900956], rtol=1e-7)
        assert session.estimate(FIRST.assign_parameters(THETA1), "ZZ")[0].std_error == 0
        assert sum(session.sample(FIRST.assign_parameters(THETA1), 50).values()) == 50
    with pytest.raises(InputError, match="closed"):
        estimator.run([(FIRST, [H1], [THETA1])])
    with pytest.raises(InputError, match="closed"):
        session.estimate(FIRST.assign_parameters(THETA1), "ZZ")
    with pytest.raises(InputError, match="closed"), session:
        pass


def test_gradients_are_those_of_finite_differences():
    estimator = QompassEstimator(max_qubits=1)
    values = np.array([THETA1, THETA3], dtype=float)
    data = estimator.run_gradients([(FIRST, [[H1], [H3]], values)]).result()[0].data
    assert data.evs.shape == (2, 2) and data.gradients.shape == data.gradient_stds.shape == (2, 2, 6)
    assert not data.gradient_stds.any()
    for number in range(6):
        step = 1e-5 * np.eye(6)[number]
        up, down = (
            StatevectorEstimator().run([(FIRST, [[H1], [H3]], values + sign * step)]).result()[0].data.evs
            for sign in (1, -1)
        )
        np.testing.assert_allclose(data.gradients[:, :, number], (up - down) / 2e-5, atol=1e-6)


def test_sampled_gradients_have_errors():
    pub = (FIRST, [H1], [THETA1])
    exact = QompassEstimator(max_qubits=1).run_gradients([pub]).result()[0].data.gradients
    for settings in ({"shots": 100_000}, {"default_precision": 0.02}):
        result = QompassEstimator(max_qubits=1, seed=3, **settings).run_gradients([pub]).result()[0]
        assert (result.data.gradient_stds > 0).any() and result.metadata["shots"] > 10_000
        assert (abs(result.data.gradients - exact) < 5 * result.data.gradient_stds + 1e-9).all()


def test_a_circuit_changed_after_run_was_called_is_not_looked_at_again():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    estimator = QompassEstimator(max_qubits=1)
    first = estimator.run([(circuit, "ZI", [0.4])])
    circuit.x(1)
    second = estimator.run([(circuit, "ZI", [0.4])])
    assert float(first.result()[0].data.evs) == pytest.approx(np.cos(0.4))
    assert float(second.result()[0].data.evs) == pytest.approx(-np.cos(0.4))


def test_jobs_run_inside_an_asyncio_loop():
    import asyncio

    async def ask() -> float:
        with Session(max_qubits=1) as session:
            job = session.estimator(shots=10_000).run([(FIRST, ["ZZ"], [THETA1])])
            while not job.in_final_state():
                await asyncio.sleep(0.01)
            return float(job.result()[0].data.evs[0])

    assert -1.5 < asyncio.run(ask()) < 1.5


def test_progress_is_shown_where_it_is_asked_for(capfd):
    QompassEstimator(max_qubits=1, progress=True).run([(FIRST, ["ZZ"], [THETA1])]).result()
    shown = capfd.readouterr()
    assert "evaluate" in shown.err and "1/1" in shown.err and not shown.out
    QompassEstimator(max_qubits=1).run([(FIRST, ["ZZ"], [THETA1])]).result()
    assert not capfd.readouterr().err


def test_a_circuit_that_nothing_is_made_ready_for_is_run_set_by_set():
    angle = Parameter("angle")
    looped, plain = QuantumCircuit(4), QuantumCircuit(4)
    with looped.for_loop(range(2)):
        looped.ry(angle, 0)
    plain.ry(2 * angle, 0)
    for circuit in (looped, plain):
        for qubit in range(3):
            circuit.cx(qubit, qubit + 1)
    estimator = QompassEstimator(max_qubits=2)
    values = [[0.2], [0.9], [-1.3]]
    found, wanted = (estimator.run([(circuit, "ZIIZ", values)]).result()[0] for circuit in (looped, plain))
    np.testing.assert_allclose(found.data.evs, wanted.data.evs, atol=1e-9)
    assert found.metadata["devices"] and found.metadata["plan"]["cuts"]["gates"]
    with pytest.raises(InputError, match="shift its parameters yourself"):
        estimator.run_gradients([(looped, "ZIIZ", values)]).result()
