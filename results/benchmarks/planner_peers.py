"""Cuts that QCut, Qdislib or PennyLane choose, in an interpreter that has it: ``PYTHON planner_peers.py PEER``.

A line of standard input is one case: {"qubits": n, "gates": [[name, parameters, qubits], ...], "width": w, "seconds":
s}. A line of standard output answers it: {"gates": [instruction, ...], "wires": [[instruction, qubit], ...], "seconds":
s, "own": log2 of kappa^2 as the peer counts it or null}, a wire being cut just before the instruction; or {"why": ...}.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import signal
import sys
import time
from collections import defaultdict


def main() -> None:
    """Answer case after case."""
    find = {"qcut": qcut, "qdislib": qdislib, "pennylane": pennylane}[sys.argv[1]]
    for module in {"qcut": ("qiskit", "QCut"), "qdislib": ("qiskit", "Qdislib"), "pennylane": ("pennylane",)}[
        sys.argv[1]
    ]:
        importlib.import_module(module)  # not within a case's time
    if sys.argv[1] != "pennylane":
        find({"qubits": 3, "gates": [["cx", [], [0, 1]], ["cx", [], [1, 2]]], "width": 2})
    signal.signal(signal.SIGALRM, _late)
    for line in sys.stdin:
        case = json.loads(line)
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, case["seconds"])
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = find(case)
        except TimeoutError:
            found = {"why": "late"}
        except Exception as error:
            found = {"why": f"{type(error).__name__}: {error}"[:200]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(found | {"seconds": time.perf_counter() - began}), flush=True)


def _late(*_: object) -> None:
    raise TimeoutError


def _circuit(case):
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(case["qubits"])
    for name, parameters, qubits in case["gates"]:
        getattr(circuit, name)(*parameters, *qubits)
    return circuit


def qcut(case):
    """``find_cuts`` with gates and wires, as few parts as hold the circuit or one more, the better of both."""
    import QCut
    from QCut.QCutFind import cut_finding

    circuit, best = _circuit(case), None
    split, marked = cut_finding.get_locations_and_subcircuits, {}

    def kept(own, **options):
        found = split(own.copy(), **options)
        marked[id(found)] = own.copy(), found
        return found

    cut_finding.get_locations_and_subcircuits = kept
    fewest = max(2, math.ceil(case["qubits"] / case["width"]))
    why = None
    try:
        for parts in (fewest, fewest + 1):
            options = QCut.CutOptions(finder_max_qubits=[case["width"]] * parts, consolidate="never", seed=0)
            try:
                found = QCut.find_cuts(circuit.copy(), options=options)
            except TimeoutError:
                if best is None:
                    raise
                break
            except Exception as error:
                why = error
                continue
            if best is None or found.gamma < best[0]:
                best = found.gamma, marked[id(found)][0]
    finally:
        cut_finding.get_locations_and_subcircuits = split
    if best is None:
        raise why
    gamma, out = best
    # Gates may have changed places with others on other qubits: one is known by its pair and its number on that.
    places, along = defaultdict(list), defaultdict(list)
    for index, (_, _, qubits) in enumerate(case["gates"]):
        if len(qubits) == 2:
            places[frozenset(qubits)].append(index)
            for q in qubits:
                along[q].append(index)
    pairs, passed, gates, wires = defaultdict(int), defaultdict(int), [], []
    for item in out.data:
        qubits = [out.find_bit(q).index for q in item.qubits]
        if len(qubits) == 2:
            pair = frozenset(qubits)
            if "cut" in item.operation.name.lower():
                gates.append(places[pair][pairs[pair]])
            pairs[pair] += 1
            for q in qubits:
                passed[q] += 1
        elif "cut" in item.operation.name.lower() and passed[qubits[0]] < len(along[qubits[0]]):
            wires.append([along[qubits[0]][passed[qubits[0]]], qubits[0]])
    if sum(pairs.values()) != sum(map(len, places.values())):
        raise ValueError("its gates are not those of the circuit")
    return {"gates": gates, "wires": wires, "own": 2 * math.log2(gamma)}


def qdislib(case):
    """``find_cut`` with its defaults: gates or wires, whichever it scores better."""
    import Qdislib

    found = Qdislib.find_cut(_circuit(case), max_qubits=case["width"], seed=0)
    if not found:
        raise ValueError("it finds no cut")
    gates, wires = [], []
    for one in found:
        if isinstance(one, str):
            gates.append(int(one.rsplit("_", 1)[1]) - 1)
        else:
            first, second = (int(name.rsplit("_", 1)[1]) - 1 for name in one)
            shared = set(case["gates"][first][2]) & set(case["gates"][second][2])
            wires += [[second, q] for q in sorted(shared)]
    return {"gates": gates, "wires": wires, "own": None}


def pennylane(case):
    """``find_and_place_cuts`` with KaHyPar: wires only."""
    import pennylane as qml

    names = {"h": "Hadamard", "x": "PauliX", "y": "PauliY", "z": "PauliZ", "s": "S", "t": "T", "rx": "RX", "ry": "RY",
             "rz": "RZ", "u": "U3", "cx": "CNOT", "cz": "CZ", "rzz": "IsingZZ", "swap": "SWAP", "p": "PhaseShift",
             "cp": "ControlledPhaseShift", "crz": "CRZ", "sx": "SX"}  # fmt: skip
    operations = [getattr(qml, names[name])(*given, wires=qubits) for name, given, qubits in case["gates"]]
    number = {id(operation): index for index, operation in enumerate(operations)}
    tape = qml.tape.QuantumScript(operations, [qml.expval(qml.prod(*map(qml.PauliZ, range(case["qubits"]))))])
    fewest = max(2, math.ceil(case["qubits"] / case["width"]))
    graph = qml.qcut.find_and_place_cuts(
        qml.qcut.tape_to_graph(tape),
        cut_method=qml.qcut.kahypar_cut,
        cut_strategy=qml.qcut.CutStrategy(max_free_wires=case["width"], num_fragments_probed=(fewest, fewest + 2)),
        seed=0,
    )
    wires = []
    for node in graph.nodes:
        operation = getattr(node, "obj", node)
        if isinstance(operation, qml.WireCut):
            for following in graph.successors(node):
                after = getattr(following, "obj", following)
                if id(after) in number:
                    wires.append([number[id(after)], int(operation.wires[0])])
    return {"gates": [], "wires": wires, "own": None}


if __name__ == "__main__":
    main()
