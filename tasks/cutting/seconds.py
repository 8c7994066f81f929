"""How long fragments are likely to take, whole, drawn and joined, and which way to a tensor is the quickest."""

from __future__ import annotations

from scheduler_policies.cost import exact_seconds, sampled_seconds
from scheduler_policies.machine import (
    AMPLITUDE_BYTES,
    COIN_PAIR_S,
    COIN_S,
    CONTRACTION_FLOPS,
    JOIN_FRAGMENT_S,
    JOIN_NUMBER_S,
    PAULI_ROW_S,
    PAULI_STEP_S,
    TYPICAL_CPU,
)
from tasks.cutting.cone_program import ConeProgram, cone_program
from tasks.cutting.kinds import Scheme
from tasks.cutting.once import once_a_fragment
from tasks.cutting.pauli_bases import most_passes
from tasks.cutting.pauli_program import PauliProgram, is_clifford, pauli_program
from tasks.cutting.plan import Fragment
from tasks.cutting.product_program import ProductProgram, product_program
from tasks.cutting.sizes import (
    SIMULATED,
    acted_amplitudes,
    exact_bytes,
    gram_passes,
    measured_qubits,
    simulated_legs,
    tensor_numbers,
)
from tasks.cutting.variants import count_variants

WIDE = 16  # qubits from which a way without all amplitudes can be the quicker one by much
WORTH_S = 0.03  # of all amplitudes at most: below, no other way is looked for
LEAST_S = 0.003  # of a way: a quicker one would take longer to find
CLEARLY = 1.3  # times what another way takes
_ROOM = 1 << 26  # bytes that any way may take; more only where all amplitudes take as much
_CLEARLY_DRAWN = 3.0  # the same of drawing variants


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
        if program.bytes <= room or (fragment.num_qubits <= SIMULATED and program.bytes <= exact_bytes(fragment)):
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
    return _amplitudes_seconds(fragment, acted_amplitudes(fragment))


def _amplitudes_seconds(fragment: Fragment, acted: float = 0.0) -> float:
    branches, outputs = simulated_legs(fragment)
    gates = len(fragment.circuit.data)
    sizes = fragment.num_factors, gates, gram_passes(fragment), tensor_numbers(fragment), acted
    return exact_seconds(TYPICAL_CPU, fragment.num_qubits, 0, branches, outputs, *sizes)


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
    acted = acted_amplitudes(fragment)
    return sampled_seconds(TYPICAL_CPU, width, 0, branches, variants, shots, gates, measured, acted)


def joining_seconds(flops: float, fragments: int, numbers: float) -> float:
    """How long a contraction of so many operations is likely to take, its tensors read."""
    return flops / CONTRACTION_FLOPS + reading_seconds(fragments, numbers)


def reading_seconds(fragments: int, numbers: float) -> float:
    """What a contraction takes before its products."""
    return fragments * JOIN_FRAGMENT_S + numbers * JOIN_NUMBER_S
