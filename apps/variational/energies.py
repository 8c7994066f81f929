"""What is minimised: cuts of graphs, Ising energies, and operators, from files or among those that are shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from apps.variational.graphs import MAX_NODES, Graph, read_graph
from tasks.errors import InputError
from tasks.inputs.files import read_json
from tasks.inputs.observables import MAX_TERMS, from_pairs, real

DATA = Path(__file__).parent / "data"
KINDS = ("maxcut", "ising")


@dataclass(frozen=True)
class Hamiltonian:
    """A Hermitian operator whose lowest energy is sought.

    Attributes:
        name: for people.
        operator: the operator, constants among its terms.
        occupied: qubits that are 1 in a good product state to start from (occupied orbitals).
        exact: its lowest energy, where that is known.
        cut: whether minus its energy is the weight of a cut.
    """

    name: str
    operator: SparsePauliOp
    occupied: tuple[int, ...] = ()
    exact: float | None = None
    cut: bool = False

    @property
    def num_qubits(self) -> int:
        """Its width."""
        return int(self.operator.num_qubits)


def shipped() -> list[str]:
    """Names of the Hamiltonians that come with Qompass."""
    return sorted(path.stem for path in DATA.glob("*.json"))


def find_hamiltonian(given: str, kind: str = "maxcut") -> Hamiltonian:
    """The Hamiltonian that a name or a file states.

    Args:
        given: a shipped one's name, or a file: a graph, or an operator (``[["ZZIX", 0.5], ...]``).
        kind: what is asked of a graph, "maxcut" or "ising".

    Raises:
        InputError: it cannot be read, or is not Hermitian.
    """
    path = Path(given)
    if not path.exists() and given in shipped():
        return _shipped(DATA / f"{given}.json")
    if not path.exists() and not path.suffix:
        raise InputError(f"'{given:.60}' is no file, and the names known are {', '.join(shipped())}")
    if path.suffix.lower() == ".json":
        document = read_json(path, "graph or operator file")
        if isinstance(document, list):
            return Hamiltonian(path.name, operator_of(document, path))
    graph = read_graph(path)
    return maxcut(graph, path.name) if kind == "maxcut" else ising(graph, path.name)


def maxcut(graph: Graph, name: str = "maxcut") -> Hamiltonian:
    """Minus the weight of the cut: sum of w (ZZ - 1) / 2 over the edges (Farhi et al., arXiv:1411.4028)."""
    terms = [("ZZ", list(edge), weight / 2) for edge, weight in zip(graph.edges, graph.weights, strict=True)]
    terms.append(("", [], -sum(graph.weights) / 2))
    return Hamiltonian(name, SparsePauliOp.from_sparse_list(terms, len(graph.nodes)), cut=True)


def ising(graph: Graph, name: str = "ising") -> Hamiltonian:
    """The sum of w ZZ over the edges and of the nodes' fields times Z."""
    terms = [("ZZ", list(edge), weight) for edge, weight in zip(graph.edges, graph.weights, strict=True)]
    terms += [("Z", [node], field) for node, field in enumerate(graph.fields) if field]
    return Hamiltonian(name, SparsePauliOp.from_sparse_list(terms, len(graph.nodes)))


def transverse_ising(rows: int, columns: int, field: float) -> SparsePauliOp:
    """Minus ZZ on the neighbours of an open lattice, minus field times X on every site."""
    sites = rows * columns
    pairs = [(s, s + 1) for s in range(sites) if (s + 1) % columns] + [(s, s + columns) for s in range(sites - columns)]
    terms = [("ZZ", list(pair), -1.0) for pair in pairs] + [("X", [site], -field) for site in range(sites)]
    return SparsePauliOp.from_sparse_list(terms, sites)


def operator_of(pairs: Any, where: Any) -> SparsePauliOp:
    """An operator from ``[[label, coefficient], ...]``, as ``SparsePauliOp.to_list`` gives it, or with ``Z0 Z3``.

    Raises:
        InputError: it is of another form, or not Hermitian.
    """
    if not isinstance(pairs, list) or not pairs:
        raise InputError(f'{where}: is not a list of terms: write [["ZZIX", 0.5], ...]')
    terms = []
    for number, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InputError(f'{where}: term {number} is not a pair of a string and a number: write ["ZZIX", 0.5]')
        try:
            terms.append((pair[0], real(pair[1], f"term {number}")))
        except InputError as error:
            raise InputError(f"{where}: the operator is not Hermitian, or no operator: {error}") from error
    if len(terms) > MAX_TERMS:
        raise InputError(f"{where}: {len(terms):,} terms: Qompass takes up to {MAX_TERMS:,}")
    dense = [len(label) for label, _ in terms if label.isalpha()]
    named = [int(digits[:6]) + 1 for label, _ in terms if not label.isalpha() for digits in re.findall(r"\d+", label)]
    width = max([*dense, *named], default=0)
    if not 1 <= width <= MAX_NODES:
        raise InputError(f"{where}: acts on {width} qubits: Qompass takes 1 to {MAX_NODES:,}")
    found = from_pairs(str(where), terms, width, str(where))
    labels = ["".join("IXZY"[x + 2 * z] for x, z in zip(xs[::-1], zs[::-1], strict=True))
              for xs, zs in zip(found.x.astype(int), found.z.astype(int), strict=True)]  # fmt: skip
    return SparsePauliOp(labels, found.coefficients).simplify()


def _shipped(path: Path) -> Hamiltonian:
    document: Mapping[str, Any] = json.loads(path.read_text())
    operator = operator_of(document["terms"], path)
    return Hamiltonian(document["name"], operator, tuple(document.get("occupied", ())), document["exact"])


def cut_weight(hamiltonian: Hamiltonian, bits: np.ndarray) -> np.ndarray:
    """Energies of bit strings under an operator of Z alone.

    Args:
        hamiltonian: diagonal.
        bits: (string, qubit) 0 or 1.

    Returns:
        (string,) float64.
    """
    signs = 1 - 2 * bits.astype(np.int8)
    energies = np.zeros(len(bits))
    for z, coefficient in zip(hamiltonian.operator.paulis.z, hamiltonian.operator.coeffs.real, strict=True):
        energies += coefficient * signs[:, z].prod(axis=1)
    return energies
