"""Circuits with free parameters, and where to start: one function an ansatz; a new one is one more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector

from apps.variational.energies import Hamiltonian
from tasks.errors import InputError

_SPREAD = 0.25  # radians; with 0.1 most starts end in the product state they begin near


@dataclass(frozen=True)
class Ansatz:
    """A circuit, ready to be optimised.

    Attributes:
        circuit: with free parameters, in the order of ``circuit.parameters``.
        start: (parameter,) float64.
        bounds: (parameter, 2) float64, for methods that search a box.
    """

    circuit: QuantumCircuit
    start: np.ndarray
    bounds: np.ndarray


def qaoa(hamiltonian: Hamiltonian, layers: int, seed: int) -> Ansatz:
    """Layers of exp(-i gamma H) and exp(i beta sum X) on |+...+> (Farhi, Goldstone, Gutmann, arXiv:1411.4028).

    It starts as an annealing in as many steps would (Sack, Serbyn, arXiv:2101.05742).

    Raises:
        InputError: a term is no product of one or two Z.
    """
    operator = hamiltonian.operator
    if operator.paulis.x.any() or (operator.paulis.z.sum(axis=1) > 2).any():
        raise InputError("QAOA takes terms of one or two Z alone: take another `ansatz`", field="ansatz")
    size = hamiltonian.num_qubits
    gammas, betas = ParameterVector("gamma", layers), ParameterVector("beta", layers)
    circuit = QuantumCircuit(size)
    circuit.h(range(size))
    weights = []
    for layer in range(layers):
        for z, coefficient in zip(operator.paulis.z, operator.coeffs.real, strict=True):
            qubits = np.flatnonzero(z).tolist()
            if len(qubits) == 2:
                circuit.rzz(2 * float(coefficient) * gammas[layer], *qubits)
            elif qubits:
                circuit.rz(2 * float(coefficient) * gammas[layer], *qubits)
            if qubits:
                weights.append(abs(float(coefficient)))
        circuit.rx(-2 * betas[layer], range(size))
    scale = (float(np.sqrt(np.mean(np.square(weights)))) if weights else 0.0) or 1.0  # 1e-200 squared is 0
    ramp = (np.arange(layers) + 0.5) / layers
    values = {**dict(zip(gammas, 0.6 * ramp / scale, strict=True)), **dict(zip(betas, 0.6 * (1 - ramp), strict=True))}
    limits = {**dict.fromkeys(gammas, (0.0, np.pi / (2 * scale))), **dict.fromkeys(betas, (0.0, np.pi / 2))}
    return _ordered(circuit, values, limits)


def ry(hamiltonian: Hamiltonian, layers: int, seed: int) -> Ansatz:
    """Layers of RY on every qubit with CZ on neighbours between them: real amplitudes, few cuts between far qubits.

    It starts near the product state of the occupied qubits, far enough off it to leave the saddle that it is.
    """
    size = hamiltonian.num_qubits
    angles = ParameterVector("theta", (layers + 1) * size)
    circuit = QuantumCircuit(size)
    for layer in range(layers + 1):
        for qubit in range(size):
            circuit.ry(angles[layer * size + qubit], qubit)
        if layer < layers:
            for qubit in [*range(0, size - 1, 2), *range(1, size - 1, 2)]:
                circuit.cz(qubit, qubit + 1)
    start = np.random.default_rng(seed).normal(0, _SPREAD, len(angles))
    start[layers * size + np.array(hamiltonian.occupied, dtype=int)] += np.pi
    return _ordered(circuit, dict(zip(angles, start, strict=True)), dict.fromkeys(angles, (-np.pi, np.pi)))


def of_hamiltonian(hamiltonian: Hamiltonian, layers: int, seed: int) -> Ansatz:
    """Layers of exp(-i t H_k) for groups of H's terms that have the same letters (Wecker et al., arXiv:1507.08969).

    On |+...+>, which is where a transverse field alone leads: for an Ising model the groups are ZZ and X.

    Raises:
        InputError: a term has three letters or more.
    """
    operator, size = hamiltonian.operator, hamiltonian.num_qubits
    groups: dict[str, list[tuple[list[int], float]]] = {}
    for label, coefficient in zip(operator.paulis.to_labels(), operator.coeffs.real, strict=True):
        letters = re.sub("I", "", label[::-1])
        if len(letters) > 2:
            raise InputError(f"the ansatz takes terms of one or two letters, not {letters:.40}", field="ansatz")
        if letters:
            qubits = [qubit for qubit, letter in enumerate(label[::-1]) if letter != "I"]
            groups.setdefault(letters, []).append((qubits, float(coefficient)))
    names = sorted(groups, key=lambda letters: (-len(letters), letters))
    angles = ParameterVector("t", layers * len(names))
    circuit = QuantumCircuit(size)
    circuit.h(range(size))
    values: dict[Parameter, float] = {}
    for layer in range(layers):
        ramp = (layer + 0.5) / layers
        for number, letters in enumerate(names):
            angle = angles[layer * len(names) + number]
            values[angle] = 0.4 * (ramp if len(letters) == 2 else 1 - ramp)
            for qubits, coefficient in groups[letters]:
                _evolve(circuit, letters, qubits, 2 * coefficient * angle)
    return _ordered(circuit, values, dict.fromkeys(angles, (-np.pi / 2, np.pi / 2)))


ANSATZE: dict[str, Callable[[Hamiltonian, int, int], Ansatz]] = {
    "qaoa": qaoa,
    "ry": ry,
    "hamiltonian": of_hamiltonian,
}


def suited(hamiltonian: Hamiltonian) -> str:
    """The ansatz that is taken where none is named."""
    if not hamiltonian.operator.paulis.x.any():
        return "qaoa"
    return (
        "hamiltonian"
        if (hamiltonian.operator.paulis.x | hamiltonian.operator.paulis.z).sum(axis=1).max() <= 2
        else "ry"
    )


def _evolve(circuit: QuantumCircuit, letters: str, qubits: list[int], angle: object) -> None:
    """exp(-i angle/2 P) for a string P of one or two letters."""
    if len(set(letters)) == 1:
        getattr(circuit, f"r{letters.lower()}")(angle, *qubits)
        return
    into = {"X": ("h", "h"), "Y": ("sx", "sxdg"), "Z": ()}  # to Z and back
    for letter, qubit in zip(letters, qubits, strict=True):
        for name in into[letter][:1]:
            getattr(circuit, name)(qubit)
    circuit.rzz(angle, *qubits)
    for letter, qubit in zip(letters, qubits, strict=True):
        for name in into[letter][1:]:
            getattr(circuit, name)(qubit)


def _ordered(circuit: QuantumCircuit, values: dict, limits: dict) -> Ansatz:
    order = list(circuit.parameters)
    if not order:
        raise InputError("the circuit has no parameters: its terms are constants alone")
    return Ansatz(circuit, np.array([values[p] for p in order]), np.array([limits[p] for p in order], dtype=float))
