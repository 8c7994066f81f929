"""Shots of every variant of a fragment from its open-leg state, all variants in one array.

The variants of a measurement group are one array (setting and bit of each leg ..., outcome of the group's qubits): the
amplitudes of all settings are one small matrix product a leg, their counts one call, and tensor and error bar products
again, since an entry of the tensor is linear in the frequencies. What it computes is what ``tasks.reconstruction`` says
(``counts_to_tensor``, ``statistics``) for equally many shots a variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.cutting.kinds import Scheme, gate_product
from tasks.cutting.variants import factor_letters, leg_choices, measurement_groups
from tasks.parametric.grams import Grams
from tasks.parametric.linear import along
from tasks.reconstruction.statistics.uncertainty import Uncertainty, uncertainty_of_mean

_TURNS = {1: gate_product(("h",)), 2: gate_product(("sdg", "h"))}
_CHUNK = 1 << 22  # numbers that one array holds


@dataclass(frozen=True)
class Counts:
    """Shots of all variants of a fragment, for one set of its angles.

    Attributes:
        shots: of each variant.
        tables: (group,) int64 (variant, outcome).
    """

    shots: int
    tables: tuple[np.ndarray, ...]

    def with_more(self, other: Counts) -> Counts:
        """Both together."""
        tables = tuple(a + b for a, b in zip(self.tables, other.tables, strict=True))
        return Counts(self.shots + other.shots, tables)


@dataclass(frozen=True)
class _Group:
    """A measurement group: its rotations, which qubits it reads and what their parities mean."""

    turns: tuple[tuple[int, np.ndarray], ...]  # (axis among the qubits that stay, matrix)
    unread: tuple[int, ...]
    signs: np.ndarray  # (factor, outcome), weight of the group in the factor included


class Draws:
    """A fragment's variants made ready.

    Args:
        grams: of the fragment.
        schemes: (leg,) the settings of its legs.
    """

    def __init__(self, grams: Grams, schemes: tuple[Scheme, ...]) -> None:
        fragment = grams.fragment
        self._grams = grams
        choices = leg_choices(fragment, schemes)
        self.settings = [len(own) for own in choices]
        self.ranks = [leg.rank for leg in fragment.legs]
        self._operators, self._entries = [], []
        valid = np.ones((1, 1), dtype=bool)  # (variant, bits of the legs)
        for leg, own, scheme in zip(fragment.legs, choices, schemes, strict=True):
            operator = np.zeros((len(own), 2, leg.rank), dtype=complex)
            for number, setting in enumerate(own):
                rows = leg.kind.operator(setting)
                operator[number, : len(rows)] = rows
            measured = np.array([setting.measured for setting in own])
            columns, inverse = leg.kind.spanning(scheme).columns, leg.kind.spanning(scheme).inverse
            entry = np.zeros((leg.dimension, len(own), 2))
            for (setting, signed), column in zip(columns.tolist(), inverse.T, strict=True):
                entry[:, setting, 0] += column
                entry[:, setting, 1] += (-column if signed else column) * measured[setting]
            self._operators.append(operator.reshape(-1, leg.rank))
            self._entries.append(entry.reshape(leg.dimension, -1))
            both = np.stack([np.ones(len(own), dtype=bool), measured], axis=1)
            valid = (valid[:, None, :, None] & both[None, :, None, :]).reshape(len(valid) * len(own), -1)
        self._valid = valid
        groups = measurement_groups(fragment)
        letters = factor_letters(fragment)
        together = np.zeros(fragment.num_factors)
        for group in groups:
            together[group.factors] += 1
        self._groups = []
        for group in groups:
            turns = tuple(
                (place, _TURNS[int(group.bases[qubit])])
                for place, qubit in enumerate(grams.rest)
                if int(group.bases[qubit]) in _TURNS
            )
            unread = tuple(place for place, qubit in enumerate(grams.rest) if not group.bases[qubit])
            read = [qubit for qubit in grams.rest if group.bases[qubit]]
            outcomes = np.arange(1 << len(read))
            weights = 1 << np.arange(len(read) - 1, -1, -1, dtype=np.int64)
            signs = np.zeros((fragment.num_factors, len(outcomes)))
            masks = (letters[group.factors][:, read] != 0) @ weights
            signs[group.factors] = 1.0 - 2.0 * (np.bitwise_count(outcomes & masks[:, None]) & 1)
            self._groups.append(_Group(turns, unread, signs / together[:, None].clip(1)))
        self.variants = len(groups) * len(valid)
        self.entries = int(np.prod([len(own) for own in self._operators], dtype=np.int64)) << len(grams.rest)

    def probabilities(self, states: np.ndarray) -> list[list[np.ndarray]]:
        """(set, group) distributions of all variants, (variant, outcome) float64 each."""
        found: list[list[np.ndarray]] = []
        for state in states:
            branches = self._grams.branches(state[None])[0].reshape(*self.ranks, *(2,) * len(self._grams.rest))
            legs = len(self.ranks)
            for axis, operator in enumerate(self._operators):
                branches = along(branches, axis, operator)
            own = []
            for group in self._groups:
                turned = branches
                for place, matrix in group.turns:
                    turned = along(turned, legs + place, matrix)
                chances = np.square(turned.real) + np.square(turned.imag)
                chances = chances.sum(axis=tuple(legs + place for place in group.unread))
                own.append(self._by_variant(chances.reshape(*chances.shape[:legs], -1)))
            found.append(own)
        return found

    def draw(self, probabilities: Sequence[np.ndarray], shots: int, rng: np.random.Generator) -> Counts:
        """So many shots of every variant."""
        tables = []
        for own in probabilities:
            chances = np.clip(own, 0.0, None)
            tables.append(rng.multinomial(shots, chances / chances.sum(axis=1, keepdims=True)))
        return Counts(shots, tuple(tables))

    def again(self, counts: Counts, rng: np.random.Generator) -> Counts:
        """As many shots from what was seen."""
        return self.draw([table / counts.shots for table in counts.tables], counts.shots, rng)

    def tensor(self, counts: Counts) -> np.ndarray:
        """(legs ..., factor) float64: the estimate of the fragment's tensor."""
        total = np.zeros(0)
        for group, table in zip(self._groups, counts.tables, strict=True):
            found = self._by_leg(table / counts.shots) @ group.signs.T
            total = found if total.size == 0 else total + found
        for axis, entry in enumerate(self._entries):
            total = along(total, axis, entry)
        return total

    def uncertainty(self, counts: Counts, gradient: np.ndarray) -> Uncertainty:
        """(value,) what these shots say of the variances of some values.

        Args:
            counts: the shots.
            gradient: (value, legs ..., factor) derivatives of the values by the tensor.
        """
        values = len(gradient)
        total = Uncertainty.none(values)
        step = max(1, _CHUNK // max(1, self.entries))
        for start in range(0, values, step):
            part = slice(start, start + step)
            spread = gradient[part]
            for axis, entry in enumerate(self._entries):
                spread = along(spread, 1 + axis, entry.T)
            for group, table in zip(self._groups, counts.tables, strict=True):
                weights = np.stack([self._by_variant(own) for own in spread @ group.signs])  # (value, variant, outcome)
                valid = np.repeat(self._valid, group.signs.shape[1], axis=1).astype(np.float64)
                number = valid.sum(axis=1)
                weights = (weights - (weights * valid).sum(axis=2, keepdims=True) / number[:, None]) * valid
                even = np.square(weights).sum(axis=2) / number
                mean = np.einsum("vao,ao->va", weights, table) / counts.shots
                squares = np.einsum("vao,ao->va", np.square(weights), table)
                total.add(uncertainty_of_mean(squares, mean, even, float(counts.shots)).summed(), part)
        return total

    def _by_variant(self, array: np.ndarray) -> np.ndarray:
        """(setting and bit of each leg ..., outcome) as (variant, bits of the legs and outcome)."""
        legs = len(self.ranks)
        split = array.reshape(*(size for own in self.settings for size in (own, 2)), array.shape[-1])
        order = [*range(0, 2 * legs, 2), *range(1, 2 * legs, 2), 2 * legs]
        return split.transpose(order).reshape(len(self._valid), -1)

    def _by_leg(self, array: np.ndarray) -> np.ndarray:
        """The inverse of ``_by_variant``."""
        legs = len(self.ranks)
        split = array.reshape(*self.settings, *(2,) * legs, -1)
        order = [axis for k in range(legs) for axis in (k, legs + k)]
        return split.transpose([*order, 2 * legs]).reshape(*(2 * own for own in self.settings), -1)
