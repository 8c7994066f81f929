"""What a set of cuts would cost: the counts of fragments that the cost model asks for.

``sketch_of`` makes a sketch of finished fragments, ``Circuit.sketch`` one of an assignment of gate ends to blocks; both
count the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log2

from scheduler_policies.cost import exact_seconds
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting.cost import GreedyContraction, contraction_of, end_cost
from tasks.cutting.kinds import SCHEMES
from tasks.cutting.partition import Partition
from tasks.cutting.seconds import cheaper_way, joining_seconds
from tasks.cutting.sizes import factors_of_x_parts, simulated_legs

_MOST_BITS = 1000
MOST_TENSOR_BITS = 60
"""Of a tensor of the fragments' network: no machine holds one of more numbers."""


@dataclass(frozen=True)
class FragmentSketch:
    """One fragment.

    Attributes:
        width: qubits on a device.
        gates: instructions.
        branches: log2 of the branches of the open-leg simulation.
        outputs: outgoing wire legs.
        factors: distinct observable factors.
        x_parts: distinct X parts among them.
        cuts: (leg,) the cut that each leg is an end of.
        dimensions: (leg,) of each leg.
        log_cost: log2 of the product of what its ends cost in shots (see ``LegKind.cost``).
        log_variants: log2 of the fewest variants it can have.
        compact_seconds: without all amplitudes, where that is the quicker way and known; else 0.
        lent: how many of its qubits the copies in it need not have for themselves (see ``Fragment.width``).
    """

    width: int
    gates: int
    branches: int
    outputs: int
    factors: int
    x_parts: int
    cuts: tuple[int, ...]
    dimensions: tuple[int, ...]
    log_cost: float
    log_variants: float
    compact_seconds: float = 0.0
    lent: int = 0

    @property
    def seconds(self) -> float:
        """Of its whole tensor on one typical core."""
        if self.compact_seconds:
            return TYPICAL_CPU.speed.job + self.compact_seconds + self.numbers * TYPICAL_CPU.speed.number
        passes = self.x_parts + 1  # those without an X part go over all rows, the others over half of them
        sizes = self.outputs, self.factors, self.gates, passes, self.numbers
        return TYPICAL_CPU.speed.job + exact_seconds(TYPICAL_CPU, self.width, 0, self.branches, *sizes)

    @property
    def numbers(self) -> float:
        """Of its tensor."""
        return float(2.0 ** min(sum(map(log2, self.dimensions)), _MOST_BITS)) * self.factors


@dataclass(frozen=True)
class Sketch:
    """All fragments.

    Attributes:
        fragments: in no particular order.
        overhead: log2 of the product of kappa**2 over the cuts.
        terms: Pauli terms asked for.
    """

    fragments: tuple[FragmentSketch, ...]
    overhead: float
    terms: int

    @property
    def width(self) -> int:
        """Qubits at once of the widest fragment."""
        return max((fragment.width - fragment.lent for fragment in self.fragments), default=0)

    @cached_property
    def contraction(self) -> GreedyContraction:
        """Along a greedy path, for one Pauli term."""
        return contraction_of(tuple((fragment.dimensions, fragment.cuts) for fragment in self.fragments))

    @property
    def variants(self) -> float:
        """The fewest distinct variants it can have."""
        return float(sum(2.0 ** min(fragment.log_variants, _MOST_BITS) for fragment in self.fragments))

    @property
    def tensor_bits(self) -> float:
        """log2 of the entries of the largest fragment tensor, for one observable factor."""
        return max((sum(map(log2, fragment.dimensions)) for fragment in self.fragments), default=0.0)

    @property
    def too_large(self) -> bool:
        """Whether no machine joins its fragments."""
        return max(self.tensor_bits, log2(max(1.0, self.contraction.largest))) > MOST_TENSOR_BITS

    @cached_property
    def seconds(self) -> float:
        """How long an exact run is likely to take on one core: a task a fragment, and the contraction; never 0."""
        fragments = sum(fragment.seconds for fragment in self.fragments)
        numbers = sum(fragment.numbers for fragment in self.fragments)
        joining = joining_seconds(self.contraction.flops * self.terms, len(self.fragments), numbers)
        return max(fragments + joining, TYPICAL_CPU.speed.job)  # observables that no gate reaches leave no fragment


def sketch_of(found: Partition) -> Sketch:
    """The sketch of finished fragments."""
    sketches = []
    for fragment in found.fragments:
        branches, outputs = simulated_legs(fragment)
        bits = sum(log2(leg.dimension) for leg in fragment.legs)
        way = None if bits > MOST_TENSOR_BITS else cheaper_way(fragment)
        costs = [min(end_cost(leg, found.bonds[leg.cut], s) for s in SCHEMES) for leg in fragment.legs]
        sketches.append(
            FragmentSketch(
                fragment.num_qubits,
                len(fragment.circuit.data),
                branches,
                outputs,
                fragment.num_factors,
                len(factors_of_x_parts(fragment)),
                tuple(leg.cut for leg in fragment.legs),
                tuple(leg.dimension for leg in fragment.legs),
                sum(map(log2, costs)),
                sum(log2(len(leg.kind.settings("minimal"))) for leg in fragment.legs),
                0.0 if way is None else way.seconds,
                fragment.num_qubits - fragment.width,
            )
        )
    return Sketch(tuple(sketches), found.log_overhead, len(found.factor_index))
