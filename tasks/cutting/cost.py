"""What a set of fragments will cost before anything runs: widths, variants, bytes, work, and which settings to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2, prod

import numpy as np
import opt_einsum
from opt_einsum.helpers import flop_count

from scheduler_policies.cost import exact_seconds, sampled_seconds
from scheduler_policies.device import Device
from scheduler_policies.machine import (
    ADDED_FROM,
    AMPLITUDE_BYTES,
    COIN_PAIR_S,
    COIN_S,
    CONTRACTION_FLOPS,
    DRAWN_SHOTS,
    GRAM_ENTRIES,
    GRAM_PRODUCTS,
    JOIN_FRAGMENT_S,
    JOIN_NUMBER_S,
    PART,
    PAULI_ROW_S,
    PAULI_STEP_S,
    RUN_BITS,
    TYPICAL_CPU,
)
from tasks.cutting.cone_program import ConeProgram, cone_program
from tasks.cutting.drawn_bytes import MOST_OPEN_QUBITS, ROOMS, drawn_bytes, room_within
from tasks.cutting.kinds import Scheme
from tasks.cutting.once import once_a_fragment
from tasks.cutting.open_program import OpenProgram, open_program
from tasks.cutting.openings import branch_ranks
from tasks.cutting.pauli_bases import PauliBasis, bases_of, most_passes
from tasks.cutting.pauli_program import PauliProgram, is_clifford, pauli_program
from tasks.cutting.plan import Fragment, FragmentCost, Leg
from tasks.cutting.product_program import ProductProgram, product_program
from tasks.cutting.variants import count_variants, leg_choices, measurement_groups

MAX_VARIANTS = 4096  # of one fragment: beyond this a leg's cheaper settings are taken, where it has some
_BLOCKS, _DRAWN_BLOCKS = 1.0, 1.6  # times what blocks of gates are counted with: they took, in exact and drawn runs
_SIMULATED = 48  # qubits: no machine holds the state of more, and a program for it is not worth its time
_MOST = 2**1000  # opt_einsum counts in integers of any size
WIDE = 16  # qubits from which a way without all amplitudes can be the quicker one by much
WORTH_S = 0.03  # of all amplitudes at most: below, no other way is looked for
LEAST_S = 0.003  # of a way: a quicker one would take longer to find
CLEARLY = 1.3  # times what another way takes
_ROOM = 1 << 26  # bytes that any way may take; more only where all amplitudes take as much
_CLEARLY_DRAWN = 3.0  # the same of drawing variants
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
    elif fragment.num_qubits <= _SIMULATED:
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


def exact_bytes(fragment: Fragment) -> int:
    """Peak memory of a whole fragment tensor in one process: the state as it grows, or Gram matrices and the tensor."""
    program, tensor = open_program(fragment), 8 * tensor_numbers(fragment)
    together = {False: 1, True: 0}  # Paulis of one X part that are made together; without one, and with one
    for basis in pauli_bases(fragment):
        masks, counts = np.unique(basis.masks_x, return_counts=True)
        for turned, most in together.items():
            together[turned] = max(most, min(basis.most, int(counts[(masks > 0) == turned].max(initial=0))))
    parts = AMPLITUDE_BYTES * min(PART, program.amplitudes)
    simulation = AMPLITUDE_BYTES * program.peak + 4 * parts
    entries = tensor // (8 * max(1, fragment.num_factors))  # of a factor; more than pairs where legs share branches
    grams = max(_pass_bytes(program, most, entries, turned) for turned, most in together.items() if most)
    return max(simulation, AMPLITUDE_BYTES * program.amplitudes + grams + tensor)


def _pass_bytes(program: OpenProgram, together: int, entries: int, turned: bool) -> int:
    """Peak memory of Gram matrices that are made together, beside state and tensor, with what they are made of.

    Args:
        program: of the simulation.
        together: how many Paulis share the X part.
        entries: of the tensor, for each.
        turned: whether there is an X part.
    """
    pairs, width = program.branches**2, len(program.rest)
    run = min(RUN_BITS, width // 3)
    together = min(together, 1 << (width - run))  # as many as one pass can tell apart
    grams = pairs * min(together, max(1, GRAM_ENTRIES // pairs))
    block = 4 * pairs if turned or program.branches < ADDED_FROM else pairs
    held = min(GRAM_PRODUCTS, max(program.amplitudes, min(PART, 4 * program.branches * program.amplitudes)))
    held = held * block // (4 * pairs)
    few = together <= 12  # share their blocks, of longer runs of rows
    blocks = max(1, (1 << width) >> ((RUN_BITS if turned else run) + 2 * few))
    # Of the blocks' sums as many as are held before those of each Pauli are made of them, and these as they are made.
    if few:
        blocks = min(blocks, together * -(-blocks * block // max(block, held)))
    sums = min(4 * GRAM_PRODUCTS, block * blocks)
    made = 2 * min(GRAM_PRODUCTS, together * block)
    if 2 * block > GRAM_PRODUCTS:  # added one by one
        sums, made = 0, block // 2
    parts = AMPLITUDE_BYTES * min(PART, program.amplitudes)
    if not turned:  # rows are copied, at least those of one block
        parts = max(parts, AMPLITUDE_BYTES * program.branches << min(width, 9, program.branches.bit_length()))
    products = parts + 8 * (max(block, held) + sums + made)
    changed = max(1, min(together, 2 * PART // max(pairs, entries)))  # factors whose bases are changed at a time
    grown = 10 * entries if entries > pairs else 0  # with what the last ones are made of
    return AMPLITUDE_BYTES * grams + max(products, changed * max(2 * AMPLITUDE_BYTES * pairs, grown))


@once_a_fragment
def simulated_legs(fragment: Fragment) -> tuple[int, int]:
    """Of the open-leg simulation: log2 of its branches, and of those more that outgoing wires' basis states are.

    Legs on one qubit with no two-qubit gate between them share their branches, as many as are independent: four at
    most, two where the qubit is still |0> or all is diagonal along one axis (``open_program``).
    """
    ranks, ends = branch_ranks(fragment)
    return ceil(log2(prod(ranks))), ends


def factors_of_x_parts(fragment: Fragment) -> np.ndarray:
    """(X part,) int: how many factors have each; they are a batch of the exact path."""
    _, counts = np.unique(np.packbits(fragment.factors_x, axis=1), axis=0, return_counts=True)
    return np.asarray(counts)


@once_a_fragment
def gram_passes(fragment: Fragment) -> int:
    """Passes over its open state that its factors take, one of half of the rows counted as one."""
    if fragment.num_qubits > _SIMULATED:
        return len(factors_of_x_parts(fragment)) + 1
    return sum(basis.passes for basis in pauli_bases(fragment))


@once_a_fragment
def pauli_bases(fragment: Fragment) -> list[PauliBasis]:
    """In which bases its factors are taken."""
    program = open_program(fragment)
    return bases_of(fragment, program.rest, program.branches)


def tensor_numbers(fragment: Fragment) -> int:
    """Of its whole tensor."""
    return prod(leg.dimension for leg in fragment.legs) * fragment.num_factors


def measured_qubits(fragment: Fragment) -> int:
    """How many qubits the variant that measures most measures at its end, outgoing wires counted."""
    seen = (fragment.factors_x | fragment.factors_z).any(axis=0)
    return int(seen.sum()) + sum(leg.kind.opens_qubit for leg in fragment.legs)


@once_a_fragment
def cheaper_way(fragment: Fragment) -> ConeProgram | ProductProgram | PauliProgram | None:
    """The program of a way to the whole tensor that takes clearly less than all amplitudes do; None where none does.

    Nor may it take more memory than they would, but for what is little anywhere.
    """
    if fragment.num_qubits < WIDE or (most := _most_amplitudes_seconds(fragment)) <= WORTH_S:
        return None
    # What cannot be chosen is not looked at to its end, nor is a program for all amplitudes made to compare it with.
    way: ConeProgram | ProductProgram | PauliProgram | None = None
    within = most / CLEARLY
    room = max(_ROOM, AMPLITUDE_BYTES * 2.0 ** min(1000, fragment.num_qubits + simulated_legs(fragment)[0]))
    for program_of in (pauli_program, product_program, cone_program):
        program = program_of(fragment, within)
        if isinstance(program, ConeProgram) and not _takes_apart(fragment, program):
            break
        if program is None or program.seconds > within:
            continue
        if program.bytes <= room or (fragment.num_qubits <= _SIMULATED and program.bytes <= exact_bytes(fragment)):
            way, within = program, program.seconds
        if way is not None and within <= LEAST_S:
            break
    if way is None or _all_amplitudes_seconds(fragment) < CLEARLY * way.seconds:
        return None
    return way


def _takes_apart(fragment: Fragment, program: ConeProgram) -> bool:
    """Whether parts are less than the fragment, and take clearly less than it, gates all over counted for neither."""
    return program.leaves_out(fragment) and CLEARLY * program.seconds <= _amplitudes_seconds(fragment)


def pauli_seconds(steps: int, numbers: float) -> float:
    """About how long a tensor takes whose Paulis are followed through so many gates and legs, none of them a sum."""
    return steps * (PAULI_STEP_S + numbers * PAULI_ROW_S)


def exact_fragment_seconds(fragment: Fragment) -> float:
    """How long a whole fragment tensor is likely to take on one typical core, the quickest way."""
    way = cheaper_way(fragment)
    if way is not None:
        return way.seconds + tensor_numbers(fragment) * TYPICAL_CPU.speed.number
    return _all_amplitudes_seconds(fragment)


def _all_amplitudes_seconds(fragment: Fragment) -> float:
    return _amplitudes_seconds(fragment) + _scattered_seconds(fragment)


def _amplitudes_seconds(fragment: Fragment) -> float:
    branches, outputs = simulated_legs(fragment)
    gates = len(fragment.circuit.data)
    sizes = fragment.num_factors, gates, gram_passes(fragment), tensor_numbers(fragment)
    return exact_seconds(TYPICAL_CPU, fragment.num_qubits, 0, branches, outputs, *sizes)


@once_a_fragment
def blocks_seconds(fragment: Fragment) -> tuple[float, float]:
    """What gates take beyond what the model says for so many, in an exact and in a drawn run: they act in blocks.

    Less than nothing where many of them act as one.
    """
    if fragment.num_qubits > _SIMULATED:
        return 0.0, 0.0
    program, speed = open_program(fragment), TYPICAL_CPU.speed
    counted = len(fragment.circuit.data) * program.amplitudes * speed.amplitude_gate
    return _BLOCKS * program.seconds - counted, _DRAWN_BLOCKS * program.seconds - counted


def blocks_on(device: Device, fragment: Fragment) -> tuple[float, float]:
    """The same on a device, whose blocks take as much longer as its amplitudes do."""
    scale = device.speed.amplitude_gate / TYPICAL_CPU.speed.amplitude_gate
    exact, drawn = blocks_seconds(fragment)
    return scale * exact, scale * drawn


def _scattered_seconds(fragment: Fragment) -> float:
    """What gates take beyond all that the model says for so many: between qubits all over, few of them act as one."""
    return max(0.0, blocks_seconds(fragment)[0] - len(fragment.circuit.data) * TYPICAL_CPU.speed.gate)


def _most_amplitudes_seconds(fragment: Fragment) -> float:
    """The same at most, without a program: no factor shares a pass with those of other X parts."""
    branches, outputs = simulated_legs(fragment)
    gates, factors = len(fragment.circuit.data), fragment.num_factors
    sizes = factors, gates, most_passes(factors), tensor_numbers(fragment)
    return exact_seconds(TYPICAL_CPU, fragment.num_qubits, 0, branches, outputs, *sizes)


def sampled_fragment_seconds(fragment: Fragment, schemes: tuple[Scheme, ...], variants: int, shots: int) -> float:
    """How long counts of ``variants`` of its variants, ``shots`` in all, are likely to take on one typical core."""
    each = stabiliser_seconds(fragment, count_variants(fragment, schemes), shots // max(1, variants))
    return each * variants if each else _drawn_seconds(fragment, variants, shots)


def stabiliser_seconds(fragment: Fragment, variants: int, shots: int = 0) -> float:
    """Of one variant as a stabiliser state, where that is clearly the quicker way for all of them; 0 elsewhere.

    Which way is taken must not depend on how variants are shared out: the shots drawn would.

    Args:
        fragment: the fragment.
        variants: how many it has in all.
        shots: of one.
    """
    if fragment.num_qubits < WIDE or not is_clifford(fragment):
        return 0.0
    bits = measured_qubits(fragment) + sum(leg.kind.measures_midway or leg.kind.ancillas > 0 for leg in fragment.legs)
    each = bits * len(fragment.circuit.data) * PAULI_ROW_S + bits**2 * COIN_PAIR_S
    if _CLEARLY_DRAWN * each * variants > _drawn_seconds(fragment, variants, 0):
        return 0.0
    return each + shots * bits * COIN_S


def _drawn_seconds(fragment: Fragment, variants: int, shots: int) -> float:
    """The same from all amplitudes."""
    gates = len(fragment.circuit.data)
    width, branches, measured = fragment.num_qubits, simulated_legs(fragment)[0], measured_qubits(fragment)
    drawn = sampled_seconds(TYPICAL_CPU, width, 0, branches, variants, shots, gates, measured)
    return drawn + _scattered_seconds(fragment)


def joining_seconds(flops: float, fragments: int, numbers: float) -> float:
    """How long a contraction of so many operations is likely to take, its tensors read."""
    return flops / CONTRACTION_FLOPS + fragments * JOIN_FRAGMENT_S + numbers * JOIN_NUMBER_S


@dataclass(frozen=True)
class GreedyContraction:
    """Of one greedy path and one Pauli term; what a plan needs to know before a better path is searched.

    Attributes:
        flops: floating-point operations.
        largest: numbers of the largest array.
        steps: those of each step, and the tensors that it is made of.
    """

    flops: float
    largest: float
    steps: tuple[tuple[float, tuple[int, ...]], ...] = ()


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
    operands: list = []
    parts: list[tuple[int, ...]] = []
    # In the order of their cuts, so that ties of the greedy path do not depend on how qubits are numbered.
    for number in sorted(range(len(tensors)), key=lambda number: sorted(tensors[number][1])):
        dimensions, cuts = tensors[number]
        size = dict(zip(cuts, dimensions, strict=True))
        # Both ends of a cut on one fragment: a trace, done first.
        once = sorted(cut for cut in cuts if cuts.count(cut) == 1)
        if cuts:
            operands += [tuple(size[cut] for cut in once), once]
            parts.append((number,))
    if not operands:
        return GreedyContraction(float(len(tensors)), 1.0)
    symbols = {c: opt_einsum.get_symbol(k) for k, c in enumerate(sorted({c for _, cuts in tensors for c in cuts}))}
    equation = ",".join("".join(symbols[c] for c in operands[i]) for i in range(1, len(operands), 2)) + "->"
    _, info = opt_einsum.contract_path(equation, *operands[0::2], shapes=True, optimize="greedy")
    steps = []
    for taken, removed, einsum, *_ in info.contraction_list:
        indices = frozenset(einsum.replace(",", "").split("->")[0])
        flops = flop_count(indices, bool(removed), len(taken), info.size_dict)
        own = tuple(sorted(part for place in sorted(taken, reverse=True) for part in parts.pop(place)))
        parts.append(own)
        steps.append((_as_float(flops), own))
    return GreedyContraction(_as_float(info.opt_cost), _as_float(info.largest_intermediate), tuple(steps))


def _as_float(count: float) -> float:
    return float(count) if count < _MOST else float("inf")


def end_cost(leg: Leg, bond: np.ndarray, scheme: Scheme) -> float:
    """Shots that one cut end costs for a given error, relative to no cut there (see ``LegKind.cost``)."""
    return leg.kind.cost(bond if leg.end == 0 else bond.T, scheme)


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
