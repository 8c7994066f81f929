"""What a QPU's tasks cost: as its circuits are packed, promised and then paid as its jobs are told, each once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from scheduler_policies import DeviceLimits, Goal, Price, work_price, work_seconds
from tasks.dispatch.pool import work_of
from tasks.dispatch.prices import task_price
from tasks.execution.pieces import Done, Piece, Report
from tasks.execution.qpu.packing import pack_jobs
from tasks.runtime.outcome import Failure, Outcome, Reason
from tests.dispatch.script import CPU, a_qpu, counts, script
from tests.dispatch.test_state import cheapest_within, everything_on
from tests.scheduler_policies.instances import work

PRICE = Price(per_job=0.3, per_shot=1e-4)
KILLED = Outcome(failure=Failure(Reason.KILLED, "it broke"), device="A", seconds=1.0)


def priced(*, common=False, circuits=300, name="A"):
    limits = DeviceLimits(circuits_per_job=circuits, shots_per_job=6000, common_shots=common)
    return replace(a_qpu(name), price=PRICE, limits=limits)


def bill(device, circuits):
    """Of what the circuits are packed into."""
    wanted = [(index, str(index), int(shots)) for index, shots in enumerate(circuits)]
    batches = pack_jobs(SimpleNamespace(limits=device.limits), wanted)
    return PRICE.per_job * len(batches) + PRICE.per_shot * sum(sum(batch.shots) for batch in batches)


@pytest.mark.parametrize("seed", range(20))
def test_a_task_costs_what_its_circuits_are_packed_into(seed):
    rng = np.random.default_rng(seed)
    device = priced(common=bool(seed % 2), circuits=int(rng.integers(1, 30)))
    shares = ((1.0,), (0.75, 0.25))[seed // 2 % 2]
    pieces, wholes, circuits = [], [], []
    for fragment in range(int(rng.integers(1, 4))):
        variants, silent = int(rng.integers(3, 12)), int(rng.integers(0, 3))
        shots = np.round(np.exp(rng.uniform(1, 10, variants))).astype(int) + 2
        shots[:silent] = 1  # nobody runs them
        pieces.append(Piece(fragment, 0, 0, tuple(rng.permutation(shots).tolist())))
        wholes.append(replace(work(fragment, variants=variants), silent=silent, shares=shares))
        circuits += [max(1, round(share * own)) for own in shots[silent:].tolist() for share in shares]
    works = [work_of(piece, whole, 1.0) for piece, whole in zip(pieces, wholes, strict=True)]
    for readout in (0, 16384):
        found = task_price(device, pieces, works, wholes, readout)
        assert found == pytest.approx(bill(device, [*circuits, *[readout // 2] * (2 if readout else 0)])), seed


def test_a_part_of_a_fragment_is_priced_as_if_all_of_it_were_circuits():
    whole = replace(work(0, variants=6), silent=2)
    part = counts(0).share(0, 4)
    for common in (False, True):
        device = priced(common=common)
        assert task_price(device, [part], [work_of(part, whole, 1.0)], [whole]) == pytest.approx(0.3 + 400 * 1e-4)


def test_seconds_are_paid_and_simulators_by_their_works():
    whole, piece = work(0, variants=6), counts(0)
    one = work_of(piece, whole, 1.0)
    device = replace(priced(), price=Price(per_second=2.0))
    assert 0 < task_price(device, [piece], [one], [whole]) == pytest.approx(work_price(device, one))
    cpu = replace(CPU, price=Price(per_job=1.0))
    assert task_price(cpu, [piece, piece], [one, one], [whole, whole]) == pytest.approx(2.0)


def told(run, number, jobs, readout=0):
    """A task ends, and its jobs took so many shots; its first result bears those that measured the readout."""
    pieces = run.running[number].pieces
    meta = {"provider_jobs": ",".join(jobs), "provider_shots": ",".join(str(shots) for shots, _ in jobs.values())}
    once = [{"readout_shots": str(readout)}, *[{}] * (len(pieces) - 1)]
    done = tuple(Done(piece, str(piece.key), meta | own, True) for piece, own in zip(pieces, once, strict=True))
    run.end(number, Outcome(Report(done, jobs=jobs), device="A", seconds=1.0))
    return done


def test_the_jobs_of_all_fragments_are_promised_once_and_paid_as_they_were():
    run = script(priced(), policy=everything_on("A"), goal=Goal(1e9, 1000.0), readouts={"A": 200})
    run.state.ask([counts(0), counts(1)])
    (submit,) = run.place()
    assert run.state.pool.committed == pytest.approx(0.3 + 1e-4 * 1400)
    done = told(run, submit.number, {"j1": (1000, 0), "j2": (350, 0)}, readout=200)
    assert run.state.pool.price == run.state.pool.committed == pytest.approx(0.6 + 1e-4 * 1350)
    assert run.state.pool.readout_price == pytest.approx(1e-4 * 200), "and is in what the jobs cost"
    again = script(priced(), policy=everything_on("A"))
    for own in done:
        again.state.recall(own, "A")
    assert again.state.pool.price == pytest.approx(0.6 + 1e-4 * 1350), "both results name the same jobs"


def test_a_budget_holds_the_jobs_that_several_levels_of_shots_are():
    piece = Piece(0, 0, 0, (100, 200, 400, 800, 1600, 3200))
    takes = bill(priced(common=True), piece.shots)
    assert takes > 6 * 0.3
    for budget, submitted in ((takes, True), (0.99 * takes, False)):
        run = script(priced(common=True), CPU, policy=everything_on("A"), goal=Goal(1e9, budget))
        run.state.ask([piece])
        assert bool(run.place()) is submitted


def test_a_policy_that_looks_at_prices_aims_lower_where_the_budget_does_not_hold_the_jobs():
    piece = Piece(0, 0, 0, (100, 200, 400, 800, 1600, 3200))
    budget = 0.99 * bill(priced(common=True), piece.shots)
    run = script(priced(common=True), CPU, policy=cheapest_within("A"), goal=Goal(1e9, budget))
    run.state.ask([piece])
    (submit,) = run.place()
    assert submit.device.name == "cpu" and not run.state.pool.committed


def test_seconds_are_paid_beside_the_jobs_that_are_told():
    device = replace(priced(), price=replace(PRICE, per_second=2.0))
    run = script(device, policy=everything_on("A"), goal=Goal(1e9, 1000.0))
    run.state.ask([counts(0)])
    (submit,) = run.place()
    told(run, submit.number, {"j1": (600, 0)})
    seconds = work_seconds(device, work_of(counts(0), work(0, variants=6), 1.0))
    assert run.state.pool.price == pytest.approx(0.3 + 0.06 + 2.0 * seconds) and seconds > 0


@pytest.mark.parametrize("common", [False, True])
def test_a_job_that_a_killed_task_left_is_paid_once_and_so_is_the_readout_that_it_had_measured(common):
    run = script(priced(common=common), policy=everything_on("A"), goal=Goal(1e9, 1000.0), readouts={"A": 200})
    run.state.ask([counts(0)])
    (first,) = run.place()
    del run.running[first.number]
    run.told += run.state.end(first.number, KILLED, run.now, measured=True)
    (second,) = run.place()
    if common:  # the readout was a job of its own, which nobody wants any more
        told(run, second.number, {"j1": (600, 0)})
    else:
        told(run, second.number, {"j1": (800, 200)})
    jobs = 2 if common else 1
    assert run.state.pool.price == pytest.approx(0.3 * jobs + 1e-4 * 800)
    assert run.state.pool.readout_price == pytest.approx(1e-4 * 200)


def test_a_job_is_paid_though_none_of_its_results_are_there():
    run = script(priced(), policy=everything_on("A"), goal=Goal(1e9, 1000.0))
    run.state.ask([counts(0)])
    (first,) = run.place()
    run.end(first.number, Outcome(Report(failure="it broke", jobs={"j1": (300, 0)}), device="A", seconds=1.0))
    assert run.state.pool.price == pytest.approx(0.3 + 0.03)
    (second,) = run.place()
    told(run, second.number, {"j1": (300, 0), "j2": (300, 0)})
    assert run.state.pool.price == pytest.approx(0.6 + 0.06)
