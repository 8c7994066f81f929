"""Where to cut: the places of a circuit that can be severed, as users and records name them. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from qiskit.circuit import Operation

from tasks.cutting.errors import CuttingError


@dataclass(frozen=True, order=True)
class WireCut:
    """The wire of ``qubit`` severed just before instruction ``instruction`` of the problem's circuit.

    ``kind`` names how, if given.
    """

    section: ClassVar[str] = "wires"
    instruction: int
    qubit: int
    kind: str = ""

    @property
    def instructions(self) -> tuple[int, ...]:
        """The instruction that the wire leads into."""
        return (self.instruction,)

    @property
    def wire(self) -> tuple[int, int] | None:
        """(instruction, qubit) of a severed wire."""
        return self.instruction, self.qubit

    def entry(self) -> Any:
        """As a cuts file has it."""
        return {"instruction": self.instruction, "qubit": self.qubit} | ({"kind": self.kind} if self.kind else {})

    def moved(self, instructions: int, qubits: int) -> WireCut:
        """The same in a circuit where so many instructions and qubits come before its own."""
        return replace(self, instruction=self.instruction + instructions, qubit=self.qubit + qubits)

    def check(self, operation: Operation, qubits: Sequence[int], first: Mapping[int, int]) -> None:
        """Refuse what is no wire to sever; ``first``: qubit -> its first instruction.

        Raises:
            CuttingError: the instruction does not act on the qubit, or is the first to do so.
        """
        if self.qubit not in qubits:
            raise CuttingError(
                f"wire cut at instruction {self.instruction}: {operation.name} acts on qubits {list(qubits)}, not on "
                f"qubit {self.qubit}; name a qubit that the instruction acts on"
            )
        if first[self.qubit] == self.instruction:
            raise CuttingError(
                f"wire cut at instruction {self.instruction} on qubit {self.qubit}: no gate acts on that wire "
                "earlier, so there is nothing to sever; cut it before a later instruction"
            )


@dataclass(frozen=True, order=True)
class GateCut:
    """The two-qubit gate at index ``instruction`` of the problem's circuit, severed; ``kind`` names how, if given.

    ``joined``: later gates severed together with it, as one cut (see ``tasks/cutting/joined.py``).
    """

    section: ClassVar[str] = "gates"
    instruction: int
    kind: str = ""
    joined: tuple[int, ...] = ()

    @property
    def instructions(self) -> tuple[int, ...]:
        """All gates that it severs."""
        return self.instruction, *self.joined

    @property
    def wire(self) -> tuple[int, int] | None:
        """No wire is severed."""
        return None

    def entry(self) -> Any:
        """As a cuts file has it."""
        if not self.kind and not self.joined:
            return self.instruction
        more = {"with": list(self.joined)} if self.joined else {}
        return {"instruction": self.instruction} | ({"kind": self.kind} if self.kind else {}) | more

    def moved(self, instructions: int, qubits: int) -> GateCut:
        """See ``WireCut.moved``."""
        joined = tuple(i + instructions for i in self.joined)
        return replace(self, instruction=self.instruction + instructions, joined=joined)

    def check(self, operation: Operation, qubits: Sequence[int], first: Mapping[int, int]) -> None:
        """Refuse what is no two-qubit gate.

        Raises:
            CuttingError: it acts on another number of qubits.
        """
        if len(qubits) != 2:
            raise CuttingError(
                f"gate cut at instruction {self.instruction}: {operation.name} on qubit {qubits[0]} is not a two-qubit "
                "gate; name one that is"
            )


Cut = WireCut | GateCut


def cuts_document(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Cuts in the form of a cuts file."""
    return {
        section: [cut.entry() for cut in cuts if cut.section == section]
        for section in (GateCut.section, WireCut.section)
    }


def cuts_from(document: Mapping[str, Any]) -> tuple[Cut, ...]:
    """The inverse of ``cuts_document``."""
    gates = (entry if isinstance(entry, Mapping) else {"instruction": entry} for entry in document["gates"])
    severed = (GateCut(g["instruction"], g.get("kind", ""), tuple(g.get("with", ()))) for g in gates)
    return (*severed, *(WireCut(**entry) for entry in document["wires"]))
