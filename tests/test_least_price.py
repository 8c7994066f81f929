"""``minimise="cost"``: what is predicted, which plan is taken, and what a run then pays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qiskit import QuantumCircuit

from apps.cli.forecast_text import candidates_text, ranked
from scheduler_policies import Device, Goal, Kind, Price
from scheduler_policies.machine import QPU_SPEED, TYPICAL_CPU
from tasks.cut import asked_of_plan, chosen_plan
from tasks.cutting import GateCut, make_plan
from tasks.dispatch.instructions import Move
from tasks.forecast import forecast
from tasks.inputs.validation import make_problem
from tasks.options import Options
from tasks.prediction import Spending, predicted_spending
from tasks.runs import RunDirectory
from tasks.workflow import run
from tests.dispatch.script import a_qpu, counts, script
from tests.workflow.test_run import priced

SHOTS = 20_000


@pytest.fixture
def line():
    circuit = QuantumCircuit(6)
    for layer in range(2):
        for q in range(6):
            circuit.ry(0.3 + q + layer, q)
        for q in range(5):
            circuit.cx(q, q + 1)
    return make_problem(circuit, ["Z0 Z5"])


def qpu(name, qubits, **price):
    return Device(name, Kind.QPU, qubits=qubits, speed=QPU_SPEED, price=Price(**price))


def taken(problem, devices, **options):
    """The plan that minimises cost, and what it takes."""
    asked = Options(minimise="cost", shots=SHOTS, cache="off", plan_seconds=0.02, **options)
    plan = chosen_plan(problem, asked.cuts, asked_of_plan(asked, devices))
    return plan, forecast(problem, plan, asked, devices).spent


@pytest.mark.parametrize(
    ("qubits", "free", "widths", "used"),
    [
        (6, True, [6], "NARROW"),  # it fits whole where it costs nothing
        (4, True, [3, 3], "NARROW"),  # and else is cut for that
        (4, 0.001, [6], "WIDE"),  # a cut that triples the shots for the same error has to save more than that
    ],
)  # fmt: skip
def test_what_costs_nothing_is_used_and_else_the_least_price_for_the_same_error(line, qubits, free, widths, used):
    price = {} if free is True else {"per_shot": 0.9 * free}
    devices = [qpu("WIDE", 12, per_shot=0.001), qpu("NARROW", qubits, **price)]
    plan, spent = taken(line, devices)
    assert sorted(fragment.width for fragment in plan.fragments) == widths and spent.used == (used,)
    assert spent.price == pytest.approx(0 if free is True else SHOTS * free)
    soonest = predicted_spending(plan, [replace(devices[0], speed=TYPICAL_CPU.speed), devices[1]], SHOTS)
    assert soonest.price > 0, "who does not minimise cost pays for time"


@pytest.mark.parametrize(
    ("second", "a_job", "chosen"),
    [
        ((1.0, 0.9), 0.0, 1),
        ((4.0, 0.6), 0.0, 0),
        ((4.0, 0.4), 0.0, 1),
        ((0.0, 9.0), 0.0, 1),
        ((1.0, 0.9), 10.0, 1),
        ((4.0, 0.4), 10.0, 1),  # 14 for 16.25
        ((2.0, 0.8), 100.0, 0),  # 102 for 101.56: more shots are no more jobs
    ],
)  # fmt: skip
def test_sampled_plans_are_compared_by_the_price_of_the_same_error(line, second, a_job, chosen, monkeypatch):
    cut = tuple(GateCut(k) for k, item in enumerate(line.circuit.data) if item.operation.name == "cx")[2::5]
    plans = [make_plan(line, cuts=own, shots=SHOTS) for own in (cut, ())]
    price, error = second
    money = {id(plans[0]): 1.0, id(plans[1]): price}
    errors = {id(plans[0]): 1.0, id(plans[1]): error}
    monkeypatch.setattr("tasks.cut.compared_plans", lambda *_: plans)
    monkeypatch.setattr("tasks.cut._predicted_error", lambda _, plan, *__: errors[id(plan)])
    monkeypatch.setattr(
        "tasks.prediction.predicted_spending",
        lambda plan, *_, shots, **__: Spending(1.0, 0.0, money[id(plan)] and a_job + money[id(plan)] * shots / SHOTS),
    )
    options = Options(minimise="cost", shots=SHOTS)
    assert chosen_plan(line, None, asked_of_plan(options, [])) is plans[chosen]
    known = [forecast(line, plan, options, [TYPICAL_CPU]) for plan in plans]
    told = [
        (plan, replace(own, spent=Spending(1.0, 0.0, money[id(plan)]), std_errors=(errors[id(plan)],)))
        for plan, own in zip(plans, known, strict=True)
    ]
    assert ranked(plans[chosen], told, "cost")[0][0] is plans[chosen]
    assert "taken: the least predicted price for the same error" in candidates_text(plans[chosen], told, "cost")


@pytest.mark.parametrize("shots", [None, 20_000])
@pytest.mark.parametrize(("first", "second"), [("per_second=1000", "per_second=10"), ("per_job=3", "per_job=1")])
def test_a_run_pays_what_was_predicted_on_the_devices_that_cost_least(line, first, second, shots, tmp_path):
    where = priced(tmp_path / "devices", f"price_{first}", f"price_{second}")
    with RunDirectory.create(tmp_path, {}, line) as directory:
        options = Options(max_qubits=4, shots=shots, resources=where, minimise="cost", cache="off", plan_seconds=0.02)
        run(line, options, directory)
        record = directory.record
        assert {meta["device"] for meta in record["results"].values()} == {"TWO"}
        assert record["price"] == pytest.approx(record["plan"]["predicted"]["price"], rel=0.05)


def test_pieces_do_not_leave_a_queue_for_a_device_that_costs_more():
    for goal, leaves in ((Goal(), True), (Goal(cheapest=True), False)):
        state = script(a_qpu("A"), a_qpu("B", price=0.01), policy="fastest", goal=goal, fragments=1)
        state.state.ask([counts(0)])
        (submit,) = state.place()
        assert submit.device.name == "A" and (submit.placed is not None) == leaves
    assert not state.all(Move)
