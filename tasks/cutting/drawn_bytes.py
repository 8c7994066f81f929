"""What a simulator holds while it draws a fragment's variants from its open-leg state, and which table they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from scheduler_policies.machine import (
    AMPLITUDE_BYTES,
    DRAWN_SHOTS,
    JOINT_BITS,
    LAW_PART,
    LAWS,
    PART,
    SHARED,
    TABLE_BYTES,
)
from tasks.cutting.kinds import LegKind, Scheme, Setting
from tasks.cutting.open_program import OpenProgram, open_program
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import leg_choices, measurement_groups

# A shot simulator opens the legs up to this many qubits (1 GiB of amplitudes); beyond, variants run one by one.
MOST_OPEN_QUBITS = 26
# What an entry of a table and an amplitude cost, in units of a place of a distribution.
_ENTRY, _AMPLITUDE = 3.0, 2.0
_NUMBER = 8
_OBJECTS = 100  # bytes of a variant's counts beside their numbers
_PACKED = 64  # variants whose outcomes are numbers at a time where bits are drawn in turn


@dataclass(frozen=True)
class Room:
    """What may be held beside the state while variants are drawn.

    Attributes:
        table: bytes of a table of leg entries, if the state takes no more.
        laws: numbers of the distributions that are held at a time.
    """

    table: int = TABLE_BYTES
    laws: int = LAWS


# Fewer distributions at a time change nothing that is drawn; a smaller table changes the order of the draws.
ROOMS = (
    *(Room(laws=LAWS >> less) for less in (0, 2, 4, 6)),
    *(Room(TABLE_BYTES >> less, LAWS >> 6) for less in (2, 4, 6)),
)


def room_within(fragment: Fragment, schemes: tuple[Scheme, ...], memory_bytes: int | None) -> Room | None:
    """The most room with which a fragment's variants are drawn in so much memory; None where none is small enough.

    It depends on no shots, so that pieces of a run are all drawn in one way.
    """
    if memory_bytes is None:
        return ROOMS[0]
    return next((room for room in ROOMS if drawn_bytes(fragment, schemes, DRAWN_SHOTS, room) <= memory_bytes), None)


def least_bytes(fragment: Fragment, schemes: tuple[Scheme, ...]) -> int:
    """Peak memory that a simulator needs at least for counts of a fragment's variants: together, or one by one."""
    aside = sum(leg.kind.measures_midway or leg.kind.ancillas for leg in fragment.legs)
    single = AMPLITUDE_BYTES << fragment.num_qubits + aside
    if fragment.open_qubits > MOST_OPEN_QUBITS:
        return single
    return min(single, *(drawn_bytes(fragment, schemes, DRAWN_SHOTS, room) for room in ROOMS))


def drawn_bytes(fragment: Fragment, schemes: tuple[Scheme, ...], shots: int, room: Room = ROOMS[0]) -> int:
    """Peak memory of drawing all variants of a fragment in one process (``simulators.sampled``), ``shots`` each."""
    program = open_program(fragment)
    bits, choices = _bits(fragment, schemes), [len(choice) for choice in leg_choices(fragment, schemes)]
    groups = measurement_groups(fragment)
    widest = max(int((one.bases > 0).sum()) for one in groups)
    packed = max(1, (widest + sum(map(max, bits)) + 7) // 8)
    results = len(groups) * prod(choices) * (_found(widest, bits, shots) * (_NUMBER + packed) + _OBJECTS)
    measured: dict[int, bool] = {}
    for one in groups:
        number = int((one.bases > 0).sum())
        measured[number] = measured.get(number, False) or _moved(program, one.bases)
    state = AMPLITUDE_BYTES * program.amplitudes
    own = max(_group_bytes(fragment, program, bits, shots, room, *pair) for pair in measured.items())
    simulation = AMPLITUDE_BYTES * (program.peak + 4 * min(PART, program.amplitudes))
    return int(max(simulation, state + max(own + results * (1 - 1 / len(groups)), 2 * results)))


def table_length(
    outcomes: int, amplitudes: int, entries: int, variants: int, allowed: int = TABLE_BYTES, *, read: int = 0
) -> int:
    """How many outcomes of the highest bits make the sum of both draws the cheapest, within the memory allowed.

    Args:
        outcomes: of the qubits measured.
        amplitudes: of the state.
        entries: of the legs, for each outcome.
        variants: how many share the table.
        allowed: bytes that it may take, if the state takes no more.
        read: at most so many bits are read at the legs; with the qubits' at most ``JOINT_BITS`` are drawn in one.
    """
    together = outcomes << read <= 1 << JOINT_BITS
    most = max(amplitudes * AMPLITUDE_BYTES, allowed) // (_NUMBER * entries)
    lengths = [1 << bits for bits in range(outcomes.bit_length()) if bits == 0 or 1 << bits <= most]

    def cost(length: int) -> float:
        # What is read for each outcome drawn: of the amplitudes, or of the table where that has all bits.
        if length == outcomes and together:
            return length * (_ENTRY * entries + variants * (1 << read))
        each = amplitudes // length if length < outcomes else min(amplitudes // length, entries)
        return length * (_ENTRY * entries + variants) + _AMPLITUDE * variants * min(length, DRAWN_SHOTS) * each

    return min(lengths, key=cost)


def _bits(fragment: Fragment, schemes: tuple[Scheme, ...]) -> list[tuple[int, ...]]:
    """For each leg and setting 1 where a bit is read."""
    legs = zip(fragment.legs, leg_choices(fragment, schemes), strict=True)
    return [_read(leg.kind, choice) for leg, choice in legs]


@lru_cache(maxsize=64)
def _read(kind: LegKind, settings: tuple[Setting, ...]) -> tuple[int, ...]:
    return tuple(int(kind.rows(setting)[1] is not None) for setting in settings)


def _found(measured: int, bits: Sequence[tuple[int, ...]], shots: int) -> float:
    """Different outcomes of a typical variant's shots, of a distribution as a random circuit has."""
    outcomes = 2.0 ** (measured + sum(sum(own) / len(own) for own in bits))
    return outcomes * shots / (outcomes + shots)


def _moved(program: OpenProgram, bases: np.ndarray) -> bool:
    """Whether amplitudes in the bases measured are a copy of the state."""
    order = [*(q for q in reversed(program.rest) if not bases[q]), *np.flatnonzero(bases).tolist()]
    return bool(((bases == 1) | (bases == 2)).any()) or order != list(reversed(program.rest))


def _group_bytes(
    fragment: Fragment,
    program: OpenProgram,
    bits: Sequence[tuple[int, ...]],
    shots: int,
    room: Room,
    measured: int,
    moved: bool,
) -> float:
    """Beside the state: of the variants of one measurement group of so many qubits."""
    variants = prod(len(own) for own in bits)
    entries, outcomes = prod(leg.dimension for leg in fragment.legs), 1 << measured
    read = 1 << sum(map(max, bits))
    length = table_length(outcomes, program.amplitudes, entries, variants, room.table, read=sum(map(max, bits)))
    whole, table = length == outcomes, _NUMBER * entries * length
    joint = whole and measured + sum(map(max, bits)) <= JOINT_BITS
    # Variants drawn at once read the same bits: of each leg the settings that read one, or the others.
    places, sharing = length, variants
    if joint:
        places *= read
        sharing = max(1, prod(max(2 * sum(own), len(own) - sum(own)) for own in bits) // read)
    at_once = max(1, (min(LAW_PART, room.laws) if joint else room.laws) // places)
    together = min(at_once, sharing)
    laws = _NUMBER * places * together
    each = together * places / length
    width = min(length, max(1, LAW_PART // max(entries, each)))
    # Of the last leg, which is applied first, variants next to each other have few settings.
    last = min(len(bits[-1]), 1 + together * len(bits[-1]) / sharing) / fragment.legs[-1].dimension if bits else 1.0
    making = _NUMBER * width * max(last * entries, (2.0 + joint) * each)
    copy = AMPLITUDE_BYTES * program.amplitudes if moved else 0
    opening = copy + _NUMBER * (1 << len(program.rest)) * (3 if moved else 2)
    tabled = copy + table + 4 * AMPLITUDE_BYTES * max(min(PART, program.amplitudes), program.branches**2)
    first = length * shots / (length + shots)
    drawing, shared = float(laws if joint else _NUMBER * places), 0.0
    if not joint and (read > 1 or not whole):
        each = program.amplitudes // length
        weights = first * (outcomes // length) * read
        drawing = max(drawing, 3.0 * _NUMBER * weights)
        if whole and each > entries:
            shared = table
            drawing = max(drawing, 1.5 * _NUMBER * first * entries)
        else:
            shared = _applied_bytes(fragment, program, bits, length)
            part = max(each, min(PART, first * each))
            drawing = max(drawing, part * (16.0 + 24.0 * min(1.0, read / program.branches)) + _NUMBER * weights)
    found = _found(measured, bits, shots)
    counts = found * (_NUMBER + 2)
    numbers = found * _NUMBER
    if joint:
        drawing += together * numbers * 3
    else:
        drawing += min(_PACKED, variants) * numbers * 4
    drawing += variants * counts
    if together < sharing:  # what variants drawn before have shared is held still, and their counts
        making += shared + (variants - together) * counts
    return max(float(opening), float(tabled), copy + table + laws + max(making, shared + drawing))


def _applied_bytes(fragment: Fragment, program: OpenProgram, bits: Sequence[tuple[int, ...]], places: int) -> float:
    """Of the amplitudes with the settings of the later legs applied, where variants share these."""
    read = min(1.0, DRAWN_SHOTS / places)
    legs = len(fragment.legs)
    for cut in sorted(range(1, legs), key=lambda cut: abs(2 * cut - legs)):
        apart = all((one.legs[0] >= cut) == (k >= cut) for one in program.branchings for k in one.legs)
        if apart and read * prod(len(own) for own in bits[:cut]) >= SHARED:
            ranks = prod(one.rank for one in program.branchings if one.legs[0] >= cut)
            return AMPLITUDE_BYTES * program.amplitudes * 2.0 ** sum(map(max, bits[cut:])) / ranks
    return 0.0
