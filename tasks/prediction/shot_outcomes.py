"""What the shots of a fragment's variants would show, from exact tensors and what errors leave of them: none is drawn.

A variant measures the bits b of its legs and a group of factors f together. Where a simulator can hold the fragment it
gives E[f | b] p(b), and as the products f f' are Paulis themselves, E[f f' | b] p(b) too: they are asked as further
factors. A bit that is read wrongly with the chance e shows 1 - 2 e of its sign, in f, f f' and what legs read, and a
sign that counts for more than 1, where readout is mitigated, does so in f and f' alike: so f f' spreads the more, the
more bits both have. Factors of a group share a basis, so that all of them are diagonal once the fragment ends in it;
that takes a simulation a group, and pays where Gram matrices take longer than a simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod

import numpy as np

from tasks.cutting import Fragment
from tasks.cutting.kinds import LegKind, Scheme
from tasks.cutting.once import once_a_fragment
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.cutting.variants import MeasurementGroup, measurement_groups
from tasks.execution.simulators.leg_bases import joined
from tasks.execution.simulators.whole import whole_tensor
from tasks.prediction.noise import NOISELESS, Noise, sign_bits

_MOST_PRODUCTS = 256  # of two factors of a fragment; beyond, factors count as if they were independent
_COPIES = 5.0  # of what is asked, while it is worked out
_SHORT_S = 0.01  # of a fragment: no other way is looked for
_X, _Y = 1, 2


@dataclass(frozen=True)
class LegOutcomes:
    """The settings of a leg, outcome by outcome.

    Attributes:
        influence: (outcome, leg) what a gradient in the leg basis means for each outcome of each setting.
        chance: (outcome, leg) the part of a fragment tensor that is each outcome's.
        settings: (setting,) the first outcome of each.
    """

    influence: np.ndarray
    chance: np.ndarray
    settings: np.ndarray

    @cached_property
    def sums(self) -> np.ndarray:
        """(setting, outcome) 1 where an outcome is the setting's."""
        owner = np.repeat(np.arange(len(self.settings)), np.diff([*self.settings, len(self.influence)]))
        return np.asarray(owner == np.arange(len(self.settings))[:, None], dtype=float)

    @cached_property
    def whole(self) -> bool:
        """Whether what is shown on average is the very tensor."""
        return np.allclose(self.influence.T @ self.chance, np.eye(self.chance.shape[1]), rtol=0, atol=1e-12)

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, kind: LegKind, scheme: Scheme, contrast: float = 1.0, reading: float = 1.0) -> LegOutcomes:
        """From the raw columns: a setting's summed one, and its signed one where it reads a bit.

        Args:
            kind: of the leg.
            scheme: its settings.
            contrast: what a wrong readout leaves of the bit's sign.
            reading: what the sign counts for.
        """
        spanning = kind.spanning(scheme)
        raw = np.linalg.pinv(spanning.inverse)
        influence: list[np.ndarray] = []
        chance: list[np.ndarray] = []
        settings: list[int] = []
        for setting in range(spanning.num_settings):
            columns = np.flatnonzero(spanning.columns[:, 0] == setting)
            settings.append(len(influence))
            bits = [1.0, -1.0] if len(columns) == 2 else [1.0]
            for bit in bits:
                counted, seen = (np.array([1.0, bit * part])[: len(columns)] for part in (reading, contrast))
                influence.append(counted @ spanning.inverse[:, columns].T)
                chance.append(seen @ raw[columns] / len(bits))
        return cls(np.array(influence), np.array(chance), np.array(settings))


@dataclass(frozen=True)
class GroupOutcomes:
    """What the variants of one measurement group show.

    Attributes:
        factors: (k,) int, of the fragment, ascending.
        means: (noise factor, k, outcome of each leg...) E[f | b] p(b).
        products: (noise factor, product, outcome of each leg...) E[f f' | b] p(b).
        product_of: (k, k) int, which product each pair is; -1 where factors count as independent.
    """

    factors: np.ndarray
    means: np.ndarray
    products: np.ndarray
    product_of: np.ndarray


@dataclass(frozen=True)
class FragmentOutcomes:
    """What the variants of one fragment show.

    Attributes:
        values: (leg..., factor) its tensor on average over many shots.
        legs: of each leg.
        groups: of each measurement group, in the order of its variants.
        counted: (factor,) what each factor's sign counts for in the mean of a group that measures it.
        spreads: (noise factor,) what the variance of a shot at each counts for.
    """

    values: np.ndarray
    legs: tuple[LegOutcomes, ...]
    groups: tuple[GroupOutcomes, ...]
    counted: np.ndarray
    spreads: tuple[float, ...]

    @property
    def settings(self) -> int:
        """How many settings all legs have together: variants of a group."""
        return prod(len(leg.settings) for leg in self.legs)

    def by_setting(self, array: np.ndarray) -> np.ndarray:
        """(setting of each leg...) sums of an array over outcomes (outcome of each leg...)."""
        return np.asarray(along_legs(array[..., None], [leg.sums for leg in self.legs])[0])


def fragment_outcomes(fragment: Fragment, schemes: tuple[Scheme, ...], noise: Noise = NOISELESS) -> FragmentOutcomes:
    """What the variants of a fragment show, under the settings of these schemes.

    Args:
        fragment: the fragment.
        schemes: of its legs.
        noise: of the device that runs it.

    Raises:
        ExecutionError: there is not enough memory to simulate it.
    """
    legs = _legs(fragment, schemes, noise)
    chances = [leg.chance for leg in legs]
    values = np.empty((*(leg.dimension for leg in fragment.legs), fragment.num_factors))
    times = np.zeros(fragment.num_factors)
    groups = []
    for question in _questions(fragment):
        exact, seen = whole_tensor(question.fragment), noise.contrast ** sign_bits(question.fragment)
        levels = [exact * (kept * seen) for kept in noise.kept(question.fragment)]
        for group, places, pairs in zip(question.groups, question.factors, question.products, strict=True):
            values[..., group.factors] = exact[..., places]
            times[group.factors] += 1
            used, product_of = np.unique(pairs, return_inverse=True)
            product_of = product_of.reshape(pairs.shape) - int(used[0] < 0)
            means, products = (
                np.array([along_legs(np.take(own, which, axis=-1), chances) for own in levels])
                for which in (places, used[used >= 0])
            )
            groups.append(GroupOutcomes(group.factors, means, products, product_of))
    counted = noise.reading ** sign_bits(fragment) / times
    return FragmentOutcomes(shown_values(fragment, schemes, noise, values), legs, tuple(groups), counted, noise.spreads)


def shown_values(fragment: Fragment, schemes: tuple[Scheme, ...], noise: Noise, values: np.ndarray) -> np.ndarray:
    """(leg..., factor) what many shots show on average of an exact tensor ``values``."""
    kept = zip(noise.shares, noise.kept(fragment), strict=True)
    if noise == NOISELESS and all(leg.whole for leg in _legs(fragment, schemes, noise)):
        return values
    left = values * sum(share * own for share, own in kept) * (noise.contrast * noise.reading) ** sign_bits(fragment)
    shown = [leg.influence.T @ leg.chance for leg in _legs(fragment, schemes, noise)]
    return np.moveaxis(along_legs(left, shown), 0, -1)


def _legs(fragment: Fragment, schemes: tuple[Scheme, ...], noise: Noise) -> tuple[LegOutcomes, ...]:
    return tuple(
        LegOutcomes.of(leg.kind, scheme, noise.contrast, noise.reading)
        for leg, scheme in zip(fragment.legs, schemes, strict=True)
    )


def outcomes_seconds(fragment: Fragment) -> float:
    """How long the simulations of ``fragment_outcomes`` are likely to take on one typical core."""
    return sum(exact_fragment_seconds(question.fragment) for question in _questions(fragment))


def outcomes_count(fragment: Fragment, schemes: tuple[Scheme, ...]) -> float:
    """How many numbers its outcomes are: every outcome of every leg, for all that is asked."""
    outcomes = prod(
        float(len(LegOutcomes.of(leg.kind, s).chance)) for leg, s in zip(fragment.legs, schemes, strict=True)
    )
    return outcomes * sum(question.fragment.num_factors for question in _questions(fragment))


def outcomes_bytes(fragment: Fragment, schemes: tuple[Scheme, ...]) -> float:
    """About what its outcomes take, and what is made of them."""
    return 8.0 * _COPIES * outcomes_count(fragment, schemes)


@dataclass(frozen=True)
class _Question:
    """A simulation.

    Attributes:
        fragment: with all that is asked as its factors.
        groups: whose answers it gives.
        factors: for each group, (k,) int, where its factors are.
        products: for each group, (k, k) int, where the products of two of them are; -1 where they are not asked.
    """

    fragment: Fragment
    groups: tuple[MeasurementGroup, ...]
    factors: tuple[np.ndarray, ...]
    products: tuple[np.ndarray, ...]


@once_a_fragment
def _questions(fragment: Fragment) -> tuple[_Question, ...]:
    """All groups' at once, or a simulation a group where that takes less."""
    groups = measurement_groups(fragment)
    at_once = _question(fragment, groups, [group.factors for group in groups])
    took = exact_fragment_seconds(at_once.fragment)
    if took < _SHORT_S or not fragment.factors_x.any():
        return (at_once,)
    apart = tuple(_question(_turned(fragment, g), (g,), [np.arange(len(g.factors))]) for g in groups)
    return apart if sum(exact_fragment_seconds(one.fragment) for one in apart) < took else (at_once,)


def _question(fragment: Fragment, groups: tuple[MeasurementGroup, ...], factors: Sequence[np.ndarray]) -> _Question:
    """The fragment with products of its factors, the identity among them, asked too."""
    rows = np.concatenate([fragment.factors_x, fragment.factors_z], axis=1)
    place = {row.tobytes(): k for k, row in enumerate(rows)}
    added: list[np.ndarray] = []

    def at(row: np.ndarray) -> int:
        key = row.tobytes()
        if key not in place:
            place[key] = len(rows) + len(added)
            added.append(row)
        return place[key]

    alike = at(np.zeros(rows.shape[1], dtype=bool))
    few = sum(len(own) ** 2 for own in factors) <= _MOST_PRODUCTS
    products = []
    for own in factors:
        pairs = np.full((len(own), len(own)), -1)
        for a, f in enumerate(own.tolist()):
            for b, g in enumerate(own.tolist() if few else ()):
                pairs[a, b] = at(rows[f] ^ rows[g])
            pairs[a, a] = alike
        products.append(pairs)
    every = np.concatenate([rows, np.array(added).reshape(-1, rows.shape[1])]).astype(bool)
    qubits = fragment.num_qubits
    asked = replace(fragment, factors_x=every[:, :qubits], factors_z=every[:, qubits:])
    return _Question(asked, groups, tuple(factors), tuple(products))


def _turned(fragment: Fragment, group: MeasurementGroup) -> Fragment:
    """The fragment ending in a group's bases, with that group's factors only, in which no X part is left."""
    circuit = fragment.circuit.copy()
    for qubit in np.flatnonzero((group.bases == _X) | (group.bases == _Y)).tolist():
        if group.bases[qubit] == _Y:
            circuit.sdg(qubit)
        circuit.h(qubit)
    z_parts = fragment.factors_x[group.factors] | fragment.factors_z[group.factors]
    return replace(fragment, circuit=circuit, factors_x=np.zeros_like(z_parts), factors_z=z_parts)


def along_legs(array: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """(last, new index of each leg...) an array (leg..., last) with each leg's axis multiplied by its (new, leg).

    The first axis becomes the last one by a product, so that no array is re-ordered on the way; small neighbours go
    together.
    """
    value = array
    for matrix in joined(matrices):
        value = value.reshape(matrix.shape[1], -1).T @ matrix.T
    return value.reshape(array.shape[-1], *map(len, matrices))
