"""The pieces of the search for assignments: totals that add up, shares that are spread, jobs that are counted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from scheduler_policies.cost import jobs_needed
from scheduler_policies.device import DeviceLimits
from scheduler_policies.placement import Goal
from scheduler_policies.search.improve import improve, spend_slack
from scheduler_policies.search.list_scheduling import Prices, _divided, _Units, _whole, list_schedule
from scheduler_policies.search.table import Assignment, CostTable, excess
from tests.scheduler_policies.instances import cpu, qpu, work


@pytest.mark.parametrize(
    ("circuits", "shots", "expected"),
    [(None, None, 1), (4, None, 7), (25, None, 1), (24, None, 2), (None, 1000, 1), (4, 1000, 25), (4, 3999, 13)],
)
def test_jobs_of_25_variants_with_4000_shots_each(circuits, shots, expected):
    device = replace(
        qpu("Q", 20, 0.01, 1e-4).device, limits=DeviceLimits(circuits_per_job=circuits, shots_per_job=shots)
    )
    assert jobs_needed(device, work(0, variants=25)) == expected
    assert jobs_needed(cpu("C").device, work(0, variants=25)) == 1


def test_totals_of_an_assignment_are_the_sums_of_what_was_given():
    table = CostTable([work(0, variants=6), work(1, variants=4)], [qpu("A", 20, 0.01, 1e-4, wait=3.0, price=1e-3)])
    assignment = Assignment(table)
    assert (assignment.squares, assignment.price, assignment.makespan) == (0.0, 0.0, 0.0)
    for index, variants in ((0, 6), (1, 1), (1, 3)):
        assignment.give(0, index, variants)
    costs = [table.cost(0, 6, 0), table.cost(1, 4, 0)]
    assert assignment.squares == pytest.approx(sum(cost.squares for cost in costs))
    assert assignment.price == pytest.approx(sum(cost.price for cost in costs)) and assignment.price > 0
    assert assignment.makespan == pytest.approx(3.0 + sum(cost.seconds for cost in costs))
    assert sorted((w.fragment, name) for w, name in assignment.choices()) == [(0, "A"), (1, "A")]


@pytest.mark.parametrize("pieces", [1, 2, 5, 12])
def test_a_large_work_is_spread_over_equal_units_in_as_many_pieces_as_allowed(pieces):
    big = work(0, variants=12)
    table = CostTable([big], [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 1e-3)])
    plan = list_schedule(table, Prices(), pieces)
    assert sum(w.variants for w, _ in plan.choices()) == 12
    shares = sorted(sum(w.variants for w, name in plan.choices() if name == device) for device in "AB")
    assert shares == {1: [0, 12], 2: [6, 6], 5: [5, 7], 12: [6, 6]}[pieces]


def given(works, pool, *pieces):
    """An assignment of (unit, work, variants) pieces; a variant of 4000 shots at 1 ms takes 4.1 s, a start 1 s."""
    plan = Assignment(CostTable(works, pool))
    for piece in pieces:
        plan.give(*piece)
    return plan


def assert_totals(plan):
    """What an assignment keeps is what its pieces cost."""
    held = [(unit, *piece) for unit, pieces in enumerate(plan.pieces) for piece in pieces.items()]
    costs = [plan.table.cost(work, variants, plan.table.row_of_unit[unit]) for unit, work, variants in held]
    assert plan.squares == pytest.approx(sum(cost.squares for cost in costs))
    assert plan.price == pytest.approx(sum(cost.price for cost in costs))
    assert sum(plan.loads) == pytest.approx(sum(plan.table.delays) + sum(cost.seconds for cost in costs))


@pytest.mark.parametrize(
    ("variants", "price", "goal", "moves"),
    [
        (10, 0.0, Goal(), True),  # 42 s of the 50.2 s that the other piece takes
        (11, 0.0, Goal(), False),  # 46.1 s are more than nine tenths
        (10, 1e-3, Goal(), True),
        (10, 1e-3, Goal(budget=40.0), True),
        (10, 1e-3, Goal(budget=39.9), False),
        (10, 0.0, Goal(budget=0.0), True),  # costs no more than before
    ],
)
def test_time_left_over_buys_less_error_where_it_and_the_money_suffice(variants, price, goal, moves):
    pool = [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 1e-3), qpu("good", 20, 0.001, 1e-3, price=price)]
    plan = given([work(0, variants=12), work(1, variants=variants)], pool, (0, 0, 12), (1, 1, variants))
    spent = spend_slack(plan, goal)
    assert spent.pieces == ([{0: 12}, {}, {1: variants}] if moves else [{0: 12}, {1: variants}, {}])
    assert plan.pieces == [{0: 12}, {1: variants}, {}], "what was given stays as it was"
    assert spent.makespan == pytest.approx(50.2) and (spent.squares < plan.squares) == moves
    assert_totals(spent)


def test_time_left_over_is_not_spent_where_there_is_no_less_error():
    pool = [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.001, 1e-3), qpu("C", 20, 0.001, 1e-3)]
    plan = given([work(0, variants=12), work(1, variants=6)], pool, (0, 0, 12), (1, 1, 6))
    assert spend_slack(plan, Goal()).pieces == plan.pieces


def test_a_piece_moves_to_an_idle_unit_or_is_halved():
    pool = [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 1e-3)]
    moved = improve(given([work(0, variants=4), work(1, variants=4)], pool, (0, 0, 4), (0, 1, 4)), Goal())
    assert sorted(map(dict, moved.pieces), key=str) == [{0: 4}, {1: 4}] and moved.makespan == pytest.approx(17.4)
    halved = improve(given([work(0, variants=12)], pool, (0, 0, 12)), Goal())
    assert halved.pieces == [{0: 6}, {0: 6}] and halved.makespan == pytest.approx(25.6)
    quarter = improve(given([work(0, variants=12), work(1, variants=6)], pool, (0, 0, 12), (1, 1, 6)), Goal())
    assert quarter.pieces == [{0: 9}, {1: 6, 0: 3}] and quarter.makespan == pytest.approx(38.9)
    for plan in (moved, halved, quarter):
        assert_totals(plan)


def test_pieces_that_cannot_move_are_swapped():
    """Runs of 9.1 and 7.1 s on one unit, of 6.1 and 6.1 s on the other: one of the first for one of the second."""
    works = [
        replace(work(f, variants=1), shots=round(1000 * (seconds - 1.1)))
        for f, seconds in enumerate((9.1, 7.1, 6.1, 6.1))
    ]
    pool = [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 1e-3)]
    plan = given(works, pool, (0, 0, 1), (0, 1, 1), (1, 2, 1), (1, 3, 1))
    assert plan.makespan == pytest.approx(16.2)
    swapped = improve(plan, Goal())
    assert sorted(swapped.loads) == pytest.approx([13.2, 15.2])
    assert_totals(swapped)


def test_no_move_breaks_a_bound_that_was_kept():
    pool = [qpu("good", 20, 0.001, 1e-3), qpu("bad", 20, 0.01, 1e-3)]
    plan = given([work(0, variants=12)], pool, (0, 0, 12))
    bound = plan.squares**0.5
    assert improve(plan, Goal(max_error=bound)).pieces == [{0: 12}, {}]
    assert improve(plan, Goal(max_error=10 * bound)).pieces == [{0: 6}, {0: 6}]
    assert plan.excess(Goal(max_error=bound)) == 0.0
    assert plan.excess(Goal(max_error=bound / 2)) == pytest.approx(3.0), "four times the square, less one"


@pytest.mark.parametrize(("price", "after"), [(0.0, 48.0), (1e-3, 72.0), (1.01e-3, None)])
def test_a_piece_that_gets_no_dearer_moves_though_the_budget_stays_broken(price, after):
    pool = [qpu("A", 20, 0.01, 1e-3, price=1e-3), qpu("B", 20, 0.01, 1e-3, price=1e-3)]
    pool.append(qpu("good", 20, 0.001, 1e-3, price=price))
    plan = given([work(0, variants=12), work(1, variants=6)], pool, (0, 0, 12), (1, 1, 6))
    spent = spend_slack(plan, Goal(budget=1.0))
    assert plan.price == pytest.approx(72.0) and spent.price == pytest.approx(after or 72.0)
    assert spent.pieces == (plan.pieces if after is None else [{0: 12}, {}, {1: 6}])


def test_bounds_are_kept_to_nine_digits():
    assert excess(0.25, 3.0, Goal()) == excess(0.25, 3.0, Goal(max_error=0.5, budget=3.0)) == 0.0
    assert excess(0.25 * (1 + 5e-10), 3.0 * (1 + 5e-10), Goal(max_error=0.5, budget=3.0)) == 0.0
    assert excess(0.25, 3.0 * (1 + 2e-9), Goal(budget=3.0)) == pytest.approx(2e21, rel=1e-3)
    assert excess(0.5, 3.0, Goal(max_error=0.5, budget=3.0)) == pytest.approx(1.0)
    assert excess(250.0, 3.0, Goal(max_error=0.5, budget=3.0)) < excess(0.0, 3.001, Goal(max_error=0.5, budget=3.0))
    assert excess(0.0, 1.0, Goal(budget=0.0)) == math.inf and excess(0.0, 0.0, Goal(budget=0.0)) == 0.0


@pytest.mark.parametrize("prices", [Prices(), Prices(money=2.0), Prices(error=1e5), Prices(error=1e5, money=2.0)])
def test_scores_add_priced_error_and_money_to_completion(prices):
    """A work of twelve variants of 4.1 s, whole or in two halves, on two units that are free after 3 s."""
    table = CostTable([work(0, variants=12)], [qpu(name, 20, 0.01, 1e-3, wait=3.0, price=1e-3) for name in "AB"])
    whole = _whole(table, _Units(table), prices, 0)
    halves = _divided(table, _Units(table), prices, 0, 2)
    squares = [table.cost(0, n, 0).squares for n in (12, 6)]
    assert (whole.pieces, sorted(halves.pieces)) == ([(0, 12)], [(0, 6), (1, 6)])
    assert whole.score == pytest.approx(3.0 + 50.2 + prices.error * squares[0] + prices.money * 48.0)
    assert halves.score == pytest.approx(3.0 + 25.6 + prices.error * 2 * squares[1] + prices.money * 48.0)


def test_money_and_error_have_their_price_in_where_a_piece_goes():
    """Dear and quick, cheap and slow, exact to a tenth: what is priced decides."""
    pool = [qpu("dear", 20, 0.01, 1e-3, price=1e-3), qpu("slow", 20, 0.01, 2e-3), qpu("good", 20, 0.001, 3e-3)]
    table = CostTable([work(0, variants=12)], pool)
    for prices, expected in ((Prices(), "dear"), (Prices(money=2.0), "slow"), (Prices(error=1e6), "good")):
        assert {name for _, name in list_schedule(table, prices, 1).choices()} == {expected}
    many = list_schedule(table, Prices(error=1e6), 3)
    assert {name for _, name in many.choices()} == {"good"}, "and so in pieces"


def test_no_move_costs_more_than_the_budget():
    pool = [qpu("cheap", 20, 0.01, 1e-3), qpu("dear", 20, 0.01, 1e-3, price=1e-3)]
    plan = given([work(0, variants=12)], pool, (0, 0, 12))
    assert improve(plan, Goal(budget=11.0)).pieces == [{0: 12}, {}], "a quarter costs 12"
    assert improve(plan, Goal(budget=12.0)).pieces == [{0: 9}, {0: 3}]
    assert improve(plan, Goal(budget=24.0)).pieces == [{0: 6}, {0: 6}]


def test_choices_are_in_order_of_start_longest_first_and_share_the_variants_out():
    pool = [qpu(name, 20, 0.01, 1e-3) for name in "ABC"]
    shares = ((0, 1, 2), (0, 0, 5), (1, 0, 4), (2, 0, 3), (1, 1, 4))
    plan = given([work(0, variants=12), work(1, variants=6)], pool, *shares)
    told = [(piece.fragment, piece.first, piece.variants, name) for piece, name in plan.choices()]
    of_a, of_b = ([(f, n) for f, _, n, name in told if name == device] for device in "AB")
    assert of_a == [(0, 5), (1, 2)] and of_b in ([(0, 4), (1, 4)], [(1, 4), (0, 4)])
    for fragment, variants in ((0, 12), (1, 6)):
        ranges = sorted((first, n) for f, first, n, _ in told if f == fragment)
        assert [first for first, _ in ranges] == [sum(n for _, n in ranges[:k]) for k in range(len(ranges))]
        assert sum(n for _, n in ranges) == variants
