"""The whole reconstructed distribution, where it is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import opt_einsum

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.distribution.asking import asking_for
from tasks.reconstruction.distribution.outputs import Outputs
from tasks.reconstruction.errors import DistributionError

MOST_VECTOR_BITS = 24


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
    network = network_of(asking_for(joined, np.zeros((0, len(outputs)), dtype=np.int64), [1] * len(outputs)))
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
