"""Inputs that are too large, endless, foreign or meant to be: one line, soon, and nothing of theirs in it."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Gate
from qiskit.circuit.library import AndGate, CUGate, StatePreparation

from tasks.errors import InputError
from tasks.inputs.files import MAX_BYTES
from tasks.inputs.validation import make_problem, read_cuts, read_problem

QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3];\n'
QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\n'
LONG = "9" * 5000


@contextmanager
def refused(expected: str = "", seconds: float = 2.0) -> Iterator[None]:
    """One line within 2 s of processor time (the machine may be busy with other things)."""
    started = time.process_time()
    with pytest.raises(InputError, match=expected) as error:
        yield
    assert time.process_time() - started < seconds
    message = str(error.value)
    assert "\n" not in message and len(message) < 600


def circuit_file(folder: Path, text: str | bytes, name: str = "c.qasm") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def nested(levels: int, body: str, header: str, use: str) -> str:
    """Gates g0, g1, ... each made of the one before."""
    gates = ["gate g0 a,b { cx a,b; }"] + [f"gate g{k} a,b {{ {body.format(k - 1)} }}" for k in range(1, levels)]
    return header + "\n".join(gates) + f"\ng{levels - 1} {use};\n"


class TestSize:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("OPENQASM 2.0; qreg q[1000000000];", "1000000000 qubits"),
            (f"OPENQASM 2.0; qreg q[{LONG}];", "qubits: Qompass takes up to 1000"),
            ("OPENQASM 2.0; qreg a[600]; qreg b[600];", "1200 qubits"),
            ("OPENQASM 2.0; qreg q[2]; creg c[1000000000];", "classical bits"),
            ("OPENQASM 3.0; qubit[1000000000] q;", "1000000000 qubits"),
            ("OPENQASM 3.0; const int n = 2**30; qubit[n] q;", "1073741824 qubits"),
            (f"OPENQASM 3.0; qubit[{LONG}] q;", ""),
            ("OPENQASM 3.0; qubit[2] q; bit[1000000000] c;", "classical bits"),
            ('OPENQASM 3.0; include "stdgates.inc"; x $999999999;', "qubits"),
            (QASM3 + "for int i in [0:1000000000] { x q[0]; }", "turns"),
            (QASM3 + "int i = 0; while (i < 1) { x q[0]; }", "turns"),
            (QASM3 + "rz(2**2**2**2**2**2) q[0];", ""),
            (QASM3 + "rz(1 << 1000000000) q[0];", "out of range"),
            (QASM3 + f"rz({LONG}) q[0];", ""),
            (QASM2 + f"rz({LONG}) q[0];", "not a finite number"),
            (QASM2 + f"rz(1e{LONG}) q[0];", ""),
            (QASM3 + "ctrl(1000000000) @ x q[0], q[1];", "out of range"),
            (QASM3 + "rz(" + "(" * 1000 + "1" + ")" * 1000 + ") q[0];", "nested too deeply"),
            (QASM2 + "gate g(a) b { rx(" + "-" * 200_000 + "a) b; }\ng(1) q[0];", "100,000 characters"),
            (QASM2 + "rx(" + "(" * 200_000 + "1" + ")" * 200_000 + ") q[0];", "100,000 characters"),
            ("/*" * 100_000, "comment"),
            ('"' * 100_000, ""),
            (nested(40, "g{0} a,b; g{0} a,b;", QASM2, "q[0],q[1]"), "1,000,000 gates"),
            (nested(40, "g{0} a,b; g{0} a,b;", QASM3, "q[0],q[1]"), "1,000,000 gates"),
            (nested(40, "g{0} a,b; g{0} a,b;", QASM3, "q[0],q[1]").replace("\ng39", "\ninv @ g39"), "not supported"),
            (nested(3000, "g{0} a,b;", QASM2, "q[0],q[1]"), "levels"),
            (nested(40, "g{0} b,a; g{0} a,b; g{0} a,b;", QASM2, "q[0],q[1]"), "gates"),
        ],
    )
    def test_what_is_too_large_is_seen_before_it_is_made(self, tmp_path: Path, text: str, expected: str) -> None:
        with refused(expected):
            read_problem(circuit_file(tmp_path, text), ["Z0"])

    def test_nested_gates_with_parameters_are_counted_not_made(self, tmp_path: Path) -> None:
        for header in (QASM2, QASM3):
            gates = ["gate g0(t) a { rz(t) a; }"] + [
                f"gate g{k}(t) a {{ g{k - 1}(t/2) a; g{k - 1}(t/2) a; }}" for k in range(1, 40)
            ]
            with refused("1,000,000 gates"):
                read_problem(circuit_file(tmp_path, header + "\n".join(gates) + "\ng39(1) q[0];"), ["Z0"])

    def test_deep_definitions_that_fit_are_read(self, tmp_path: Path) -> None:
        for header in (QASM2, QASM3):
            text = nested(1200, "g{0} a,b;", header, "q[0],q[1]")
            assert read_problem(circuit_file(tmp_path, text), ["Z0"]).circuit.size() == 1
        deep = ["gate g0(t) a { rz(t) a; }"] + [f"gate g{k}(t) a {{ g{k - 1}(t) a; }}" for k in range(1, 1200)]
        for header in (QASM2, QASM3):
            text = header + "\n".join(deep) + "\ng1199(0.25) q[0];"
            found = read_problem(circuit_file(tmp_path, text), ["Z0"]).circuit
            assert [(i.operation.name, i.operation.params) for i in found.data] == [("rz", [0.25])]

    def test_a_circuit_of_nested_blocks_made_in_python_is_counted(self) -> None:
        inner = QuantumCircuit(2)
        inner.cx(0, 1)
        for level in range(1, 40):
            outer = QuantumCircuit(2)
            gate = Gate(f"b{level}", 2, [])
            gate._definition = inner  # as Qiskit's readers do; its own methods would copy it
            outer.append(gate, [0, 1], copy=False)
            outer.append(gate, [0, 1], copy=False)
            inner = outer
        with refused("gates"):
            make_problem(inner, "Z0")

    @pytest.mark.parametrize(
        "text",
        [f"Z{'9' * 800}", f"Z{LONG}", LONG + "*Z0", "Z0" * 5000, "+" * 10_000, "(" * 10_000, "1" * 20_000 + "x",
         "Z" * 20_000, " " * 20_000 + "!", "1." * 10_000, "Z0 * " * 5000, "Z0 + " * 30_000, f"1e{LONG}*Z0", "\x00Z0"],
    )  # fmt: skip
    def test_an_observable_of_any_length_is_refused_soon(self, tmp_path: Path, text: str) -> None:
        with refused():
            read_problem(circuit_file(tmp_path, QASM2), [text])

    @pytest.mark.parametrize(
        "text",
        ["[" * 100_000, f'[["ZZZ", {LONG}]]', f'[["Z{LONG}", 1]]', f'[["ZZZ", "{LONG}"]]', '[["ZZZ", 1e999]]',
         f'{{"{"a" * 9000}": [["ZZZ", 1j]]}}', f'{{"{"a" * 9000}": 3, "b": []}}',
         '{"a": [["ZZZ", 1]], "a": [["ZZI", 1]]}',
         '[["ZZZ", [1]]]', '[["ZZZ", {"re": 1}]]', '[["ZZZ", null]]', '[["", 1]]', '[[3, 1]]', '"ZZZ"'],
    )  # fmt: skip
    def test_a_file_of_observables_of_any_kind_is_refused_soon(self, tmp_path: Path, text: str) -> None:
        with refused("o.json"):
            read_problem(
                circuit_file(tmp_path, QASM2), [], circuit_file(tmp_path, text.replace('[["", 1]]', "[[]]"), "o.json")
            )

    @pytest.mark.parametrize("text", ["[" * 100_000, f'{{"gates": [{LONG}]}}', '{"gates": [1e9]}', '{"gates": {}}'])
    def test_a_file_of_cuts_of_any_kind_is_refused_soon(self, tmp_path: Path, text: str) -> None:
        problem = read_problem(circuit_file(tmp_path, QASM2 + "cx q[0],q[1];"), ["Z0"])
        with refused("c.json"):
            read_cuts(circuit_file(tmp_path, text, "c.json"), problem.circuit)


class TestFiles:
    def test_endless_and_other_files_that_are_no_files_are_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        good = circuit_file(tmp_path, QASM2)
        for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path, tmp_path / "none", Path("a\0b"), Path("x" * 5000)):
            with refused():
                read_problem(path, ["Z0"])
            with refused():
                read_problem(good, [], path)
            with refused():
                read_cuts(path, read_problem(good, ["Z0"]).circuit)

    def test_a_file_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        path = circuit_file(tmp_path, QASM2)
        os.truncate(path, MAX_BYTES + 1)
        with refused("larger than 32 MiB"):
            read_problem(path, ["Z0"])

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le"])
    def test_other_encodings_are_named(self, tmp_path: Path, encoding: str) -> None:
        with refused("UTF-(16|32)"):
            read_problem(circuit_file(tmp_path, (QASM2 + "h q[0];").encode(encoding)), ["Z0"])

    def test_latin_1_and_nul_bytes_are_named_with_their_line(self, tmp_path: Path) -> None:
        with refused("line 4.*Latin-1"):
            read_problem(circuit_file(tmp_path, (QASM2 + "// caf\xe9\n").encode("latin-1")), ["Z0"])
        with refused("line 4.*NUL"):
            read_problem(circuit_file(tmp_path, QASM2 + "h q[0];\0\n"), ["Z0"])

    @pytest.mark.parametrize("text", [QASM2 + "h q[1]; // h \u00e9\n", QASM3 + "h q[1]; // \u00e9\n"])
    def test_marks_and_line_ends_change_nothing(self, tmp_path: Path, text: str) -> None:
        for changed in ("\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\n\n" + text):
            path = circuit_file(tmp_path, changed)
            assert read_problem(path, ["Z0"]).circuit.size() == 1


class TestIncludes:
    @pytest.fixture(params=[QASM2, QASM3], ids=["qasm2", "qasm3"])
    def header(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A circuit's folder, beside one with a file that is nobody's business."""
        (tmp_path / "secret.inc").write_text("password hunter2;\n")
        (tmp_path / "circuits").mkdir()
        return tmp_path / "circuits"

    def read(self, folder: Path, text: str) -> QuantumCircuit:
        return read_problem(circuit_file(folder, text), ["Z0"]).circuit

    def test_files_below_the_folder_are_read_where_they_are_included(self, folder: Path, header: str) -> None:
        (folder / "lib").mkdir()
        (folder / "lib" / "a.inc").write_text('// first\ninclude "b.inc";\ngate ga a { gb a; gb a; }\n')
        (folder / "lib" / "b.inc").write_text("\ufeffgate gb a { x a; }\r\n")
        found = self.read(folder, header + 'include "lib/a.inc"; ga q[0];')
        assert [instruction.operation.name for instruction in found.data] == ["x", "x"]

    @pytest.mark.parametrize(
        "name", ["../secret.inc", "sub/../../secret.inc", "ABSOLUTE", "link.inc", "linked/secret.inc"]
    )
    def test_files_elsewhere_are_neither_read_nor_quoted(self, folder: Path, header: str, name: str) -> None:
        (folder / "sub").mkdir()
        (folder / "link.inc").symlink_to(folder.parent / "secret.inc")
        (folder / "linked").symlink_to(folder.parent)
        name = str(folder.parent / "secret.inc") if name == "ABSOLUTE" else name
        with pytest.raises(InputError, match=r"line 4.*not below the circuit's folder") as error:
            self.read(folder, header + f'include "{name}";\nx q[0];')
        assert "hunter2" not in str(error.value) and "password" not in str(error.value)

    def test_circles_bombs_and_absent_files_are_refused(self, folder: Path, header: str) -> None:
        (folder / "a.inc").write_text('include "b.inc";')
        (folder / "b.inc").write_text('include "a.inc";')
        (folder / "round.inc").symlink_to(folder / "round.inc")
        os.mkfifo(folder / "pipe.inc")
        for level in range(8):
            (folder / f"bomb{level}.inc").write_text(f'include "bomb{level + 1}.inc";\n' * 10)
        (folder / "bomb8.inc").write_text("// nothing\n")
        for name, expected in (
            ("a.inc", "includes itself"), ("c.qasm", "includes itself"), ("round.inc", "cannot be read"),
            ("pipe.inc", "pipe"), ("none.inc", "not there"), ("", ""), ("bomb0.inc", "includes"), ("x" * 5000, ""),
        ):  # fmt: skip
            with refused(expected):
                self.read(folder, header + f'include "{name}";\nx q[0];')

    def test_an_error_in_an_included_file_names_that_file_and_its_line(self, folder: Path, header: str) -> None:
        (folder / "a.inc").write_text("gate ga a { x a; }\ngate gb a { nothing a; }\n")
        with refused(r"a\.inc, line 2.*nothing"):
            self.read(folder, header + 'include "a.inc";\ngb q[0];')
        (folder / "good.inc").write_text("gate ga a {\n x a; }\n\n")
        with refused(r"c\.qasm, line 6.*nothing"):
            self.read(folder, header + 'include "good.inc";\nga q[0];\nnothing q[0];')


class TestQpy:
    def dumped(self, circuit: QuantumCircuit, version: int | None = None) -> bytes:
        file = io.BytesIO()
        qpy.dump(circuit, file, **({} if version is None else {"version": version}))
        return file.getvalue()

    @pytest.mark.parametrize("version", [13, 15, 17, None])
    def test_a_width_in_the_header_is_seen_before_the_circuit_is_made(
        self, tmp_path: Path, version: int | None
    ) -> None:
        circuit = QuantumCircuit(77, 3)
        circuit.h(0)
        content = self.dumped(circuit, version)
        assert read_problem(circuit_file(tmp_path, content, "c.qpy"), ["Z0"]).num_qubits == 77
        assert content.count(struct.pack("!II", 77, 3)) >= 1
        wide = content.replace(struct.pack("!II", 77, 3), struct.pack("!II", 2**31, 3), 1)
        with refused("2147483648 qubits"):
            read_problem(circuit_file(tmp_path, wide, "c.qpy"), ["Z0"])

    @pytest.mark.parametrize("version", [13, 17, None])
    def test_a_lost_inverse_is_refused(self, tmp_path: Path, version: int | None) -> None:
        for label in (None, "mine"):
            state = StatePreparation([0.6, 0, 0, 0.8], label=label)
            straight, inverted, inside = QuantumCircuit(2), QuantumCircuit(2), QuantumCircuit(2)
            straight.append(state, [0, 1])
            inverted.append(state.inverse(), [0, 1])
            inside.append(inverted.to_gate(), [0, 1])
            read_problem(circuit_file(tmp_path, self.dumped(straight, version), "c.qpy"), ["Z0"])
            for circuit in (inverted, inside):
                with refused("inverse of a StatePreparation"):
                    read_problem(circuit_file(tmp_path, self.dumped(circuit, version), "c.qpy"), ["Z0"])
            assert make_problem(inverted, "Z0").circuit.size() > 0  # in memory nothing is lost

    def test_gates_that_qiskit_cannot_read_back_are_named(self, tmp_path: Path) -> None:
        circuit = QuantumCircuit(3)
        circuit.append(AndGate(2), [0, 1, 2])
        with refused("holds AndGate, which Qiskit .* cannot read back: decompose it"):
            read_problem(circuit_file(tmp_path, self.dumped(circuit), "c.qpy"), ["Z0"])
        circuit = QuantumCircuit(3)
        circuit.append(CUGate(0.1, 0.2, 0.3, 0.4).control(1), [0, 1, 2])
        with refused("cannot make a UGate again from what it wrote .label expects"):
            read_problem(circuit_file(tmp_path, self.dumped(circuit), "c.qpy"), ["Z0"])

    def test_several_circuits_are_counted(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        qpy.dump([QuantumCircuit(2), QuantumCircuit(2)], file)
        with refused("holds 2 circuits"):
            read_problem(circuit_file(tmp_path, file.getvalue(), "c.qpy"), ["Z0"])
