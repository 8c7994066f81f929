"""Errors, seconds and money of a plan, predicted before it runs, against what running it shows."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import cotengra
import numpy as np
import pytest
from qiskit import QuantumCircuit

from scheduler_policies import Device, Kind
from scheduler_policies.cost import work_seconds
from scheduler_policies.device import DeviceLimits, Price, Speed
from scheduler_policies.machine import GPU_SPEED, QPU_SPEED, TYPICAL_CPU
from tasks.cut import chosen_plan
from tasks.cutting import CuttingError, GateCut, WireCut, make_plan, make_plans, structure_of
from tasks.cutting.cost import greedy_contraction
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.cutting.variants import measurement_groups
from tasks.execution.jobs import (
    equal_jobs,
    exact_jobs,
    fragment_tensor,
    measuring,
    run_job,
    sampled_jobs,
    uniform_shots,
)
from tasks.execution.mitigation.extrapolation import mitigation_of
from tasks.execution.qpu.packing import pack_jobs
from tasks.execution.works import works_of
from tasks.forecast import forecast
from tasks.inputs.validation import make_problem
from tasks.options import Options
from tasks.prediction import (
    Spending,
    done_here,
    greedy_flops,
    predicted_spending,
    shot_variances,
    spending,
    variances_bytes,
)
from tasks.prediction.bill import RoundShots, billed
from tasks.prediction.shot_outcomes import along_legs, outcomes_bytes
from tasks.prediction.spending import greedy_seconds, refined_fragments
from tasks.prediction.whole_variance import WholeVariance
from tasks.reconstruction import contract, estimate_values
from tasks.reconstruction.contraction.layout import MOVE, SMALL_CALL
from tasks.reconstruction.contraction.schedule import network_cost
from tasks.reconstruction.statistics.allocation import first_round_shots
from tasks.reconstruction.statistics.walsh import variant_batches
from tasks.runs import RunDirectory
from tasks.workflow import run as run_problem
from tests.cutting.test_predicted_cost import joined_by
from tests.oracles import brickwork, problem_of, random_labels

QPU = Device("QPU_A", Kind.QPU, qubits=30, speed=QPU_SPEED, price=Price(per_shot=0.001))


def sampled_errors(problem, plan, shots, seed):
    jobs = sampled_jobs(plan, uniform_shots(plan, shots), seed)
    tensors = [
        fragment_tensor(fragment, schemes, [(job, run_job(job))])
        for fragment, schemes, job in zip(plan.fragments, plan.schemes, jobs, strict=True)
    ]
    return estimate_values(structure_of(problem, plan), tensors)[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["measured", "hadamard", "wires"])
def test_predicted_errors_are_the_error_bars_that_shots_then_give(kind, seed):
    """Sums whose terms share measurements too: gates by both kinds, and wires."""
    circuit = brickwork(6, 3, np.random.default_rng([seed, 1]))
    labels = ["IIIIZZ", "IZZIII", "IIZIIZ", "XXIIII", "IIYXII"]
    coefficients = np.array([[1.0, 0, 0, 0, 0], [0.5, 0.7, -0.4, 0, 0], [0, 0, 0.3, 1.0, -0.8]])
    problem = problem_of(circuit, labels, coefficients)
    between = [
        i for i, item in enumerate(circuit.data)
        if len(item.qubits) == 2 and {circuit.find_bit(q).index for q in item.qubits} == {2, 3}
    ]  # fmt: skip
    cuts = [GateCut(i, "hadamard" if kind == "hadamard" else "") for i in between]
    if kind == "wires":
        cuts = list(make_plan(problem, max_qubits=4, shots=10**6).cuts)
        cuts = [WireCut(i, 2) for i, item in enumerate(circuit.data) if circuit.qubits[2] in item.qubits][2:3] + cuts
    plan = make_plan(problem, cuts=tuple(cuts), shots=10**6)
    known = shot_variances(problem, plan)
    shots = 3000 * len(known.fragments)
    even = known.even_errors(3000)
    measured = sampled_errors(problem, plan, shots, seed)
    assert even == pytest.approx(measured, rel=0.05), f"seed {seed}"
    assert (known.std_errors(shots).max() <= 1.02 * even.max()) and known.std_errors(shots).shape == (3,)
    wanted = known.shots_for(0.01)
    assert known.std_errors(int(wanted)).max() == pytest.approx(0.01, rel=0.02)


def test_where_the_gradient_vanishes_the_error_is_of_second_order():
    """Two coins that nothing joins: the product of two means of n fair shots has the variance 1 / n**2."""
    circuit = QuantumCircuit(3)
    circuit.h([0, 1])
    circuit.ry(0.7, 2)
    problem = problem_of(circuit, ["IZZ", "ZIZ", "ZZZ"], np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, -0.5]]))
    known = shot_variances(problem, make_plan(problem, shots=10**6))
    n, mean = 400.0, np.cos(0.7)
    both, one = 1 / n**2, (mean**2 + (1 - mean**2) / n) / n
    third = both * (mean**2 + (1 - mean**2) / n) / 4
    assert known.even_errors(n) ** 2 == pytest.approx([both, one, one + third], rel=0.02)
    uneven = np.array([100.0, 400.0, 50.0])[: len(known.fragments)]
    assert known.further.beyond(uneven, known.values.T @ (1 / uneven))[0] == pytest.approx(1 / (100 * 400))
    # All of a run's shots, shared out by noise alone, are at best even and at worst as bad as a quarter of them.
    alone = shot_variances(make_problem(circuit, ["Z0 Z1"]), make_plan(make_problem(circuit, ["Z0 Z1"]), shots=10**6))
    assert 1 / n <= alone.std_errors(n * len(alone.fragments))[0] * 1.001 <= 4 / n
    assert alone.std_errors(alone.shots_for(1e-3)) == pytest.approx([1e-3], rel=0.05)


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_all_orders_of_the_variance_are_what_many_runs_show(seed):
    """Clifford gates between halves of certain outcomes: much of the error at few shots is beyond first order."""
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rzz(0.4 + seed, 1, 2)
    circuit.h(2)
    circuit.cx(1, 2)
    circuit.cx(2, 3)
    problem = problem_of(circuit, ["ZZZZ", "IZZI", "XIIX"], np.array([[1.0, 0, 0], [0, 1, 0], [0.3, 0, 1]]))
    cuts = tuple(GateCut(i) for i, item in enumerate(circuit.data) if len(item.qubits) == 2)[1:3]
    plan = make_plan(problem, cuts=cuts, shots=10**6)
    known, each, runs = shot_variances(problem, plan), 12, 150
    structure = structure_of(problem, plan)
    found = []
    for run in range(runs):
        jobs = sampled_jobs(plan, uniform_shots(plan, each * len(known.fragments)), 1000 * seed + run)
        pieces = zip(plan.fragments, plan.schemes, jobs, strict=True)
        tensors = [fragment_tensor(fragment, schemes, [(job, run_job(job))]) for fragment, schemes, job in pieces]
        found.append(contract(structure, tensors))
    spread = np.std(found, axis=0)
    first = np.sqrt(known.values.sum(axis=0) / each)
    assert known.even_errors(each) == pytest.approx(spread, rel=0.15, abs=1e-7), f"seed {seed}: {first} to first order"


@pytest.mark.parametrize("seed", range(2))
def test_draws_of_the_noise_show_what_is_beyond_first_order(seed, monkeypatch):
    """Where second moments would be too large: against them, for several factors a group, wires and gates."""
    monkeypatch.setattr("tasks.prediction.drawn_variance._MOST", 100)
    circuit = brickwork(6, 2, np.random.default_rng([seed, 9]), gate="rzz")
    problem = problem_of(circuit, ["ZZZZZZ", "IZZIII", "IIYXIZ"], np.array([[1.0, 0, 0], [0.6, 0.8, -1], [0, 0, 1]]))
    plan = make_plan(problem, max_qubits=3, shots=10**6)
    exact = shot_variances(problem, plan)
    monkeypatch.setattr(WholeVariance.of.__func__, "__defaults__", (0.0,))
    unknown, drawn = shot_variances(problem, plan), shot_variances(problem, plan, drawn_s=100.0)
    assert exact.all_orders and drawn.all_orders and not unknown.all_orders
    each = np.full(len(exact.fragments), 20.0)
    first = exact.values.T @ (1 / each)
    ratio = np.sqrt(drawn.further.beyond(each, first) / exact.further.beyond(each, first))
    assert ratio == pytest.approx(1, rel=0.3), f"seed {seed}"
    assert (unknown.even_errors(20) < drawn.even_errors(20)).all()
    few = shot_variances(problem, plan, drawn_s=1e-6)
    assert few.further is None, "too few draws say nothing"


def test_groups_that_are_simulated_apart_show_the_same(monkeypatch):
    circuit = brickwork(6, 3, np.random.default_rng(5))
    labels = ["IIIIZZ", "XYZIII", "IIZIIZ", "XXIIII", "IIYXII", "YIIIIY"]
    problem = problem_of(circuit, labels, np.eye(6) + 0.2)
    plan = make_plan(problem, max_qubits=4, shots=10**6)
    assert any(len(measurement_groups(fragment)) > 1 for fragment in plan.fragments)
    at_once = shot_variances(problem, plan)
    monkeypatch.setattr("tasks.prediction.shot_outcomes._SHORT_S", 0.0)
    monkeypatch.setattr(
        "tasks.prediction.shot_outcomes.exact_fragment_seconds", lambda fragment: 1.0 + 9 * fragment.factors_x.any()
    )
    apart = shot_variances(problem, make_plan(problem, max_qubits=4, shots=10**6))
    np.testing.assert_allclose(apart.values, at_once.values, atol=1e-9)
    np.testing.assert_allclose(apart.even_errors(30), at_once.even_errors(30), atol=1e-9)


def test_of_several_plans_the_one_of_least_error_is_taken(monkeypatch):
    problem = problem_of(brickwork(8, 3, np.random.default_rng(4), gate="rzz"), ["ZZZZZZZZ"], np.ones((1, 1)))
    limits = {"max_qubits": 5, "shots": 100_000, "memory_bytes": None, "seed": 0, "plan_seconds": None}
    for name, value in (("_ALWAYS_S", 10.0), ("_LONGER", 100.0), ("_COMPARED", 4)):
        monkeypatch.setattr(f"tasks.cut.{name}", value)
    plans = make_plans(problem, **limits, most=4)
    assert len(plans) > 1
    errors = [shot_variances(problem, plan).std_errors(100_000).max() for plan in plans]
    chosen = chosen_plan(problem, None, limits)
    mine = shot_variances(problem, chosen).std_errors(100_000).max()
    assert mine <= min(errors) / 0.97 + 1e-12
    quick = chosen_plan(problem, None, {**limits, "minimise": "time"})
    spent = [predicted_spending(plan, (TYPICAL_CPU,), 100_000) for plan in plans]
    took = predicted_spending(quick, (TYPICAL_CPU,), 100_000)
    assert took.execute + took.reconstruct == min(one.execute + one.reconstruct for one in spent)


@pytest.mark.parametrize(
    ("seconds", "error", "taken"),
    [
        ((10.0, 39.0), 0.5, 1),
        ((10.0, 51.0), 0.5, 0),
        ((10.0, 16.0), 0.9, 0),
        ((0.1, 0.2), 0.9, 1),
        ((0.1, 0.2), 0.99, 0),
    ],
)
def test_less_error_may_take_the_time_in_which_more_shots_would_bring_it(seconds, error, taken, monkeypatch):
    problem = problem_of(brickwork(8, 3, np.random.default_rng(4), gate="rzz"), ["Z" * 8], np.ones((1, 1)))
    limits = {"max_qubits": 5, "shots": 100_000, "memory_bytes": None, "seed": 0, "plan_seconds": None}
    plans = make_plans(problem, **limits, most=2)
    assert len(plans) == 2
    monkeypatch.setattr("tasks.cut.compared_plans", lambda *_: plans)
    monkeypatch.setattr("tasks.cut._predicted_error", lambda _, plan, *__: 1.0 if plan is plans[0] else error)
    spent = {id(plan): Spending(own, 0.0, 0.0) for plan, own in zip(plans, seconds, strict=True)}
    monkeypatch.setattr("tasks.prediction.predicted_spending", lambda plan, *_, **__: spent[id(plan)])
    assert chosen_plan(problem, None, limits) is plans[taken]


def test_errors_are_predicted_only_where_there_is_memory_for_it(monkeypatch):
    """A plan with a dozen legs on one fragment took 22 GB and the machine with it."""
    problem = problem_of(brickwork(8, 12, np.random.default_rng(4), gate="rzz"), ["Z" * 8, "XX" + "I" * 6], np.eye(2))
    data, circuit = problem.circuit.data, problem.circuit
    middle = [i for i, item in enumerate(data) if [circuit.find_bit(q).index for q in item.qubits] == [3, 4]]
    plan = make_plan(problem, cuts=tuple(map(GateCut, middle)), shots=10**6)
    assert [len(fragment.legs) for fragment in plan.fragments] == [6, 6]
    tracemalloc.start()
    shot_variances(problem, plan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.5 < variances_bytes(plan) / peak < 3, f"{variances_bytes(plan)} predicted, {peak} measured"

    chain = wide_line(24)
    joined = make_plan(chain, max_qubits=4, shots=10**6)
    assert variances_bytes(joined) > sum(map(outcomes_bytes, joined.fragments, joined.schemes)), "arrays joined, too"

    problem = problem_of(brickwork(8, 3, np.random.default_rng(4), gate="rzz"), ["Z" * 8], np.ones((1, 1)))
    limits = {"max_qubits": 5, "shots": 100_000, "memory_bytes": None, "seed": 0, "plan_seconds": None}
    first, *others = make_plans(problem, **limits, most=4)
    monkeypatch.setattr("tasks.cut._ALWAYS_S", 100.0)
    monkeypatch.setattr("tasks.cut._ROOM_BYTES", 1)
    monkeypatch.setattr("tasks.prediction.shot_variances", lambda *_, **__: pytest.fail("its memory was not asked"))
    assert others and chosen_plan(problem, None, limits).cuts == first.cuts


def test_of_several_exact_plans_the_one_that_a_run_is_done_with_soonest_is_taken():
    problem = problem_of(brickwork(16, 3, np.random.default_rng(4), gate="rzz"), ["Z" * 16], np.ones((1, 1)))
    limits = {"max_qubits": 8, "shots": None, "memory_bytes": None, "seed": 0, "plan_seconds": None}

    def took(plan):
        one = predicted_spending(plan, (TYPICAL_CPU,), None)
        return one.execute + one.reconstruct

    plans = make_plans(problem, **limits, most=8)
    assert len({took(plan) for plan in plans}) > 1
    assert took(chosen_plan(problem, None, limits)) == min(map(took, plans))


@pytest.mark.parametrize("seed", range(3))
def test_a_step_of_the_contraction_counts_once_for_all_terms_that_ask_the_same_of_its_fragments(seed):
    rng = np.random.default_rng([seed, 11])
    labels = [f"{'I' * k}ZZ{'I' * (10 - k)}" for k in range(11)] + random_labels(rng, 12, 5)
    problem = problem_of(brickwork(12, 3, rng), labels, np.eye(len(labels)))
    plan = make_plan(problem, max_qubits=4)
    found = greedy_contraction(plan.fragments, plan.bonds)
    apart = [
        {tuple(row) for row in plan.factor_index[:, own].tolist()} for _, own in joined_by(found, len(plan.fragments))
    ]
    flops = sum(step.flops * len(rows) for step, rows in zip(found.steps, apart, strict=True))
    assert greedy_flops(plan) == flops < found.flops * len(plan.factor_index), f"seed {seed}"
    one = replace(plan, factor_index=np.repeat(plan.factor_index[:1], 5, axis=0))
    assert greedy_flops(one) == found.flops, "five times the same is asked once"
    whole = make_plan(problem, cuts=())
    assert greedy_flops(whole) == len(whole.factor_index) * len(whole.fragments)


def test_a_contraction_takes_its_products_each_as_long_as_a_product_of_its_size():
    """Four fragments in a line: 4 x 4 tensors within, vectors at the ends; one term, then five that share no step."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.4, range(4))
    cuts = []
    for q in range(3):
        cuts.append(GateCut(len(circuit.data)))
        circuit.cz(q, q + 1)
    labels = ["ZZZZ", "XXXX", "YYYY", "IXYZ", "ZYXI"]
    took = {}
    for many in (1, 5):
        plan = make_plan(problem_of(circuit, labels[:many], np.eye(many)), cuts=tuple(cuts))
        steps = greedy_contraction(plan.fragments, plan.bonds).steps
        efforts = []
        for step in steps:
            k, m, n = step.sizes
            efforts.append(many * (m * n * k + MOVE * (m * k + k * n + m * n) + SMALL_CALL))
        took[many] = greedy_seconds(plan, replace(TYPICAL_CPU.speed, contraction=1e-10))
        assert 0.5 * sum(efforts) < took[many] / 2e-10 < 2 * sum(efforts) + 10 * SMALL_CALL * many
    assert 2 < took[5] / took[1] <= 5


SLOW = replace(TYPICAL_CPU, speed=Speed(**{name: 3 * value for name, value in vars(TYPICAL_CPU.speed).items()}))


@pytest.mark.parametrize(
    "qubits, layers, width, shots, here",
    [
        (24, 3, 8, None, True), (24, 3, 8, 10**5, True), (60, 3, 60, None, True), (30, 0, 30, 10**4, True),
        (24, 40, 24, None, False),
    ],
)  # fmt: skip
def test_a_machine_that_is_slower_in_everything_is_predicted_so(qubits, layers, width, shots, here):
    """Fragments from amplitudes, drawn, without amplitudes (whole, drawn), on an engine; what joins them each time."""
    circuit = brickwork(qubits, layers, np.random.default_rng(6))
    if not layers:  # a GHZ state, whose variants are those of stabilisers
        circuit.h(0)
        for q in range(qubits - 1):
            circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["Z" * qubits, "X" * qubits], np.eye(2))
    plan = make_plan(problem, max_qubits=width, shots=shots) if width < qubits else make_plan(problem, cuts=())
    assert done_here(plan, [SLOW], shots) == here, "seed 6"
    typical, slow = (predicted_spending(plan, [device], shots) for device in (TYPICAL_CPU, SLOW))
    assert slow.execute == pytest.approx(3 * typical.execute)
    assert slow.reconstruct == pytest.approx(3 * typical.reconstruct)


@pytest.mark.parametrize("width, layers, terms, wanted", [(4, 1, 1, False), (2, 10, 20, True)])
def test_paths_are_refined_where_that_is_predicted(monkeypatch, width, layers, terms, wanted):
    rng, calls = np.random.default_rng(8), []
    asked = cotengra.ContractionTree.subtree_reconfigure
    monkeypatch.setattr(
        cotengra.ContractionTree, "subtree_reconfigure", lambda *args, **how: calls.append(1) or asked(*args, **how)
    )
    labels = random_labels(rng, 20, terms)
    problem = problem_of(brickwork(20, layers, rng), labels, np.eye(len(labels)))
    plan = make_plan(problem, max_qubits=width)
    assert (refined_fragments(plan) == len(plan.fragments)) == wanted, "seed 8"
    network_cost(structure_of(problem, plan))
    assert bool(calls) == wanted


def test_equal_fragments_of_an_exact_run_are_predicted_once_as_they_are_run_once():
    """Four blocks of four qubits in a line, whose two inner ones differ by nothing or by one angle."""

    def planned(angle):
        circuit = QuantumCircuit(16)
        for layer in range(6):
            circuit.ry(0.3 + layer, range(16))
            for q in range(15):
                if q % 4 != 3:
                    circuit.rzz(0.4, q, q + 1)
        circuit.ry(0.7, 5)
        circuit.ry(0.7 + angle, 9)
        severed = tuple(GateCut(len(circuit.data) + k) for k in range(3))
        for q in (3, 7, 11):
            circuit.rzz(0.8, q, q + 1)
        circuit.ry(0.2, range(16))
        return make_plan(problem_of(circuit, ["Z" * 16], np.ones((1, 1))), cuts=severed)

    alike, other = planned(0.0), planned(0.1)
    assert sorted(map(len, equal_jobs(exact_jobs(alike)))) == [1, 1, 2]
    assert sorted(map(len, equal_jobs(exact_jobs(other)))) == [1, 1, 1, 1]
    spent, more = (predicted_spending(plan, (TYPICAL_CPU,), None) for plan in (alike, other))
    inner = next(fragment for fragment in other.fragments if len(fragment.legs) == 2)
    assert more.execute - spent.execute > exact_fragment_seconds(inner)
    assert more.reconstruct == spent.reconstruct, "tensors are joined one by one"
    sampled = [predicted_spending(plan, (TYPICAL_CPU,), 10**6).execute for plan in (alike, other)]
    assert sampled[0] == sampled[1], "shots are one fragment's alone"


def test_gates_in_blocks_are_a_cpus_and_as_quick_as_it_is():
    """Of gates of which many act as one a CPU takes less than counted; what a GPU takes was not measured."""
    circuit = QuantumCircuit(18)
    for layer in range(12):
        for q in range(layer % 2, 17, 2):
            for _ in range(4):
                circuit.ry(0.3 + layer, [q, q + 1])
                circuit.cx(q, q + 1)
    plan = make_plan(problem_of(circuit, ["Z" * 18], np.ones((1, 1))), cuts=())
    (work,) = works_of(plan, 1)
    gpu = Device("GPU", Kind.GPU, speed=GPU_SPEED)
    assert predicted_spending(plan, (gpu,), None).execute == pytest.approx(work_seconds(gpu, work))
    rest = predicted_spending(plan, (TYPICAL_CPU,), None).execute - work_seconds(TYPICAL_CPU, work)
    assert rest < 0, "beside the seconds of the run itself"
    quick = Speed(**{name: value / 10 for name, value in vars(TYPICAL_CPU.speed).items()})
    assert predicted_spending(plan, (replace(TYPICAL_CPU, speed=quick),), None).execute > 0


def wide_line(qubits):
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
        circuit.ry(0.3, q)
    return problem_of(circuit, ["Z" * qubits], np.ones((1, 1)))


def test_memory_is_that_of_the_device_which_runs_a_fragment():
    """Fragments of 30 qubits take 16 GiB on a simulator, and nothing here where a QPU runs them."""
    problem, little = wide_line(56), 1 << 28
    plan = make_plan(problem, max_qubits=29, shots=10**6, memory_bytes=little, devices=(QPU,))
    assert max(fragment.width for fragment in plan.fragments) > 24
    here = make_plan(problem, max_qubits=29, shots=10**6, memory_bytes=little, devices=(TYPICAL_CPU,))
    assert max(fragment.width for fragment in here.fragments) <= 24
    with pytest.raises(CuttingError, match=r"GiB of memory and 256 MiB may be used"):
        make_plan(problem, cuts=plan.cuts, shots=10**6, memory_bytes=little, devices=(TYPICAL_CPU,))


def test_without_a_width_the_devices_say_how_wide_a_fragment_may_be():
    problem = wide_line(40)
    small = replace(QPU, qubits=12)
    plan = make_plan(problem, shots=10**6, devices=(small,))
    assert 6 < max(fragment.width for fragment in plan.fragments) <= 12
    wider = make_plan(problem, shots=10**6, devices=(small, replace(QPU, name="QPU_B", qubits=20)))
    assert 12 < max(fragment.width for fragment in wider.fragments) <= 20
    whole = make_plan(problem)
    assert not whole.cuts and whole.costs[0].exact_bytes < 2**24, "40 qubits in a line are a small matrix product state"
    rng, deep = np.random.default_rng(3), QuantumCircuit(40)
    for _ in range(20):
        for q in range(40):
            deep.ry(float(rng.uniform(0, 3)), q)
        for q in range(0, 19):
            deep.cz(q, q + 1)
            deep.cz(20 + q, 21 + q)
    deep.cz(19, 20)
    deep.rx(0.3, [19, 20])  # or the gate before it would commute with what is asked
    exact = make_plan(problem_of(deep, ["Z" * 40], np.ones((1, 1))))
    assert exact.cuts, "40 qubits whole would take hours and 16 TiB"


def test_spending_is_by_device():
    problem = wide_line(24)
    plan = make_plan(problem, max_qubits=12, shots=10**5)
    on_qpu = predicted_spending(plan, (QPU,), 10**5)
    assert on_qpu.price == pytest.approx(100, rel=0.01) and on_qpu.execute > 10**5 * QPU_SPEED.shot
    read = predicted_spending(plan, (QPU,), 10**5, {"QPU_A": 8192, "QPU_B": 8192})
    assert read.price == pytest.approx(on_qpu.price + 8.192), "a QPU's readout is measured once, of those in use"
    jobs = replace(QPU, price=Price(per_job=1.0), limits=DeviceLimits(circuits_per_job=7))
    variants = sum(cost.variants for cost in plan.costs)
    prices = [predicted_spending(plan, (jobs,), many * variants).price for many in (99, 100)]
    assert prices == [-(-variants // 7), 2 * -(-variants // 7)], "the jobs of both rounds, where there are two"
    assert predicted_spending(plan, (jobs,), 200.0 * variants, target=True).price == prices[0], "one round does"
    assert predicted_spending(plan, (QPU,), 200.0 * variants, target=True).price == pytest.approx(0.4 * variants)
    assert predicted_spending(plan, (QPU,), 10**5 + 7).price == pytest.approx(100.007), "every shot, and no more"
    two = predicted_spending(plan, (QPU, replace(QPU, name="QPU_B")), 10**5)
    assert two.execute < 0.7 * on_qpu.execute
    exact = predicted_spending(make_plan(problem, max_qubits=12), (QPU,), None)
    assert exact.unplaced and "takes shots only" in exact.unplaced[0][1]


@pytest.mark.parametrize("mitigation", ["none", "readout", "readout+zne"])
@pytest.mark.parametrize("common", [False, True])
def test_jobs_and_shots_are_those_that_the_circuits_are_packed_into(common, mitigation):
    """A variant is a circuit at each noise factor; where jobs have one number of shots, others are rounded up."""
    plan = make_plan(wide_line(24), max_qubits=12, shots=10**5)
    limits = DeviceLimits(circuits_per_job=7, shots_per_job=6000, common_shots=common)
    qpu, against = replace(QPU, price=Price(per_job=1.0, per_shot=1e-3), limits=limits), mitigation_of(mitigation)
    read = np.concatenate(list(map(measuring, plan.fragments, plan.schemes)))
    readout = 2 * against.calibration_shots if against.readout else 0
    for total in (50 * len(read), 50 * len(read) + 3):
        shots = np.concatenate(uniform_shots(plan, total), axis=1).sum(axis=0)[read]
        sizes = abs(against.shares) / abs(against.shares).sum()
        asked = [max(1, round(share * own)) for own in shots for share in sizes]
        asked += [readout // 2] * (2 if readout else 0)
        batches = pack_jobs(SimpleNamespace(limits=limits), [(k, str(k), many) for k, many in enumerate(asked)])
        bill = len(batches) + 1e-3 * sum(sum(batch.shots) for batch in batches)
        told = predicted_spending(plan, (qpu,), total, {"QPU_A": readout}, mitigation=mitigation).price
        assert told == pytest.approx(bill, abs=0.02), f"{len(asked)} circuits in {len(batches)} jobs"


@pytest.mark.parametrize("common", [False, True])
def test_uneven_rounds_are_billed_as_they_are_packed(common):
    rng, shares = np.random.default_rng(7), (0.75, 0.25)
    limits = DeviceLimits(circuits_per_job=7, shots_per_job=600, common_shots=common)
    asked = [np.round(np.exp(rng.uniform(3, 8, many))) for many in (3, 40)]
    pieces = [max(1, round(share * own)) for shots in asked for own in shots for share in shares]
    batches = pack_jobs(SimpleNamespace(limits=limits), [(k, str(k), many) for k, many in enumerate(pieces)])
    jobs, shots = billed(replace(QPU, limits=limits), list(map(RoundShots.of, asked)), shares, 0)
    assert jobs == len(batches), "seed 7"
    assert shots == pytest.approx(sum(sum(batch.shots) for batch in batches), rel=1e-3), "seed 7"


def test_jobs_of_one_number_of_shots_are_as_many_as_a_run_of_two_rounds_packs(tmp_path, monkeypatch):
    """What is expected of variants that are alike is one number; the noise of a first round makes it many."""
    circuit = QuantumCircuit(9)
    circuit.h(0)
    for q in range(8):
        circuit.cx(q, q + 1)
    problem, packed = make_problem(circuit, ["Z0 Z8"]), {}
    limits = DeviceLimits(False, False, shots_per_job=100_000, circuits_per_job=200, common_shots=True)

    def noted(plan, wanted, seed, round_index):
        jobs = sampled_jobs(plan, wanted, seed, round_index=round_index)
        asked = [(k, str(k), int(own)) for k, own in enumerate(own for job in jobs for own in job.shots if own)]
        packed[round_index] = len(pack_jobs(SimpleNamespace(limits=limits), asked))
        return jobs

    monkeypatch.setattr("tasks.dispatch.rounds.sampled_jobs", noted)
    options = Options(max_qubits=4, shots=20_000, cache="off", plan_seconds=0.02)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        plan = run_problem(problem, options, directory).plan
    known = shot_variances(problem, plan)
    qpu = replace(QPU, price=Price(per_job=1.0), limits=limits)
    assert len(packed) == 2
    assert predicted_spending(plan, (qpu,), 20_000, worth=known).price == pytest.approx(sum(packed.values()), rel=0.4)


def test_matrices_along_legs_are_those_of_a_sum_over_all_of_them():
    rng = np.random.default_rng(11)
    array, matrices = rng.normal(size=(2, 4, 3, 5)), [rng.normal(size=shape) for shape in ((3, 2), (6, 4), (1, 3))]
    expected = np.einsum("abcf,ia,jb,kc->fijk", array, *matrices)
    np.testing.assert_allclose(along_legs(array, matrices), expected, atol=1e-12, err_msg="seed 11")


def test_a_plan_whose_error_takes_longer_than_it_may_is_not_compared(monkeypatch):
    problem = problem_of(brickwork(8, 3, np.random.default_rng(4), gate="rzz"), ["Z" * 8], np.ones((1, 1)))
    limits = {"max_qubits": 5, "shots": 100_000, "memory_bytes": None, "seed": 0, "plan_seconds": None}
    plans = make_plans(problem, **limits, most=3)
    assert len(plans) == 3
    seconds = {id(plan): own for plan, own in zip(plans, (0.05, 50.0, 0.01), strict=True)}
    asked = []
    monkeypatch.setattr("tasks.cut.compared_plans", lambda *_: plans)
    monkeypatch.setattr("tasks.prediction.variances_seconds", lambda plan: seconds[id(plan)])
    monkeypatch.setattr("tasks.cut._predicted_error", lambda _, plan, *__: asked.append(plan) or 1.0)
    assert chosen_plan(problem, None, limits) is plans[0]
    assert [plans.index(plan) for plan in asked] == [0, 2]


@pytest.mark.parametrize(("errors", "taken"), [((0.9, 0.5), 0), ((0.9, 0.3), 2), ((0.3, 0.9), 1)])
def test_where_the_first_plan_takes_too_long_its_error_is_guessed_as_those_of_the_others_are(
    errors, taken, monkeypatch
):
    """Guesses of 4, 3 and 3: where the others err .3 and .1 of theirs, the first one is likely to err .8."""
    problem = problem_of(brickwork(8, 3, np.random.default_rng(4), gate="rzz"), ["Z" * 8], np.ones((1, 1)))
    limits = {"max_qubits": 5, "shots": 100_000, "memory_bytes": None, "seed": 0, "plan_seconds": None}
    plans = make_plans(problem, **limits, most=3)
    known = dict(zip(map(id, plans), (np.nan, *errors), strict=True))
    guessed = dict(zip(map(id, plans), (4.0, 3.0, 3.0), strict=True))
    monkeypatch.setattr("tasks.cut.compared_plans", lambda *_: plans)
    monkeypatch.setattr("tasks.prediction.variances_seconds", lambda plan: 50.0 if plan is plans[0] else 0.01)
    monkeypatch.setattr("tasks.cut._predicted_error", lambda _, plan, *__: known[id(plan)])
    monkeypatch.setattr("tasks.cut._guessed_error", lambda plan, _: guessed[id(plan)])
    assert chosen_plan(problem, None, limits) is plans[taken]


def test_an_observable_of_no_terms_that_count_takes_a_shot():
    problem = make_problem(brickwork(4, 2, np.random.default_rng(4)), ["Z0 - Z0"])
    plan = make_plan(problem, max_qubits=3, shots=1000)
    guessed = forecast(problem, plan, Options(shots=1000), [TYPICAL_CPU], within=0.0)
    assert not guessed.computed and guessed.shots_for == 1 and guessed.std_errors == (0.0,)


def test_a_runs_record_has_the_error_that_its_plan_says_where_planning_took_long_beside_it():
    problem = make_problem(brickwork(6, 2, np.random.default_rng(4)), ["Z0 Z5"])
    plan, options = make_plan(problem, max_qubits=4, shots=10_000), Options(shots=10_000)
    told = forecast(problem, plan, options, [TYPICAL_CPU])
    quick, usual = (forecast(problem, plan, options, [TYPICAL_CPU], own, within=0.03) for own in (0.0, 1.0))
    assert not quick.computed and usual.computed
    assert usual.std_errors == pytest.approx(told.std_errors) != pytest.approx(quick.std_errors)


def test_beside_qpus_a_simulator_is_asked_once_and_exactly_and_the_others_get_its_shots():
    """As runs do it: a tensor that is exact takes no shots in a later round."""
    plan, total = make_plan(wide_line(20), cuts=(GateCut(15),), shots=10**5), 10**5
    dear = replace(TYPICAL_CPU, price=Price(per_second=1.0))
    spent = predicted_spending(plan, (dear, replace(QPU, speed=replace(QPU_SPEED, shot=1.0))), total)
    works = works_of(plan, 1)
    assert spent.used == (dear.name,)
    assert spent.price == pytest.approx(sum(work_seconds(dear, work) for work in works))
    one = min(range(len(works)), key=lambda k: works[k].width)
    small = replace(dear, qubits=works[one].width, price=Price())
    assert sum(work.width <= works[one].width for work in works) == 1 < len(works)
    mixed = predicted_spending(plan, (small, QPU), total, cheaply=True)
    assert mixed.used == (small.name, QPU.name)
    variants = [work.variants for work in works]
    first = first_round_shots(sum(variants), total) * (1 - variants[one] / sum(variants))
    assert mixed.price == pytest.approx(0.001 * (total * 0.75 + first), rel=0.01)


@pytest.mark.parametrize("width", [2, 3])
def test_groups_of_variants_are_those_that_are_evaluated_together(width):
    problem = problem_of(brickwork(6, 2, np.random.default_rng(0)), ["ZZIIII", "XXIIII", "IIXXYI"], np.eye(3))
    plan = make_plan(problem, max_qubits=width, shots=10**4)
    assert len(plan.fragments) > 1
    for job in sampled_jobs(plan, uniform_shots(plan, 10**4), 0):
        schemes = plan.schemes[job.fragment.index]
        samples = fragment_tensor(job.fragment, schemes, [(job, run_job(job))]).samples
        batches, singles = variant_batches(samples)
        assert spending._groups(job.fragment, schemes) == len(batches) and not singles
