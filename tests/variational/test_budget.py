"""A budget is for the whole loop: the search keeps to its part, and the energy at the end gets the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from apps.variational.budget import BudgetSpentError, LoopBudget
from apps.variational.effort import Effort
from apps.variational.loop import JournalledObjective
from apps.variational.measure import Measured
from apps.variational.settings import read_settings
from launch.emulator.jobs import COMPLETED
from tasks.dispatch.errors import BudgetError
from tasks.runs.journal import RunJournal
from tasks.runs.settings import settings_digest

pytest.importorskip("qrmi")

from tests.execution.qpu.conftest import until
from tests.execution.qpu.test_qpu_run import ROOT, qpus, say

__all__ = ["qpus", "say"]  # fixtures


def test_money_is_shared_over_the_sets_that_may_come_and_a_quarter_is_kept():
    budget = LoopBudget(8.0, 10)
    first = budget.for_search(1, 0)
    assert first.budget == 6.0 and first.budget * first.share == pytest.approx(0.6)
    budget.took(1.2, 2, 0)
    second = budget.for_search(2, 0)
    assert second.budget == pytest.approx(4.8) and second.budget * second.share == pytest.approx(2 * 0.6)
    budget.took(4.0, 2, 0)
    with pytest.raises(
        BudgetSpentError, match=r"`budget`: 8 ended the search: 5.2 paid, an evaluation takes 2, and 2 are"
    ):
        budget.for_search(1, 0)
    assert budget.for_end().budget == pytest.approx(2.8) and budget.for_end().share == 1.0


def test_a_level_of_twice_the_shots_is_expected_to_cost_twice_as_much():
    budget = LoopBudget(8.0, 100)
    budget.took(2.0, 1, 0)
    assert budget.for_search(2, 0).budget == 4.0 and budget.for_search(1, 1).budget == 4.0
    with pytest.raises(BudgetSpentError, match="an evaluation takes 8"):
        budget.for_search(1, 2)


def test_what_is_paid_once_is_not_expected_again():
    budget = LoopBudget(8.0, 10)
    budget.took(5.0, 1, 0, once=4.5)
    assert budget.paid == 5.0 and budget.for_search(2, 0).budget == 1.0


class Priced:
    """Energies that fall by one a call, at a price each."""

    levels, paid = 0, 0.0
    promised = staticmethod(float)

    def __init__(self, price):
        self.price, self.allowed = price, []

    def values(self, points, level, allowed):
        self.allowed.append(allowed)
        self.promised(self.price + 0.2)
        return Measured(np.full(len(points), -1.0 * len(self.allowed)), np.full(len(points), 0.1), 10, price=self.price)

    def final(self, point, allowed):
        self.allowed.append(allowed)
        return Measured(np.array([-9.0]), np.array([0.1]), 10, price=allowed.budget)


def test_a_loop_ends_where_its_part_is_spent_and_again_where_it_is_resumed(tmp_path):
    def run(measure):
        journal = RunJournal(tmp_path, "")
        objective = JournalledObjective(measure, journal, Effort(0, 1), lambda state: None, LoopBudget(4.0, 100))
        try:
            with pytest.raises(BudgetSpentError):
                for number in range(100):
                    objective.values(np.array([[float(number)]]))
            return objective.state, objective.final(np.zeros(1))
        finally:
            journal.close()

    first, again = Priced(0.7), Priced(0.7)
    state, final = run(first)
    assert state.evaluations == 4 and state.price == pytest.approx(4.0) and final.price == pytest.approx(4.0 - 2.8)
    assert first.allowed[-1].budget == pytest.approx(1.2)
    resumed, same = run(again)
    assert resumed.replayed == 5 and not again.allowed and resumed.price == pytest.approx(4.0)
    assert same.values.tolist() == final.values.tolist()


class Refused(Priced):
    """Its third evaluation, or the one at the end, is paid in part and then refused or cut off."""

    def __init__(self, price, fails, error):
        super().__init__(price)
        self.fails, self.error = fails, error

    def values(self, points, level, allowed):
        if self.fails == "search" and len(self.allowed) == 2:
            self.paid += 0.25
            raise self.error
        return super().values(points, level, allowed)

    def final(self, point, allowed):
        if self.fails == "end":
            self.paid += 0.25
            raise self.error
        return super().final(point, allowed)


@pytest.mark.parametrize("fails", ["search", "end"])
def test_what_a_refused_evaluation_was_paid_counts_and_a_resumed_loop_is_refused_there_again(tmp_path, fails):
    def run(measure):
        journal = RunJournal(tmp_path, "")
        objective = JournalledObjective(measure, journal, Effort(0, 1), lambda state: None, LoopBudget(4.0, 100))
        try:
            with pytest.raises((BudgetError, BudgetSpentError)) as ended:
                for number in range(100):
                    objective.values(np.array([[float(number)]]))
            try:
                end = objective.final(np.zeros(1)).price
            except BudgetError as error:
                end = str(error)
            return str(ended.value), objective.state.evaluations, objective.state.price, end
        finally:
            journal.close()

    first, again = Refused(0.7, fails, BudgetError("no more")), Priced(0.7)
    found = run(first)
    if fails == "search":
        assert found == ("no more", 2, pytest.approx(4.0), pytest.approx(4.0 - 2 * 0.7 - 0.25))
    else:
        assert found[1:] == (4, pytest.approx(4 * 0.7 + 0.25), "no more")
    assert run(again) == found and not again.allowed


def test_what_an_interrupted_evaluation_was_paid_is_not_there_for_the_resumed_loop(tmp_path):
    def objective_of(measure):
        journal = RunJournal(tmp_path, "")
        return journal, JournalledObjective(measure, journal, Effort(0, 1), lambda state: None, LoopBudget(4.0, 100))

    journal, objective = objective_of(Refused(0.7, "search", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        for number in range(3):
            objective.values(np.array([[float(number)]]))
    journal.close()
    journal, objective = objective_of(again := Priced(0.7))
    for number in range(3):
        objective.values(np.array([[float(number)]]))
    journal.close()
    assert [own.budget for own in again.allowed] == [pytest.approx(3.0 - 2 * 0.7 - 0.25)]
    assert objective.state.price == pytest.approx(3 * 0.7 + 0.25)


def test_what_a_killed_process_had_promised_counts_as_paid_and_no_more_once_it_is_told(tmp_path):
    journal, measure = RunJournal(tmp_path, ""), Priced(0.7)
    objective = JournalledObjective(measure, journal, Effort(0, 1), lambda state: None, LoopBudget(4.0, 100))
    measure.promised = journal.promise
    objective.values(np.zeros((1, 1)))
    assert objective.state.price == pytest.approx(0.7), "less than was promised"
    journal.promise(0.25)
    journal.promise(0.5)
    journal.close()  # as SIGKILL leaves it
    for more in (1, 2):  # resumed, and once more
        journal = RunJournal(tmp_path, "")
        assert journal.promised == (0.5 if more == 1 else 0.0)
        objective = JournalledObjective(Priced(0.7), journal, Effort(0, 1), lambda state: None, LoopBudget(4.0, 100))
        for number in range(1 + more):
            objective.values(np.full((1, 1), float(number)))
        assert objective.state.price == pytest.approx(0.7 * (1 + more) + 0.5) and objective.state.replayed == more
        journal.close()


PRICES = {"QPU_A": 3e-4, "QPU_B": 5e-5}  # of a shot
_PROCESSOR = """<Processor Name="{name}"><ComputingUnits>1</ComputingUnits><Type>OTHER</Type><ProcessorProperty>
<Key>qompass</Key><Value>qubits=27 type={kind} price_per_shot={price}</Value></ProcessorProperty></Processor>"""


@pytest.fixture
def priced(qpus, say, tmp_path):
    """The emulated QPUs with prices, the dearer one of them the better: (emulator, what `optimise` says, paid)."""
    emulator, run = qpus
    emulator.command("worsen", {"device": "QPU_B", "factor": 8.0})
    emulator.command("publish", {"device": "QPU_B"})
    folder = tmp_path / "priced"
    folder.mkdir()
    kinds = {name: device.options.kind for name, device in emulator.devices.items()}
    made = "".join(_PROCESSOR.format(name=name, kind=kinds[name], price=price) for name, price in PRICES.items())
    clients = (
        "<Processor Name='Clients'><ComputingUnits>3</ComputingUnits><Type>CPU</Type><ProcessorProperty>"
        "<Key>qompass</Key><Value>clients</Value></ProcessorProperty></Processor>"
    )
    (folder / "project.xml").write_text(f"<Project><MasterNode>{clients}{made}</MasterNode></Project>")
    (folder / "resources.xml").write_text("<ResourcesList/>")
    nx.write_edgelist(nx.cycle_graph(6), tmp_path / "ring.txt", data=False)

    def arguments(*more):
        return [
            "optimise", str(tmp_path / "ring.txt"), "--max-qubits", "4",
            "--optimiser", "cobyla", "--iterations", "8", "--shots", "2000", "--most-shots", "2000", "--draws", "0",
            "--mitigation", "none", "--resources", str(folder), "--out", str(run.out), "--engine", "embedded",
            "--cache", "off", "--json", *more,
        ]  # fmt: skip

    def ask(*more, whole=None):
        done = say(*(whole or arguments(*more)))
        shots = {name: sum(n for job in d.jobs.values() for _, n in job.work) for name, d in emulator.devices.items()}
        return done, shots

    ask.arguments = arguments
    return ask


@pytest.mark.timeout(400)
def test_a_loop_on_qpus_pays_no_more_than_its_budget_and_its_end_is_on_the_better_one(priced):
    few = ["--iterations", "4", "--shots", "4000", "--most-shots", "4000"]  # as many shots as of eight evaluations
    done, shots = priced("--policy", "balanced", "--budget", "1.6", *few)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    paid = sum(PRICES[name] * count for name, count in shots.items())
    assert 0.5 < paid <= found["price"] * (1 + 1e-9) <= 1.6 * (1 + 1e-9), (paid, found)
    if any("the energy is the lowest that the search saw" in note for note in found["notes"]):
        return  # a QPU was slow, and the other one too dear for what it had left: what was paid counts all the same
    assert found["shots"] <= sum(shots.values()) <= 1.25 * found["shots"], "IQM's jobs round shots up"
    assert shots["QPU_A"] >= 0.9 * 1300, "a quarter of the budget buys that many there"


@pytest.mark.slow  # of the loop with a policy that looks at prices, and of what does not hold the readout
@pytest.mark.timeout(400)
def test_a_policy_that_looks_at_no_prices_is_stopped_and_a_budget_for_nothing_is_refused(priced):
    done, shots = priced("--policy", "availability", "--budget", "1.6")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    first = sum(PRICES[name] * count for name, count in shots.items())
    assert 0.5 < first <= 1.6 and found["price"] <= 1.6 and "`budget`: 1.6 ended the search" in found["why"]
    done, shots = priced("--policy", "availability", "--budget", "0.0001")
    assert done.returncode == 2 and "--budget: three quarters of it do not hold one" in done.stderr.replace("`", "")
    assert sum(PRICES[name] * count for name, count in shots.items()) == first, "nothing more was paid"


@pytest.mark.timeout(400)
def test_what_measures_the_readout_is_paid_from_the_budget_and_refused_where_it_does_not_hold_it(priced, qpus):
    emulator, _ = qpus
    emulator.command("worsen", {"device": "QPU_B", "factor": 1 / 8.0})  # else its readout tells nothing
    emulator.command("publish", {"device": "QPU_B"})
    done, shots = priced("--policy", "availability", "--budget", "3", "--mitigation", "readout")
    assert done.returncode == 2 and "--budget" in done.stderr, done.stderr
    assert not any(shots.values()), "QPU_A's readout alone takes 2 * 8,192 shots for 4.9"
    done, shots = priced("--policy", "balanced", "--budget", "3", "--mitigation", "readout", "--iterations", "3")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    paid = sum(PRICES[name] * count for name, count in shots.items())
    assert 2 * 8192 * PRICES["QPU_B"] < paid <= found["price"] * (1 + 1e-9) <= 3, (paid, found)
    assert found["evaluations"] > 1, "the readout is not expected to be measured again"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_a_loop_that_was_killed_had_asked_of_devices_is_paid_when_it_is_resumed(priced, qpus):
    emulator, run = qpus
    for device in emulator.devices.values():
        device.options = replace(device.options, queue=1.0)
    arguments = priced.arguments("--policy", "availability", "--budget", "3", "--iterations", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.cli", *arguments], cwd=ROOT, env=run.environ, start_new_session=True
    )
    until(
        lambda: any(job.status == COMPLETED for device in emulator.devices.values() for job in device.jobs.values()),
        100,
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for device in emulator.devices.values():
        device.options = replace(device.options, queue=0.0)
    (folder,) = run.out.iterdir()
    before = {name: sum(n for job in d.jobs.values() for _, n in job.work) for name, d in emulator.devices.items()}
    promised = RunJournal(folder, settings_digest(read_settings(folder)))
    promised.close()
    assert promised.promised >= sum(PRICES[name] * count for name, count in before.items()) > 0 or promised.entries
    done, shots = priced(whole=["resume", str(folder), "--json"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    paid = sum(PRICES[name] * count for name, count in shots.items())
    assert paid <= found["price"] * (1 + 1e-9) <= 3 * (1 + 1e-9), (paid, found)
