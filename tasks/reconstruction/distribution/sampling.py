"""Bit strings from the reconstructed distribution, without ever building it; and the whole of it where it is small.

A projector onto bit values is one more factor of a fragment, so the probability of a bit string, or of a prefix of one,
is a contraction like any other, and all prefixes asked at once share its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import opt_einsum
from scipy.sparse import csr_array, eye_array

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.network import Network, network_of
from tasks.reconstruction.contraction.path import Path, find_paths
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.distribution.outputs import ExactOutputs, Outputs
from tasks.reconstruction.errors import DistributionError
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.uncertainty import Uncertainty

MOST_VECTOR_BITS = 24
_ROUNDING = 1e-7  # how negative an exact conditional may come out, relative to its sum
_CHUNK = 1 << 25  # elements of one block of conditionals


@dataclass(frozen=True)
class Outcomes:
    """Distinct bit strings and what is known of each.

    Attributes:
        bits: (outcome, qubit) uint8, column ``q`` being qubit ``q``.
        counts: (outcome,) int64, how often each was drawn.
    """

    bits: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class LikelyOutcomes:
    """The most likely bit strings found, most likely first.

    Attributes:
        bits: (outcome, qubit) uint8.
        probabilities: (outcome,) float64; an estimate, which may lie outside 0..1 by its error.
        std_errors: (outcome,) float64, 0 where every fragment is exact.
    """

    bits: np.ndarray
    probabilities: np.ndarray
    std_errors: np.ndarray


@dataclass(frozen=True)
class Distribution:
    """A whole distribution of up to 24 qubits.

    Attributes:
        quasi: (2**n,) float64 as reconstructed, bit ``q`` of the index being qubit ``q``.
        nearest: (2**n,) float64, the probability distribution nearest to it (least squares).
        negativity: sum of the magnitudes of the negative entries of ``quasi``.
    """

    quasi: np.ndarray
    nearest: np.ndarray
    negativity: float


def draw_strings(
    joined: Structure, outputs: Sequence[ExactOutputs], num_qubits: int, shots: int, *, seed: int = 0
) -> Outcomes:
    """Draw bit strings, fragment after fragment, each from its distribution given the bits already drawn.

    For every distinct string drawn so far one pass back down the contraction tree gives the surroundings of the next
    fragment, and these with the fragment's projectors give the conditional distribution of all of its bits.

    Args:
        joined: legs and bonds of the network; its terms are not used.
        outputs: one per fragment.
        num_qubits: width of the problem; qubits that no fragment holds read 0.
        shots: how many strings to draw.
        seed: of the draws and the path search.

    Raises:
        DistributionError: if a conditional is negative beyond rounding.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    network = network_of(_asking(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
    paths = find_paths(network, seed=seed)
    strings = np.full((1, len(outputs)), -1, dtype=np.int64)  # (distinct, fragment): outcome drawn, -1 for not yet
    counts = np.array([shots], dtype=np.int64)
    for fragment in _walk(joined):
        surroundings = _surroundings(joined, network, paths, outputs, strings, fragment)
        projectors = outputs[fragment].values.reshape(-1, outputs[fragment].values.shape[-1])
        new_strings, new_counts = [], []
        step = max(1, _CHUNK // projectors.shape[1])
        for start in range(0, len(strings), step):
            block = surroundings[start : start + step].reshape(-1, projectors.shape[0]) @ projectors
            totals = block.sum(axis=1, keepdims=True)
            if (block < -_ROUNDING * np.abs(totals)).any() or (totals <= 0).any():
                raise DistributionError(
                    f"The distribution of fragment {fragment}'s outputs is negative beyond rounding: its tensors are"
                    " not exact. Use the list of most likely outcomes instead (`top`)."
                )
            chances = np.clip(block, 0.0, None)
            drawn = rng.multinomial(counts[start : start + step], chances / chances.sum(axis=1, keepdims=True))
            row, outcome = np.nonzero(drawn)
            chosen = strings[start + row].copy()
            chosen[:, fragment] = outcome
            new_strings.append(chosen)
            new_counts.append(drawn[row, outcome])
        strings, counts = np.concatenate(new_strings), np.concatenate(new_counts)
    bits = np.zeros((len(strings), num_qubits), dtype=np.uint8)
    for fragment, output in enumerate(outputs):
        for place, qubit in enumerate(output.qubits):
            bits[:, qubit] = (strings[:, fragment] >> place) & 1
    return Outcomes(bits, counts)


def most_likely(
    joined: Structure, outputs: Sequence[Outputs], num_qubits: int, top: int, *, beam: int | None = None, seed: int = 0
) -> LikelyOutcomes:
    """Find the most likely bit strings by refining the promising prefixes only.

    Prefixes grow by a few bits at a time; those whose probability may be largest (estimate plus two standard errors)
    are kept. A string all of whose prefixes are unlikely cannot be likely, so with exact fragments nothing with a
    probability above 1 / beam is missed.

    What is chosen for being large in a sample is too large in that sample. So one half of the shots chooses, and the
    other half, which did not, says how likely the chosen ones are.

    Args:
        joined: legs and bonds of the network; its terms are not used.
        outputs: one per fragment, exact or sampled.
        num_qubits: width of the problem.
        top: how many outcomes to return.
        beam: prefixes kept at each step; None keeps 8 for each outcome wanted, at least 256.
        seed: of the path search, and of the halves.

    Raises:
        MissingCountsError: a variant has too few shots to be in both halves.
    """
    halves = [output.in_halves(seed) for output in outputs]
    choosing, telling = [first for first, _ in halves], [second for _, second in halves]
    width = max(256, 8 * top) if beam is None else beam
    network = network_of(_asking(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
    paths = find_paths(network, seed=seed)
    order = [(fragment, bit) for fragment in _walk(joined) for bit in range(len(outputs[fragment].qubits))]
    fixed = [np.zeros(len(output.qubits), dtype=bool) for output in outputs]
    codes = np.zeros((1, len(outputs)), dtype=np.int64)
    values, errors = np.ones(1), np.zeros(1)
    done = 0
    while done < len(order):
        grown = 0
        while done < len(order) and (grown == 0 or len(codes) * 2 <= 4 * width):
            fragment, bit = order[done]
            more = codes.copy()
            more[:, fragment] |= np.int64(1) << int(fixed[fragment].sum())
            codes = np.concatenate([codes, more])
            fixed[fragment][bit] = True
            done, grown = done + 1, grown + 1
        values, errors = _probabilities(joined, network, paths, choosing, fixed, codes)
        keep = np.argsort(-(values + 2 * errors), kind="stable")[: width if done < len(order) else top]
        codes, values, errors = codes[keep], values[keep], errors[keep]
    if order:
        values, errors = _probabilities(joined, network, paths, telling, fixed, codes)
    best = np.argsort(-values, kind="stable")
    bits = np.zeros((len(codes), num_qubits), dtype=np.uint8)
    for fragment, output in enumerate(outputs):
        for place, qubit in enumerate(output.qubits):
            bits[:, qubit] = (codes[:, fragment] >> place) & 1
    return LikelyOutcomes(bits[best], values[best], errors[best])


def full_distribution(joined: Structure, outputs: Sequence[Outputs], num_qubits: int) -> Distribution:
    """Contract the network with every output left open.

    Raises:
        DistributionError: above 24 qubits.
    """
    if num_qubits > MOST_VECTOR_BITS:
        raise DistributionError(
            f"A distribution over {num_qubits} qubits has 2**{num_qubits} entries; {MOST_VECTOR_BITS} qubits are the"
            " most. Draw shots, or ask for the most likely outcomes (`top`)."
        )
    network = network_of(_asking(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
    operands: list = []
    for leaf, output in zip(network.leaves, outputs, strict=True):
        size = len(output.qubits)
        values = output.projectors(np.ones(size, dtype=bool), np.arange(2**size))
        array = leaf.absorb(values)
        operands += [array.reshape(*(2,) * size, *array.shape[1:])]
        operands += [[-1 - q for q in reversed(output.qubits)] + list(leaf.indices)]
    held = sorted((q for output in outputs for q in output.qubits), reverse=True)
    labels = {label: number for number, label in enumerate(dict.fromkeys(i for part in operands[1::2] for i in part))}
    named = [[labels[i] for i in part] if isinstance(part, list) else part for part in operands]
    asked = [labels[-1 - q] for q in held]
    found = opt_einsum.contract(*named, asked, optimize="greedy") if named else np.array(1.0)
    quasi = np.zeros((2,) * num_qubits)
    quasi[tuple(slice(None) if q in held else 0 for q in reversed(range(num_qubits)))] = found
    quasi = quasi.reshape(-1)
    return Distribution(quasi, nearest_distribution(quasi), float(np.abs(quasi[quasi < 0]).sum()))


def nearest_distribution(quasi: np.ndarray) -> np.ndarray:
    """The probability distribution nearest to a quasi-distribution in least squares.

    The projection onto the simplex: subtract a constant and clip at zero, with the constant that makes the sum 1
    (Smolin, Gambetta and Smith, Phys. Rev. Lett. 108, 070502).
    """
    ordered = np.sort(quasi)[::-1]
    constants = (np.cumsum(ordered) - 1.0) / np.arange(1, quasi.size + 1)
    last = np.flatnonzero(ordered > constants)[-1]
    return np.clip(quasi - constants[last], 0.0, None)


def _asking(joined: Structure, factor_index: np.ndarray, num_factors: Sequence[int]) -> Structure:
    """The same network with one observable for each row of ``factor_index``."""
    return Structure(
        joined.legs,
        joined.bonds,
        factor_index,
        tuple(num_factors),
        csr_array(eye_array(len(factor_index), format="csr")),
    )


def _walk(joined: Structure) -> list[int]:
    """The fragments so that each is next to one before it where that is possible: what is fixed stays together."""
    neighbours: list[set[int]] = [set() for _ in joined.legs]
    owner: dict[int, int] = {}
    for fragment, legs in enumerate(joined.legs):
        for cut, _ in legs:
            other = owner.setdefault(cut, fragment)
            neighbours[fragment].add(other)
            neighbours[other].add(fragment)
    order: list[int] = []
    left = set(range(len(joined.legs)))
    while left:
        seen = set(order)
        fragment = min(left, key=lambda f: (-len(neighbours[f] & seen), len(neighbours[f] - seen), f))
        order.append(fragment)
        left.remove(fragment)
    return order


def _surroundings(
    joined: Structure,
    network: Network,
    paths: Sequence[Path],
    outputs: Sequence[ExactOutputs],
    strings: np.ndarray,
    fragment: int,
) -> np.ndarray:
    """(string, legs of ``fragment``...): everything but one fragment, for each string of outcomes drawn so far."""
    values, factor_index = [], np.zeros_like(strings)
    for other, output in enumerate(outputs):
        drawn = strings[:, other]
        if drawn[0] >= 0:
            codes, place = np.unique(drawn, return_inverse=True)
            values.append(output.projectors(np.ones(len(output.qubits), dtype=bool), codes))
            factor_index[:, other] = place.ravel()
        else:
            values.append(output.projectors(np.zeros(len(output.qubits), dtype=bool), np.zeros(1, dtype=np.int64)))
    asked = _asking(joined, factor_index, [value.shape[-1] for value in values])
    plan = schedule(asked, network, gradients=True, paths=paths)
    found = np.zeros((len(strings), *network.leaves[fragment].legs))
    for _, pieces in gradients(asked, network, plan, values, (fragment,)):
        for piece in pieces:
            found[piece.observables] = piece.gradient
    return found


def _probabilities(
    joined: Structure,
    network: Network,
    paths: Sequence[Path],
    outputs: Sequence[Outputs],
    fixed: Sequence[np.ndarray],
    codes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and standard errors of prefixes, (prefix, fragment) codes of the bits fixed so far."""
    values, used, factor_index = [], [], np.zeros_like(codes)
    for fragment, output in enumerate(outputs):
        distinct, place = np.unique(codes[:, fragment], return_inverse=True)
        values.append(output.projectors(fixed[fragment], distinct))
        used.append(distinct)
        factor_index[:, fragment] = place.ravel()
    asked = _asking(joined, factor_index, [value.shape[-1] for value in values])
    plan = schedule(asked, network, gradients=True, paths=paths)
    probabilities, known = np.zeros(len(codes)), Uncertainty.none(len(codes))
    for _, pieces in gradients(asked, network, plan, values, range(len(outputs))):
        for piece in pieces:
            if piece.fragment == 0:  # multilinear: the gradient along a tensor itself is the value
                entries = np.moveaxis(values[0], -1, 0)[piece.factors]
                along = (piece.gradient * entries).reshape(len(entries), -1).sum(axis=1)
                np.add.at(probabilities, piece.observables, along)
            own = piece.fragment
            outputs[own].add_uncertainty(fixed[own], used[own], piece, known)
    return probabilities, np.sqrt(known.variance)
