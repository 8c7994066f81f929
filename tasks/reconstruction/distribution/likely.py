"""The most likely bit strings of the reconstructed distribution, without ever building it.

A projector onto bit values is one more factor of a fragment, so the probability of a bit string, or of a prefix of one,
is a contraction like any other, and all prefixes asked at once share its parts.
"""

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
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.uncertainty import Uncertainty


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
        beam: prefixes kept at each step, at least 1; None keeps 8 for each outcome wanted, at least 256.
        seed: of the path search, and of the halves.

    Raises:
        MissingCountsError: a variant has too few shots to be in both halves.
    """
    halves = [output.in_halves(seed) for output in outputs]
    choosing, telling = [first for first, _ in halves], [second for _, second in halves]
    width = max(256, 8 * top) if beam is None else beam
    network = network_of(asking_for(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
    paths = find_paths(network, uses=width, seed=seed)
    order = [(fragment, bit) for fragment in fragments_in_turn(joined) for bit in range(len(outputs[fragment].qubits))]
    fixed = [np.zeros(len(output.qubits), dtype=bool) for output in outputs]
    codes = np.zeros((1, len(outputs)), dtype=np.int64)
    values, errors = np.ones(1), np.zeros(1)
    done = 0
    while done < len(order):
        while done < len(order) and len(codes) * 2 <= 4 * width:
            fragment, bit = order[done]
            more = codes.copy()
            more[:, fragment] |= np.int64(1) << int(fixed[fragment].sum())
            codes = np.concatenate([codes, more])
            fixed[fragment][bit] = True
            done += 1
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


def string_probabilities(joined: Structure, outputs: Sequence[Outputs], bits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probabilities of bit strings.

    Args:
        joined: legs and bonds of the network; its terms are not used.
        outputs: one per fragment, exact or sampled.
        bits: (string, qubit) 0 or 1.
        seed: of the path search.

    Returns:
        (string,) float64.
    """
    network = network_of(asking_for(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
    codes = np.zeros((len(bits), len(outputs)), dtype=np.int64)
    for fragment, output in enumerate(outputs):
        for place, qubit in enumerate(output.qubits):
            codes[:, fragment] |= bits[:, qubit].astype(np.int64) << place
    fixed = [np.ones(len(output.qubits), dtype=bool) for output in outputs]
    return _probabilities(joined, network, find_paths(network, uses=len(codes), seed=seed), outputs, fixed, codes)[0]


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
    asked = asking_for(joined, factor_index, [value.shape[-1] for value in values])
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
