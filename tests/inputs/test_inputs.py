"""Circuits, observables and cuts as users write them, right and wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, QuantumRegister, qasm2, qasm3, qpy
from qiskit.circuit import Parameter
from qiskit.circuit.library import CXGate, PauliEvolutionGate, QFTGate, UnitaryGate, XGate
from qiskit.quantum_info import (
    Operator,
    Pauli,
    PauliList,
    SparseObservable,
    SparsePauliOp,
    random_clifford,
    random_unitary,
)

from tasks.cutting.cuts import GateCut, WireCut
from tasks.errors import InputError
from tasks.inputs.circuit_file import read_circuit
from tasks.inputs.unitaries import unitary_circuit
from tasks.inputs.validation import make_problem, read_cuts, read_problem
from tasks.model.problem import PauliTerms, Problem

QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3];\ncreg c[3];\n'
QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[3] c;\n'


def as_operator(terms: PauliTerms, observable: int) -> SparsePauliOp:
    """The observable as Qiskit has it, through its own labels."""
    row = terms.coefficients.toarray()[observable]
    labels = [
        "".join("IXZY"[int(x) + 2 * int(z)] for x, z in zip(terms.x[t], terms.z[t], strict=True))[::-1]
        for t in range(terms.count)
    ]
    return SparsePauliOp(labels, row).simplify()


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert message and "\n" not in message and len(message) < 500
    return message


@pytest.fixture
def example() -> QuantumCircuit:
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rzz(0.3, 1, 3)
    circuit.ry(-0.7, 3)
    return circuit


class TestCircuits:
    @pytest.mark.parametrize("name", ["circuit.qasm", "circuit.qasm3", "circuit.qpy"])
    def test_every_format_gives_the_same_unitary(self, tmp_path: Path, example: QuantumCircuit, name: str) -> None:
        path = tmp_path / name
        if name.endswith("qpy"):
            with open(path, "wb") as file:
                qpy.dump(example, file)
        else:
            path.write_text(qasm2.dumps(example) if name.endswith(".qasm") else qasm3.dumps(example))
        circuit, notes, _ = unitary_circuit(read_circuit(path))
        assert Operator(circuit).equiv(Operator(example)) and notes == ()

    def test_the_content_and_not_the_name_says_the_format(self, tmp_path: Path, example: QuantumCircuit) -> None:
        text = "// a comment first\n/* and\nanother */ " + qasm3.dumps(example)
        assert Operator(read_circuit(written(tmp_path, "x.qasm", text))).equiv(Operator(example))

    def test_larger_and_unusual_gates_are_replaced_without_changing_the_unitary(self) -> None:
        circuit = QuantumCircuit(5, global_phase=0.3)
        circuit.append(QFTGate(5), range(5))
        circuit.append(CXGate(ctrl_state=0), [0, 1])
        circuit.append(UnitaryGate(random_unitary(8, seed=1)), [0, 1, 2])
        circuit.append(random_clifford(3, seed=1), [0, 1, 2])
        circuit.append(random_clifford(2, seed=1), [4, 1])
        circuit.append(PauliEvolutionGate(SparsePauliOp(["XXYZI"]), 0.3), range(5))
        circuit.append(XGate().control(2, annotated=True), [0, 1, 2])
        circuit.mcx([0, 1, 2], 3)
        circuit.prepare_state(np.array([1, 0, 0, 1j]) / np.sqrt(2), [0, 1])
        flat, notes, _ = unitary_circuit(circuit)
        assert Operator(flat).equiv(Operator(circuit))
        assert max(instruction.operation.num_qubits for instruction in flat.data) == 2
        assert len(notes) == 1 and "1 mcx" in notes[0]

    def test_user_defined_gates_become_standard_ones(self, tmp_path: Path) -> None:
        text = QASM2 + "gate pair(t) a,b { cx a,b; rz(t) b; }\npair(0.5) q[2],q[0];\n"
        flat, _, _ = unitary_circuit(read_circuit(written(tmp_path, "a.qasm", text)))
        assert [instruction.operation.name for instruction in flat.data] == ["cx", "rz"]

    def test_a_spelled_out_standard_gate_is_recognised_only_when_it_is_one(self, tmp_path: Path) -> None:
        spelled = "gate rzz(t) a,b { cx a,b; rz(t) b; cx a,b; }\ngate swap a,b { cx a,b; }\n"
        header = QASM2.replace('include "qelib1.inc";', "gate cx a,b { CX a,b; }\ngate rz(t) a { U(0,0,t) a; }")
        text = header + spelled + "rzz(0.5) q[2],q[0];\nswap q[0],q[1];\n"
        flat, _, _ = unitary_circuit(read_circuit(written(tmp_path, "a.qasm", text)))
        assert [instruction.operation.name for instruction in flat.data] == ["rzz", "cx"]
        assert flat.data[0].operation.params == [0.5]

    def test_barriers_idle_qubits_and_final_measurements_are_no_trouble(self, tmp_path: Path) -> None:
        path = written(tmp_path, "a.qasm", QASM2 + "h q[0];\nbarrier q;\nmeasure q[0] -> c[0];\nbarrier q;\nx q[1];\n")
        problem = read_problem(path, ["Z0"])
        assert [instruction.operation.name for instruction in problem.circuit.data] == ["h", "x"]
        assert problem.num_qubits == 3 and problem.circuit.num_clbits == 0
        assert problem.notes == ("1 final measurement dropped: the observables say what is measured",)

    def test_qubits_of_several_registers_keep_their_order(self) -> None:
        circuit = QuantumCircuit(QuantumRegister(2, "a"), QuantumRegister(1, "b"))
        circuit.x(2)
        flat, _, _ = unitary_circuit(circuit)
        assert flat.find_bit(flat.data[0].qubits[0]).index == 2

    @pytest.mark.parametrize("width", [2, 1000])
    def test_the_narrowest_and_the_widest_circuit_pass(self, width: int) -> None:
        assert unitary_circuit(QuantumCircuit(width))[0].num_qubits == width

    @pytest.mark.parametrize("width", [0, 1, 1001])
    def test_other_widths_do_not(self, width: int) -> None:
        with pytest.raises(InputError, match=f"{width} qubit"):
            unitary_circuit(QuantumCircuit(width))

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (QASM2 + "h q[0]\ncx q[0],q[1];", "line 6"),
            (QASM2 + "foo q[1];", "line 5.*'foo' is not defined"),
            (QASM2 + "x q[7];", "line 5.*out-of-range"),
            (QASM2 + "rx(1/0) q[1];", "line 5.*divide by zero"),
            (QASM2 + "opaque foo a; foo q[0];", "unknown gate.*foo on qubit 0"),
            (QASM2 + "h q[0]; measure q[0]->c[0]; x q[0];", "mid-circuit measurement.*measures qubit 0 before instr"),
            (QASM2 + "h q[0]; reset q[0];", "reset.*instruction 1"),
            (QASM2 + "if(c==1) x q[1];", "classical control.*instruction 0"),
            (QASM3 + "h q[0]\nx q[1];", "line 6.*OpenQASM 3"),
            (QASM3 + "foo q[1];", "line 5.*'foo' is not defined"),
            (QASM3 + "x q[7];", "line 5.*out of range"),
            (QASM3 + "def f(qubit a) {x a;} f(q[0]);", "line 5.*not supported"),
            (QASM3 + "c[0] = measure q[0]; if (c[0]) x q[1];", "classical control"),
            ('OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float alpha;\nqubit[2] q;\nrx(alpha) q[0];', "alpha.*bind"),
            ("OPENQASM 4.0;\nqreg q[2];", "line 1.*4.0"),
            ("hello", "line 1"),
            (" \n", "empty"),
            (b"OPENQASM 2.0;\n\xff\x01", "line 2.*neither text nor QPY"),
            (b"QISKIT\x0d\x00\x01", "damaged"),
        ],
    )
    def test_what_cannot_be_used_is_one_line_that_says_where(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str | bytes, expected: str
    ) -> None:
        path = written(tmp_path, "bad.qasm", content)
        with pytest.raises(InputError, match=expected) as error:
            read_problem(path, ["Z0"])
        assert str(path) in one_line(error)
        assert capfd.readouterr() == ("", "")

    def test_a_damaged_qpy_file_never_passes_or_crashes(self, tmp_path: Path, example: QuantumCircuit) -> None:
        path = tmp_path / "a.qpy"
        with open(path, "wb") as file:
            qpy.dump(example, file)
        whole = path.read_bytes()
        for length in range(0, len(whole) - 1, 7):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError):
                read_problem(path, ["Z0"])

    def test_unbound_parameters_are_named(self) -> None:
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("theta"), 0)
        with pytest.raises(InputError, match=r"\(theta\): bind"):
            make_problem(circuit, "Z0")

    def test_a_missing_file_is_said_so(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file"):
            read_problem(tmp_path / "none.qasm", ["Z0"])
        with pytest.raises(InputError, match="directory"):
            read_problem(tmp_path, ["Z0"])


class TestObservables:
    @pytest.mark.parametrize(
        ("text", "operator"),
        [
            ("ZZIX", SparsePauliOp("ZZIX")),
            ("Z0 Z3", SparsePauliOp("ZIIZ")),
            ("Z3Y1", SparsePauliOp("ZIYI")),
            ("Z3*Y1", SparsePauliOp("ZIYI")),
            ("0.5*Z0 Z3 - 1.2*X1 + 0.1", SparsePauliOp(["ZIIZ", "IIXI", "IIII"], [0.5, -1.2, 0.1])),
            ("-ZZIX+2 XXXX - 1e-3", SparsePauliOp(["ZZIX", "XXXX", "IIII"], [-1, 2, -1e-3])),
            ("Z0 + .5 Z0", SparsePauliOp("IIIZ", 1.5)),
            ("3", SparsePauliOp("IIII", 3)),
            ("Z0 + 1e-200*Z1 + 0*X1", SparsePauliOp(["IIIZ", "IIZI"], [1, 1e-200])),
        ],
    )
    def test_text_means_what_qiskit_means(self, example: QuantumCircuit, text: str, operator: SparsePauliOp) -> None:
        problem = make_problem(example, text)
        assert as_operator(problem.terms, 0).equiv(operator) and problem.names == (text,)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.text("IXYZ", min_size=4, max_size=4), st.integers(-4, 4)), min_size=1, max_size=6))
    def test_strings_that_several_observables_share_are_kept_once(self, pairs: list[tuple[str, int]]) -> None:
        first, second = SparsePauliOp.from_list(pairs), SparsePauliOp.from_list(pairs[::-1][:2])
        terms = make_problem(QuantumCircuit(4), [first, second]).terms
        assert terms.count == len({label for label, _ in pairs})
        assert as_operator(terms, 0).equiv(first) and as_operator(terms, 1).equiv(second)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ZZI", "3 wide, the circuit has 4 qubits"),
            ("ZZIXX", "5 wide"),
            ("Z4", "names qubit 4, the circuit has 0 to 3"),
            ("1j*Z0", "complex"),
            ("(1+2j)*Z0", "complex"),
            ("0.5i Z0", "complex"),
            ("i*Z0", "complex"),
            ("X0 Y0", "qubit 0 twice"),
            ("zzix", "cannot be read at 'zzix'"),
            ("Z0 +", "cannot be read"),
            ("Z0 0.5", "cannot be read at '0.5'"),
            ("1*2*Z0", "cannot be read"),
            ("nan*Z0", "cannot be read"),
            ("1e999*Z0", "not a number below"),
            ("1e80*Z0", "not a number below"),
            ("1e-160*Z0 - 1e-170*X1", "below 1e-50: scale it"),
            ("", "empty"),
        ],
    )
    def test_a_wrong_text_is_one_line(self, example: QuantumCircuit, text: str, expected: str) -> None:
        with pytest.raises(InputError, match=expected) as error:
            make_problem(example, text)
        one_line(error)

    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            ("[", "line 1"),
            ("[]", "not a list of terms"),
            ("{}", "no observable"),
            ("3", "not a list of terms"),
            ('[["ZZIX"]]', "term 0 .* not a pair"),
            ('[["ZZIX", "1j"]]', "complex"),
            ('[["ZZIX", [0, 1]]]', "complex"),
            ('[["ZZIX", true]]', "no number"),
            ('[["ZZIX", NaN]]', "not a number below"),
            (f'[["ZZIX", 1{"0" * 400}]]', "not a number below"),
            ('[["ZZI", 1]]', "3 wide"),
            ('[["ZZIX", 1], ["ZZAX", 1]]', "'ZZAX' is not a Pauli string"),
            (json.dumps([["ZZIX", 1]] * 10_001), "10,001 terms"),
        ],
    )
    def test_a_wrong_file_is_one_line(
        self, tmp_path: Path, example: QuantumCircuit, document: str, expected: str
    ) -> None:
        circuit = written(tmp_path, "c.qasm", qasm2.dumps(example))
        with pytest.raises(InputError, match=expected) as error:
            read_problem(circuit, [], written(tmp_path, "o.json", document))
        assert "o.json" in one_line(error)

    def test_a_file_holds_one_observable_or_many(self, tmp_path: Path, example: QuantumCircuit) -> None:
        circuit = written(tmp_path, "c.qasm", qasm2.dumps(example))
        one = read_problem(circuit, ["X0"], written(tmp_path, "o.json", '[["ZZIX", 0.5], ["Z0 Z3", 2]]'))
        many = read_problem(circuit, [], written(tmp_path, "m.json", '{"a": [["ZZIX", 0.5]], "b": [["X0", 1]]}'))
        assert one.names == ("X0", "o.json") and many.names == ("a", "b")
        assert as_operator(one.terms, 1).equiv(SparsePauliOp(["ZZIX", "ZIIZ"], [0.5, 2]))
        assert as_operator(many.terms, 1).equiv(SparsePauliOp("IIIX"))

    def test_ten_thousand_terms_of_a_thousand_qubits_are_read(self, tmp_path: Path) -> None:
        seed = time.time_ns() % 2**32
        letters = np.random.default_rng(seed).choice(list("IXYZ"), size=(10_000, 1000))
        labels = ["".join(row) for row in letters]
        circuit = written(tmp_path, "c.qasm", "OPENQASM 2.0; qreg q[1000];")
        document = written(tmp_path, "o.json", json.dumps([[label, index] for index, label in enumerate(labels)]))
        terms = read_problem(circuit, [], document).terms
        assert terms.x.shape == (10_000, 1000), f"seed {seed}"
        assert np.array_equal(terms.x, np.isin(letters[:, ::-1], ["X", "Y"])), f"seed {seed}"
        assert np.array_equal(terms.z, np.isin(letters[:, ::-1], ["Z", "Y"])), f"seed {seed}"
        assert np.array_equal(terms.coefficients.toarray()[0], np.arange(10_000)), f"seed {seed}"

    @pytest.mark.parametrize(
        ("given", "operators"),
        [
            (Pauli("-ZIIZ"), [SparsePauliOp("ZIIZ", -1)]),
            (PauliList(["ZIIZ", "-IXXI"]), [SparsePauliOp("ZIIZ"), SparsePauliOp("IXXI", -1)]),
            ([Pauli("ZIIZ"), "2*X0"], [SparsePauliOp("ZIIZ"), SparsePauliOp("IIIX", 2)]),
            (SparseObservable.from_list([("Z0+I", 0.5)]), [
                SparsePauliOp(["ZIII", "ZZII", "ZIXI", "ZZXI"], [0.125] * 4)
            ]),
            (Operator(SparsePauliOp(["ZIIZ", "XXYY"], [0.5, -2])), [SparsePauliOp(["ZIIZ", "XXYY"], [0.5, -2])]),
            ({"ZIIZ": 0.5, "IXXI": -1}, [SparsePauliOp(["ZIIZ", "IXXI"], [0.5, -1])]),
            ({"ZIIZ": "0.5", "": "(1+0j)"}, [SparsePauliOp(["ZIIZ", "IIII"], [0.5, 1])]),
            ({Pauli("-ZIIZ"): 0.5, Pauli("IXXI"): 1}, [SparsePauliOp(["ZIIZ", "IXXI"], [-0.5, 1])]),
            ([("ZY", [0, 3], 0.5), ("", [], 2)], [SparsePauliOp(["YIIZ", "IIII"], [0.5, 2])]),
            ([[("X", [1], 1)], "\u2212.5*Z0"], [SparsePauliOp("IIXI"), SparsePauliOp("IIIZ", -0.5)]),
            ([("ZIIZ", 0.5), ("IXXI", -1 + 0j)], [SparsePauliOp(["ZIIZ", "IXXI"], [0.5, -1])]),
            ([{"ZIIZ": np.float32(0.5)}, {"Z0 Z1": 1}], [SparsePauliOp("ZIIZ", 0.5), SparsePauliOp("IIZZ")]),
            (np.array(["ZIIZ", "X0"]), [SparsePauliOp("ZIIZ"), SparsePauliOp("IIIX")]),
            ((text for text in ("ZIIZ", "X0")), [SparsePauliOp("ZIIZ"), SparsePauliOp("IIIX")]),
            (SparsePauliOp(["ZIIZ"], np.array([2], dtype=object)), [SparsePauliOp("ZIIZ", 2)]),
            ([SparsePauliOp("ZIIZ"), SparsePauliOp("ZIIZ")], [SparsePauliOp("ZIIZ")] * 2),
        ],
    )  # fmt: skip
    def test_what_qiskit_users_have_at_hand_is_taken(
        self, example: QuantumCircuit, given: Any, operators: list[SparsePauliOp]
    ) -> None:
        problem = make_problem(example, given)
        assert len(problem.names) == len(set(problem.names)) == len(operators)
        for index, operator in enumerate(operators):
            assert as_operator(problem.terms, index).equiv(operator.simplify())

    @pytest.mark.parametrize(
        "given",
        [
            None, 3, b"ZZZZ", object(), [None], [3], ["ZZZZ", 3], {}, {3: 1}, {"ZZZZ": "x"}, {"ZZZZ": None},
            [("ZZZZ",)], {Pauli("ZZZZ"): 1, "XXXX": 1}, {Pauli("ZZZZ"): 1j}, [("ZZ", [0], 1)], [("Z", [-1], 1)],
            [("Q", [0], 1)], [("Z", [9], 1)],
            {"ZZZZ": float("nan")}, {"ZZZZ": float("inf")}, {"ZZZZ": 1j}, {"ZZZ": 1}, Pauli("iZZZZ"), PauliList(["ZZ"]),
            {"ZZZZ", "XXXX"}, frozenset({"ZZZZ"}),
            SparsePauliOp("ZZZZ", np.nan), SparsePauliOp("ZZZZ", np.inf), SparsePauliOp("ZZZZ", complex(1, np.nan)),
            SparsePauliOp("ZZZZ", -np.inf), SparsePauliOp(["ZZZZ"], np.array([Parameter("a")])),
            Operator(np.eye(16) * 1j),
            SparsePauliOp("ZZZZ", 1e101), Operator(np.eye(2**9)), SparseObservable("ZZ"), ["Z0", "Z0"],
            SparseObservable.from_list([("0" * 20, 1.0)]), QuantumCircuit(4), np.eye(16), {"ZZZZ", 3},
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_names_the_argument(self, example: QuantumCircuit, given: Any) -> None:
        with pytest.raises(InputError) as error:
            make_problem(example, given)
        assert error.value.field == "observables" and one_line(error)

    def test_a_circuit_of_another_kind_names_the_argument(self) -> None:
        for circuit in (None, "OPENQASM 2.0;", 3, Operator(np.eye(4))):
            with pytest.raises(InputError, match="`circuit`") as error:
                make_problem(circuit, "Z0")  # type: ignore[arg-type]
            assert error.value.field == "circuit"

    def test_coefficients_in_a_file_may_be_written_in_many_ways(self, tmp_path: Path, example: QuantumCircuit) -> None:
        circuit = written(tmp_path, "c.qasm", qasm2.dumps(example))
        for text in ("0.5", '"0.5"', '" 5e-1 "', '"(0.5+0j)"', "[0.5, 0.0]", '"(0.5-0j)"', '["0.5", 0]'):
            path = written(tmp_path, "o.json", f'{{"a": [["ZIIZ", {text}], ["IXXI", -1]]}}')
            terms = read_problem(circuit, [], path).terms
            assert as_operator(terms, 0).equiv(SparsePauliOp(["ZIIZ", "IXXI"], [0.5, -1]))
        bare = read_problem(circuit, [], written(tmp_path, "o.json", '{"ZIIZ": 0.5, "IXXI": -1}'))
        assert as_operator(bare.terms, 0).equiv(SparsePauliOp(["ZIIZ", "IXXI"], [0.5, -1]))

    def test_operators_of_the_wrong_kind_are_refused(self, example: QuantumCircuit) -> None:
        with pytest.raises(InputError, match="acts on 3 qubits"):
            make_problem(example, SparsePauliOp("ZZZ"))
        with pytest.raises(InputError, match="complex"):
            make_problem(example, SparsePauliOp("ZZZZ", 1j))
        with pytest.raises(InputError, match="at least one"):
            make_problem(example, [])


class TestCuts:
    @pytest.fixture
    def problem(self, example: QuantumCircuit) -> Problem:
        return make_problem(example, "Z0")

    def test_gates_and_wires_are_named_by_instruction(self, tmp_path: Path, problem: Problem) -> None:
        path = written(tmp_path, "c.json", '{"gates": [1], "wires": [{"instruction": 2, "qubit": 1}]}')
        assert read_cuts(path, problem.circuit) == (GateCut(1), WireCut(2, 1))
        assert read_cuts(written(tmp_path, "d.json", "{}"), problem.circuit) == ()

    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            ("{", "line 1"),
            ("[]", "not a file of cuts"),
            ('{"gate": [1]}', "not a file of cuts"),
            ('{"gates": 1}', "are lists"),
            ('{"gates": [0]}', "'h' on one qubit"),
            ('{"gates": [4]}', "no instruction 4: the circuit has 0 to 3"),
            ('{"gates": [-1]}', "no instruction -1"),
            ('{"gates": [true]}', "no instruction true"),
            ('{"gates": [1, 1]}', "named twice"),
            ('{"wires": [2]}', "malformed"),
            ('{"wires": [{"instruction": 2}]}', "malformed"),
            ('{"wires": [{"instruction": 2, "qubit": 9}]}', "qubit 9 is not one of 0 to 3"),
            ('{"wires": [{"instruction": 2, "qubit": 0}]}', "does not act on qubit 0"),
            ('{"wires": [{"instruction": 2, "qubit": 3}]}', "nothing acts on qubit 3 before"),
        ],
    )
    def test_a_wrong_cut_is_one_line(self, tmp_path: Path, problem: Problem, document: str, expected: str) -> None:
        with pytest.raises(InputError, match=expected) as error:
            read_cuts(written(tmp_path, "c.json", document), problem.circuit)
        assert "c.json" in one_line(error)
