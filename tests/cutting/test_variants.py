"""Fragments and their variants, gate by gate: what is laid where, what the bits mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.cost import end_cost
from tasks.cutting.cuts import cuts_document, cuts_from
from tasks.cutting.document import plan_document
from tasks.cutting.kinds import GATES, gate_product
from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.wire import WireIn, WireOut
from tasks.cutting.lightcone import light_cone
from tasks.cutting.partition import partition
from tasks.cutting.variants import (
    VariantBuilder,
    count_variants,
    enumerate_variants,
    factor_letters,
    measurement_groups,
)
from tests.oracles import problem_of


def small_problem(labels=("ZZZ",)):
    """Three qubits: a wire of qubit 1 severed between its two gates, the gate on qubits 1 and 2 severed."""
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.ry(0.3, 1)
    circuit.cz(1, 2)
    circuit.h(2)
    return problem_of(circuit, list(labels), np.ones((1, len(labels))))


def test_fragments_hold_their_gates_legs_and_outputs():
    cut = (GateCut(3), WireCut(2, 1))
    found = partition(small_problem(), cut)
    assert found.cuts == cut
    assert [f.num_qubits for f in found.fragments] == [2, 1, 1]
    first, second, third = found.fragments
    assert [(leg.cut, leg.end, leg.qubit, leg.position) for leg in first.legs] == [(1, 0, 1, 2)]
    assert first.outputs == ((0, 0),), "the severed end of qubit 1 is no output"
    assert [(leg.cut, leg.end, leg.qubit, leg.position) for leg in second.legs] == [(1, 1, 0, 0), (0, 0, 0, 1)]
    assert second.outputs == ((0, 1),)
    assert [(leg.cut, leg.end, leg.qubit) for leg in third.legs] == [(0, 1, 0)]
    assert [leg.dimension for f in found.fragments for leg in f.legs] == [4, 4, 4, 4]
    assert [item.operation.name for item in first.circuit] == ["h", "cx"]
    assert found.log_overhead == pytest.approx(np.log2(16 * 9))
    np.testing.assert_allclose(found.bonds[1], np.eye(4) / 2)
    assert found.notes == ()


def test_what_stays_of_a_severed_gate_is_on_its_own_side():
    """C-U with a Y-rotated target: the local parts of the form are gates of the fragments, around the leg."""
    circuit = QuantumCircuit(2)
    circuit.ch(1, 0)
    found = partition(problem_of(circuit, ["ZZ"], np.ones((1, 1))), (GateCut(0),))
    target, control = found.fragments
    assert target.outputs == ((0, 0),) and [leg.end for leg in target.legs] == [1]
    assert control.outputs == ((0, 1),) and [leg.end for leg in control.legs] == [0]
    assert target.legs[0].position == 1 and len(target.circuit.data) == 2
    assert len(control.circuit.data) - control.legs[0].position == 1


def test_factors_are_the_distinct_parts_of_the_terms():
    found = partition(small_problem(["ZIX", "ZZX", "IIY", "ZIY"]), (GateCut(3), WireCut(2, 1)))
    first, second, third = found.fragments
    assert factor_letters(first)[found.factor_index[:, 0]].tolist() == [[1, 0], [1, 0], [2, 0], [2, 0]]
    assert factor_letters(second)[found.factor_index[:, 1]].tolist() == [[0], [3], [0], [0]]
    assert factor_letters(third)[found.factor_index[:, 2]].tolist() == [[3], [3], [0], [3]]
    assert [f.num_factors for f in found.fragments] == [2, 2, 2]


def test_an_idle_qubit_is_zero_and_counts_as_such():
    circuit = QuantumCircuit(3)
    circuit.h(0)
    found = partition(problem_of(circuit, ["IIX", "IZX", "IXX", "YIX"], np.ones((1, 4))), ())
    assert found.term_scale.tolist() == [1, 1, 0, 0]
    assert len(found.fragments) == 1


def test_cuts_where_nothing_can_see_them_are_left_out_and_said():
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    found = partition(problem_of(circuit, ["IIZ"], np.ones((1, 1))), (GateCut(2), WireCut(2, 1), GateCut(1)))
    assert found.cuts == (GateCut(1),)
    assert found.notes == (
        "1 instructions that no observable can see are left out",
        "2 cuts lie where no observable can see them and are left out",
    )


@pytest.mark.parametrize("instruction", [-1, 5])
def test_a_cut_outside_the_circuit_is_refused_with_its_range(instruction):
    from tasks.cutting import CuttingError

    with pytest.raises(CuttingError, match=rf"cut at instruction {instruction}: the circuit has instructions 0 to 4"):
        partition(small_problem(), (GateCut(instruction),))


def test_the_light_cone_grows_through_two_qubit_gates_only():
    circuit = QuantumCircuit(4)
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    circuit.h(3)
    circuit.cx(1, 2)
    assert light_cone(circuit, np.array([True, False, False, False])).tolist() == [True, False, False, False]
    assert light_cone(circuit, np.array([False, False, True, False])).tolist() == [True, True, False, True]


def test_groups_share_bases_and_know_every_factor_they_determine():
    fragment = make_plan(small_problem(["XXI", "XIZ", "IXZ", "ZII", "IIZ", "III"]), max_qubits=3).fragments[0]
    letters = factor_letters(fragment)
    groups = measurement_groups(fragment)
    assert len(groups) == 2
    asked = [[letters[k].tolist() for k in group.factors] for group in groups]
    for group, own in zip(groups, asked, strict=True):
        for letter in own:
            assert all(a in (0, b) for a, b in zip(letter, group.bases, strict=True))
    together = [[3, 1, 1], [3, 1, 0], [0, 1, 1], [3, 0, 1], [3, 0, 0], [0, 0, 0]]
    assert sorted(asked[0]) == sorted(letter for letter in together if letter in letters.tolist())
    assert all(any(k in group.factors for group in groups) for k in range(fragment.num_factors))


@pytest.mark.parametrize("scheme, count", [("full", (1 * 3) + (6 * 5) + 5), ("minimal", 3 + 4 * 3 + 3)])
def test_variants_are_all_combinations_of_settings_once(scheme, count):
    found = partition(small_problem(), (GateCut(3), WireCut(2, 1)))
    every = [enumerate_variants(f, (scheme,) * len(f.legs)) for f in found.fragments]
    assert sum(map(len, every)) == count
    for fragment, variants in zip(found.fragments, every, strict=True):
        assert len(set((v.settings, v.group) for v in variants)) == len(variants)
        assert count_variants(fragment, (scheme,) * len(fragment.legs)) == len(variants)
        assert {v.fragment for v in variants} == {fragment.index}


@pytest.mark.parametrize("defer", [True, False])
def test_bits_of_a_variant_are_those_of_its_legs_then_of_its_qubits(defer):
    """The fragment with a prepared wire and a severed gate, measured in Y: gate by gate."""
    problem = small_problem(["ZYZ"])
    fragment = partition(problem, (GateCut(3), WireCut(2, 1))).fragments[1]
    builder = VariantBuilder(fragment, ("full", "full"), defer=defer)
    variant = next(v for v in enumerate_variants(fragment, ("full", "full")) if v.settings == (3, 4))
    assert [builder.choices[k][s].name for k, s in enumerate(variant.settings)] == ["-", "M"]
    circuit = builder.circuit(variant)
    told = [
        (
            item.operation.name,
            [circuit.find_bit(q).index for q in item.qubits],
            [circuit.find_bit(c).index for c in item.clbits],
        )
        for item in circuit
    ]
    middle = [("cx", [0, 1], [])] if defer else [("measure", [0], [0])]
    start = [("x", [0], []), ("h", [0], []), ("ry", [0], [])]
    local = [step for step in told if step[0] == "u"]
    end = [("sdg", [0], []), ("h", [0], [])]
    readout = ([("measure", [1], [0])] if defer else []) + [("measure", [0], [1])]
    assert [step for step in told if step[0] != "u"] == [*start, *middle, *end, *readout]
    assert all(step[1] == [0] for step in local)
    meaning = builder.meaning(variant)
    assert meaning.leg_bits == (-1, 0) and meaning.num_bits == 2
    assert meaning.factor_masks.tolist() == [[False, True]]


def test_an_outgoing_wire_is_measured_at_its_end_in_its_basis():
    fragment = partition(small_problem(["ZZX"]), (GateCut(3), WireCut(2, 1))).fragments[0]
    builder = VariantBuilder(fragment, ("full",))
    names = {}
    for variant in enumerate_variants(fragment, ("full",)):
        circuit = builder.circuit(variant)
        assert circuit.num_qubits == 2 and circuit.num_clbits == 2
        setting = builder.choices[0][variant.settings[0]]
        names[setting.name] = [i.operation.name for i in circuit if circuit.find_bit(i.qubits[0]).index == 1]
        assert [
            (circuit.find_bit(i.qubits[0]).index, circuit.find_bit(i.clbits[0]).index)
            for i in circuit
            if i.operation.name == "measure"
        ] == [(1, 0), (0, 1)]
        assert builder.meaning(variant).leg_bits == (0,)
    assert names == {"X": ["h", "measure"], "Y": ["sdg", "h", "measure"], "Z": ["measure"]}
    with pytest.raises(ValueError, match="longer"):
        builder.circuit(replace(variant, settings=(0, 0)))


@pytest.mark.parametrize(
    "kind, scheme, names",
    [
        (WireOut(), "full", ["X", "Y", "Z"]),
        (WireOut(), "minimal", ["X", "Y", "Z"]),
        (WireIn(), "full", ["0", "1", "+", "-", "+i", "-i"]),
        (WireIn(), "minimal", ["0", "1", "+", "+i"]),
        (GateEnd(2), "full", ["I", "Z", "S", "Sdg", "M"]),
        (GateEnd(2), "minimal", ["I", "S", "M"]),
    ],
)
def test_settings_do_what_their_names_say(kind, scheme, names):
    settings = kind.settings(scheme)
    assert [s.name for s in settings] == names
    states = {"0": [1, 0], "1": [0, 1], "+": [1, 1], "-": [1, -1], "+i": [1, 1j], "-i": [1, -1j]}
    for setting in settings:
        product = gate_product(setting.before)
        if kind.prepares:
            overlap = np.vdot(states[setting.name], product[:, 0]) / np.linalg.norm(states[setting.name])
            assert abs(overlap) == pytest.approx(1)
            np.testing.assert_allclose(kind.operator(setting), product[:, 0][None], atol=1e-15)
        elif kind.measures_midway and not setting.measured:
            np.testing.assert_allclose(
                product, np.eye(2) if setting.name == "I" else GATES[setting.name.lower()].to_matrix()
            )
        assert setting.measured == (kind.opens_qubit or setting.name == "M")


@pytest.mark.parametrize("scheme, count", [("minimal", 13), ("full", 22)])
def test_the_settings_of_a_general_gate_turn_as_their_names_say(scheme, count):
    paulis = {"I": np.eye(2), **{p: GATES[p.lower()].to_matrix() for p in "XYZ"}}
    settings = GateEnd(4).settings(scheme)
    assert len(settings) == count == len({s.name for s in settings})
    for setting in settings:
        before, after = gate_product(setting.before), gate_product(setting.after)
        if setting.measured:
            axis, _, extra = setting.name[1:].partition(".")
            np.testing.assert_allclose(before.conj().T @ paulis["Z"] @ before, paulis[axis.upper()], atol=1e-12)
            np.testing.assert_allclose(Operator(after @ before), Operator(paulis[extra or "I"]), atol=1e-12)
        elif setting.name in paulis:
            np.testing.assert_allclose(before, paulis[setting.name], atol=1e-12)


def test_settings_that_cost_more_circuits_cost_less_error():
    plan = make_plan(small_problem(), cuts=(GateCut(3), WireCut(2, 1)))
    spent = {}
    for fragment in plan.fragments:
        for leg in fragment.legs:
            spent[leg.kind.name, leg.end] = [end_cost(leg, plan.bonds[leg.cut], s) for s in ("full", "minimal")]
    assert spent["wire_in", 1] == pytest.approx([4.0, 20 / 3])
    assert spent["wire_out", 0] == pytest.approx([1.0, 1.0])
    assert spent["gate", 0] == spent["gate", 1] == pytest.approx(spent["gate", 0])
    assert spent["gate", 0][0] < spent["gate", 0][1]


def test_the_document_says_what_the_plan_says():
    plan = make_plan(small_problem(["ZYZ"]), cuts=(GateCut(3), WireCut(2, 1)), shots=10**6)
    document = plan_document(plan)
    assert document["cuts"] == {"gates": [3], "wires": [{"instruction": 2, "qubit": 1}]} == cuts_document(plan.cuts)
    assert cuts_from(document["cuts"]) == plan.cuts
    middle = document["fragments"][1]
    assert middle["legs"] == [
        {"cut": 1, "kind": "wire in", "dimension": 4},
        {"cut": 0, "kind": "gate", "dimension": 4},
    ]
    assert (middle["index"], middle["width"], middle["qubits"]) == (1, 1, [1])
    assert middle["settings"] == list(plan.schemes[1])
    assert (middle["depth"], middle["two_qubit_gates"]) == (plan.costs[1].depth, 0)
    assert document["variants"] == sum(f["variants"] for f in document["fragments"])
    assert middle["tensor_bytes"] == 8 * 4 * 4 and middle["exact_bytes"] == plan.costs[1].exact_bytes
    assert document["sampling_overhead"] == pytest.approx(144)
