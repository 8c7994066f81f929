"""The searches behind the planner against brute force on small graphs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.cutting import GateCut, WireCut
from tasks.cutting.search.annealing import anneal
from tasks.cutting.search.blocks import _refine, crossing, qubit_blocks
from tasks.cutting.search.ends import GateEnds, end_blocks
from tasks.cutting.search.linear import _fiedler, linear_orders, spectral_order, split_order
from tasks.cutting.search.multilevel import multilevel_blocks


def random_weights(rng, size, density=0.5):
    """Symmetric, with a few zeros."""
    upper = np.triu(rng.integers(1, 9, (size, size)) * (rng.random((size, size)) < density), 1)
    return csr_array((upper + upper.T).astype(float))


def cost_between(weights, blocks):
    dense = weights.toarray()
    return sum(dense[a, b] for a in range(len(blocks)) for b in range(a) if blocks[a] != blocks[b])


@pytest.mark.parametrize("seed", range(6))
def test_crossing_is_the_weight_between_blocks(seed):
    rng = np.random.default_rng(seed)
    weights, blocks = random_weights(rng, 7), rng.integers(0, 3, 7)
    assert crossing(weights, blocks) == cost_between(weights, blocks)


def widths(blocks, joined):
    """Nodes of each block, less the joined pairs inside it."""
    return [
        int((blocks == b).sum()) - sum(blocks[a] == b and blocks[c] == b for a, c in joined) for b in np.unique(blocks)
    ]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("joined", [[], [(0, 3), (3, 5), (1, 2), (2, 6)]], ids=["nodes", "joined"])
def test_an_order_is_split_as_well_as_any_contiguous_split(seed, joined):
    rng = np.random.default_rng([seed, len(joined)])
    weights, order, most = random_weights(rng, 8), rng.permutation(8), 3
    pairs = np.array(joined, dtype=np.int64).reshape(-1, 2)
    found = split_order(weights, order, most, (pairs[:, 0], pairs[:, 1]) if joined else None)
    assert (np.abs(np.diff(found[order])) <= 1).all(), "blocks follow the order"
    assert max(widths(found, joined)) <= most
    best = np.inf
    for gaps in product([0, 1], repeat=7):
        blocks = np.empty(8, dtype=int)
        blocks[order] = np.cumsum([0, *gaps])
        if max(widths(blocks, joined)) <= most:
            best = min(best, cost_between(weights, blocks) + 1e-6 * len(np.unique(blocks)))
    mine = cost_between(weights, found) + 1e-6 * len(np.unique(found))
    assert mine == pytest.approx(best, abs=1e-7), f"seed {seed}"


@pytest.mark.parametrize("size", [12, 450])
def test_the_spectral_order_of_a_path_is_the_path(size):
    """Both ways of finding the vector; the nodes are numbered at random, two nodes are alone."""
    names = np.random.default_rng(size).permutation(size)
    rows, columns = names[: size - 3], names[1 : size - 2]  # the last two names stay alone
    half = csr_array((np.ones(size - 3), (rows, columns)), shape=(size, size))
    orders = linear_orders(csr_array(half + half.T))
    assert all(sorted(order.tolist()) == list(range(size)) for order in orders)
    assert orders[0].tolist() == list(range(size))
    place = np.argsort(orders[-1])
    assert (np.abs(np.diff(place[names[: size - 2]])) == 1).all()


def test_few_edges_between_cliques_are_where_qubits_are_parted():
    """Three cliques of four in a row, numbered at random; blocks of five."""
    for seed in range(4):
        names = np.random.default_rng(seed).permutation(12)
        dense = np.zeros((12, 12))
        for k in range(3):
            own = names[4 * k : 4 * k + 4]
            dense[np.ix_(own, own)] = 2.0
        for k in range(2):
            dense[names[4 * k], names[4 * k + 4]] = dense[names[4 * k + 4], names[4 * k]] = 3.0
        np.fill_diagonal(dense, 0)
        blocks = qubit_blocks(csr_array(dense), 5)[0]
        assert crossing(csr_array(dense), blocks) == 6.0, f"seed {seed}"
        assert [len(set(blocks[names[4 * k : 4 * k + 4]])) for k in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(6))
def test_qubits_are_parted_nearly_as_well_as_they_can_be(seed):
    """Seven qubits in blocks of at most three: within the limit, cheapest first, near the optimum."""
    rng = np.random.default_rng([3, seed])
    weights = random_weights(rng, 7, 0.6)
    found = qubit_blocks(weights, 3)
    costs = [cost_between(weights, blocks) for blocks in found]
    assert all(np.bincount(blocks).max() <= 3 for blocks in found)
    assert costs == sorted(costs)
    assert len({blocks.tobytes() for blocks in found}) == len(found)
    every = (np.array(b) for b in product(range(3), repeat=7))
    best = min(cost_between(weights, b) for b in every if np.bincount(b, minlength=3).max() <= 3)
    assert best <= costs[0] <= 1.15 * best, f"seed {seed}: {costs[0]} found, {best} possible"
    for blocks in found:  # no single move and no swap improves it
        for a in range(7):
            for b in range(7):
                swapped = blocks.copy()
                swapped[[a, b]] = swapped[[b, a]]
                assert cost_between(weights, swapped) >= cost_between(weights, blocks) - 1e-9
            for target in np.unique(blocks):
                moved = blocks.copy()
                moved[a] = target
                if np.bincount(moved).max() <= 3:
                    assert cost_between(weights, moved) >= cost_between(weights, blocks) - 1e-9


def two_lines():
    """Qubits 0, 1, 2; gates 01, 12, 01 of weights 3, 1, 3 at instructions 4, 5, 6."""
    pairs = np.array([[0, 1], [2, 1], [0, 1]])
    return GateEnds(np.array([4, 5, 6]), pairs, np.array([3.0, 1.0, 3.0]), 2.0)


def test_gate_ends_are_cut_where_their_blocks_differ():
    ends = two_lines()
    assert ends.wires() == [[0, 4], [1, 3, 5], [2]]
    assert ends.cuts(np.array([0, 0, 1, 0, 0, 0])) == (GateCut(5),)
    assert ends.cuts(np.array([0, 0, 1, 1, 0, 0])) == (WireCut(5, 1), WireCut(6, 1))
    assert ends.cuts(np.array([0, 0, 0, 0, 1, 1])) == (WireCut(6, 0), WireCut(6, 1))
    assert ends.qubit_weights(3).toarray().tolist() == [[0, 6, 0], [6, 0, 1], [0, 1, 0]]


def stretches(blocks):
    return [b for i, b in enumerate(blocks) if i == 0 or blocks[i - 1] != b]


def end_cost(ends, block):
    gates = (ends.weights * (block[0::2] != block[1::2])).sum()
    return gates + ends.wire_weight * sum((len(stretches([block[n] for n in nodes])) - 1) for nodes in ends.wires())


def end_widths(ends, block):
    """Unbroken stretches of wire of each block."""
    return np.bincount([b for nodes in ends.wires() for b in stretches([block[n] for n in nodes])])


def random_ends(rng, qubits, gates):
    pairs = np.array([rng.choice(qubits, 2, replace=False) for _ in range(gates)])
    return GateEnds(np.arange(gates), pairs, rng.choice([1.0, 3.0, 6.0], gates), 2.5)


@pytest.mark.parametrize("seed", range(6))
def test_blocks_of_gate_ends_are_within_their_width_and_cost_what_they_sever(seed):
    ends = random_ends(np.random.default_rng([6, seed]), 5, 7)
    for order in (None, spectral_order(ends.end_weights)):
        block = end_blocks(ends, 3, order)
        assert end_widths(ends, block).max() <= 3
        assert ends.widths(block).tolist() == end_widths(ends, block).tolist()
        assert ends.cost(block) == pytest.approx(end_cost(ends, block))
        places = np.arange(14) if order is None else order
        assert (np.abs(np.diff(block[places])) <= 1).all(), "blocks follow the order"


@pytest.mark.parametrize("seed", range(4))
def test_annealing_finds_the_best_assignment_of_a_small_circuit(seed):
    """Four gates on four qubits: of all assignments to two blocks of at most three stretches, the cheapest."""
    ends = random_ends(np.random.default_rng([7, seed]), 4, 4)
    start = np.array([0, 1] * 4) if end_widths(ends, np.array([0, 1] * 4)).max() <= 3 else None
    every = [np.array(b) for b in product([0, 1], repeat=8)]
    every = [b for b in every if end_widths(ends, b).max() <= 3]
    start = every[-1] if start is None else start
    best = min(end_cost(ends, b) for b in every)
    found = anneal(ends, start, 3, seed=seed, moves=4000)
    assert end_widths(ends, found).max() <= 3
    assert end_cost(ends, found) <= best + 1e-9, f"seed {seed}"
    assert end_cost(ends, anneal(ends, start, 3, seed=seed, moves=1)) <= end_cost(ends, start)
    assert (
        anneal(ends, start, 3, seed=seed, moves=500).tolist() == anneal(ends, start, 3, seed=seed, moves=500).tolist()
    )


def moved_stretch(block, nodes, position, form):
    """All of the unbroken stretch around a position, from it on, up to it, or just it."""
    own, first, last = block[nodes[position]], position, position + 1
    while 0.25 <= form < 0.75 and first > 0 and block[nodes[first - 1]] == own:
        first -= 1
    while form >= 0.5 and last < len(nodes) and block[nodes[last]] == own:
        last += 1
    return nodes[first:last]


def moved_to(block, nodes, position, toward):
    """The block of the gate's other end, or of the end before or after on the wire."""
    if toward < 0.5 or len(nodes) == 1:
        return block[nodes[position] ^ 1]
    before = (toward < 0.75 and position > 0) or position + 1 == len(nodes)
    return block[nodes[position - 1 if before else position + 1]]


def annealed_by_counting(ends, start, most, *, seed, moves, heat):
    """What ``anneal`` does, move by move, all costs and widths counted anew after each."""
    rng, block, lines = np.random.default_rng(seed), start.copy(), ends.wires()
    place = {node: (nodes, k) for nodes in lines for k, node in enumerate(nodes)}
    wire, spare, dear = ends.wire_weight, int(start.max()) + 1, 3.0 * ends.wire_weight

    def over(own):
        return int(np.maximum(end_widths(ends, own) - most, 0).sum())

    best_cost, best = (end_cost(ends, block) if over(block) == 0 else np.inf), block.copy()
    each = max(1, moves // 40)
    for step in range(0, moves, each):
        earlier, later = ends.stretches
        apart = np.repeat(block[0::2] != block[1::2], 2)
        for ones in (earlier, later):
            apart[ones[block[earlier] != block[later]]] = True
        movable = np.flatnonzero(apart)
        if not len(movable):
            return best
        temperature = heat * wire * (0.05 / heat) ** (step / moves)
        picks, shapes = rng.integers(0, len(movable), size=each), rng.random((each, 2))
        bars = -temperature * np.log1p(-rng.random(each))
        for pick, (toward, form), bar in zip(picks, shapes, bars, strict=True):
            nodes, position = place[int(movable[pick])]
            target = spare if toward > 0.97 else moved_to(block, nodes, position, toward)
            trial = block.copy()
            trial[moved_stretch(block, nodes, position, form)] = target
            more = dear * (over(trial) - over(block))
            if target == block[nodes[position]] or end_cost(ends, trial) - end_cost(ends, block) + more > bar:
                continue
            spare += target == spare
            block = trial
            if over(block) == 0 and end_cost(ends, block) < best_cost - 1e-9:
                best_cost, best = end_cost(ends, block), block.copy()
    return best


@pytest.mark.parametrize("seed", range(6))
def test_annealing_counts_what_every_move_changes(seed):
    rng = np.random.default_rng([8, seed])
    ends = random_ends(rng, 5, 12)
    start = rng.integers(0, 3, size=24)
    given = {"seed": seed, "moves": 400, "heat": 1.0}
    assert anneal(ends, start, 3, **given).tolist() == annealed_by_counting(ends, start, 3, **given).tolist()


def weighted(size, edges):
    dense = np.zeros((size, size))
    for (a, b), weight in edges.items():
        dense[a, b] = dense[b, a] = weight
    return csr_array(dense)


def test_moves_of_one_round_make_room_for_those_of_the_next():
    """1 follows 3 first; only then 0 has more there than here; then 2 goes after 0, where there is room for it."""
    weights = weighted(4, {(0, 1): 2.0, (0, 2): 1.0, (1, 3): 5.0})
    start = np.array([0, 0, 0, 1])
    assert _refine(weights, start, 4).tolist() == [1, 1, 1, 1]
    assert _refine(weights, start, 3).tolist() == [1, 1, 0, 1]
    assert _refine(weights, start, 4, rounds=1).tolist() == [0, 1, 0, 1]
    assert start.tolist() == [0, 0, 0, 1], "what was given stays as it was"


@pytest.mark.parametrize("size", [3, 25, 26, 60])
def test_the_fiedler_vector_has_the_second_smallest_eigenvalue(size):
    rng = np.random.default_rng(size)
    pairs = {(k, k + 1): rng.uniform(0.1, 2.0) for k in range(size - 1)}
    pairs |= {tuple(sorted(rng.choice(size, 2, replace=False).tolist())): rng.uniform(0.1, 9.0) for _ in range(size)}
    weights = weighted(size, pairs)
    laplacian = np.diag(weights.sum(axis=1)) - weights.toarray()
    values, found = np.linalg.eigvalsh(laplacian), _fiedler(weights)
    assert np.abs(laplacian @ found - values[1] * found).max() < 1e-9 and np.linalg.norm(found) == pytest.approx(1)


def test_full_blocks_swap_the_pair_that_gains_most():
    """0 belongs to 4 and 5; of those it could change with, 3 belongs to 1 and 2."""
    weights = weighted(6, {(0, 4): 2.0, (0, 5): 2.0, (1, 2): 3.0, (1, 3): 1.0, (2, 3): 1.0, (4, 5): 1.0})
    assert _refine(weights, np.array([0, 0, 0, 1, 1, 1]), 3).tolist() == [1, 0, 0, 0, 1, 1]


def test_the_spectral_order_of_three_nodes_has_the_middle_one_in_the_middle():
    (*_, order) = linear_orders(weighted(3, {(0, 2): 1.0, (1, 2): 1.0}))
    assert order.tolist() in ([0, 2, 1], [1, 2, 0])


def test_a_thousand_nodes_that_share_their_width_are_one_block():
    """A wire in a thousand pieces takes one qubit."""
    size = 1000
    chain = (np.arange(size - 1), np.arange(1, size))
    assert split_order(csr_array((size, size)), np.arange(size), 2, chain).tolist() == [0] * size


def test_a_place_that_was_left_is_taken():
    """0 goes to 3 and 4, then 5 comes to 1: at most three in a block, and nobody to swap with."""
    weights = weighted(6, {(0, 3): 2.0, (0, 4): 2.0, (3, 4): 1.0, (1, 2): 1.0, (1, 5): 1.0})
    assert _refine(weights, np.array([0, 0, 0, 1, 1, 2]), 3).tolist() == [1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("most", [4, 5, 9])
def test_what_fits_stays_together(most):
    weights = weighted(4, {(0, 1): 2.0, (1, 2): 1.0, (2, 3): 5.0, (0, 3): 1.0})
    assert split_order(weights, np.array([2, 0, 3, 1]), most).tolist() == [0, 0, 0, 0]
    assert [blocks.tolist() for blocks in qubit_blocks(weights, most)] == [[0, 0, 0, 0]]


@pytest.mark.parametrize("length, stays", [(20, 0), (21, 1)])
def test_moves_go_on_for_twenty_rounds(length, stays):
    """A chain whose links grow towards the one qubit that is elsewhere: one more follows in every round."""
    weights = weighted(length + 1, {(k, k + 1): float(k + 1) for k in range(length)})
    start = np.array([0] * length + [1])
    assert _refine(weights, start, length + 1).tolist() == [0] * stays + [1] * (length + 1 - stays)


def test_gates_that_share_no_wire_are_parted_for_nothing():
    ends = GateEnds(np.array([3, 5]), np.array([[0, 1], [2, 3]]), np.array([1.0, 6.0]), 2.5)
    blocks = end_blocks(ends, 2)
    assert blocks.tolist() in ([0, 0, 1, 1], [1, 1, 0, 0]) and ends.cuts(blocks) == ()
    assert ends.cuts(anneal(ends, np.array([0, 1, 0, 1]), 3, seed=0, moves=50)) == ()


def test_another_seed_is_another_split_of_the_same_sizes():
    """The partitioner gets the nodes in another order, and what it finds is told in the given one."""
    import networkx as nx

    graph = nx.random_regular_graph(3, 60, seed=1)
    weights = csr_array(nx.to_scipy_sparse_array(graph, nodelist=range(60), weight=None).astype(float))
    found = [multilevel_blocks(weights, np.ones(60, dtype=np.int64), 4, 15, seed=seed) for seed in range(6)]
    assert all(np.bincount(blocks).max() <= 15 for blocks in found)
    costs = [crossing(weights, blocks) for blocks in found]
    assert max(costs) < 30, "parts that belong together, not nodes in a shuffled order: at random it would be 67"
    assert len({blocks.tobytes() for blocks in found}) > 1
