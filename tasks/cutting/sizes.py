"""What simulating a fragment whole goes through and holds: branches, passes, numbers, bytes."""

from __future__ import annotations

from math import ceil, log2, prod

import numpy as np

from scheduler_policies.machine import (
    ADDED_FROM,
    AMPLITUDE_BYTES,
    GRAM_ENTRIES,
    GRAM_PRODUCTS,
    PART,
    RUN_BITS,
    TYPICAL_CPU,
)
from tasks.cutting.once import once_a_fragment
from tasks.cutting.open_program import OpenProgram, open_program
from tasks.cutting.openings import branch_ranks
from tasks.cutting.pauli_bases import PauliBasis, bases_of
from tasks.cutting.plan import Fragment

SIMULATED = 48  # qubits: no machine holds the state of more, and a program for it is not worth its time


@once_a_fragment
def simulated_legs(fragment: Fragment) -> tuple[int, int]:
    """Of the open-leg simulation: log2 of its branches, and of those more that outgoing wires' basis states are.

    Legs on one qubit with no two-qubit gate between them share their branches, as many as are independent: four at
    most, two where the qubit is still |0> or all is diagonal along one axis (``open_program``).
    """
    ranks, ends = branch_ranks(fragment)
    return ceil(log2(prod(ranks))), ends


@once_a_fragment
def acted_amplitudes(fragment: Fragment) -> float:
    """Amplitudes that its gates act on in blocks, counted by what these take; 0 where that is not known."""
    if fragment.num_qubits > SIMULATED:
        return 0.0
    return open_program(fragment).seconds / TYPICAL_CPU.speed.amplitude_gate


def factors_of_x_parts(fragment: Fragment) -> np.ndarray:
    """(X part,) int: how many factors have each; they are a batch of the exact path."""
    _, counts = np.unique(np.packbits(fragment.factors_x, axis=1), axis=0, return_counts=True)
    return np.asarray(counts)


@once_a_fragment
def gram_passes(fragment: Fragment) -> int:
    """Passes over its open state that its factors take, one of half of the rows counted as one."""
    if fragment.num_qubits > SIMULATED:
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
