"""Bit strings drawn from the reconstructed distribution, without ever building it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.network import Network, network_of
from tasks.reconstruction.contraction.path import Path, find_paths
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.distribution.asking import asking_for, fragments_in_turn
from tasks.reconstruction.distribution.outputs import Outputs
from tasks.reconstruction.distribution.whole import nearest_distribution
from tasks.reconstruction.errors import DistributionError
from tasks.reconstruction.statistics.gradient import gradients

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


def draw_strings(
    joined: Structure, outputs: Sequence[Outputs], num_qubits: int, shots: int, *, seed: int = 0
) -> Outcomes:
    """Draw bit strings, fragment after fragment, each from its distribution given the bits already drawn.

    For every distinct string drawn so far one pass back down the contraction tree gives the surroundings of the next
    fragment, and these with the fragment's projectors give the conditional distribution of all of its bits. Of a
    fragment known from counts that is a distribution but for its shot noise: strings are drawn from the one nearest to
    it, among the outcomes that were seen.

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
    exact = all(own.exact for own in outputs)
    network = network_of(asking_for(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
    paths = find_paths(network, uses=shots, seed=seed)
    strings = np.full((1, len(outputs)), -1, dtype=np.int64)  # (distinct, fragment): outcome drawn, -1 for not yet
    counts = np.array([shots], dtype=np.int64)
    for fragment in fragments_in_turn(joined):
        surroundings = _surroundings(joined, network, paths, outputs, strings, fragment)
        own = outputs[fragment]
        codes = own.outcomes()
        projectors = own.projectors(np.ones(len(own.qubits), dtype=bool), codes)
        projectors = projectors.reshape(-1, len(codes))
        new_strings, new_counts = [], []
        step = max(1, _CHUNK // projectors.shape[1])
        for start in range(0, len(strings), step):
            block = surroundings[start : start + step].reshape(-1, projectors.shape[0]) @ projectors
            chances = _exact_chances(block, fragment) if exact else np.array([_nearest_chances(row) for row in block])
            drawn = rng.multinomial(counts[start : start + step], chances)
            row, outcome = np.nonzero(drawn)
            chosen = strings[start + row].copy()
            chosen[:, fragment] = codes[outcome]
            new_strings.append(chosen)
            new_counts.append(drawn[row, outcome])
        strings, counts = np.concatenate(new_strings), np.concatenate(new_counts)
    bits = np.zeros((len(strings), num_qubits), dtype=np.uint8)
    for fragment, output in enumerate(outputs):
        for place, qubit in enumerate(output.qubits):
            bits[:, qubit] = (strings[:, fragment] >> place) & 1
    return Outcomes(bits, counts)


def _exact_chances(block: np.ndarray, fragment: int) -> np.ndarray:
    """(string, outcome) conditionals, normalised."""
    totals = block.sum(axis=1, keepdims=True)
    if (block < -_ROUNDING * np.abs(totals)).any() or (totals <= 0).any():
        raise DistributionError(
            f"The distribution of fragment {fragment}'s outputs is negative beyond rounding: its tensors are not exact."
            " Use the list of most likely outcomes instead (`top`)."
        )
    chances = np.clip(block, 0.0, None)
    return chances / chances.sum(axis=1, keepdims=True)


def _nearest_chances(quasi: np.ndarray) -> np.ndarray:
    """(outcome,) the distribution nearest to a conditional with shot noise; where that says nothing, any outcome."""
    total = quasi.sum()
    if total > 0:
        nearest = nearest_distribution(quasi / total)
    else:
        nearest = np.clip(quasi, 0.0, None) if (quasi > 0).any() else np.ones_like(quasi)
    return nearest / nearest.sum()


def _surroundings(
    joined: Structure,
    network: Network,
    paths: Sequence[Path],
    outputs: Sequence[Outputs],
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
    asked = asking_for(joined, factor_index, [value.shape[-1] for value in values])
    plan = schedule(asked, network, gradients=True, paths=paths)
    found = np.zeros((len(strings), *network.leaves[fragment].legs))
    for _, pieces in gradients(asked, network, plan, values, (fragment,)):
        for piece in pieces:
            found[piece.observables] = piece.gradient
    return found
