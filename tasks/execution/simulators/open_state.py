"""One simulation of a fragment with all its legs left open, from which every variant and the whole tensor follow.

An incoming wire leg becomes one half of an (unnormalised) Bell pair, so its ancilla indexes the basis inputs; a severed
gate's leg becomes an ancilla that controls the Paulis of the gate's operator-Schmidt terms, so it indexes the branches
sigma_j |psi>. The circuit stays unitary and runs as it is on any statevector simulator, Aer on a CPU or a GPU.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Operation
from qiskit.circuit.library import UnitaryGate
from qiskit_aer import AerSimulator

from tasks.cutting.plan import Fragment
from tasks.execution.errors import ExecutionError


def open_circuit(fragment: Fragment) -> tuple[QuantumCircuit, list[tuple[int, ...]]]:
    """The unitary circuit with ancillas.

    Returns:
        the circuit, and for each leg its ancillas (none for an outgoing wire, two for a leg of rank 4).
    """
    width = fragment.num_qubits
    ancillas: list[tuple[int, ...]] = []
    for leg in fragment.legs:
        ancillas.append(tuple(range(width, width + leg.kind.open_ancillas)))
        width += leg.kind.open_ancillas
    circuit = QuantumCircuit(width)
    for own in ancillas:
        for ancilla in own:
            circuit.h(ancilla)
    data = fragment.circuit.data
    qubit_of = {bit: i for i, bit in enumerate(fragment.circuit.qubits)}
    order = sorted(range(len(fragment.legs)), key=lambda k: (fragment.legs[k].position, k))
    done = 0
    for k in order:
        leg = fragment.legs[k]
        _copy(circuit, data[done : leg.position], qubit_of)
        done = leg.position
        leg.kind.open(circuit, leg.qubit, ancillas[k])
    _copy(circuit, data[done:], qubit_of)
    return circuit, ancillas


def open_state(fragment: Fragment, *, device: str = "CPU", threads: int = 1) -> np.ndarray:
    """Simulate a fragment with open legs.

    Args:
        fragment: what to run.
        device: Aer's device, "CPU" or "GPU".
        threads: how many threads Aer may use.

    Returns:
        (leg branches ..., qubit 0, qubit 1, ...) complex128: one axis for each leg that is no open qubit, in leg
        order (2 for a wire's basis inputs or a rank-2 gate, 4 for I, X, Y, Z), then one of size 2 for every local
        qubit. Not normalised: branch j holds sigma_j |psi> (or the state grown from input |j>) itself.

    Raises:
        ExecutionError: the simulator refused the circuit; its reason.
    """
    circuit, ancillas = open_circuit(fragment)
    simulator = AerSimulator(method="statevector", device=device, max_parallel_threads=threads)
    circuit.save_statevector()
    result = simulator.run(circuit, shots=1).result()
    if not result.success:
        raise ExecutionError(
            f"fragment {fragment.index} ({circuit.num_qubits} qubits with open legs): the simulator says "
            f"{result.status!r}; give it more memory or cut further"
        )
    width = circuit.num_qubits
    state = np.asarray(result.data(0)["statevector"]).reshape((2,) * width)
    state = state.transpose(range(width - 1, -1, -1))  # axis q is qubit q
    order = [a for own in ancillas for a in own] + list(range(fragment.num_qubits))
    state = state.transpose(order) * np.sqrt(2.0) ** (width - fragment.num_qubits)
    axis = 0
    for leg, own in zip(fragment.legs, ancillas, strict=True):
        state = leg.kind.branches(state, axis)
        axis += len(own) > 0
    return state


def _copy(circuit: QuantumCircuit, items: list, qubit_of: dict) -> None:
    for item in items:
        circuit.append(aer_gate(item.operation), [qubit_of[q] for q in item.qubits], copy=False)


def aer_gate(operation: Operation) -> Operation:
    """The operation as Aer runs it correctly: by name where Aer knows it, as its matrix otherwise.

    Aer 0.18 reads a Fortran-ordered matrix as its transpose (``DCXGate().to_matrix()`` is one), so every matrix is
    laid out row by row first.
    """
    if operation.name in aer_gates() and operation.name != "unitary":
        return operation
    return UnitaryGate(np.array(operation.to_matrix(), dtype=complex, order="C"))


@cache
def aer_gates() -> frozenset[str]:
    """Names of the gates that Aer's statevector method runs as they are."""
    return frozenset(AerSimulator(method="statevector").configuration().basis_gates) | {"measure"}
