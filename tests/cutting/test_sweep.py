"""The sweep over all gates, all states at once, held against one state after the other."""

from __future__ import annotations

import numpy as np
import pytest

from results.benchmarks.planner_least import BUILD
from results.benchmarks.planner_least_ways import Pieces, State
from tasks.cutting.objectives import OBJECTIVES
from tasks.cutting.search.ahead import Ahead
from tasks.cutting.search.moves import Moves
from tasks.cutting.search.pieces import MOST_QUBITS, firsts_of
from tasks.cutting.search.seen import views
from tasks.cutting.search.steps import Gates, GateStep
from tasks.cutting.search.sweep import NEARLY, Sweep, swept
from tests.oracles import problem_of

CASES = [
    ("mixed gates", 6, 12, 3, 0),
    ("commuting gates", 6, 14, 4, 1),
    ("random pairs", 6, 14, 4, 1),
    ("qaoa", 9, 20, 5, 0),
    ("commuting gates", 8, 20, 5, 4),
]


def gates_of(kind, qubits, gates, seed, *, backwards=False):
    problem = problem_of(BUILD[kind](qubits, gates, seed), ["Z" * qubits], np.ones((1, 1)))
    return Gates.of(views(problem, OBJECTIVES["overhead"], runs=True)[0][0], backwards=backwards)


def cheapest(reached: dict[State, float], state: State, cost: float) -> None:
    reached[state] = min(cost, reached.get(state, np.inf))


def listed(states) -> dict[State, float]:
    """Pieces as tuples, the cheapest way of each state."""
    mask, reached = (1 << MOST_QUBITS) - 1, {}
    for column, cost in zip(states.pieces.T.tolist(), states.costs.tolist(), strict=True):
        pieces = ((piece >> 40, piece >> 16 & mask, piece >> 8 & 255, piece & 255) for piece in column if piece)
        cheapest(reached, tuple(sorted(pieces)), cost)
    return reached


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("kind, qubits, gates, width, seed", CASES)
def test_a_sweep_reaches_what_its_steps_reach_one_by_one(kind, qubits, gates, width, seed, backwards):
    """Of 200 states after each gate; those that it leaves out are no better than one that it keeps."""
    seen = gates_of(kind, qubits, gates, seed, backwards=backwards)
    single, sweep = Pieces(seen, width), Sweep(seen, width)
    states = sweep.moves.start()
    for gate in range(len(seen.weights)):
        ways = sweep.moves.after(gate, states)
        before, after = listed(states), ways.at(np.arange(len(ways.costs)))
        reached: dict[State, float] = {}
        for state, cost in before.items():
            for own, more, _ in single.moves(gate, state):
                cheapest(reached, own, cost + more)
        assert listed(after) == pytest.approx(reached), f"seed {seed}"
        every = sweep.kept(gate + 1, ways, 10**6)
        groups: dict[tuple[int, ...], list[tuple[float, State]]] = {}
        for state, cost in sorted(listed(every).items(), key=lambda item: item[1]):
            single.beaten(groups, cost, state)
        left_out = listed(after).keys() - listed(every).keys()
        assert all(single.beaten(groups, reached[state], state) for state in left_out), f"seed {seed}"
        states = sweep.kept(gate + 1, ways, 200)
        assert len(states.costs) == min(200, len(every.costs))
        assert listed(states).items() <= listed(every).items()
        assert min(states.costs) == min(every.costs)


def test_the_guess_of_what_is_to_come_counts_each_gate_between_two_pieces():
    """Gate by gate and state by state."""
    seen = gates_of("mixed gates", 7, 20, 2)
    sweep, ahead = Sweep(seen, 4), Ahead(seen, 4)
    states = sweep.moves.start()
    for gate in range(len(seen.weights)):
        states = sweep.kept(gate + 1, sweep.moves.after(gate, states), 30)
        wires, widths = states.pieces >> 40, (states.pieces >> 8 & 255) + (states.pieces & 255)
        expected = []
        for masks, sizes in zip(wires.T.tolist(), widths.T.tolist(), strict=True):
            costs = 0.0
            for later in range(gate + 1, len(seen.weights)):
                a, b = (next(k for k, mask in enumerate(masks) if mask >> q & 1) for q in seen.qubits[later])
                least = min(seen.weights[later], 2 * seen.wire) * 0.9 ** (later - gate - 1)
                costs += least * (0.2 + 0.4 * (sizes[a] + sizes[b] > 4)) if a != b else 0.0
            expected.append(costs)
        assert ahead.costs(gate + 1, wires.astype(np.int64), widths) == pytest.approx(expected)


@pytest.mark.parametrize(
    "step",
    [
        GateStep(True),
        GateStep(),
        GateStep(True, (1,)),
        GateStep(True, (0, 1)),
        GateStep(copy=0),
        GateStep(wires=(0,), copy=1, new=True),
        GateStep(copy=1, joins=0),
        GateStep(copy=0, joins=(1 << MOST_QUBITS) - 1),
    ],
)
def test_a_step_is_told_from_its_number(step):
    assert GateStep.of_code(step.code) == step


@pytest.mark.parametrize("backwards", [False, True])
def test_qubits_are_pieces_from_their_first_gates_on_where_nothing_is_foreseen(backwards):
    """All else is as where they are pieces from the beginning."""
    seen = gates_of("mixed gates", 7, 9, 3, backwards=backwards)
    late, early = Moves(seen, 3, ahead=False), Moves(seen, 3, ahead=True)
    some, every = late.start(), early.start()
    for gate in range(len(seen.weights)):
        ways, others = late.after(gate, some), early.after(gate, every)
        some, every = (own.at(firsts_of(own.names)) for own in (ways, others))
        touched = {q for pair in seen.qubits[: gate + 1] for q in pair}
        lone = [(1 << q, 0, 1, 0) for q in range(7) if q not in touched]
        assert {tuple(sorted([*state, *lone])): cost for state, cost in listed(some).items()} == listed(every)


@pytest.mark.parametrize("kind, qubits, gates, width, seed", CASES[:3])
def test_a_sweep_after_one_the_other_way_leaves_out_only_what_is_dearer(kind, qubits, gates, width, seed):
    """With room for all states, all that is nearly as cheap as the cheapest is found all the same."""
    problem = problem_of(BUILD[kind](qubits, gates, seed), ["Z" * qubits], np.ones((1, 1)))
    circuit = views(problem, OBJECTIVES["overhead"], runs=True)[0][0]
    asked = {"several": 10**6, "within": NEARLY}
    found = swept(circuit, width, 10**6, backwards=False, **asked)
    every = swept(circuit, width, 10**6, backwards=True, **asked)
    again = swept(circuit, width, 10**6, backwards=True, other_way=found, **asked)
    assert again.states < every.states
    assert [block.tolist() for block in again.blocks] == [block.tolist() for block in every.blocks]
