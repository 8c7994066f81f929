"""The sampled path on a noiseless simulator: counts of a fragment's variants from its one open-leg state.

A variant can run as the plain circuit that it is (``as_circuits``): that is what a QPU or a noisy simulator does. A
noiseless simulator does less: all variants of a fragment differ only in what happens at its legs, so the open-leg state
is reduced once to a table of its measured bits, and each variant's distribution is a small product of that. Both give
the same distribution (tests hold one against the other); every shot is a real, independent draw.

    p(l, x) = sum_a r_0[l_0, a_0] ... r_k[l_k, a_k] T[a, x]

with the bits x of the measurement group, l of the legs, the rows r of the settings in the leg bases, and the table T of
the fragment tensor's entries for the projectors onto x. Many bits are drawn in turn: first x, or the highest bits of
it, then all others for the outcomes drawn, from the amplitudes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import numpy as np

from scheduler_policies.machine import CHEAP_GRID, JOINT_BITS, LAW_PART, PART, SHARED
from tasks.cutting.drawn_bytes import ROOMS, Room
from tasks.cutting.kinds import Scheme
from tasks.cutting.open_program import Branching
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import Variant, leg_choices, measurement_groups
from tasks.execution.simulators.drawing import draw_places, draw_within, normalise, outcome_bytes, pack_outcomes
from tasks.execution.simulators.measured import SettingRows, leg_table, measured_rows, setting_operator
from tasks.execution.simulators.open_state import OpenState
from tasks.model.streams import Streams
from tasks.model.tensor import VariantCounts

_AT_ONCE = 1 << 19  # entries that all combinations of settings may make together


def sample_open(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    state: OpenState,
    variants: Sequence[Variant],
    shots: Sequence[int],
    streams: Sequence[str],
    room: Room = ROOMS[0],
) -> list[VariantCounts]:
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
        one VariantCounts per variant, in order.
    """
    counts: list[VariantCounts | None] = [None] * len(variants)
    rows = setting_rows(fragment, schemes)
    streams_of = Streams()
    for group, members in _by_group(variants).items():
        settings = np.array([variants[i].settings for i in members], dtype=np.int64).reshape(len(members), len(rows))
        # Nobody else holds what is seen of a group: it is given back before the next one's is made.
        drawn = _drawn(
            _Seen(fragment, state, group, rows, settings, room), settings, [shots[i] for i in members],
            [streams[i] for i in members], streams_of,
        )  # fmt: skip
        for k, own in drawn:
            counts[members[k]] = own
        del drawn
    return [c for c in counts if c is not None]


def _drawn(
    seen: _Seen, settings: np.ndarray, shots: Sequence[int], streams: Sequence[str], streams_of: Streams
) -> Iterator[tuple[int, VariantCounts]]:
    """Position and counts of each variant of one measurement group."""
    bits = seen.bits(settings)
    for part, whole, laws in seen.first_laws(settings):
        drawn = []
        for k, law in zip(part.tolist(), laws, strict=True):
            rng = streams_of.at(streams[k])
            places, found = draw_places(law, shots[k], rng)
            drawn.append((places, found) if whole else seen.others(settings[k], places, found, rng))
        outcomes = pack_outcomes(np.concatenate([places for places, _ in drawn]), int(bits[part].max()))
        end = 0
        for k, read, (_, found) in zip(part.tolist(), bits[part].tolist(), drawn, strict=True):
            begin, end, width = end, end + len(found), outcome_bytes(read)
            own = outcomes[begin:end]
            yield k, VariantCounts(own if own.shape[1] == width else own[:, :width].copy(), found, read)


def setting_rows(fragment: Fragment, schemes: tuple[Scheme, ...]) -> list[SettingRows]:
    """The settings of every leg as arrays."""
    choices = leg_choices(fragment, schemes)
    return [SettingRows.of(leg.kind, choice) for leg, choice in zip(fragment.legs, choices, strict=True)]


def _by_group(variants: Sequence[Variant]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for i, variant in enumerate(variants):
        members.setdefault(variant.group, []).append(i)
    return members


class _Seen:
    """What the variants of one measurement group see, and how they are drawn from it."""

    def __init__(
        self,
        fragment: Fragment,
        state: OpenState,
        group: int,
        rows: Sequence[SettingRows],
        settings: np.ndarray,
        room: Room = ROOMS[0],
    ):
        self._room = room
        self._rows = rows
        self._branchings = state.branchings
        self._amplitudes = measured_rows(state, measurement_groups(fragment)[group].bases)
        self._table = leg_table(
            self._amplitudes, fragment.legs, state.branchings, prod(len(one.bits) for one in rows),
            sum(int(one.bits.max()) for one in rows), room.table,
        )  # fmt: skip
        self._bits = len(self._amplitudes).bit_length() - 1
        self._whole = self._table.shape[-1] == len(self._amplitudes)
        self._by_outcome: np.ndarray | None = None
        self._later = _later_legs(state.branchings, settings)
        self._applied: tuple[bytes, np.ndarray] = (b"", self._amplitudes)
        self._laws_held = np.empty(0)

    def bits(self, settings: np.ndarray) -> np.ndarray:
        """(variant,) int, how many bits are read under (variant, leg) settings."""
        return self._reads(settings).sum(axis=1) + self._bits

    def _reads(self, settings: np.ndarray) -> np.ndarray:
        """(variant, leg) int, 1 where a bit is read."""
        reads = np.zeros(settings.shape, dtype=np.int64)
        for k, one in enumerate(self._rows):
            reads[:, k] = one.bits[settings[:, k]]
        return reads

    def _joint(self, bits: np.ndarray) -> np.ndarray:
        """Which of variants that read so many bits are drawn at once."""
        return self._whole & (bits <= JOINT_BITS)

    def first_laws(self, settings: np.ndarray) -> Iterator[tuple[np.ndarray, bool, np.ndarray]]:
        """The distributions that are drawn first: of all bits where these are few, else of the table's.

        Args:
            settings: (variant, leg).

        Yields:
            (variant,) positions, whether all bits are drawn, and (variant, place) their distributions, which last until
            the next are asked for.
        """
        reads = self._reads(settings)
        joint = self._joint(self.bits(settings))
        # Drawn at once are those together that read the same bits.
        patterns, which = np.unique(np.column_stack([joint, reads * joint[:, None]]), axis=0, return_inverse=True)
        length = self._table.shape[-1]
        grids = {kind: self._grid(kind) for kind in np.unique(joint).tolist()}
        for number, pattern in enumerate(patterns.tolist()):
            members = np.flatnonzero(which.reshape(-1) == number)
            members = members[np.lexsort(settings[members].T)] if len(self._rows) else members
            matrices = [one.by_bit if pattern[0] else one.plain for one in self._rows]
            lengths = pattern[1:]
            # As many variants as the memory is meant for, and of their places as many as stay in the cache.
            places = length << sum(lengths)
            grid = grids[bool(pattern[0])]
            step = max(1, (self._room.laws if grid is None else min(LAW_PART, self._room.laws)) // places)
            width = max(1, LAW_PART // max(self._table.size // length, prod(len(matrix) for matrix in matrices)))
            for start in range(0, len(members), step):
                own = members[start : start + step]
                if grid is not None:
                    yield own, bool(pattern[0]), normalise(self._taken(grid, 0, settings[own], matrices, lengths))
                    continue
                if self._laws_held.size < len(own) * places:
                    self._laws_held = np.empty(0)  # given back before a larger one is made
                    self._laws_held = np.empty(len(own) * places)
                laws = self._laws_held[: len(own) * places].reshape(len(own), length, -1)
                for a in range(0, length, width):
                    value = self._table[..., a : a + width]
                    for part, block in self._laws(value, 0, settings[own], np.arange(len(own)), matrices, lengths):
                        laws[part, a : a + width] = block.reshape(len(part), -1, laws.shape[2])
                yield own, bool(pattern[0]), normalise(laws.reshape(len(own), -1))

    def _grid(self, joint: bool) -> np.ndarray | None:
        """(rows of legs.., x) of all combinations of settings, where these are few."""
        matrices = [one.by_bit if joint else one.plain for one in self._rows]
        if prod(len(matrix) for matrix in matrices) * self._table.shape[-1] > CHEAP_GRID:
            return None
        value = self._table
        for k, matrix in enumerate(matrices):
            value = _on_axis(matrix, value, k)
        return value

    def _laws(
        self,
        value: np.ndarray,
        leg: int,
        settings: np.ndarray,
        members: np.ndarray,
        matrices: Sequence[np.ndarray],
        lengths: Sequence[int],
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(variant,) members and their (variant, place) laws; ``value``: (rows of legs before.., leg entries.., x)."""
        before, own = value.shape[:leg], settings[members]
        grid = prod(before) * prod(len(matrix) for matrix in matrices[leg:]) * value.shape[-1]
        combinations = prod(len(one.bits) for one in self._rows[leg:])
        if leg < len(matrices) and (grid > _AT_ONCE or 4 * len(members) < combinations):
            for setting in np.unique(own[:, leg]):
                chosen = self._chosen(leg, setting, matrices[leg], lengths[leg])
                yield from self._laws(
                    _on_axis(chosen, value, leg), leg + 1, settings, members[own[:, leg] == setting], matrices, lengths
                )
            return
        for k in range(leg, len(matrices)):
            value = _on_axis(matrices[k], value, k)
        yield members, self._taken(value, leg, own, matrices, lengths)

    def _taken(
        self, value: np.ndarray, leg: int, own: np.ndarray, matrices: Sequence[np.ndarray], lengths: Sequence[int]
    ) -> np.ndarray:
        """(variant, place): each variant's own of all combinations of rows, bit 0 of the outcome the first leg's."""
        later = len(matrices) - leg
        value = value.transpose(*range(leg, leg + later), value.ndim - 1, *reversed(range(leg)))
        index = []
        for k in range(leg, len(matrices)):
            rows = self._rows[k]
            first = rows.first[own[:, k]] if lengths[k] or matrices[k] is rows.by_bit else own[:, k]
            shape = [len(own)] + [1] * later
            steps = np.arange(1 + lengths[k]).reshape([-1 if axis == k - leg else 1 for axis in range(later)])
            index.append(first.reshape(shape) + steps[None])
        taken = value[tuple(index)] if index else value[None].copy()
        taken = taken.transpose(0, 1 + later, *reversed(range(1, 1 + later)), *range(2 + later, taken.ndim))
        return np.ascontiguousarray(taken).reshape(len(own), -1)

    def _chosen(self, leg: int, setting: int, matrix: np.ndarray, length: int) -> np.ndarray:
        rows = self._rows[leg]
        first = rows.first[setting] if matrix is rows.by_bit else setting
        return matrix[first : first + 1 + length]

    def others(
        self, settings: np.ndarray, places: np.ndarray, found: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outcomes and their counts, from the first places drawn: the bits that are still open are drawn for each."""
        read = [one.of_setting(s) for one, s in zip(self._rows, settings, strict=True)]
        if self._whole and all(len(matrix) == 1 for matrix in read):
            return places, found
        per_place = self._amplitudes.size // self._table.shape[-1]
        if self._whole and per_place > self._table.size // self._table.shape[-1]:
            weights = self._from_table(read, places)
        else:
            weights = self._from_amplitudes(settings, places)
        inner, drawn = draw_within(normalise(weights), found, rng)
        rows, within = np.divmod(inner, weights.shape[1])
        return places[rows] * weights.shape[1] + within, drawn

    def _from_table(self, read: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
        """(place, bits of the legs) at outcomes of the qubits."""
        if self._by_outcome is None:
            self._by_outcome = np.ascontiguousarray(np.moveaxis(self._table, -1, 0))
        value = self._by_outcome[places]
        for k, matrix in enumerate(read):
            value = _on_axis(matrix, value, 1 + k)
        return value.transpose(0, *reversed(range(1, value.ndim))).reshape(len(places), -1)

    def _from_amplitudes(self, settings: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(place, lower bits and bits of the legs) at outcomes of the highest bits."""
        first = [one for one in self._branchings if not self._is_later(one)]
        operator = setting_operator(first, self._rows, settings).T
        amplitudes = self._with_later(settings)
        high = self._table.shape[-1]
        low, others = len(amplitudes) // high, amplitudes.shape[1]
        blocks = amplitudes.reshape(high, -1, len(operator))
        bits = blocks.shape[1] // (low * others) * operator.shape[1]
        step = max(1, LAW_PART // (blocks.shape[1] * len(operator)))
        weights = np.empty((len(places), low * bits))
        for start in range(0, len(places), step):
            part = places[start : start + step]
            products = np.matmul(blocks[part].reshape(-1, len(operator)), operator)
            weights[start : start + step] = _squares(products, len(part) * low, others).reshape(len(part), -1)
        return weights

    def _is_later(self, one: Branching) -> bool:
        return self._later is not None and one.legs[0] >= self._later

    def _with_later(self, settings: np.ndarray) -> np.ndarray:
        """(outcome, others, bits of the later legs x other branches): their settings applied, for all variants."""
        if self._later is None:
            return self._amplitudes
        key = settings[self._later :].tobytes()
        if self._applied[0] != key:
            later = [k for k, one in enumerate(self._branchings) if self._is_later(one)]
            first = [k for k in range(len(self._branchings)) if k not in later]
            operator = setting_operator([self._branchings[k] for k in later], self._rows, settings)
            ranks = [one.rank for one in self._branchings]
            self._applied = b"", self._amplitudes  # what others share is given back before
            rows = self._amplitudes.reshape(-1, *ranks)
            moved = rows.transpose(0, *(1 + k for k in later), *(1 + k for k in first))
            own = np.empty((len(rows), len(operator), prod(ranks[k] for k in first)), dtype=complex)
            step = max(1, PART // prod(ranks))
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                np.matmul(operator, moved[part].reshape(-1, operator.shape[1], own.shape[2]), out=own[part])
            self._applied = key, own.reshape(*self._amplitudes.shape[:2], -1)
        return self._applied[1]


def _later_legs(branchings: Sequence[Branching], settings: np.ndarray) -> int | None:
    """The leg from which on settings are applied once for all variants that share them; None where none pays."""
    legs = settings.shape[1]
    for cut in sorted(range(1, legs), key=lambda cut: abs(2 * cut - legs)):
        apart = all((one.legs[0] >= cut) == (k >= cut) for one in branchings for k in one.legs)
        if apart and len(settings) >= SHARED * len(np.unique(settings[:, cut:], axis=0)):
            return cut
    return None


def _on_axis(matrix: np.ndarray, value: np.ndarray, axis: int) -> np.ndarray:
    shape = value.shape
    view = value.reshape(prod(shape[:axis]), shape[axis], -1)
    return np.matmul(matrix, view).reshape(*shape[:axis], len(matrix), *shape[axis + 1 :])


def _squares(amplitudes: np.ndarray, outcomes: int, others: int) -> np.ndarray:
    """(outcome, bits of the legs): |.|^2 summed over the qubits that nobody measures."""
    squares = np.square(amplitudes.real) + np.square(amplitudes.imag)
    return squares.reshape(outcomes, others, -1).sum(axis=1) if others > 1 else squares.reshape(outcomes, -1)


def variant_distributions(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: OpenState, variants: Iterable[Variant]
) -> Iterator[np.ndarray]:
    """The outcome distribution of each variant, in order: (2**m,), bits as ``VariantBuilder`` numbers them.

    From all amplitudes: cheapest when the variants come sorted by group.
    """
    rows = setting_rows(fragment, schemes)
    groups = measurement_groups(fragment)
    group, amplitudes = -1, np.zeros((0, 0, 0), dtype=complex)
    for variant in variants:
        if variant.group != group:
            group, amplitudes = variant.group, measured_rows(state, groups[variant.group].bases)
        operator = setting_operator(state.branchings, rows, variant.settings)
        outcomes, others, branches = amplitudes.shape
        products = np.matmul(amplitudes.reshape(-1, branches), operator.T)
        yield _squares(products, outcomes, others).reshape(-1)
