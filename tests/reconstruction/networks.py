"""Random networks and random counts for the tests of reconstruction, and the slow oracles they are held against."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, random_array

from tasks.model.tensor import FragmentTensor, LegSettings, SampledData, Structure, VariantCounts, VariantData


def random_structure(
    edges: list[tuple[int, int]],
    fragments: int,
    rng: np.random.Generator,
    *,
    dims: tuple[tuple[int, int], ...] = ((4, 4),),
    factors: int = 3,
    terms: int = 7,
    observables: int = 5,
) -> Structure:
    """A network with the given edges (an edge from a fragment to itself is a self-loop) and random everything else."""
    legs: list[list[tuple[int, int]]] = [[] for _ in range(fragments)]
    bonds = []
    for cut, (left, right) in enumerate(edges):
        bonds.append(rng.normal(size=dims[rng.integers(len(dims))]))
        for end, fragment in ((0, left), (1, right)):
            legs[fragment].insert(int(rng.integers(len(legs[fragment]) + 1)), (cut, end))
    num_factors = tuple(int(n) for n in rng.integers(1, factors + 1, size=fragments))
    factor_index = np.stack([rng.integers(n, size=terms) for n in num_factors], axis=1)
    coefficients = csr_array(
        random_array((observables, terms), density=0.5, rng=rng, data_sampler=lambda size: rng.normal(size=size))
    )
    return Structure(tuple(tuple(leg) for leg in legs), tuple(bonds), factor_index, num_factors, coefficients)


def exact_tensors(structure: Structure, rng: np.random.Generator) -> list[FragmentTensor]:
    """Gaussian tensors of the right shapes."""
    tensors = []
    for fragment, legs in enumerate(structure.legs):
        shape = [structure.bonds[cut].shape[end] for cut, end in legs]
        tensors.append(FragmentTensor(fragment, rng.normal(size=(*shape, structure.num_factors[fragment]))))
    return tensors


def einsum_values(structure: Structure, values: list[np.ndarray]) -> np.ndarray:
    """Every term by one einsum over tensors and bonds: independent of trees, sharing and absorbing."""
    terms = np.zeros(len(structure.factor_index))
    for term, factors in enumerate(structure.factor_index):
        operands: list = []
        for fragment, legs in enumerate(structure.legs):
            operands += [values[fragment][..., factors[fragment]], [2 * cut + end for cut, end in legs]]
        for cut, bond in enumerate(structure.bonds):
            operands += [bond, [2 * cut, 2 * cut + 1]]
        terms[term] = np.einsum(*operands, [], optimize="greedy")
    return structure.coefficients @ terms


def pauli_leg() -> LegSettings:
    """A wire's upstream leg: settings X, Y, Z, each with a signed column; I from all three, unsigned."""
    columns = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]])
    inverse = np.zeros((4, 6))
    inverse[0, [0, 2, 4]] = 1 / 3
    inverse[1, 1] = inverse[2, 3] = inverse[3, 5] = 1.0
    return LegSettings(columns, inverse, 3)


def preparation_leg() -> LegSettings:
    """A wire's downstream leg: |0>, |1>, |+>, |+i>, no bit."""
    columns = np.array([[0, 0], [1, 0], [2, 0], [3, 0]])
    inverse = np.array([[1.0, 1, 0, 0], [-1, -1, 2, 0], [-1, -1, 0, 2], [1, -1, 0, 0]])
    return LegSettings(columns, inverse, 4)


def random_samples(
    legs: tuple[LegSettings, ...],
    num_factors: int,
    rng: np.random.Generator,
    *,
    shots: int = 200,
    factor_bits: int = 3,
    distributions: dict | None = None,
) -> SampledData:
    """Counts drawn from a random distribution for every (settings, group); groups overlap in factor 0.

    ``distributions`` (when given) keeps each variant's distribution between calls, so that runs can be repeated.
    """
    half = (num_factors + 1) // 2
    groups = (
        [np.arange(half), np.concatenate([[0], np.arange(half, num_factors)])] if num_factors > 1 else [np.arange(1)]
    )
    variants = []
    for settings in np.ndindex(*(leg.num_settings for leg in legs)):
        bits, next_bit = [], factor_bits
        for leg, setting in zip(legs, settings, strict=True):
            measured = bool((leg.columns[leg.columns[:, 0] == setting, 1] == 1).any())
            bits.append(next_bit if measured else -1)
            next_bit += measured
        for number, group in enumerate(groups):
            key = (settings, number)
            law = (
                rng.dirichlet(np.full(2**next_bit, 0.3)) if distributions is None or key not in distributions else None
            )
            if distributions is not None:
                law = distributions.setdefault(key, law)
            masks = np.zeros((len(group), next_bit), dtype=bool)
            for row, factor in enumerate(group):
                masks[row, :factor_bits] = [(factor >> bit) & 1 for bit in range(factor_bits)]
            seen = rng.multinomial(shots + 10 * number, law)
            variants.append(VariantData(settings, tuple(bits), group, masks, to_counts(seen, next_bit)))
    return SampledData(legs, tuple(variants))


def to_counts(seen: np.ndarray, num_bits: int) -> VariantCounts:
    """Counts from a histogram over all outcomes, bit i of the index being measured bit i."""
    found = np.flatnonzero(seen)
    bits = (found[:, None] >> np.arange(num_bits)) & 1
    packed = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
    order = np.lexsort(packed.T[::-1])
    return VariantCounts(packed[order], seen[found][order].astype(np.int64), num_bits)


def looped_raw(samples: SampledData, num_factors: int, skip: tuple[int, int] | None = None):
    """Raw tensor shot by shot in plain Python; ``skip`` leaves one shot (variant, outcome) out."""
    shape = (*(len(leg.columns) for leg in samples.legs), num_factors)
    sums, shots = np.zeros(shape), np.zeros(shape)
    for number, variant in enumerate(samples.variants):
        for row, (packed, count) in enumerate(zip(variant.counts.outcomes, variant.counts.counts, strict=True)):
            times = int(count) - (skip == (number, row))
            bits = [(int(packed[bit // 8]) >> (bit % 8)) & 1 for bit in range(variant.counts.num_bits)]
            for entry in np.ndindex(*shape[:-1]):
                columns = [leg.columns[raw] for leg, raw in zip(samples.legs, entry, strict=True)]
                if any(column[0] != setting for column, setting in zip(columns, variant.settings, strict=True)):
                    continue
                sign = 1
                for column, bit in zip(columns, variant.leg_bits, strict=True):
                    sign *= (-1) ** bits[bit] if column[1] else 1
                for factor, mask in zip(variant.factors, variant.factor_masks, strict=True):
                    parity = sum(bit for bit, used in zip(bits, mask, strict=True) if used)
                    sums[(*entry, factor)] += times * sign * (-1) ** parity
                    shots[(*entry, factor)] += times
    return sums, shots


def looped_values(samples: SampledData, num_factors: int) -> np.ndarray:
    """The tensor in the leg bases from ``looped_raw``."""
    sums, shots = looped_raw(samples, num_factors)
    values = sums / np.where(shots > 0, shots, 1)
    for axis, leg in enumerate(samples.legs):
        values = np.moveaxis(np.tensordot(leg.inverse, values, axes=(1, axis)), 0, axis)
    return values
