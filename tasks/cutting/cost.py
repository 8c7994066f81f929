"""What a set of fragments will cost before anything runs: widths, variants, bytes, and which settings to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np
import opt_einsum

from scheduler_policies.machine import AMPLITUDE_BYTES, DRAWN_SHOTS
from tasks.cutting.drawn_bytes import MOST_OPEN_QUBITS, ROOMS, drawn_bytes, room_within
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment, FragmentCost, Leg
from tasks.cutting.seconds import cheaper_way, stabiliser_seconds
from tasks.cutting.sizes import SIMULATED, exact_bytes, tensor_numbers
from tasks.cutting.variants import count_variants, leg_choices, measurement_groups

MAX_VARIANTS = 4096  # of one fragment: beyond this a leg's cheaper settings are taken, where it has some
_MOST = 2**1000  # opt_einsum counts in integers of any size
_STABILISER_BYTES = 1 << 23  # Paulis of the variants that are followed together
_SHOTS_A_VARIANT = 32  # fewer than this and circuits are better spent on shots


def fragment_cost(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    *,
    sampled: bool = False,
    shots: int = DRAWN_SHOTS,
    memory_bytes: int | None = None,
) -> FragmentCost:
    """Predict one fragment's cost, bytes as peaks in one process.

    Args:
        fragment: the fragment.
        schemes: (leg,) the settings of its legs.
        sampled: whether its variants are drawn; a simulator draws them from all amplitudes, or makes the whole tensor
            beside a QPU's shots, so that the larger of both counts.
        shots: of a variant, in what is drawn.
        memory_bytes: what drawing may take; None for as much as makes it quick.
    """
    circuit = fragment.circuit
    tensor = 8 * tensor_numbers(fragment)
    variants = count_variants(fragment, schemes)
    way = None if sampled else cheaper_way(fragment)
    if way is not None:
        needed = way.bytes + tensor
    elif sampled and stabiliser_seconds(fragment, variants):
        needed = _STABILISER_BYTES + tensor
    elif fragment.num_qubits <= SIMULATED:
        needed = exact_bytes(fragment)
        if sampled and fragment.open_qubits <= MOST_OPEN_QUBITS:
            room = room_within(fragment, schemes, memory_bytes) or ROOMS[-1]
            needed = max(needed, drawn_bytes(fragment, schemes, shots, room))
    else:
        needed = AMPLITUDE_BYTES * 2**fragment.open_qubits + tensor
    return FragmentCost(
        width=fragment.width,
        depth=int(circuit.depth()),
        two_qubit_gates=int(circuit.num_nonlocal_gates()),
        variants=variants,
        exact_bytes=needed,
        tensor_bytes=tensor,
    )


def choose_schemes(
    fragments: Sequence[Fragment], bonds: Sequence[np.ndarray], shots: int | None
) -> tuple[tuple[Scheme, ...], ...]:
    """The settings of every leg: those of least predicted error, with no more variants than the shots can feed."""
    fed = MAX_VARIANTS if shots is None else shots // _SHOTS_A_VARIANT // max(1, len(fragments))
    allowed = max(1, min(MAX_VARIANTS, fed))
    chosen = []
    for fragment in fragments:
        groups = len(measurement_groups(fragment))
        costs = [{s: end_cost(leg, bonds[leg.cut], s) for s in ("full", "minimal")} for leg in fragment.legs]
        schemes: list[Scheme] = ["full" if c["full"] < c["minimal"] else "minimal" for c in costs]
        while count_variants(fragment, tuple(schemes), groups) > allowed and "full" in schemes:
            # Give up the leg whose cheaper settings cost least error for the circuits they save.
            price = {}
            for k, scheme in enumerate(schemes):
                if scheme == "full":
                    many = len(leg_choices(fragment, tuple(schemes))[k])
                    trial = [*schemes[:k], "minimal", *schemes[k + 1 :]]
                    few = len(leg_choices(fragment, tuple(trial))[k])
                    saved = log2(many / few)
                    price[k] = log2(costs[k]["minimal"] / costs[k]["full"]) / saved if saved else np.inf
            k = min(price, key=lambda key: price[key])
            if price[k] == np.inf:
                break
            schemes[k] = "minimal"
        chosen.append(tuple(schemes))
    return tuple(chosen)


def end_cost(leg: Leg, bond: np.ndarray, scheme: Scheme) -> float:
    """Shots that one cut end costs for a given error, relative to no cut there (see ``LegKind.cost``)."""
    return leg.kind.cost(bond if leg.end == 0 else bond.T, scheme)


class GreedyStep(NamedTuple):
    """One of a contraction.

    Attributes:
        flops: floating-point operations.
        parts: what it joins: tensors, and earlier steps numbered behind all of these.
        sizes: of its product of matrices: what is summed over, and either side.
    """

    flops: float
    parts: tuple[int, ...]
    sizes: tuple[float, float, float]


@dataclass(frozen=True)
class GreedyContraction:
    """Of one greedy path and one Pauli term; what a plan needs to know before a better path is searched.

    Attributes:
        flops: floating-point operations.
        largest: numbers of the largest array.
        steps: in order.
    """

    flops: float
    largest: float
    steps: tuple[GreedyStep, ...] = ()


def greedy_contraction(fragments: Sequence[Fragment], bonds: Sequence[np.ndarray]) -> GreedyContraction:
    """Predict the contraction of the fragments' network."""
    if not bonds:
        return GreedyContraction(float(len(fragments)), 1.0)
    return contraction_of(
        tuple((tuple(leg.dimension for leg in f.legs), tuple(leg.cut for leg in f.legs)) for f in fragments)
    )


@lru_cache(maxsize=64)
def contraction_of(tensors: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]) -> GreedyContraction:
    """Predict the contraction of a network.

    Args:
        tensors: for each, the dimensions of its axes and the cuts they are ends of. A bond is absorbed into the tensor
            of its end 0, so both ends share one index.
    """
    # In the order of their cuts, so that ties of the greedy path do not depend on how qubits are numbered.
    order = sorted((k for k, (_, cuts) in enumerate(tensors) if cuts), key=lambda k: sorted(tensors[k][1]))
    if not order:
        return GreedyContraction(float(len(tensors)), 1.0)
    ends: dict[int, list[int]] = {}
    for place, number in enumerate(order):
        for cut in tensors[number][1]:
            ends.setdefault(cut, []).append(place)
    sizes: dict[Any, int] = {}  # all cuts between the same two are one index, for the same path in far less time
    for number in order:
        for dimension, cut in zip(*tensors[number], strict=True):
            if pair := tuple(ends.pop(cut, ())):
                sizes[pair] = sizes.get(pair, 1) * dimension
    inputs: list[set[Any]] = [set() for _ in order]
    for pair in sizes:
        if pair[0] != pair[1]:  # else both ends of a cut are on one tensor: a trace, done first
            for place in pair:
                inputs[place].add(pair)
    held = [frozenset(own) for own in inputs]
    parts, steps, total, largest = list(order), [], 0, 1

    def entries(pairs: frozenset[Any]) -> int:
        return prod(sizes[pair] for pair in pairs)

    for own in opt_einsum.paths.ssa_greedy_optimize(held, frozenset(), sizes):
        left, right = held[own[0]], held[own[1]] if own[1:] else frozenset()  # a single tensor is a step, too
        every, kept = left | right, left ^ right
        flops = entries(every) * (1 + (len(kept) < len(every)))
        matrices = _as_float(entries(left & right)), _as_float(entries(left - right)), _as_float(entries(right - left))
        steps.append(GreedyStep(_as_float(flops), tuple(parts[part] for part in own), matrices))
        total += flops
        largest = max(largest, entries(kept))
        held.append(kept)
        parts.append(len(tensors) + len(steps) - 1)
    return GreedyContraction(_as_float(total), _as_float(largest), tuple(steps))


def _as_float(count: float) -> float:
    return float(count) if count < _MOST else float("inf")
