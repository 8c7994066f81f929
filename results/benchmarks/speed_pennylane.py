"""PennyLane's qcut on the wire-cut circuits, in an interpreter that has PennyLane: JSON in, JSON out.

Standard input: {"wires": n, "gates": [[name, parameters, wires], ...], "observable": [wire, ...], "shots": n or null}
with "cut" for a wire cut and "u" for Qiskit's U gate. Standard output: {"seconds": s, "value": v, "tapes": n}.
"""

from __future__ import annotations

import json
import sys
import time

import pennylane as qml


def main() -> None:
    """Run one circuit."""
    asked = json.load(sys.stdin)
    device = qml.device("default.qubit", wires=asked["wires"])
    operations = [_operation(name, parameters, wires) for name, parameters, wires in asked["gates"]]
    measured = qml.expval(qml.prod(*(qml.PauliZ(w) for w in asked["observable"])))
    tape = qml.tape.QuantumTape(operations, [measured], shots=asked["shots"])
    began = time.perf_counter()
    tapes, combine = qml.cut_circuit(tape, device_wires=qml.wires.Wires(range(asked["device_wires"])))
    value = float(combine(qml.execute(tapes, device)))
    print(json.dumps({"seconds": time.perf_counter() - began, "value": value, "tapes": len(tapes)}))


def _operation(name: str, parameters: list[float], wires: list[int]) -> qml.operation.Operation:
    if name == "cut":
        return qml.WireCut(wires=wires)
    if name == "u":
        theta, phi, lam = parameters
        return qml.U3(theta, phi, lam, wires=wires)
    return qml.CZ(wires=wires)


if __name__ == "__main__":
    main()
