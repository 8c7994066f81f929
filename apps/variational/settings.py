"""What an optimisation was asked, in the run's folder, so that it can be finished later."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from apps.variational.ansatz import ANSATZE, Ansatz
from apps.variational.energies import Hamiltonian
from apps.variational.search import Search
from tasks.errors import InputError
from tasks.model.sizes import MAX_SHOTS, bytes_text
from tasks.options import Options, options_document
from tasks.runs.settings import stored_settings

SETTINGS_NAME = "optimise.json"
_FORMAT = 1
_MOST_GATES = 100_000  # of a circuit that is evaluated again and again
_MEMBER_COPIES = 8  # arrays of a generation's size that are alive at once


@dataclass(frozen=True)
class Settings:
    """An optimisation.

    Attributes:
        hamiltonian: what is minimised.
        ansatz: name of the circuit.
        layers: of the circuit.
        optimiser: its name.
        iterations: at most.
        tolerance: of the optimiser.
        population: members of a generation.
        start: (parameter,) where to start; None for the ansatz' own start.
        most_shots: that an evaluation grows to.
        draws: bit strings drawn at the end, for a diagonal Hamiltonian.
        options: how circuits are run.
    """

    hamiltonian: Hamiltonian
    ansatz: str
    layers: int
    optimiser: str
    iterations: int
    tolerance: float
    population: int
    start: tuple[float, ...] | None
    most_shots: int
    draws: int
    options: Options

    @cached_property
    def circuit(self) -> Ansatz:
        """The circuit with its start.

        Raises:
            InputError: the Hamiltonian does not suit the ansatz, or the start has another number of values, or the
                circuit would be too large.
        """
        gates = self.layers * (len(self.hamiltonian.operator) + self.hamiltonian.num_qubits)
        if gates > _MOST_GATES:
            raise InputError(
                f"`layers`: {self.layers:,} of them are about {gates:,} gates: take {_MOST_GATES:,} or fewer",
                field="layers",
            )
        made = ANSATZE[self.ansatz](self.hamiltonian, self.layers, self.options.seed)
        if self.start is None:
            return made
        wanted = len(made.start)
        if len(self.start) != wanted:
            raise InputError(
                f"`start`: {len(self.start)} values for {wanted} parameters: give one for each of "
                f"{', '.join(p.name for p in list(made.circuit.parameters)[:4])}{', ...' if wanted > 4 else ''}",
                field="start",
            )
        return Ansatz(made.circuit, np.array(self.start), made.bounds)

    def search(self) -> Search:
        """What the optimiser is given.

        Raises:
            InputError: a generation does not fit into memory, or the start is no number.
        """
        found = self.circuit
        if not np.isfinite(found.start).all():
            raise InputError("`start`: holds something that is no finite number: correct it", field="start")
        evolving = self.optimiser == "de"
        if evolving and self.population < 5:
            raise InputError("`population`: differential evolution takes 5 members or more", field="population")
        room = self.options.memory_bytes
        need = _MEMBER_COPIES * 8 * self.population * (len(found.start) + 1)
        if evolving and room is not None and need > room:
            raise InputError(
                f"`population`: {self.population:,} members of {len(found.start)} parameters take {bytes_text(need)}, "
                f"and {bytes_text(room)} may be used: take fewer",
                field="population",
            )
        return Search(found.start, found.bounds, self.iterations, self.tolerance, self.population, self.options.seed)

    def document(self) -> dict[str, Any]:
        """All of it as JSON values; the operator term by term."""
        own, options = self.hamiltonian, options_document(self.options)
        del options["memory_bytes"]  # what is free now says nothing of the path
        return {
            "format": _FORMAT,
            "hamiltonian": {
                "name": own.name, "exact": own.exact, "cut": own.cut, "occupied": list(own.occupied),
                "terms": [[label, float(value.real)] for label, value in own.operator.to_list()],
            },
            "ansatz": self.ansatz, "layers": self.layers, "optimiser": self.optimiser, "iterations": self.iterations,
            "tolerance": self.tolerance, "population": self.population,
            "start": None if self.start is None else list(self.start), "most_shots": self.most_shots,
            "draws": self.draws, "options": options,
        }  # fmt: skip


def settings_of(document: dict[str, Any], options: Options) -> Settings:
    """What ``Settings.document`` wrote down, with these options."""
    own, rest = dict(document["hamiltonian"]), dict(document)
    operator = SparsePauliOp.from_list(own["terms"])
    hamiltonian = Hamiltonian(own["name"], operator, tuple(own["occupied"]), own["exact"], own["cut"])
    for name in ("format", "hamiltonian", "options", "start"):
        rest.pop(name)
    start = document["start"]
    return Settings(hamiltonian, start=None if start is None else tuple(start), options=options, **rest)


def read_settings(run: Path) -> dict[str, Any]:
    """The settings in a run's folder.

    Raises:
        RunRecordError: there are none, they are damaged, or of another version.
    """
    return stored_settings(run / SETTINGS_NAME, _FORMAT)


def most_shots(options: Options, asked: int | None) -> int:
    """Shots that an evaluation may grow to: those asked for, else 16 times the first.

    Raises:
        InputError: fewer than the first, or an evaluation does not begin with a number of shots.
    """
    if asked is not None and options.shots is None:
        why = "an evaluation takes as many as its error asks for" if options.sampled else "nothing takes shots"
        raise InputError(f"`most_shots`: {why}: give `shots` too, or leave out `most_shots`", field="most_shots")
    first = options.shots or 0
    if asked is not None and asked < first:
        raise InputError(f"`most_shots`: {asked:,} are fewer than the {first:,} an evaluation begins with: take more",
                         field="most_shots")  # fmt: skip
    return min(MAX_SHOTS, 16 * first) if asked is None else asked
