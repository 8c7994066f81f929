"""What a plan is predicted to cost, held against what it then takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import opt_einsum
import pytest
from qiskit import QuantumCircuit

from scheduler_policies.machine import CPU_SPEED, DRAWN_SHOTS, LAWS, TABLE_BYTES
from tasks.cutting import GateCut, WireCut, make_plan, predicted_bytes, structure_of
from tasks.cutting.cost import choose_schemes, contraction_of, end_cost, fragment_cost, greedy_contraction
from tasks.cutting.drawn_bytes import ROOMS, Room, drawn_bytes, least_bytes, room_within
from tasks.cutting.open_program import open_program
from tasks.cutting.partition import partition
from tasks.cutting.search.sketch import sketch_of
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.cutting.sizes import factors_of_x_parts, gram_passes, simulated_legs
from tasks.cutting.variants import count_variants, enumerate_variants
from tasks.execution.jobs import SampledJob, run_job
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.model.tensor import FragmentTensor
from tasks.reconstruction import estimate_values
from tests.oracles import problem_of


def two_halves(qubits, cuts, labels, gate="cz", seed=1, deeper=0):
    """A line whose halves are joined by ``cuts`` gates, and a plan that cuts them all; ``deeper``: layers before."""
    rng = np.random.default_rng(seed)
    half = qubits // 2
    circuit = QuantumCircuit(qubits)
    severed = []
    for number in range(-deeper, cuts):
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in [*range(half - 1), *range(half, qubits - 1)]:
            circuit.cx(q, q + 1)
        if number < 0:
            continue
        severed.append(GateCut(len(circuit.data)))
        getattr(circuit, gate)(half - 1 - number % 2, half + number % 2)
    return problem_of(circuit, labels, np.ones((1, len(labels)))), tuple(severed)


def labels_of(qubits, count, letters="IXYZ", seed=2):
    rng = np.random.default_rng(seed)
    return sorted({"".join(rng.choice(list(letters), qubits)) for _ in range(count)})


def measured_tensor(fragment):
    """Its tensor and the most bytes that arrays held meanwhile."""
    tracemalloc.start()
    try:
        state = open_state(fragment)
        return exact_tensor(fragment, state), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def ring_of_pairs(qubits, cuts, labels):
    """Gates between far qubits, so that the simulation moves axes; its first wires are cut in the middle."""
    rng = np.random.default_rng(3)
    circuit = QuantumCircuit(qubits)
    for _ in range(3):
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(qubits):
            circuit.cx(q, int((q + rng.integers(1, qubits)) % qubits))
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    severed = tuple(
        WireCut(two[len(two) // 2 + k], circuit.find_bit(circuit.data[two[len(two) // 2 + k]].qubits[0]).index)
        for k in range(cuts)
    )
    return problem_of(circuit, labels, np.ones((1, len(labels)))), severed


CASES = {
    "a state": two_halves(40, 1, labels_of(40, 2), deeper=12),  # too deep for a product of matrices
    "states": two_halves(32, 3, labels_of(32, 4), deeper=8),
    "a state for each of many branches": two_halves(20, 7, labels_of(20, 3)),
    "Gram matrices": two_halves(8, 6, labels_of(8, 60)),
    "Gram matrices of rank 4": two_halves(12, 3, labels_of(12, 60), "swap"),
    "Gram matrices of one X part": two_halves(20, 4, labels_of(20, 900, "IZ")),
    "Gram matrices of many branches and one X part": two_halves(16, 6, labels_of(16, 200, "IZ")),
    "a large tensor": two_halves(16, 5, labels_of(16, 2000)),
    "outgoing wires": ring_of_pairs(16, 3, labels_of(16, 4)),
}


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[pytest.mark.slow] * (name == "a large tensor")) for name in CASES]
)
def test_predicted_bytes_are_the_peak_of_the_arrays(case):
    problem, severed = CASES[case]
    plan = make_plan(problem, cuts=severed)
    fragment, cost = max(zip(plan.fragments, plan.costs, strict=True), key=lambda pair: pair[1].exact_bytes)
    assert cost.exact_bytes > 2 << 20, "large enough to be told from what Python itself holds"
    tensor, peak = measured_tensor(fragment)
    assert cost.tensor_bytes == tensor.nbytes
    assert 0.85 < peak / cost.exact_bytes < 1.15, f"{peak} measured, {cost.exact_bytes} predicted"
    assert predicted_bytes(plan) == sum(c.tensor_bytes for c in plan.costs) + max(c.exact_bytes for c in plan.costs)


# Qubits of both halves, cuts, qubits measured, shots: with and without legs drawn at once, states and counts large.
DRAWN = [
    (12, 4, 1, 1000), (16, 5, 3, 1000), (20, 2, 10, 100_000), (22, 4, 8, 1000), (22, 4, 11, 1000), (24, 4, 12, 1000),
    (28, 3, 2, 1000), (32, 2, 16, 1000),
]  # fmt: skip


def drawing(qubits, cuts, measured, shots):
    """A half of a circuit, the settings of its legs, and the job of drawing all its variants."""
    problem, severed = two_halves(qubits, cuts, ["I" * (qubits - measured) + "Z" * measured], deeper=8)
    plan = make_plan(problem, cuts=severed)
    fragment, schemes = plan.fragments[0], plan.schemes[0]
    variants = tuple(enumerate_variants(fragment, schemes))
    return fragment, schemes, SampledJob(fragment, schemes, variants, (shots,) * len(variants))


def peak_of(job, memory_bytes=None):
    tracemalloc.start()
    run_job(job, memory_bytes=memory_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("qubits, cuts, measured, shots", DRAWN)
def test_predicted_bytes_of_sampled_variants_are_the_peak_of_the_arrays(qubits, cuts, measured, shots):
    fragment, schemes, job = drawing(qubits, cuts, measured, shots)
    predicted = fragment_cost(fragment, schemes, sampled=True, shots=shots).exact_bytes
    run_job(job.share(0, 1))  # imports what it needs
    peak = peak_of(job)
    assert predicted > peak / 1.15 - (1 << 20), f"{peak} measured, {predicted} predicted"
    assert predicted < 1.15 * peak or peak < 16 << 20, f"{peak} measured, {predicted} predicted"


@pytest.mark.parametrize("qubits, cuts, measured", [(22, 4, 11), (32, 2, 16)])
def test_what_is_held_shrinks_with_the_memory_that_there_is(qubits, cuts, measured):
    fragment, schemes, job = drawing(qubits, cuts, measured, DRAWN_SHOTS)
    every = [drawn_bytes(fragment, schemes, DRAWN_SHOTS, room) for room in ROOMS]
    least, most = min(every), every[0]
    assert least < most
    assert least_bytes(fragment, schemes) <= least
    peaks = []
    for memory in (least, (least + most) // 2, most):
        room = room_within(fragment, schemes, memory)
        assert room is not None
        predicted = drawn_bytes(fragment, schemes, DRAWN_SHOTS, room)
        cost = fragment_cost(fragment, schemes, sampled=True, shots=DRAWN_SHOTS, memory_bytes=memory)
        assert predicted <= memory and predicted <= cost.exact_bytes
        peaks.append(peak_of(job, memory))
        assert peaks[-1] < 1.15 * predicted + (1 << 20), f"{peaks[-1]} measured, {predicted} predicted, {room}"
    assert peaks[0] < peaks[2]
    assert room_within(fragment, schemes, least - 1) is None, "its variants run one by one"


def test_shots_are_the_same_while_only_the_distributions_held_at_a_time_are_fewer():
    fragment, schemes, job = drawing(22, 4, 11, 500)
    few = drawn_bytes(fragment, schemes, DRAWN_SHOTS, Room(laws=LAWS >> 6))
    room = room_within(fragment, schemes, few)
    assert room is not None and room.laws < LAWS and room.table == TABLE_BYTES
    whole, less = run_job(job), run_job(job, memory_bytes=few)
    assert all((whole[name] == less[name]).all() for name in ("outcomes", "counts", "rows"))


def test_predicted_bytes_hold_the_contraction_where_it_is_the_largest():
    """Six single qubits, every pair joined: each tensor is small, what two of them make together is not."""
    circuit = QuantumCircuit(6)
    for a in range(6):
        circuit.ry(0.3 + 0.1 * a, a)
        for b in range(a):
            circuit.cz(b, a)
    cuts = tuple(GateCut(i) for i, item in enumerate(circuit.data) if len(item.qubits) == 2)
    problem = problem_of(circuit, ["Z" * 6], np.ones((1, 1)))
    plan = make_plan(problem, cuts=cuts)
    tensors = [FragmentTensor(f.index, measured_tensor(f)[0]) for f in plan.fragments]
    assert sum(t.values.nbytes for t in tensors) == sum(c.tensor_bytes for c in plan.costs)
    largest = greedy_contraction(plan.fragments, plan.bonds).largest
    assert largest == 4.0**8, "two tensors of 5 legs that share one"
    assert predicted_bytes(plan) == 24 * largest + sum(c.tensor_bytes for c in plan.costs)
    estimate_values(structure_of(problem, plan), tensors)  # imports what it needs
    tracemalloc.start()
    estimate_values(structure_of(problem, plan), tensors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * predicted_bytes(plan), "the path taken may hold a larger array than the greedy one predicted"


def test_seconds_count_the_simulation_and_every_pair_of_branches():
    problem, severed = two_halves(8, 2, ["Z" * 8, "ZZZZIIII", "X" * 8])
    plan = make_plan(problem, cuts=severed)
    fragment = plan.fragments[0]
    gates, factors = len(fragment.circuit.data), fragment.num_factors
    assert simulated_legs(fragment) == (2, 0) and fragment.open_qubits == 6
    speed = CPU_SPEED
    simulated = speed.circuit + gates * speed.gate + open_program(fragment).seconds
    assert factors_of_x_parts(fragment).tolist() == [2, 1] and factors == 3, "Z and I together, X"
    assert gram_passes(fragment) == 3, "one over all rows, one over half of them"
    passes = 3 * (speed.grams + 2**6 * speed.amplitude_pass)
    made = factors * 4**2 * (2**4 * speed.pair + speed.entry + speed.number)
    assert exact_fragment_seconds(fragment) == pytest.approx(simulated + passes + made)
    cost = fragment_cost(fragment, ("full", "minimal"))
    assert (cost.width, cost.two_qubit_gates) == (4, 6)
    assert cost.depth == fragment.circuit.depth()
    assert cost.variants == len(enumerate_variants(fragment, ("full", "minimal"))) == 5 * 3 * 2


@pytest.mark.parametrize("seed", range(8))
def test_branches_are_those_of_the_simulation(seed):
    """Legs that share their branches are counted as the program of the simulation lays them open."""
    rng = np.random.default_rng([seed, 77])
    circuit = QuantumCircuit(5)
    for _ in range(9):
        for q in range(5):
            circuit.u(*rng.uniform(0, 3, 3), q)
        a, b = rng.choice(5, 2, replace=False).tolist()
        rng.choice([circuit.cz, circuit.swap, lambda x, y: circuit.rzz(0.4, x, y)])(a, b)
        circuit.rzz(0.3, a, int(rng.choice([q for q in range(5) if q != a])))
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    cuts = {GateCut(i) for i in rng.choice(two, 3, replace=False).tolist()}
    for i in rng.choice(two[3:], 3, replace=False).tolist():
        qubit = circuit.find_bit(circuit.data[i].qubits[int(rng.integers(2))]).index
        if any(circuit.qubits[qubit] in circuit.data[k].qubits for k in two if k < i):
            cuts.add(WireCut(i, qubit))
    plan = make_plan(problem_of(circuit, ["ZZZZZ"], np.ones((1, 1))), cuts=tuple(cuts))
    for fragment in plan.fragments:
        branches, outputs = simulated_legs(fragment)
        rank = open_program(fragment).branches
        assert 2 ** (branches + outputs - 1) < rank <= 2 ** (branches + outputs), f"seed {seed}"


def test_gates_between_qubits_all_over_count_for_more_than_as_many_between_neighbours():
    """The simulation takes hundreds of the latter in a few blocks, and a block for every two or three of the former."""
    seconds = []
    for reach in (1, 15):
        rng, circuit = np.random.default_rng(5), QuantumCircuit(16)
        for _ in range(400):
            a = int(rng.integers(0, 16 - reach)) if reach == 1 else int(rng.integers(0, 16))
            b = a + 1 if reach == 1 else int((a + rng.integers(1, 16)) % 16)
            circuit.ry(float(rng.uniform(0, 3)), a)
            circuit.rzz(float(rng.uniform(0, 3)), a, b)
        (fragment,) = make_plan(problem_of(circuit, ["Z" * 16], np.ones((1, 1)))).fragments
        seconds.append(exact_fragment_seconds(fragment))
        program = open_program(fragment)
        # Each block passes over the state once: as many passes as blocks and moves, a few nanoseconds an amplitude.
        passes = len([step for step in program.steps if not hasattr(step, "operators")])
        assert 0.5e-9 < program.seconds / passes / program.amplitudes < 16e-9
    assert 2 * seconds[0] < seconds[1] < 8 * seconds[0]


def test_a_contraction_multiplies_out_what_it_says():
    """A chain of three fragments over one leg each: 4 x 4 products twice; both ends on one fragment are a trace."""
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(0.4, q)
    circuit.cz(0, 1)
    circuit.cz(1, 2)
    plan = make_plan(problem_of(circuit, ["ZZZ"], np.ones((1, 1))), cuts=(GateCut(3), GateCut(4)))
    cost = greedy_contraction(plan.fragments, plan.bonds)
    assert (cost.flops, cost.largest) == (2 * 16 + 2 * 4, 4.0)
    whole = make_plan(problem_of(circuit, ["ZZZ"], np.ones((1, 1))), cuts=())
    assert greedy_contraction(whole.fragments, whole.bonds).largest == 1.0
    circuit.cz(0, 1)
    looped = make_plan(problem_of(circuit, ["ZZZ"], np.ones((1, 1))), cuts=(GateCut(3),))
    assert greedy_contraction(looped.fragments, looped.bonds).largest == 1.0


def test_settings_are_the_cheapest_that_the_shots_feed():
    problem, severed = two_halves(6, 3, ["Z" * 6])
    plan = make_plan(problem, cuts=severed)
    fragments, bonds = plan.fragments, plan.bonds
    rich = choose_schemes(fragments, bonds, None)
    for fragment, schemes in zip(fragments, rich, strict=True):
        for leg, scheme in zip(fragment.legs, schemes, strict=True):
            costs = {s: end_cost(leg, bonds[leg.cut], s) for s in ("full", "minimal")}
            assert costs[scheme] == min(costs.values())
    allowed = 60
    poor = choose_schemes(fragments, bonds, 2 * 32 * allowed)
    for fragment, schemes, best in zip(fragments, poor, rich, strict=True):
        assert count_variants(fragment, best) > allowed >= count_variants(fragment, schemes)
        dearer = [k for k, scheme in enumerate(schemes) if scheme != best[k]]
        assert 0 < len(dearer) < len(schemes), "no more legs are given up than need be"
    assert choose_schemes(fragments, bonds, 1) == tuple(("minimal",) * 3 for _ in fragments)


@pytest.mark.parametrize("ends, variants", [(5, 5**5), (6, 5**3 * 3**3)])
def test_a_fragment_has_at_most_4096_variants_where_cheaper_settings_allow(ends, variants):
    """Of a CZ 5 settings, or 3: five ends stay within 4096 with 5 each, of six ends three have to give up two."""
    problem, severed = two_halves(6, ends, ["Z" * 6])
    plan = make_plan(problem, cuts=severed)
    assert [cost.variants for cost in plan.costs] == [variants, variants] and variants <= 4096


def test_a_variant_that_would_have_less_than_32_shots_is_not_run():
    """Two fragments of 25 variants need 1600 shots, of 15 (cheaper settings at one end) 960."""
    problem, severed = two_halves(6, 2, ["Z" * 6])
    plan = make_plan(problem, cuts=severed)
    for shots, count in ((1600, 25), (1599, 15), (960, 15), (959, 9)):
        chosen = choose_schemes(plan.fragments, plan.bonds, shots)
        assert [count_variants(f, s) for f, s in zip(plan.fragments, chosen, strict=True)] == [count, count], shots


def test_fragments_that_nothing_holds_cost_their_states():
    """Without a program of their simulation, which would take seconds for thousands of gates."""
    for qubits in (48, 49, 60):
        circuit = QuantumCircuit(qubits)
        for q in range(qubits - 1):
            circuit.rzz(0.7, q, q + 1)
        (cost,) = make_plan(problem_of(circuit, ["Z" * qubits], np.ones((1, 1))), cuts=(), shots=1000).costs
        assert 1 <= cost.exact_bytes / (16 * 2**qubits) <= 2


def test_a_predicted_contraction_does_not_depend_on_the_order_of_fragments():
    """Ties of the greedy path are many on a random graph."""
    rng = np.random.default_rng(2)
    ends = [[] for _ in range(12)]
    for cut in range(24):
        for fragment in rng.choice(12, 2, replace=False):
            ends[fragment].append(cut)
    tensors = [((4,) * len(cuts), tuple(cuts)) for cuts in ends]
    orders = [rng.permutation(12) for _ in range(8)]
    found = [contraction_of(tuple(tensors[k] for k in order)) for order in orders]
    assert len({(one.flops, one.largest) for one in found}) == 1
    steps = {
        tuple(sorted((flops, tuple(sorted(order[list(own)].tolist()))) for flops, own in joined_by(one, 12)))
        for order, one in zip(orders, found, strict=True)
    }
    assert len(steps) == 1, "the same fragments are joined, whatever they are numbered"
    assert sum(step.flops for step in found[0].steps) == found[0].flops
    assert all(step.flops in (np.prod(step.sizes), 2 * np.prod(step.sizes)) for step in found[0].steps)


def joined_by(contraction, tensors):
    """The flops of each step and the tensors that are one then."""
    parts = {number: (number,) for number in range(tensors)}
    for number, step in enumerate(contraction.steps, tensors):
        parts[number] = sum((parts[part] for part in step.parts), ())
        yield step.flops, parts[number]


def test_all_cuts_between_two_fragments_are_one_index_of_the_contraction(monkeypatch):
    """A thousand gates between few fragments would be looked at one by one for every pair of them."""
    sizes = []
    greedy = opt_einsum.paths.ssa_greedy_optimize
    monkeypatch.setattr(
        opt_einsum.paths, "ssa_greedy_optimize", lambda *how: sizes.append(sorted(how[2].values())) or greedy(*how)
    )
    cuts = [*[(0, 1)] * 3, *[(1, 2)] * 2, (2, 0), (2, 2)]
    ends = [[cut for cut, pair in enumerate(cuts) for end in pair if end == number] for number in range(3)]
    found = contraction_of(tuple(((4,) * len(own), tuple(own)) for own in ends))
    assert sizes == [[4, 4, 16, 64]], "and one that is a trace"
    first = 2 * 64 * 16 * 4  # 0 and 1, over their three cuts, which leaves those to 2
    assert (found.flops, found.largest) == (first + 2 * 16 * 4, 64.0)
    assert [(flops, sorted(own)) for flops, own in joined_by(found, 3)] == [(first, [0, 1]), (2 * 64, [0, 1, 2])]


def test_a_tensor_of_more_numbers_than_a_float_holds_is_only_counted():
    """Gates that leave it too many ends for anything: its seconds are not looked at in other ways."""
    circuit = QuantumCircuit(18)
    for q in range(16):
        circuit.rzz(0.3, q, q + 1)
    for _ in range(520):
        circuit.ry(0.2, 17)
        circuit.cx(16, 17)
        circuit.ry(0.2, 16)
    cuts = tuple(GateCut(16 + 3 * k + 1) for k in range(520))
    sketch = sketch_of(partition(problem_of(circuit, ["Z" * 18], np.ones((1, 1))), cuts))
    assert sketch.too_large and sketch.tensor_bits == 1040
