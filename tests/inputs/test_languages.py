"""OpenQASM as people and tools write it, against the same circuit built with Qiskit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import CUGate, CXGate, RZGate, UnitaryGate
from qiskit.quantum_info import Operator

from tasks.errors import InputError
from tasks.inputs.circuit_file import read_circuit
from tasks.inputs.unitaries import unitary_circuit

QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3];\n'
QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\n'

Build = Callable[[QuantumCircuit], object]

MEANT: list[tuple[str, Build]] = [
    (QASM3 + "h q; cx q[0:1], q[1:2];", lambda c: (c.h([0, 1, 2]), c.cx(0, 1), c.cx(1, 2))),
    (QASM3 + "let a = q[1:2]; h a; let b = q[{0, 2}]; cx b[0], b[1];", lambda c: (c.h([1, 2]), c.cx(0, 2))),
    (
        QASM3 + "gate g(a) b { rx(a) b; gphase(a); } ctrl @ g(0.3) q[0], q[1];",
        lambda c: (c.crx(0.3, 0, 1), c.p(0.3, 0)),
    ),
    (QASM3 + "negctrl @ x q[0], q[1];", lambda c: c.append(CXGate(ctrl_state=0), [0, 1])),
    (QASM3 + "ctrl(2) @ rz(0.4) q[0], q[1], q[2];", lambda c: c.append(RZGate(0.4).control(2), [0, 1, 2])),
    (
        QASM3 + "inv @ pow(2) @ s q[0]; pow(0.5) @ x q[1]; pow(-1) @ t q[2];",
        lambda c: (c.z(0), c.sx(1), c.tdg(2)),
    ),
    (
        QASM3 + "gate g a, b { cx a, b; t b; } pow(2) @ g q[0], q[1]; pow(-1) @ g q[1], q[2]; pow(0) @ g q[0], q[1];",
        lambda c: (c.cx(0, 1), c.t(1), c.cx(0, 1), c.t(1), c.tdg(2), c.cx(1, 2)),
    ),
    (QASM3 + "ctrl @ gphase(0.7) q[1]; gphase(pi / 2);", lambda c: c.p(0.7, 1)),
    (
        QASM3 + "inv @ ctrl @ cu(1.1, 0.2, 0.3, 0.4) q[0], q[1], q[2];",
        lambda c: c.append(UnitaryGate(CUGate(1.1, 0.2, 0.3, 0.4)).adjoint().control(1), [0, 1, 2]),
    ),
    (
        QASM3 + "for int i in [2:-1:0] { rx(0.1 * i) q[i]; } for uint j in {0, 2} { h q[j]; }",
        lambda c: (c.rx(0.2, 2), c.rx(0.1, 1), c.h([0, 2])),
    ),
    (
        QASM3 + "array[float[64], 2] w = {0.1, 0.2}; for float f in w { ry(f) q[2]; } rx(w[1]) q[0];",
        lambda c: (c.ry(0.3, 2), c.rx(0.2, 0)),
    ),
    (
        QASM3 + "rx(7 / 2) q[0]; rx(-7 / 2) q[1]; rz(7 / 2.0) q[2]; rx(2 ** 3 % 5) q[2];",
        lambda c: (c.rx(3, 0), c.rx(-3, 1), c.rz(3.5, 2), c.rx(3, 2)),
    ),
    (
        QASM3 + "rx(arccos(0.1) + log(2) + ceiling(0.2) + sqrt(2) + mod(7, 4) + popcount(7) + exp(0.1)) q[0];",
        lambda c: c.rx(math.acos(0.1) + math.log(2) + 1 + math.sqrt(2) + 3 + 3 + math.exp(0.1), 0),
    ),
    (
        QASM3 + "float x = 0.1; x += 0.2; int t = 2; t *= 3; bool b = true; if (b && t == 6) rx(x) q[0]; else h q[1];",
        lambda c: c.rx(0.3, 0),
    ),
    (
        QASM3 + "for int i in [0:9] { if (i == 1) { continue; } if (i > 2) break; x q[i]; }",
        lambda c: c.x([0, 2]),
    ),
    (
        QASM3 + "int k = 2; switch (k) { case 0, 1 { x q[0]; } case 2 { x q[1]; } default { x q[2]; } }",
        lambda c: c.x(1),
    ),
    (QASM3 + "int k = 0; while (k < 2) { k += 1; x q[k]; }", lambda c: c.x([1, 2])),
    (QASM3 + "gate g a { h a; } gate h a { x a; } g q[0]; h q[1];", lambda c: (c.h(0), c.x(1))),
    (QASM3 + "gate cx a, b { x b; } cx q[0], q[1]; ccx q[0], q[1], q[2];", lambda c: (c.x(1), c.ccx(0, 1, 2))),
    (
        QASM3 + "const float w = 0.25; gate g(p) a { rx(p * w) a; for int i in [0:1] { rz(i + p) a; } } g(2) q[1];",
        lambda c: (c.rx(0.5, 1), c.rz(2, 1), c.rz(3, 1)),
    ),
    (QASM3 + "box { h q[0]; } @a.b 1 2\nx q[1];\npragma keep\n#pragma this\nend; x q[2];", lambda c: (c.h(0), c.x(1))),
    (QASM3 + 'defcalgrammar "openpulse";\ndefcal x $0 { play(a); }\nx q[0];', lambda c: c.x(0)),
    (QASM3 + "reset q; delay[100ns] q[0]; output bit[3] c; h q[0]; c = measure q;", lambda c: c.h(0)),
    (
        QASM3 + "rx(0x10 / 16.0) q[0]; rx(1_000 / 1000.0) q[1]; rz(\u03c0 / 2) q[2];",
        lambda c: (c.rx(1, [0, 1]), c.s(2)),
    ),
    (QASM3 + "h q[0]; measure q;", lambda c: c.h(0)),
    (QASM3 + "h q[0]; measure q[0:1]; measure q[2];", lambda c: c.h(0)),
    (QASM3 + "duration d = 10ns; stretch s; delay[d] q[0]; box[2 * d] { h q[0]; delay[s] q[1]; }", lambda c: c.h(0)),
    (QASM3 + "let x = q[1:2]; let y = x ++ q[0:0]; h x[0]; ry(0.3) y[2];", lambda c: (c.h(1), c.ry(0.3, 0))),
    (QASM3 + "let a = q[1]; let b = q[1:2] ++ q[0:0]; let c = b[-1]; h a; x c;", lambda c: (c.h(1), c.x(0))),
    (
        QASM3 + "uint[2] u = 5; rx(u) q[0]; u = u + 3; ry(u + 1) q[1]; int[3] k = -4; rz(k) q[2]; h q[2];",
        lambda c: (c.rx(1, 0), c.ry(1, 1), c.rz(-4, 2), c.h(2)),
    ),
    ("OPENQASM 3;\nqubit[3] q; U(0.1, 0.2, 0.3) q[0];", lambda c: c.u(0.1, 0.2, 0.3, 0)),
    ('OPENQASM 3.0;\ninclude "stdgates.inc";\nh $0; cx $0, $2;', lambda c: (c.h(0), c.cx(0, 2))),
    ('include "stdgates.inc";\nqubit[3] q; h q[0];', lambda c: c.h(0)),
    (
        QASM2 + "rx(-pi/2 + 3*2^2 - sin(0.3)*ln(2) + sqrt(2)/exp(0.1)) q[0];",
        lambda c: c.rx(-math.pi / 2 + 12 - math.sin(0.3) * math.log(2) + math.sqrt(2) / math.exp(0.1), 0),
    ),
    (QASM2 + "gate h a { x a; } h q[0];", lambda c: c.x(0)),
    ('OPENQASM 2.0;\ngate h a { U(pi,0,pi) a; }\ninclude "qelib1.inc";\nqreg q[3]; h q[0];', lambda c: c.x(0)),
    (
        QASM2 + "gate u(a) b { rx(a) b; } gate p(a) b { ry(a) b; } u(1) q[0]; p(2) q[1];",
        lambda c: (c.rx(1, 0), c.ry(2, 1)),
    ),
    (QASM2 + "gate k(t) h { rx(t) h; } gate t a { x a; } k(1) q[2]; t q[0];", lambda c: (c.rx(1, 2), c.x(0))),
    (QASM2 + "gate /* gate swap a,b { */ g a { x a; } g q[0]; // gate x a { }\n", lambda c: c.x(0)),
    ('OPENQASM 2.0; include /* here */ "qelib1.inc" ; qreg q[3]; x q[0];', lambda c: c.x(0)),
    (
        'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg a[1]; qreg b[2]; h b; cx a[0], b;',
        lambda c: (c.h([1, 2]), c.cx(0, [1, 2])),
    ),
    (QASM2 + "opaque never(a) b; x q[0];", lambda c: c.x(0)),
]


def read(folder: Path, text: str) -> QuantumCircuit:
    path = folder / "c.qasm"
    path.write_text(text)
    return unitary_circuit(read_circuit(path))[0]


@pytest.mark.parametrize(("text", "build"), MEANT, ids=[text[-40:] for text, _ in MEANT])
def test_a_circuit_is_what_its_text_says(tmp_path: Path, text: str, build: Build) -> None:
    wanted = QuantumCircuit(3)
    build(wanted)
    assert Operator(read(tmp_path, text)).equiv(Operator(wanted))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QASM3 + "def f(qubit a) { x a; }", "not supported: write it as a gate: valid OpenQASM 3"),
        (QASM3 + "bit c; c = measure q[0]; if (c) x q[1];", "classical control"),
        (QASM3 + "bit c; c = measure q[0]; while (c) { x q[1]; }", "classical control"),
        (QASM3 + "input angle a; rx(a) q[0];", "unbound parameters .a.: bind"),
        (QASM3 + "pragma device noise depolarizing\n", "noise is not supported"),
        (QASM3 + "rx(1 / 0) q[0];", "division by zero"),
        (QASM3 + "int[8] k = 200; rx(k) q[0];", r"200 is out of range of int\[8\]"),
        (QASM3 + "uint[0] k = 1;", "uint size must be positive"),
        (QASM2 + "\nx q[99999999999999999999];", "line 5: a whole number that is out of range"),
        ("OPENQASM 2.99999999999999999999;\nqreg q[2];", "line 1: a whole number that is out of range"),
        (QASM3 + "float w; rx(w) q[0];", "no value"),
        (QASM3 + "h q[5];", "out of range"),
        (QASM3 + "rx q[0];", "incorrect number of parameters"),
        ("OPENQASM 3.0;\nqubit[3] q; h q[0];", 'line 2.*include "stdgates.inc"'),
        ("OPENQASM 3.0;\nqubit[0] q;", "out of range"),
        (QASM2 + "h q[0]; gate h a { x a; } h q[1];", "line 4: 'h' is used before it is defined anew"),
        (QASM2.replace('include "qelib1.inc";', "") + "h q[0];", 'line 4.*add include "qelib1.inc"'),
        (QASM2.replace("qelib1", "stdgates"), "stdgates.inc is OpenQASM 3"),
        (QASM2 + "creg c[1]; measure q[0] -> c[0]; reset q[0];", "mid-circuit measurement"),
        (QASM2 + "creg c[1]; if (c == 0) x q[0];", "classical control"),
        (QASM2 + "/* never ends\nx q[0];", "line 4: the comment that begins here has no end"),
    ],
)
def test_a_refusal_names_the_right_reason(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read(tmp_path, text)
