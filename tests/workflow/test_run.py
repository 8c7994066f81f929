"""The workflow end to end on the embedded engine: estimates, the run's folder, resuming, and failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy

from tasks import reconstruct as reconstruct_tasks
from tasks import workflow
from tasks.bound_runs import Wanted, run_together
from tasks.dispatch import pool
from tasks.dispatch.errors import BudgetError
from tasks.errors import DefectError, InputError
from tasks.execution.cache import cost_benefit
from tasks.execution.cache.payoff import Payoff
from tasks.runs import RunDirectory, read_record
from tasks.runtime.ranks import mpirun_path
from tasks.workflow import Options, RunError, estimate, run
from tests.oracles import brickwork, random_problem, uncut_values

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def problem():
    rng = np.random.default_rng(17)
    return random_problem(brickwork(9, 3, rng), rng)


def values(result):
    return np.array([e.value for e in result.estimates])


def test_a_run_gives_the_exact_values_and_leaves_its_record(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=5), directory)
    np.testing.assert_allclose(values(result), uncut_values(problem), atol=1e-9)
    record = read_record(directory.path)
    assert record["status"] == "done"
    assert [e["value"] for e in record["estimates"]] == [e.value for e in result.estimates]
    assert set(record["timings"]) == {"cut", "execute", "reconstruct"}
    assert len(record["results"]) == len(result.plan.fragments)
    assert {meta["device"] for meta in record["results"].values()} == {"cpu"}
    assert not list(directory.path.rglob("*.pkl"))


def test_sampled_and_exact_runs_agree_within_the_error_bar(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=5, shots=400_000, seed=5), directory)
    errors = np.array([e.std_error for e in result.estimates])
    assert (errors > 0).all()
    assert (np.abs(values(result) - uncut_values(problem)) < 5 * errors).all(), "seed 5"


def test_what_is_done_is_not_done_again(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        first = run(problem, Options(max_qubits=5, shots=100_000, seed=2), directory)
        stored = sorted((directory.path / "fragments").iterdir())
    kept = {path.name: path.stat().st_mtime_ns for path in stored[1:]}
    stored[0].unlink()
    with RunDirectory.open(directory.path) as directory:
        again = run(problem, Options(max_qubits=5, shots=100_000, seed=2), directory)
    assert again.estimates == first.estimates
    untouched = {path.name: path.stat().st_mtime_ns for path in (directory.path / "fragments").iterdir()}
    assert kept.items() <= untouched.items(), "a stored result was written again"


def test_a_damaged_result_is_computed_again(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        first = run(problem, Options(max_qubits=5), directory)
        victim = min((directory.path / "fragments").iterdir())
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    with RunDirectory.open(directory.path) as directory:
        again = run(problem, Options(max_qubits=5), directory)
    assert again.estimates == first.estimates


def test_results_of_other_options_are_not_taken(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        run(problem, Options(max_qubits=5, shots=100_000, seed=2), directory)
        other = run(problem, Options(max_qubits=5, shots=100_000, seed=3), directory)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        fresh = run(problem, Options(max_qubits=5, shots=100_000, seed=3), directory)
    assert other.estimates == fresh.estimates


def test_a_run_killed_in_the_middle_is_finished_by_another_process(problem, tmp_path):
    """kill -9 of the whole process group as soon as something is stored; then resume in this process."""
    program = tmp_path / "victim.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from qiskit import qpy\n"
        "from tasks.inputs.validation import make_problem\n"
        "from tasks.runs import RunDirectory\n"
        "from tasks.workflow import Options, run\n"
        "def main():\n"
        "    with open(sys.argv[1], 'rb') as file:\n"
        "        problem = make_problem(qpy.load(file)[0], ['Z0 Z5', 'X2 Y7'])\n"
        "    with RunDirectory.create(Path(sys.argv[2]), {}, problem) as directory:\n"
        "        run(problem, Options(max_qubits=5, shots=12_000_000, seed=4), directory)\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    with open(tmp_path / "circuit.qpy", "wb") as file:
        qpy.dump(problem.circuit, file)
    runs = tmp_path / "runs"
    victim = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "circuit.qpy"), str(runs)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/fragments/*.npz")) and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    (path,) = runs.iterdir()
    done = {p.name: p.stat().st_mtime_ns for p in (path / "fragments").glob("*.npz")}
    assert done, "nothing was stored before the kill"
    options = Options(max_qubits=5, shots=12_000_000, seed=4)
    with RunDirectory.open(path) as directory:
        stored = directory.problem()
        resumed = run(stored, options, directory)
    assert json.loads((path / "record.json").read_text())["status"] == "done"
    now = {p.name: p.stat().st_mtime_ns for p in (path / "fragments").glob("*.npz")}
    assert done.items() <= now.items()
    fresh = estimate(problem.circuit, ["Z0 Z5", "X2 Y7"], max_qubits=5, shots=12_000_000, seed=4)
    assert resumed.estimates == fresh


def test_a_fragment_that_no_device_can_run_stops_the_run_with_a_reason(problem, tmp_path):
    """Memory that the plan did not count on: the simulator's own refusal reaches the user in one line."""
    import tasks.dispatch.driver as dispatch

    before = dispatch.LEAST_LIMIT_S, dispatch.LIMIT_FACTOR
    dispatch.LEAST_LIMIT_S, dispatch.LIMIT_FACTOR = 0.0, 1e-9
    try:
        with (
            pytest.raises(RunError, match=r"fragment \d+: ran past its limit .* try 2\); nothing was kept"),
            RunDirectory.create(tmp_path, {}, problem) as directory,
        ):
            run(problem, Options(max_qubits=5), directory)
    finally:
        dispatch.LEAST_LIMIT_S, dispatch.LIMIT_FACTOR = before


def dense_parts(rng, *sizes):
    """Every two qubits of a part are joined twice, neighbouring parts once."""
    circuit = QuantumCircuit(sum(sizes))
    parts = [range(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
    for _ in range(2):
        for part in parts:
            for a in part:
                circuit.u(*rng.uniform(0, 3, 3), a)
                for b in range(part[0], a):
                    circuit.cz(a, b)
    for part in parts[1:]:
        circuit.cz(part[0] - 1, part[0])
    circuit.ry(0.4, circuit.qubits)
    return circuit


@pytest.mark.parametrize("shots, sizes", [(None, (11, 3)), (300_000, (7, 7))])
def test_the_cache_changes_no_value_cold_warm_or_off(tmp_path, shots, sizes, monkeypatch):
    monkeypatch.setattr(cost_benefit, "_LEAST_SECONDS", 0.0)  # so small fragments are not looked for otherwise
    monkeypatch.setattr(Payoff, "looks", lambda *asked: True)
    monkeypatch.setattr("tasks.prediction.spending.INLINE_S", 100.0)
    rng = np.random.default_rng(23)
    problem = random_problem(dense_parts(rng, *sizes), rng)  # no narrower plan is quicker
    found = {}
    for name, cache in (("off", "off"), ("cold", str(tmp_path / "cache")), ("warm", str(tmp_path / "cache"))):
        with RunDirectory.create(tmp_path / name, {}, problem) as directory:
            options = Options(max_qubits=sizes[0], shots=shots, seed=6, cache=cache)
            found[name] = values(run(problem, options, directory))
            hits = [meta.get("cache") for meta in directory.record["results"].values()]
        assert ("hit" in hits) == (name == "warm"), f"{name}: {hits}"
    if shots is None:
        np.testing.assert_allclose(found["off"], uncut_values(problem), atol=1e-9)
    np.testing.assert_allclose(found["cold"], found["off"], atol=1e-12)
    np.testing.assert_allclose(found["warm"], found["off"], atol=1e-12)


@pytest.mark.parametrize("text, value", [("0.1", 0.1), ("Z3", 1.0), ("X3", 0.0)])
def test_nothing_to_sample_is_no_reason_to_fail(text, value):
    """A constant, or an observable on a qubit that no gate touches, asked with shots."""
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.cx(0, 1)
    (found,) = estimate(circuit, text, shots=1000)
    assert (found.value, found.std_error) == (pytest.approx(value), 0.0)


def test_a_task_that_dies_with_several_parts_of_one_fragment_costs_one_retry(problem, tmp_path, monkeypatch):
    """The first task is ended by its time limit; its parts run again instead of ending the run."""
    from tasks.dispatch.driver import Driver
    from tasks.runtime import limits

    given = []
    real = Driver._limits

    def once(self, submit):
        given.append(len(submit.pieces))
        return limits(seconds=1e-9) if len(given) == 1 else real(self, submit)

    monkeypatch.setattr(Driver, "_limits", once)
    monkeypatch.setattr("tasks.dispatch.batches.LEAST_WORTH", 0.0)
    monkeypatch.setattr("tasks.dispatch.batches.PART_SECONDS", 1e-3)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=5, shots=40_000, seed=8), directory)
        attempts = [meta["attempt"] for meta in directory.record["results"].values()]
    assert given[0] > 1, "the first task holds several parts"
    assert 1 in attempts and max(attempts) == 1
    errors = np.array([e.std_error for e in result.estimates])
    assert (np.abs(values(result) - uncut_values(problem)) < 5 * errors).all(), "seed 8"


def test_a_target_error_is_met_with_as_many_shots_as_it_takes(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=5, target_error=0.02, seed=3), directory)
    assert all(0 < e.std_error <= 0.021 for e in result.estimates)
    assert (np.abs(values(result) - uncut_values(problem)) < 0.1).all(), "seed 3"


def test_a_target_out_of_reach_spends_the_shots_there_are(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=5, shots=60_000, target_error=1e-9, seed=3), directory)
        shots = sum(meta["shots"] for meta in directory.record["results"].values())
    assert all(e.std_error > 1e-9 for e in result.estimates) and shots <= 60_000


def test_a_large_reconstruction_goes_to_ranks_and_gives_the_same(tmp_path: Path, monkeypatch) -> None:
    """The threshold itself is lowered; everything behind it is what a large network would meet."""
    if mpirun_path() is None:
        pytest.skip("the mpich wheel is not installed")
    circuit = brickwork(10, 4, np.random.default_rng(3))
    options = {"max_qubits": 5, "shots": 50_000, "seed": 4, "out": tmp_path}
    called = []
    in_ranks = workflow.answer_of_ranks
    monkeypatch.setattr(workflow, "answer_of_ranks", lambda folder: called.append(folder) or in_ranks(folder))
    alone = estimate(circuit, ["Z0 Z9", "X3 + 0.5*Z4 Z5"], **options)
    assert not called
    monkeypatch.setattr(reconstruct_tasks, "_WORTH_RANKS", 1.0)
    together = estimate(circuit, ["Z0 Z9", "X3 + 0.5*Z4 Z5"], **options)
    assert called and not Path(called[0]).exists()
    for one, other in zip(alone, together, strict=True):
        assert other.value == pytest.approx(one.value, abs=1e-12)
        assert other.std_error == pytest.approx(one.std_error, rel=1e-9)
    shares, again = (read_record(run)["variance_shares"] for run in tmp_path.iterdir())
    assert shares.keys() == again.keys() and all(again[own] == pytest.approx(shares[own], abs=2e-6) for own in shares)


def priced(folder, first, second):
    """A resources file with two kinds of core that have these prices."""
    processors = "".join(
        f"<Processor Name='{name}'><ComputingUnits>1</ComputingUnits><Type>CPU</Type><ProcessorProperty>"
        f"<Key>qompass</Key><Value>{price}</Value></ProcessorProperty></Processor>"
        for name, price in (("ONE", first), ("TWO", second))
    )
    folder.mkdir(exist_ok=True)
    (folder / "project.xml").write_text(f"<Project><MasterNode>{processors}</MasterNode></Project>")
    (folder / "resources.xml").write_text("<ResourcesList/>")
    return folder


def test_a_resumed_run_asks_for_the_shots_that_the_first_process_chose(problem, tmp_path):
    """Prices that changed meanwhile change nothing that was decided; a fresh run shows that they would have."""

    def shots(record):
        return sorted((r["fragment"], r["round"], r["first"], r["shots"]) for r in record["results"].values())

    def options(first, second):
        where = priced(tmp_path / "devices", f"price_per_shot={first}", f"price_per_shot={second}")
        return Options(max_qubits=5, shots=100_000, seed=2, resources=where, policy="round_robin")

    with RunDirectory.create(tmp_path, {}, problem) as directory:
        first = run(problem, options(1.0, 100.0), directory)
        second_round = [path for path in (directory.path / "fragments").iterdir() if "round-1" in path.name]
    assert (directory.path / "round-1.npz").exists() and second_round
    second_round[0].unlink()
    kept = {p.name: p.stat().st_mtime_ns for p in (directory.path / "fragments").iterdir()}
    with RunDirectory.open(directory.path) as directory:
        again = run(problem, options(100.0, 1.0), directory)
    assert again.estimates == first.estimates, "seed 2"
    now = {p.name: p.stat().st_mtime_ns for p in (directory.path / "fragments").iterdir()}
    assert kept.items() <= now.items() and len(now) == len(kept) + 1
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        other = run(problem, options(100.0, 1.0), directory)
    assert shots(other.record) != shots(first.record), "these prices would have asked for other shots"


def test_a_budget_sends_work_where_it_costs_nothing(problem, tmp_path):
    where = priced(tmp_path / "devices", "price_per_job=100", "price_per_job=0")
    used = {}
    for budget in (None, 1.0):
        with RunDirectory.create(tmp_path, {}, problem) as directory:
            run(problem, Options(max_qubits=5, resources=where, budget=budget), directory)
            used[budget] = {meta["device"] for meta in directory.record["results"].values()}
    assert used == {None: {"ONE", "TWO"}, 1.0: {"TWO"}}


def test_a_budget_that_holds_nothing_is_refused_before_anything_is_paid(problem, tmp_path):
    where = priced(tmp_path / "devices", "price_per_job=100", "price_per_job=90")
    for policy, least in (("balanced", "180"), ("availability", "1")):
        with RunDirectory.create(tmp_path, {}, problem) as directory:
            options = Options(max_qubits=5, resources=where, budget=1.0, policy=policy)
            with pytest.raises(
                BudgetError, match=rf"`budget`: 1 does not hold the {least}.* that this takes: give more"
            ):
                run(problem, options, directory)
            assert not directory.record["results"]


def test_a_run_that_its_budget_ends_halfway_says_what_it_has_paid(problem, tmp_path, monkeypatch):
    where = priced(tmp_path / "devices", "price_per_job=1", "price_per_job=1")
    options = Options(max_qubits=3, shots=2_000_000, seed=2, resources=where, budget=1000.0)
    monkeypatch.setattr(pool.Pool, "beyond", lambda self, price: "`budget`: it is spent" if self.price else "")
    with pytest.raises(BudgetError, match="it is spent"), RunDirectory.create(tmp_path, {}, problem) as directory:
        run(problem, options, directory)
    record = directory.record
    assert record["status"] == "failed" and record["price"] >= len(record["results"]) > 0
    told = []
    with pytest.raises(BudgetError, match="it is spent"):
        run_together([Wanted([problem], None)], options, paid=told.append)
    assert told == [record["price"]]


def test_a_budget_counts_what_was_paid_before_and_not_what_is_in_the_cache(problem, tmp_path, monkeypatch):
    where = priced(tmp_path / "devices", "price_per_job=1", "price_per_job=1")
    options = Options(max_qubits=3, shots=2_000_000, seed=2, resources=where, cache=str(tmp_path / "cache"))
    seen = []
    place = pool.place
    monkeypatch.setattr(cost_benefit, "_LEAST_SECONDS", 0.0)  # so small fragments are not looked for otherwise
    monkeypatch.setattr(Payoff, "looks", lambda *asked: True)
    monkeypatch.setattr(pool, "place", lambda *asked, **more: seen.append(asked[-1].price) or place(*asked, **more))

    def spent(directory):
        seen.clear()
        run(problem, options, directory)
        return max(seen)

    with RunDirectory.create(tmp_path, {}, problem) as directory:
        paid = spent(directory)
    assert paid > 0
    second_round = [path for path in (directory.path / "fragments").iterdir() if "round-1" in path.name]
    second_round[0].unlink()
    with RunDirectory.open(directory.path) as directory:
        assert spent(directory) >= paid, "what the first process paid is paid"
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        found_again = spent(directory)
        results = directory.record["results"].values()
    unpaid = sum(result.get("cache") == "hit" for result in results if result["round"] == 0)
    assert unpaid > 0 and found_again <= paid - unpaid


@pytest.mark.parametrize("where", ["redis://:hunter2@h", "rediss://h/0?password=hunter2"])
def test_a_password_in_the_place_of_the_cache_is_refused_whoever_gives_it(problem, tmp_path, where):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        with pytest.raises(InputError, match="QOMPASS_REDIS_PASSWORD"):
            run(problem, Options(max_qubits=5, cache=where), directory)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_a_damaged_allocation_is_made_again(problem, tmp_path):
    options = Options(max_qubits=5, shots=100_000, seed=2)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        first = run(problem, options, directory)
    (directory.path / "round-1.npz").write_bytes(b"torn")
    with RunDirectory.open(directory.path) as directory:
        assert run(problem, options, directory).estimates == first.estimates


def test_estimate_warns_of_what_a_run_notes(caplog):
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    estimate(circuit, "Z0 Z1")
    assert any("measure" in record.getMessage() for record in caplog.records if record.levelname == "WARNING")


def test_a_child_killed_while_it_starts_costs_a_try_and_no_more(problem, tmp_path, monkeypatch, caplog):
    from tasks.runtime import children

    children.end_children()
    real, first = children.python_command, iter([True])

    def command(code, *arguments):
        return real("import os; os.kill(os.getpid(), 9)" if next(first, False) else code, *arguments)

    monkeypatch.setattr(children, "python_command", command)
    monkeypatch.setattr("tasks.prediction.spending.INLINE_S", -1.0)
    monkeypatch.setattr("tasks.runtime.embedded.start_children", lambda count: None)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, Options(max_qubits=5), directory)
    assert "its process was ended by signal 9 (SIGKILL) while it started" in caplog.text
    np.testing.assert_allclose(values(result), uncut_values(problem), atol=1e-9)


@pytest.mark.parametrize("inline_s", [1.0, -1.0], ids=["inline", "child"])
@pytest.mark.parametrize("work", ["tasks.cut._plan", "tasks.execute.run_jobs", "tasks.reconstruct.contract_network"])
def test_a_defect_in_a_task_is_none_of_the_users(problem, tmp_path, monkeypatch, work, inline_s):
    """Its traceback is in the run's folder, and it is not tried again."""
    from tests.engines.work import defect

    monkeypatch.setattr(work, defect)
    monkeypatch.setattr("tasks.prediction.spending.INLINE_S", inline_s)
    with (
        pytest.raises(DefectError, match="KeyError: 'a defect'"),
        RunDirectory.create(tmp_path, {}, problem) as directory,
    ):
        run(problem, Options(max_qubits=5), directory)
    text = (directory.path / "traceback.txt").read_text()
    assert "work.py" in text and "KeyError: 'a defect'" in text
    assert read_record(directory.path)["status"] == "failed"


@pytest.mark.parametrize("inline_s", [1.0, pytest.param(-1.0, marks=pytest.mark.slow)], ids=["inline", "engine"])
def test_estimates_of_several_threads_share_an_engine_that_ends_with_the_last(problem, monkeypatch, inline_s):
    """As from asyncio.to_thread or joblib: whoever started the engine must not stop it for the others."""
    from concurrent.futures import ThreadPoolExecutor

    from tasks.runtime import EngineError, engine, engine_info

    monkeypatch.setattr("tasks.prediction.spending.INLINE_S", inline_s)

    def one(number):
        time.sleep(0.05 * number)
        return [e.value for e in estimate(problem.circuit, ["Z0 Z5", "X2 Y7"], max_qubits=5, seed=number, cache="off")]

    alone = one(0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(6)))
    np.testing.assert_allclose(found, [alone] * 6, atol=1e-9)
    with pytest.raises(EngineError):  # it has ended
        engine_info()
    with engine(units={"CPU": 1}) as mine:  # and one that the program started stays
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(2)))
        assert engine_info() is mine
