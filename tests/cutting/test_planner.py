"""Plans: within the limits, cheap where they can be, and clear where there is none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from sys import float_info

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import CCXGate

from scheduler_policies.machine import CONTRACTION_FLOPS, JOIN_NUMBER_S, TYPICAL_CPU
from tasks.cutting import CuttingError, GateCut, WireCut, make_plan, predicted_bytes
from tasks.cutting.cuts import cuts_from
from tasks.cutting.document import plan_document
from tasks.cutting.lightcone import light_cone
from tasks.cutting.partition import partition_of
from tasks.cutting.search.sketch import sketch_of
from tests.oracles import brickwork, problem_of, random_problem


def line(qubits, labels, layers=2):
    rng = np.random.default_rng(1)
    return problem_of(brickwork(qubits, layers, rng), labels, np.ones((1, len(labels))))


def test_a_long_line_is_cut_at_its_weakest_places():
    problem = line(30, ["Z" * 30], layers=4)
    plan = make_plan(problem, max_qubits=10)
    assert len(plan.fragments) == 3
    assert len(plan.cuts) == 4, "two cuts at each of two places"
    assert plan.sampling_overhead == pytest.approx(9.0**4)


def test_a_repeated_gate_is_better_left_whole_and_its_wire_cut():
    """Qubit 2 talks to the left ten times, then to the right ten times: one wire, not ten gates."""
    circuit = QuantumCircuit(5)
    for k in range(10):
        for a, b in ((0, 1), (1, 2), (0, 2)):
            circuit.rx(0.1 * k + 0.3, a)
            circuit.cx(a, b)
    for k in range(10):
        for a, b in ((2, 3), (3, 4), (2, 4)):
            circuit.rx(0.2 * k + 0.1, a)
            circuit.cx(a, b)
    plan = make_plan(problem_of(circuit, ["ZZZZZ"], np.ones((1, 1))), max_qubits=3)
    assert [type(cut) for cut in plan.cuts] == [WireCut]
    assert plan.cuts[0].qubit == 2


def test_only_what_the_observable_can_see_is_cut_and_run():
    problem = line(100, ["I" * 98 + "ZZ"])
    plan = make_plan(problem, max_qubits=6)
    assert plan.cuts == ()
    assert sum(f.num_qubits for f in plan.fragments) <= 6


def test_the_light_cone_holds_every_gate_that_matters():
    circuit = QuantumCircuit(3)
    circuit.h(0)  # seen through the cx
    circuit.h(2)  # never seen
    circuit.cx(0, 1)
    circuit.x(0)  # after the cx, on a qubit nobody asks: not seen
    circuit.t(1)
    assert light_cone(circuit, np.array([False, True, False])).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize(
    "cuts, message",
    [
        ((GateCut(99),), "cut at instruction 99: the circuit has instructions 0 to"),
        ((GateCut(0),), "gate cut at instruction 0: u on qubit 0 is not a two-qubit gate"),
        ((WireCut(4, 3),), r"wire cut at instruction 4: cz acts on qubits \[0, 1\], not on qubit 3"),
        ((WireCut(0, 0),), "no gate acts on that wire earlier"),
    ],
)
def test_a_cut_that_names_nothing_says_so(cuts, message):
    with pytest.raises(CuttingError, match=message):
        make_plan(line(4, ["ZZZZ"]), cuts=cuts)


def test_limits_that_no_plan_keeps_are_said_with_numbers():
    problem = line(6, ["Z" * 6], layers=3)
    with pytest.raises(CuttingError, match=r"the plan needs \d\S* KiB of memory and 0.977 KiB may be used"):
        make_plan(problem, max_qubits=3, memory_bytes=1000)
    with pytest.raises(CuttingError, match=r"the cuts leave a fragment of 6 qubits .* `max_qubits` 3"):
        make_plan(problem, max_qubits=3, cuts=())
    with pytest.raises(CuttingError, match=r"`shots` 3: the plan has \d+ distinct variants"):
        make_plan(problem, max_qubits=3, shots=3)


def test_a_plan_to_be_looked_at_may_take_more_memory_than_there_is():
    problem = line(12, ["Z" * 12], layers=6)
    plan = make_plan(problem, max_qubits=6, memory_bytes=1000, over_memory=True)
    assert predicted_bytes(plan) > 1000 and max(f.width for f in plan.fragments) <= 6


def test_what_no_machine_joins_is_refused_with_its_shots_and_years():
    """31 CX between two qubits: two tensors of 4**31 numbers, and 9.25 shots for each of their ends."""
    circuit = QuantumCircuit(2)
    cuts = []
    for k in range(31):
        circuit.ry(0.1 + k, [0, 1])
        cuts.append(GateCut(len(circuit.data)))
        circuit.cx(0, 1)
    problem = problem_of(circuit, ["ZZ"], np.ones((1, 1)))
    year = 365.25 * 24 * 3600
    reading = 2 * 4.0**31 * JOIN_NUMBER_S / year
    joining = reading + 4 * 4.0**31 / CONTRACTION_FLOPS / year
    with pytest.raises(CuttingError, match=r"fragment 0 has 31 cut ends: .* 2\*\*62 numbers \(of the") as refused:
        make_plan(problem, cuts=tuple(cuts), shots=10**6)
    words = re.search(
        r"order of (\S+) shots for an error of 0.01, then 2\*\*(\d+) years of one core", str(refused.value)
    )
    shots, years = float(words[1]), 2.0 ** int(words[2])
    assert 0.9 < shots / (4 * 9.25**31 / 0.01**2) < 1.2, "two fragments alike, a variance of 9.25**31 / shots each"
    assert reading / 2 < years < 2 * joining
    with pytest.raises(CuttingError, match=r"2\*\*62 numbers \(2\*\*\d+ years of one core\)"):
        make_plan(problem, cuts=tuple(cuts))


def test_fewer_shots_mean_cheaper_settings():
    problem = line(12, ["Z" * 12], layers=6)
    rich, poor = (make_plan(problem, max_qubits=6, shots=n) for n in (10**8, 10**3))
    assert sum(c.variants for c in poor.costs) < sum(c.variants for c in rich.costs)


def test_the_document_is_plain_and_its_cuts_read_back():
    rng = np.random.default_rng(2)
    problem = random_problem(brickwork(8, 3, rng), rng)
    plan = make_plan(problem, max_qubits=4)
    document = json.loads(json.dumps(plan_document(plan)))
    assert cuts_from(document["cuts"]) == plan.cuts
    assert [f["width"] for f in document["fragments"]] == [f.num_qubits for f in plan.fragments]
    assert document["predicted_bytes"] == predicted_bytes(plan)


def test_more_cut_ends_than_numbers_can_count_are_refused_in_one_line():
    circuit = QuantumCircuit(24)
    for a in range(24):
        for b in range(a):
            circuit.cz(a, b)
    problem = problem_of(circuit, ["Z" * 24], np.ones((1, 1)))
    between = [k for k, (a, b) in enumerate((a, b) for a in range(24) for b in range(a)) if b < 12 <= a]
    with pytest.raises(CuttingError, match=r"fragment 0 has 144 cut ends: its tensor alone .* 2\*\*288 numbers"):
        make_plan(problem, cuts=tuple(GateCut(k) for k in between))


def test_a_deep_circuit_of_few_qubits_gets_the_least_bad_plan():
    """By qubits there are more branches and variants than any float counts: refused in one line, if asked for."""
    circuit = QuantumCircuit(3)
    for k in range(1100):
        circuit.ry(0.1 + k % 7, k % 3)
        circuit.cz(k % 3, (k + 1) % 3)
    problem = problem_of(circuit, ["ZZZ"], np.ones((1, 1)))
    for shots in (None, 10**6):
        with pytest.raises(CuttingError, match=r"fragment \d has \d+ cut ends: its tensor alone .* 2\*\*\d+ numbers"):
            make_plan(problem, cuts=tuple(GateCut(2 * k + 1) for k in range(1100)), shots=shots)
    plan = make_plan(problem, max_qubits=2, plan_seconds=0)
    assert max(fragment.width for fragment in plan.fragments) <= 2 and len(plan.fragments) > 100


def test_fragments_that_no_machine_can_join_are_refused_in_one_line():
    """A QFT of 16 qubits in single qubits: every tensor is small, their contraction is not."""
    from qiskit.synthesis import synth_qft_full

    problem = problem_of(synth_qft_full(16), ["Z" * 16], np.ones((1, 1)))
    with pytest.raises(
        CuttingError, match=r"^joining the \d+ fragments over \d+ cuts would take an array of 2\*\*\d+ "
    ):
        make_plan(problem, cuts=tuple(GateCut(i) for i, item in enumerate(problem.circuit) if len(item.qubits) == 2))


@pytest.mark.parametrize("qubits, widths", [(16, [8]), pytest.param(40, [39, 20, 4], marks=pytest.mark.slow)])
@pytest.mark.parametrize("shots", [None, 10**6])
def test_a_large_qft_is_planned_or_refused_in_one_line(qubits, widths, shots):
    """Most of its gates have angles far below the snapping of a KAK decomposition at its default fidelity."""
    from qiskit.synthesis import synth_qft_full

    problem = problem_of(synth_qft_full(qubits), ["Z" * qubits], np.ones((1, 1)))
    for width in widths:
        try:
            plan = make_plan(problem, max_qubits=width, shots=shots)
        except CuttingError as error:
            assert re.match(r"`shots`|fragment \d+ has|joining the", str(error)) and "\n" not in str(error)
        else:
            assert max(f.width for f in plan.fragments) <= width
            json.dumps(plan_document(plan), allow_nan=False)
    assert make_plan(problem, max_qubits=qubits, shots=10**6).cuts == ()  # exact, pieces may be quicker


def test_a_circuit_that_fits_asks_no_gate_for_its_form(monkeypatch):
    monkeypatch.setattr("tasks.cutting.search.seen.find_form", None)
    assert make_plan(line(6, ["Z" * 6]), max_qubits=6).cuts == ()


def swap_test(pairs, order):
    """The swap test of two registers, its qubits numbered by ``order``; the controlled swaps written out."""
    circuit = QuantumCircuit(2 * pairs + 1)
    zero, *others = order
    for k, q in enumerate(others):
        circuit.ry(0.1 * (k + 1), q)
    circuit.h(zero)
    for a, b in zip(others[:pairs], others[pairs:], strict=True):
        circuit.cx(b, a)
        circuit.compose(CCXGate().definition, [zero, a, b], inplace=True)
        circuit.cx(b, a)
    circuit.h(zero)
    label = ["I"] * circuit.num_qubits
    label[-1 - zero] = "Z"
    return problem_of(circuit, ["".join(label)], np.ones((1, 1)))


@pytest.mark.parametrize("shots", [None, 10**5])
@pytest.mark.parametrize("pairs, seed", [(6, 0), (6, 1), (12, 2)])
def test_a_plan_does_not_depend_on_how_qubits_are_numbered(pairs, seed, shots):
    """One cut in the middle of a swap test: a wire, or a copy of it that serves half of the pairs."""
    for order in (np.arange(2 * pairs + 1), np.random.default_rng(seed).permutation(2 * pairs + 1)):
        plan = make_plan(swap_test(pairs, order.tolist()), max_qubits=pairs + 1, shots=shots)
        assert [type(cut) for cut in plan.cuts] == [WireCut if shots is None else GateCut], f"seed {seed}"
        assert plan.sampling_overhead == pytest.approx(16 if shots is None else 9)
        assert [f.num_qubits for f in plan.fragments] == [pairs + 1, pairs + 1]


def test_without_a_limit_nothing_is_cut():
    plan = make_plan(line(6, ["Z" * 6]))
    assert plan.cuts == () and [f.num_qubits for f in plan.fragments] == [6]
    assert make_plan(line(6, ["Z" * 6]), max_qubits=1).fragments[0].num_qubits == 1


def test_of_the_cuts_found_those_too_wide_are_left_and_the_narrowest_is_said(monkeypatch):
    """A line of four: uncut 4 qubits wide, cut at its first CZ 3, at its middle one 2."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.3, range(4))
    for q in range(3):
        circuit.cz(q, q + 1)
    problem = problem_of(circuit, ["ZZZZ"], np.ones((1, 1)))
    found = [(), (GateCut(4),), (GateCut(5),)]
    monkeypatch.setattr("tasks.cutting.planner.exact_cuts", lambda *_, **__: found)
    assert make_plan(problem, max_qubits=2).cuts == (GateCut(5),)
    found.pop()
    assert make_plan(problem, max_qubits=3).cuts == (GateCut(4),)
    with pytest.raises(CuttingError, match="within `max_qubits` 2: the narrowest fragments found have 3 qubits"):
        make_plan(problem, max_qubits=2)


@pytest.mark.parametrize("cuts, shots, noted", [(4, 10**6, ""), (7, 10**6, "1e+01"), (7, 10**9, ""), (7, None, "")])
def test_large_errors_are_noted_by_what_cut_ends_cost_for_the_shots(cuts, shots, noted):
    """Severed CZs, 9.25 an end: two fragments of v = 9.25**cuts have (1 + 2 v / shots)**2 - 1, whatever kappa**2 is."""
    circuit = QuantumCircuit(2)
    for k in range(cuts):
        circuit.ry(0.1 + 0.2 * k, [0, 1])
        circuit.cz(0, 1)
    problem = problem_of(circuit, ["ZZ"], np.ones((1, 1)))
    severed = tuple(GateCut(i) for i, item in enumerate(circuit.data) if len(item.qubits) == 2)
    plan = make_plan(problem, cuts=severed, shots=shots)
    assert plan.sampling_overhead == pytest.approx(9.0**cuts)
    if noted:
        (note,) = plan.notes
        assert f"of the order of {noted} for 1,000,000 shots" in note
    else:
        assert plan.notes == ()


@pytest.mark.parametrize("bits, fits", [(4, True), (3, False)])
def test_a_search_takes_tensors_of_as_many_numbers_as_there_may_be(monkeypatch, bits, fits):
    """Two CZs severed: tensors of 4 x 4 numbers, four bits."""
    circuit = QuantumCircuit(2)
    for _ in range(2):
        circuit.ry(0.3, [0, 1])
        circuit.cz(0, 1)
    problem = problem_of(circuit, ["ZZ"], np.ones((1, 1)))
    monkeypatch.setattr("tasks.cutting.planner.exact_cuts", lambda *_, **__: [(GateCut(2), GateCut(5))])
    monkeypatch.setattr("tasks.cutting.planner.MOST_TENSOR_BITS", bits)
    if fits:
        assert make_plan(problem, max_qubits=1).cuts == (GateCut(2), GateCut(5))
    else:
        with pytest.raises(CuttingError, match=r"fragment 0 has 2 cut ends: its tensor alone would have 2\*\*4 num"):
            make_plan(problem, max_qubits=1)


@pytest.mark.parametrize(
    "shots, price", [(None, r"about [\d.e-]+ s of one core"), (10**5, r"[\d,]+ variants, of the order")]
)
def test_a_refusal_says_the_narrowest_width_that_would_do_and_its_price(shots, price):
    """Two dense clusters of 4 qubits: pairs take too much to be joined again, clusters do not."""
    circuit = QuantumCircuit(8)
    for _ in range(2):
        for first in (0, 4):
            for a in range(first, first + 4):
                for b in range(first, a):
                    circuit.cz(b, a)
                    circuit.ry(0.1 + a, [a, b])
    circuit.cz(3, 4)
    problem = problem_of(circuit, ["Z" * 8], np.ones((1, 1)))
    with pytest.raises(CuttingError, match=rf"finds a plan for is `max_qubits` (\d+): {price}") as refused:
        make_plan(problem, max_qubits=2, shots=shots, plan_seconds=0.02, memory_bytes=1 << 15)
    assert refused.value.field in ("max_qubits", "memory_bytes")
    said = int(str(refused.value).split("`max_qubits` ")[-1].split(":")[0])
    assert 2 < said <= 4
    assert max(f.width for f in make_plan(problem, max_qubits=said, shots=shots, plan_seconds=0).fragments) <= said


def test_too_few_shots_get_the_plan_of_fewest_variants_or_a_refusal_that_names_it(monkeypatch):
    """A line of three: three CZs between the first two, one between the last."""
    circuit = QuantumCircuit(3)
    for pair in [(0, 1), (0, 1), (0, 1), (1, 2)]:
        circuit.ry(0.3, pair)
        circuit.cz(*pair)
    problem = problem_of(circuit, ["ZZZ"], np.ones((1, 1)))
    dear, cheap = (GateCut(2), GateCut(5), GateCut(8)), (GateCut(11),)
    many, few = (sum(c.variants for c in make_plan(problem, cuts=cuts, shots=100).costs) for cuts in (dear, cheap))
    assert few < many
    asked = {"overhead": [dear], "work": [cheap]}
    monkeypatch.setattr("tasks.cutting.planner.candidate_cuts", lambda _problem, _limit, aim, **_: asked[aim.name])
    assert make_plan(problem, max_qubits=2, shots=many).cuts == dear
    assert make_plan(problem, max_qubits=2, shots=many - 1).cuts == cheap
    for found in ([dear], [cheap]), ([dear, cheap], [dear]):
        asked["overhead"], asked["work"] = found
        with pytest.raises(CuttingError, match=f"give at least {few}, better {100 * few}$") as refused:
            make_plan(problem, max_qubits=2, shots=few - 1)
        assert refused.value.field == "shots"
    monkeypatch.setattr("tasks.cutting.limits.MAX_SHOTS", few)
    with pytest.raises(CuttingError, match=f"give at least {few}, better {few}$"):
        make_plan(problem, max_qubits=2, shots=few - 1)
    monkeypatch.setattr("tasks.cutting.limits.MAX_SHOTS", few - 1)
    with pytest.raises(CuttingError, match=f"more than the {few - 1} .* allow more qubits .* wider device") as refused:
        make_plan(problem, max_qubits=2, shots=few - 1)
    assert "give at least" not in str(refused.value) and refused.value.field == "max_qubits"


def test_overheads_that_no_float_holds_are_compared_by_their_logarithms():
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    plan = make_plan(problem_of(circuit, ["ZZ"], np.ones((1, 1))), cuts=(GateCut(0),))
    assert plan.sampling_overhead == pytest.approx(9) and plan.log_overhead == pytest.approx(np.log2(9))
    many, more = (replace(plan, kappas=(3.0,) * count) for count in (400, 401))
    assert many.sampling_overhead == more.sampling_overhead == float_info.max
    overheads = [sketch_of(partition_of(own)).overhead for own in (many, more)]
    assert overheads == pytest.approx([800 * np.log2(3), 802 * np.log2(3)])


def test_a_simulator_with_a_width_gets_no_wider_fragments():
    problem = random_problem(brickwork(8, 3, np.random.default_rng(4)), np.random.default_rng(4))
    narrow = replace(TYPICAL_CPU, qubits=5)
    for shots in (None, 10**6):
        plan = make_plan(problem, shots=shots, devices=(narrow,), plan_seconds=0)
        assert max(fragment.width for fragment in plan.fragments) <= 5
    wide = replace(TYPICAL_CPU, qubits=700, memory_bytes=64 * 16)
    assert max(f.width for f in make_plan(problem, shots=10**6, devices=(wide,), plan_seconds=0).fragments) <= 6


def test_no_fragment_is_wider_than_a_simulator_whose_width_is_stated():
    """Not even where it would take no amplitudes, and so no memory."""
    circuit = QuantumCircuit(24)
    circuit.ry(0.3, range(24))
    for q in range(23):
        circuit.cx(q, q + 1)
    circuit.ry(0.4, range(24))
    problem = problem_of(circuit, ["Z" * 24], np.ones((1, 1)))
    for qubits, widest in ((None, 24), (12, 12)):
        plan = make_plan(problem, devices=(replace(TYPICAL_CPU, qubits=qubits),), plan_seconds=0.05)
        assert max(fragment.width for fragment in plan.fragments) == widest
