"""Circuits of other packages give what those packages' own simulators give; each is skipped where it is missing."""

from __future__ import annotations

import base64
import io
import json
import zlib

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.quantum_info import Operator, SparsePauliOp
from qompass import InputError, estimate
from scipy.linalg import expm

from tasks.inputs.circuit_file import read_circuit


def test_cirq():
    cirq = pytest.importorskip("cirq")
    qubits = cirq.LineQubit.range(4)
    circuit = cirq.Circuit(
        cirq.rx(0.3)(qubits[0]), cirq.CNOT(qubits[0], qubits[1]), cirq.ISWAP(qubits[1], qubits[2]) ** 0.5,
        cirq.ZZ(qubits[2], qubits[3]) ** 0.3, cirq.ry(0.8)(qubits[3]), cirq.CZ(qubits[3], qubits[2]),
    )  # fmt: skip
    observable = cirq.Z(qubits[1]) * cirq.Z(qubits[3])
    wanted = cirq.Simulator(dtype=np.complex128).simulate_expectation_values(circuit, observable)[0].real
    assert estimate(circuit, "Z1 Z3", max_qubits=2)[0].value == pytest.approx(wanted, abs=1e-7)


def test_pytket(tmp_path):
    pytket = pytest.importorskip("pytket.circuit")
    circuit = pytket.Circuit(3).Rx(0.3, 0).CX(0, 1).ZZPhase(0.2, 1, 2).TK1(0.1, 0.4, 0.7, 2).CRy(0.35, 0, 2)
    circuit.PhasedX(0.4, 0.3, 1).XXPhase(0.6, 1, 2)
    state = circuit.get_statevector()  # qubit 0 most significant
    signs = np.kron([1, -1], np.kron([1, 1], [1, -1]))
    wanted = float(signs @ abs(state) ** 2)
    assert estimate(circuit, "Z0 Z2", max_qubits=2)[0].value == pytest.approx(wanted, abs=1e-9)
    path = tmp_path / "circuit.json"
    path.write_text(json.dumps(circuit.to_dict()))
    assert estimate(read_circuit(path), "Z0 Z2", max_qubits=2)[0].value == pytest.approx(wanted, abs=1e-9)


def test_pennylane():
    qml = pytest.importorskip("pennylane")
    operations = [qml.RX(0.3, 0), qml.CNOT([0, 1]), qml.IsingZZ(0.4, [1, 2]), qml.RY(0.9, 2), qml.CRZ(0.5, [2, 0])]
    tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(0) @ qml.Z(2))])
    wanted = qml.device("default.qubit", wires=3).execute(tape)
    assert estimate(tape, "Z0 Z2", max_qubits=2)[0].value == pytest.approx(float(wanted), abs=1e-9)


def test_qibo():
    qibo = pytest.importorskip("qibo")
    qibo.set_backend("numpy")
    circuit = qibo.Circuit(3)
    for gate in (
        qibo.gates.RX(0, 0.3), qibo.gates.CNOT(0, 1), qibo.gates.RZZ(1, 2, 0.4), qibo.gates.RY(2, 0.9),
        qibo.gates.CZ(2, 0),
    ):  # fmt: skip
        circuit.add(gate)
    state = circuit.copy(deep=True)().state()
    wanted = float(np.kron([1, -1], np.kron([1, 1], [1, -1])) @ abs(state) ** 2)
    assert estimate(circuit, "Z0 Z2", max_qubits=2)[0].value == pytest.approx(wanted, abs=1e-9)


def test_braket():
    circuits = pytest.importorskip("braket.circuits")
    devices = pytest.importorskip("braket.devices")
    circuit = circuits.Circuit().rx(0, 0.3).cnot(0, 2).zz(1, 2, 0.4).iswap(0, 1).ry(2, 0.9).cphaseshift(2, 0, 0.7)
    circuit.x(1, control=[0], control_state=[0], power=0.5)
    observable = circuits.Observable.Z() @ circuits.Observable.Z()
    asked = circuit.copy().expectation(observable, target=[0, 2])
    wanted = devices.LocalSimulator().run(asked, shots=0).result().values[0]
    assert estimate(circuit, "Z0 Z2", max_qubits=2)[0].value == pytest.approx(float(wanted), abs=1e-9)


def test_cuda_q():
    cudaq = pytest.importorskip("cudaq")
    kernel = cudaq.make_kernel()
    qubits = kernel.qalloc(3)
    kernel.rx(0.3, qubits[0])
    kernel.cx(qubits[0], qubits[1])
    kernel.ry(0.9, qubits[2])
    kernel.cz(qubits[1], qubits[2])
    wanted = cudaq.observe(kernel, cudaq.spin.z(0) * cudaq.spin.z(2)).expectation()
    assert estimate(kernel, "Z0 Z2", max_qubits=2)[0].value == pytest.approx(wanted, abs=1e-6)


def test_what_an_exporter_cannot_say_is_one_line():
    cirq = pytest.importorskip("cirq")
    sympy = pytest.importorskip("sympy")
    qubits = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(cirq.rx(sympy.Symbol("a"))(qubits[0]), cirq.CNOT(*qubits))
    with pytest.raises(InputError, match=r"cirq cannot export it[^\n]*without free parameters"):
        estimate(circuit, "Z0", max_qubits=2)


def test_what_is_no_circuit_is_refused():
    with pytest.raises(InputError, match="a str is not a circuit: give a QuantumCircuit"):
        estimate("circuit", "Z0")


TKET = {
    "bits": [["c", [0]]],
    "qubits": [["q", [0]], ["q", [1]]],
    "commands": [
        {"args": [["q", [0]]], "op": {"type": "Rx", "params": ["1/2"]}},
        {"args": [["q", [0]], ["q", [1]]], "op": {"type": "CX"}},
        {"args": [["q", [1]], ["c", [0]]], "op": {"type": "Measure"}},
    ],
    "implicit_permutation": [[["q", [0]], ["q", [0]]], [["q", [1]], ["q", [1]]]],
}


def written(tmp_path, document):
    path = tmp_path / "circuit.json"
    path.write_text(json.dumps(document))
    return path


def test_a_tket_file_is_read_without_pytket(tmp_path):
    circuit = read_circuit(written(tmp_path, TKET))
    wanted = QuantumCircuit(2, 1)
    wanted.rx(np.pi / 2, 0)
    wanted.cx(0, 1)
    wanted.measure(1, 0)
    assert circuit == wanted


def test_gates_that_pytket_rebases_to_are_known(tmp_path):
    operations = [("V", [], [0]), ("Vdg", [], [1]), ("TK2", ["0.1", "0.2", "-0.3"], [0, 1]), ("ZZMax", [], [1, 0])]
    commands = [
        {"args": [["q", [place]] for place in places], "op": {"type": kind, "params": params}}
        for kind, params, places in operations
    ]
    path = written(tmp_path, {**TKET, "commands": commands})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # with a byte order mark
    pauli = {name: SparsePauliOp(name).to_matrix() for name in ("XX", "YY", "ZZ", "IX", "XI")}
    turn = {name: expm(-0.5j * np.pi * angle * pauli[name]) for name, angle in
            [("XX", 0.1), ("YY", 0.2), ("ZZ", -0.3), ("IX", 0.5), ("XI", -0.5)]}  # fmt: skip
    most = expm(-0.25j * np.pi * pauli["ZZ"])
    wanted = most @ turn["XX"] @ turn["YY"] @ turn["ZZ"] @ turn["XI"] @ turn["IX"]
    assert Operator(read_circuit(path)).equiv(Operator(wanted))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"commands": [{"args": [["q", [0]]], "op": {"type": "Reset"}}]}, "command 0 .Reset.: is not taken"),
        ({"commands": [{"args": [["q", [0]]], "op": {"type": "Rx", "params": ["a"]}}]}, "substitute its symbols"),
        ({"commands": [{"args": [["q", [7]]], "op": {"type": "X"}}]}, "not a circuit as pytket writes it"),
        ({"commands": [{"op": {"type": "X"}}]}, "not a circuit as pytket writes it"),
        ({"implicit_permutation": [[["q", [0]], ["q", [1]]], [["q", [1]], ["q", [0]]]]}, "implicit permutation"),
        ({"commands": None}, "not a circuit as pytket writes it"),
        ({"commands": [{"args": [["q", [0]]], "op": {"type": "CX"}}]}, "not a circuit as pytket writes it"),
        ({"commands": [{"args": [["q", [0]], ["q", [0]]], "op": {"type": "CX"}}]}, "not a circuit as pytket writes it"),
        ({"qubits": [["q", ["x"]], ["q", [1]]]}, "not a circuit as pytket writes it"),
    ],
)
def test_what_a_tket_file_cannot_say_is_one_line(tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        read_circuit(written(tmp_path, {**TKET, **change}))


def test_qiskits_circuit_in_json(tmp_path):
    circuit, buffer = QuantumCircuit(2), io.BytesIO()
    circuit.ry(0.3, 0)
    circuit.cx(0, 1)
    qpy.dump(circuit, buffer)
    value = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    path = written(tmp_path, {"__type__": "QuantumCircuit", "__value__": value})
    assert read_circuit(path) == circuit
    for broken in ("", "!!", value[:40], None, 3):
        with pytest.raises(InputError):
            read_circuit(written(tmp_path, {"__type__": "QuantumCircuit", "__value__": broken}))


@pytest.mark.parametrize("text", ["{", "{}", '{"a": 1}', "{" * 5000])
def test_json_that_is_no_circuit_is_refused(tmp_path, text):
    path = tmp_path / "circuit.json"
    path.write_text(text)
    with pytest.raises(InputError, match="JSON"):
        read_circuit(path)
