"""The sampled path on a noiseless simulator: counts of a fragment's variants from its one open-leg state.

A variant can run as the plain circuit that it is (``as_circuits``): that is what a QPU or a noisy simulator does. A
noiseless simulator does less: all variants of a fragment differ only in what happens at its legs, so the open-leg state
is reduced once to a table of its measured bits, and each variant's distribution is a small product of that
(``first_laws``). Both give the same distribution (tests hold one against the other); every shot is a real, independent
draw. Many bits are drawn in turn: first those of the measurement group, or the highest of them, then all others for the
outcomes drawn (``later_bits``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import numpy as np

from tasks.cutting.drawn_bytes import ROOMS, Room
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import Variant, leg_choices, measurement_groups
from tasks.execution.packed_counts import PackedParts
from tasks.execution.simulators.drawing import draw_each, draw_places, pack_outcomes
from tasks.execution.simulators.first_laws import FirstLaws, read_bits
from tasks.execution.simulators.later_bits import LaterBits
from tasks.execution.simulators.measured import SettingRows, leg_table, measured_rows, setting_operator
from tasks.execution.simulators.open_state import OpenState
from tasks.model.arrays import HERE
from tasks.model.streams import Streams

_PACKED = 64  # variants whose outcomes are packed together


def sample_open(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    state: OpenState,
    variants: Sequence[Variant],
    shots: Sequence[int],
    streams: Sequence[str],
    room: Room = ROOMS[0],
) -> dict[str, np.ndarray]:
    """Counts of the given variants of a fragment, drawn on a noiseless simulator from one open-leg state.

    Args:
        fragment: the fragment.
        schemes: (leg,) which settings each leg has.
        state: what ``open_state`` returned.
        variants: which to run.
        shots: for each, how many.
        streams: for each, the name of the stream of random numbers that it draws from.
        room: what may be held beside the state.

    Returns:
        the counts of all variants in order, as ``pack_counts`` gives them.
    """
    found = PackedParts(len(variants))
    rows = setting_rows(fragment, schemes)
    drawn_from = Streams()
    for group, members in _by_group(variants).items():
        settings = np.array([variants[i].settings for i in members], dtype=np.int64).reshape(len(members), len(rows))
        # Nobody else holds what is seen of a group: it is given back before the next one's is made.
        _Seen(fragment, state, group, rows, settings, room).draw(
            np.array(members), settings, shots, streams, drawn_from, found
        )
    return found.arrays()


class _Seen:
    """What the variants of one measurement group see of a state: their first laws and their later bits."""

    def __init__(
        self,
        fragment: Fragment,
        state: OpenState,
        group: int,
        rows: Sequence[SettingRows],
        settings: np.ndarray,
        room: Room = ROOMS[0],
    ):
        amplitudes = measured_rows(state, measurement_groups(fragment)[group].bases)
        arrays = table_arrays = state.arrays
        table = leg_table(
            amplitudes, fragment.legs, state.branchings, prod(len(one.bits) for one in rows),
            sum(int(one.bits.max()) for one in rows), room.table, arrays,
        )  # fmt: skip
        if state.gpu is not None and prod(table.shape) < state.gpu.smallest:
            table, table_arrays = state.gpu.fetch(table), HERE
        self._rows = rows
        outcomes = amplitudes.shape[0]
        self._measured = outcomes.bit_length() - 1
        whole = table.shape[-1] == outcomes
        self.first = FirstLaws(table, rows, self._measured if whole else None, room, table_arrays)
        self._later = LaterBits(amplitudes, table, state.branchings, rows, settings, arrays, table_arrays)

    def bits(self, settings: np.ndarray) -> np.ndarray:
        """(variant,) int, how many bits are read under (variant, leg) settings."""
        return read_bits(self._rows, settings).sum(axis=1) + self._measured

    def draw(
        self,
        members: np.ndarray,
        settings: np.ndarray,
        shots: Sequence[int],
        streams: Sequence[str],
        drawn_from: Streams,
        found: PackedParts,
    ) -> None:
        """Draw the variants of the group; arguments as for ``sample_open``, ``members``: which of the variants."""
        bits = self.bits(settings)
        for one in self.first.each(settings):
            # Places are numbers until they are packed, so in turn only those of a few variants are.
            step = len(one.members) if one.whole else _PACKED
            for start in range(0, len(one.members), step):
                some, laws = one.members[start : start + step], one.laws[start : start + step]
                numbers = members[some].tolist()
                wanted, generators = [shots[k] for k in numbers], (drawn_from.at(streams[k]) for k in numbers)
                if one.whole:
                    rows, places, counts = draw_each(laws, wanted, generators)
                    places = one.outcomes(rows, places)
                else:
                    rows, places, counts = self._in_turn(settings[some], laws, wanted, generators)
                found.add(members[some], rows, bits[some], pack_outcomes(places, int(bits[some].max())), counts)
                del places  # the next laws take their place

    def _in_turn(
        self, settings: np.ndarray, laws: np.ndarray, shots: Sequence[int], generators: Iterable[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As ``draw_each``, of first the bits that the laws are of, then the others."""
        pairs = []
        for own, law, number, rng in zip(settings, laws, shots, generators, strict=True):
            pairs.append(self._later.drawn(own, *draw_places(law, number, rng), rng))
        places, counts = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return np.array([len(one) for _, one in pairs], dtype=np.int64), places, counts


def setting_rows(fragment: Fragment, schemes: tuple[Scheme, ...]) -> list[SettingRows]:
    """The settings of every leg as arrays."""
    choices = leg_choices(fragment, schemes)
    return [SettingRows.of(leg.kind, choice) for leg, choice in zip(fragment.legs, choices, strict=True)]


def _by_group(variants: Sequence[Variant]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for i, variant in enumerate(variants):
        members.setdefault(variant.group, []).append(i)
    return members


def variant_distributions(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: OpenState, variants: Iterable[Variant]
) -> Iterator[np.ndarray]:
    """The outcome distribution of each variant, in order: (2**m,), bits as ``VariantBuilder`` numbers them.

    From all amplitudes: cheapest when the variants come sorted by group.
    """
    state = state.here()
    rows = setting_rows(fragment, schemes)
    groups = measurement_groups(fragment)
    group, amplitudes = -1, np.zeros((0, 0, 0), dtype=complex)
    for variant in variants:
        if variant.group != group:
            group, amplitudes = variant.group, measured_rows(state, groups[variant.group].bases)
        operator = setting_operator(state.branchings, rows, variant.settings)
        outcomes, others, branches = amplitudes.shape
        products = np.matmul(amplitudes.reshape(-1, branches), operator.T)
        squares = np.square(products.real) + np.square(products.imag)
        yield squares.reshape(outcomes, others, -1).sum(axis=1).reshape(-1)
