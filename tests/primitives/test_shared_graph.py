"""All PUBs of a call share what has to be run: one graph of tasks, one job of a backend, equal parts once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.providers import JobError
from qompass import QompassEstimator, QompassSampler, Session, devices

from apps.cli.main import main
from tasks.bound_runs import Wanted, shared_runs
from tasks.inputs.validation import make_problem
from tasks.options import Options
from tasks.runs import RunDirectory, RunRecord, read_record
from tests.conftest import ROOT


def chain(qubits: int, name: str) -> QuantumCircuit:
    circuit, angle = QuantumCircuit(qubits), Parameter(name)
    circuit.ry(angle, 0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    made = circuit.copy()
    made.measure_all()
    return made


FOUR, FIVE = chain(4, "a"), chain(5, "b")
PUBS = [
    (FOUR, [["ZIIZ"], ["XXXX"]], [[0.3], [1.2], [0.5]]),
    (FIVE, ["ZIIII", "IIZII"], [[0.4]]),
    (FOUR, ["IZZI"], [[0.3], [0.9]]),
]


UNREAD = chain(4, "c")
UNREAD.add_register(ClassicalRegister(2, "unread"))


def exact(pubs):
    return [own.data.evs for own in StatevectorEstimator().run(pubs).result()]


@pytest.fixture
def runs(monkeypatch):
    """The runs that were begun, by how many qubits they have."""
    begun, create = [], RunDirectory.create.__func__

    def noted(cls, parent, fields, problem):
        begun.append(problem.num_qubits)
        return create(cls, parent, fields, problem)

    monkeypatch.setattr(RunDirectory, "create", classmethod(noted))
    return begun


@pytest.fixture
def resumed(capsys):
    """What `qompass resume` says."""

    def resume(name, folder):
        capsys.readouterr()
        status, said = main(["resume", name, "--out", str(folder), "--json"]), capsys.readouterr()
        assert status == 0, said.err
        return json.loads(said.out)

    return resume


@pytest.fixture(scope="module")
def backend():
    """Aer as a device, beside which nothing can simulate."""
    with devices("aer", simulate=False) as resources:
        yield resources


def test_three_pubs_are_one_run_whose_name_is_the_jobs(tmp_path, runs, resumed):
    job = QompassEstimator(max_qubits=2, cache="off", out=tmp_path).run(PUBS)
    result = job.result()
    for found, wanted in zip(result, exact(PUBS), strict=True):
        np.testing.assert_allclose(found.data.evs, wanted, atol=1e-9)
        assert found.metadata["runs"] == [str(tmp_path / job.job_id())] and found.metadata["devices"]
    # The first and the third PUB have a set in common: that is one circuit.
    assert runs == [3 * 4 + 5 + 4]
    record = read_record(tmp_path / job.job_id())
    shared = [meta for meta in record["results"].values() if "same_as" in meta]
    assert len(record["results"]) == len(record["plan"]["fragments"]) and shared
    assert [own.metadata["plan"]["cuts"] for own in result][::2] == [result[0].metadata["plan"]["cuts"]] * 2
    again = resumed(job.job_id(), tmp_path)["estimates"]
    assert len(again) == 2 * 3 + 2 + 2 and again[0]["observable"].endswith(", PUB 0, set 0"), again


def test_shots_of_a_circuit_answer_every_pub_of_it(runs, backend):
    pubs = [(FOUR.assign_parameters([0.7]), "ZIIZ"), (FIVE.assign_parameters([0.7]), "ZIIII"),
            (FOUR.assign_parameters([0.7]), "ZIII")]  # fmt: skip
    estimator = QompassEstimator(max_qubits=3, shots=20_000, seed=2, resources=backend, mitigation="none", cache="off")
    result = estimator.run(pubs).result()
    assert runs == [9]
    for found, wanted in zip(result, exact(pubs), strict=True):
        assert abs(float(found.data.evs) - float(wanted)) < 5 * float(found.data.stds) + 1e-9
        assert found.metadata["devices"] == ["aer"]
    first, other, same = (own.metadata["shots"] for own in result)
    assert first == same and first + other == 60_000


def test_pubs_of_other_precisions_are_runs_of_their_own(runs, backend):
    pubs = [(FOUR, ["ZIII"], [[0.7]], 0.1), (FIVE, ["ZIIII"], [[0.7]], 0.05), (FOUR, ["ZIII"], [[0.8]], 0.1)]
    result = QompassEstimator(max_qubits=3, seed=2, resources=backend, mitigation="none", cache="off").run(pubs)
    found = result.result()
    assert sorted(runs) == [5, 8]
    for own, pub in zip(found, pubs, strict=True):
        assert 0 < own.data.stds.max() <= 1.06 * pub[3] and own.metadata["target_precision"] == pub[3]


def test_a_cancelled_job_is_finished_by_its_id(tmp_path, monkeypatch, resumed):
    from tasks.execution import on_device

    begun, go_on, run_job = threading.Event(), threading.Event(), on_device.run_job

    def slow(*arguments, **where):
        begun.set()
        assert go_on.wait(60)
        return run_job(*arguments, **where)

    monkeypatch.setattr(on_device, "run_job", slow)
    job = QompassEstimator(max_qubits=2, cache="off", out=tmp_path).run(PUBS)
    assert begun.wait(60) and job.running() and job.cancel() is True
    go_on.set()
    with pytest.raises(JobError, match="has no result"):
        job.result()
    assert job.cancelled() and read_record(tmp_path / job.job_id())["status"] != "done"
    found = {own["observable"].split(", ", 1)[1]: own["value"] for own in resumed(job.job_id(), tmp_path)["estimates"]}
    wanted = exact(PUBS)
    assert found["PUB 0, set 1"] == pytest.approx(wanted[0][1, 1]) and found["PUB 2, set 1"] == pytest.approx(
        wanted[2][1]
    )


@pytest.mark.parametrize("simulate", [True, False], ids=["exact on the cores", "shots of a backend"])
def test_strings_of_three_pubs_come_from_one_run(runs, simulate, request):
    pubs = [(measured(FOUR), [[0.6], [1.4]]), (measured(FIVE), [0.9]), (measured(FOUR), [0.6], 500)]
    with devices(MINE="aer") if simulate else nullcontext(request.getfixturevalue("backend")) as resources:
        sampler = QompassSampler(max_qubits=3, resources=resources, seed=5, cache="off")
        result = sampler.run(pubs, shots=4000).result()
    assert runs == [4 + 4 + 5]
    for found, (circuit, values, *shots) in zip(result, pubs, strict=True):
        noisy = found.metadata["devices"] == ["aer"]
        assert noisy is not simulate and (found.metadata["fragment_shots"] > 0) is noisy
        assert bool(found.metadata["notes"]) is noisy
        count = shots[0] if shots else 4000
        for index, value in zip(np.ndindex(*found.data.meas.shape), np.ravel(values), strict=True):
            counts = found.data.meas.get_counts(index)
            ones = sum(number for bits, number in counts.items() if bits == "1" * circuit.num_qubits) / count
            assert sum(counts.values()) == count
            assert abs(ones - np.sin(value / 2) ** 2) < 5 * np.sqrt(0.25 / count) + 0.03 * noisy, (counts, "seed 5")


TURNED = real_amplitudes(6, reps=2)
SAMPLED = """
import os, sys
from pathlib import Path
from tasks import evaluate
from tests.primitives.test_shared_graph import sampled

def crash(stage, amount=1):
    if any(Path(sys.argv[1]).glob("*/fragments/*")):
        os._exit(9)

evaluate._WatchedStage.advance = crash
sampled(sys.argv[1])
"""


def sampled(out):
    values = np.random.default_rng(1).normal(size=(6, TURNED.num_parameters))
    job = QompassSampler(max_qubits=4, cache="off", seed=5, out=out).run([(measured(TURNED), values)], shots=200)
    return [job.result()[0].data.meas.get_counts(one) for one in range(6)]


def test_what_a_crash_left_of_a_samplers_job_is_finished_by_its_id(tmp_path, resumed):
    command = [sys.executable, "-c", SAMPLED, str(tmp_path / "crash")]
    crashed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert crashed.returncode == 9, crashed.stderr
    wanted = sampled(tmp_path / "whole")
    (folder,) = (tmp_path / "crash").iterdir()
    assert read_record(folder)["status"] == "interrupted"
    done = {file.name: file.stat().st_mtime_ns for file in folder.glob("fragments/*")}
    found = resumed(folder.name, tmp_path / "crash")["strings"]
    assert [(own["pub"], own["set"]) for own in found] == [(0, number) for number in range(6)]
    assert [own["counts"] for own in found] == wanted and read_record(folder)["status"] == "done"
    # What was there is not computed again, and a job that is done is shown again.
    assert done.items() <= {file.name: file.stat().st_mtime_ns for file in folder.glob("fragments/*")}.items()
    assert resumed(folder.name, tmp_path / "crash")["strings"] == found


@pytest.mark.parametrize(
    "simulate",
    [pytest.param(True, id="exact on the cores", marks=pytest.mark.slow), pytest.param(False, id="shots of a backend")],
)
def test_the_folder_of_a_samplers_job_gives_the_strings_again(tmp_path, simulate, capsys, request):
    pubs = [(measured(FOUR), [[0.6], [1.4]]), (UNREAD, [0.2]), (measured(FIVE), [0.9]), (measured(FOUR), [0.6], 50)]
    with (
        devices(MINE="aer") if simulate else nullcontext(request.getfixturevalue("backend")) as resources,
        Session(max_qubits=3, resources=resources, seed=5, cache="off") as session,
    ):
        job = QompassSampler(session=session, out=tmp_path).run(pubs, shots=300)
        result = job.result()
        assert main(["resume", job.job_id(), "--out", str(tmp_path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        kept = {name: own for name, own in read_record(tmp_path / job.job_id()).items() if name != "seed"}
        (tmp_path / job.job_id() / "record.json").write_bytes(RunRecord(kept).to_bytes())
        assert main(["resume", job.job_id(), "--out", str(tmp_path), "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["strings"] == found["strings"] and "seed" in found.keys() - again.keys()
    folder = str(tmp_path / job.job_id())
    assert [own.metadata["runs"] for own in result] == [[folder], [], [folder], [folder]]
    assert [(own["pub"], own["set"]) for own in found["strings"]] == [(0, 0), (0, 1), (2, 0), (3, 0)]
    kept = [result[0].data.meas[0], result[0].data.meas[1], result[2].data.meas, result[3].data.meas]
    assert [own["counts"] for own in found["strings"]] == [own.get_counts() for own in kept]
    assert bool(found["notes"]) is not simulate
    assert main(["check", job.job_id(), "--out", str(tmp_path)]) == 2
    assert "draws strings" in capsys.readouterr().err


class Counting(StatevectorSampler):
    """Qiskit's sampler, which notes its jobs."""

    jobs: int

    def run(self, pubs, *, shots=None):
        """One more job."""
        self.jobs = getattr(self, "jobs", 0) + 1
        return super().run(pubs, shots=shots)


def test_all_pubs_are_one_job_of_a_backend():
    backend = Counting(seed=np.random.default_rng(4))
    result = QompassEstimator(max_qubits=3, backend=backend, shots=50_000).run(PUBS).result()
    assert backend.jobs == 1
    for found, wanted in zip(result, exact(PUBS), strict=True):
        assert (abs(found.data.evs - wanted) < 5 * found.data.stds + 1e-9).all()
    pubs = [(measured(FOUR), [[0.6], [1.4]]), (measured(FIVE), [0.9])]
    QompassSampler(max_qubits=3, backend=backend).run(pubs).result()
    assert backend.jobs == 2


def test_a_run_takes_no_more_than_a_run_of_their_own_would():
    wide, alone, twice = QuantumCircuit(400), QuantumCircuit(3), QuantumCircuit(3)
    for own in (wide, alone, twice):
        for qubit in range(own.num_qubits - 1):
            own.cx(qubit, qubit + 1)
    twice.h(0)
    problems = [make_problem(own, "Z0") for own in (wide, wide.reverse_ops(), alone, wide.inverse(), alone, twice)]
    problems[1].circuit.x(0)
    problems[3].circuit.y(0)
    runs = shared_runs([Wanted([own]) for own in problems], Options(max_qubits=50, shots=100))
    assert [[own.num_qubits for own in run.beside.members] for run in runs] == [[400, 400, 3], [400, 3]]
    assert [run.options.shots for run in runs] == [400, 200]
    assert [[owner[0] for entry in run.entries for owner in entry.owners] for run in runs] == [[0, 1, 2, 4], [3, 5]]
