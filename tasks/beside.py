"""Problems beside each other, each on qubits of its own: one graph of tasks answers all of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from qiskit import QuantumCircuit
from scipy.sparse import block_diag, csr_array

from tasks.cutting import Cut, Plan
from tasks.model.problem import PauliTerms, Problem
from tasks.model.tensor import Structure


@dataclass(frozen=True)
class Beside:
    """Problems as one.

    Attributes:
        problem: all of them; of a single one it is that.
        members: the problems.
        instructions: (member,) where each begins among the instructions.
        qubits: (member,) where each begins among the qubits.
    """

    problem: Problem
    members: tuple[Problem, ...]
    instructions: tuple[int, ...]
    qubits: tuple[int, ...]

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Beside:
        """Put problems beside each other."""
        instructions = (0, *accumulate(len(own.circuit.data) for own in problems))
        qubits = (0, *accumulate(own.num_qubits for own in problems))
        if len(problems) == 1:
            return cls(problems[0], tuple(problems), instructions[:1], qubits[:1])
        circuit = QuantumCircuit(qubits[-1])
        for first, problem in zip(qubits, problems, strict=False):
            for item in problem.circuit.data:
                own = [circuit.qubits[first + problem.circuit.find_bit(qubit).index] for qubit in item.qubits]
                circuit.append(item.operation, own, copy=False)
        count = sum(own.terms.count for own in problems)
        x, z = np.zeros((count, qubits[-1]), dtype=bool), np.zeros((count, qubits[-1]), dtype=bool)
        place = 0
        for first, problem in zip(qubits, problems, strict=False):
            at = slice(place, place + problem.terms.count), slice(first, first + problem.num_qubits)
            x[at], z[at] = problem.terms.x, problem.terms.z
            place += problem.terms.count
        terms = _distinct_terms(x, z, csr_array(block_diag([own.terms.coefficients for own in problems], format="csr")))
        names = tuple(name for own in problems for name in own.names)
        notes = tuple(dict.fromkeys(note for own in problems for note in own.notes))
        return cls(Problem(circuit, terms, names, notes), tuple(problems), instructions[:-1], qubits[:-1])

    def cuts(self, each: Sequence[Sequence[Cut]]) -> tuple[Cut, ...]:
        """(member,) cuts as those of all."""
        begins = zip(self.instructions, self.qubits, each, strict=True)
        return tuple(cut.moved(instruction, qubit) for instruction, qubit, own in begins for cut in own)

    def owners(self, plan: Plan) -> list[int]:
        """(fragment,) the member that each fragment of a plan is of."""
        found = []
        for fragment in plan.fragments:
            if fragment.outputs:
                found.append(bisect_right(self.qubits, fragment.outputs[0][1]) - 1)
            else:  # all of its wires are cut
                found.append(bisect_right(self.instructions, plan.cuts[fragment.legs[0].cut].instruction) - 1)
        return found


def part_of(joined: Structure, fragments: Sequence[int]) -> Structure:
    """The network of some fragments that are joined to no others; its terms are not used."""
    legs = [joined.legs[fragment] for fragment in fragments]
    cuts = {cut: place for place, cut in enumerate(sorted({cut for own in legs for cut, _ in own}))}
    return Structure(
        tuple(tuple((cuts[cut], end) for cut, end in own) for own in legs),
        tuple(joined.bonds[cut] for cut in cuts),
        joined.factor_index[:0, list(fragments)],
        tuple(joined.num_factors[fragment] for fragment in fragments),
        csr_array((0, 0)),
    )


def merged(problems: Sequence[Problem]) -> Problem:
    """Problems of the same circuit as one that asks for all of their observables."""
    x, z = (np.concatenate([getattr(own.terms, part) for own in problems]) for part in "xz")
    terms = _distinct_terms(x, z, csr_array(block_diag([own.terms.coefficients for own in problems], format="csr")))
    names = tuple(name for own in problems for name in own.names)
    return Problem(problems[0].circuit, terms, names, problems[0].notes, problems[0].readout)


def _distinct_terms(x: np.ndarray, z: np.ndarray, coefficients: csr_array) -> PauliTerms:
    """Terms of which each string is there once; arguments as ``PauliTerms`` has them."""
    rows = np.packbits(np.concatenate([x, z], axis=1), axis=1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as they came
    place = np.argsort(order)[which.reshape(-1)]
    collect = csr_array((np.ones(len(x)), (np.arange(len(x)), place)), shape=(len(x), len(first)))
    kept = first[order]
    return PauliTerms(x[kept], z[kept], csr_array(coefficients @ collect))
