"""The same counts through qiskit-addon-cutting, a plain einsum and Qompass: seconds and differences."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, PubResult
from qiskit.quantum_info import PauliList

from tasks.cutting import GateCut
from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction import contract, estimate_values, tensor_values
from tests.peers.addon import peer_problem, peer_structure, peer_tensors, peer_values


def beside_the_peer(cuts: Sequence[int], shots: int, seed: int = 3) -> list[dict]:
    """Twelve qubits in two parts with k severed gates: the same counts through the peer, an einsum and Qompass."""
    rows = []
    for k in cuts:
        rng = np.random.default_rng(seed)
        circuit = QuantumCircuit(12)
        severed = []
        for layer in range(k):
            for q in (*range(5), *range(6, 11)):
                circuit.rzz(0.3, q, q + 1)
            severed.append(GateCut(len(circuit.data)))
            circuit.rzz(0.7, layer % 6, 6 + layer % 6)
        observables = PauliList(["Z" * 12, "ZZIIIIIIIIII", "IIIIIZZIIIII", "IIIIIIIIIIZZ", "ZIIIIIIIIIIZ"])
        start = time.perf_counter()
        problem = peer_problem(circuit, tuple(severed), observables)
        generating = time.perf_counter() - start
        results = {
            fragment.label: {
                key: PubResult(
                    DataBin(
                        observable_measurements=BitArray(rng.integers(256, size=(shots, 1), dtype=np.uint8) & 63, 6),
                        qpd_measurements=BitArray(
                            rng.integers(256, size=(shots, 1), dtype=np.uint8)
                            & (
                                2 ** max(1, _measured(problem, fragment, key)) - 1
                                if _measured(problem, fragment, key)
                                else 0
                            ),
                            max(1, _measured(problem, fragment, key)),
                        ),
                    )
                )
                for key in fragment.distinct()
            }
            for fragment in problem.fragments
        }
        structure, tensors = peer_structure(problem), peer_tensors(problem, results)

        def ours(structure=structure, tensors=tensors):
            again = [
                FragmentTensor(t.fragment, tensor_values(t.samples, t.values.shape[-1]), t.samples) for t in tensors
            ]
            return contract(structure, again)

        start = time.perf_counter()
        values = ours()
        to_values = time.perf_counter() - start
        start = time.perf_counter()
        estimate_values(structure, tensors)
        with_errors = time.perf_counter() - start
        start = time.perf_counter()
        by_einsum = _einsum(structure, tensors)
        einsum_time = time.perf_counter() - start
        start = time.perf_counter()
        theirs = peer_values(problem, results)
        peer_time = time.perf_counter() - start
        scale = max(1.0, float(np.abs(theirs).max()))
        assert np.abs(values - theirs).max() < 1e-9 * scale and np.abs(values - by_einsum).max() < 1e-9 * scale
        rows.append(
            {
                "cuts": k,
                "sub_experiments": problem.num_experiments,
                "distinct": problem.num_distinct,
                "shots_each": shots,
                "peer_generating_s": generating,
                "peer_reconstruction_s": peer_time,
                "einsum_from_tensors_s": einsum_time,
                "counts_to_values_s": to_values,
                "error_bars_s": with_errors,
                "largest_difference": float(np.abs(values - theirs).max()),
                "ratio": peer_time / to_values,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _measured(problem, fragment, key) -> int:
    return sum(
        problem.sides[cut][end].measured[setting] for (cut, end), setting in zip(fragment.legs, key[0], strict=True)
    )


def _einsum(structure: Structure, tensors: Sequence[FragmentTensor]) -> np.ndarray:
    """One call of numpy.einsum with its own path search for each term."""
    terms = []
    for factors in structure.factor_index:
        operands: list = []
        for tensor, legs in zip(tensors, structure.legs, strict=True):
            operands += [tensor.values[..., factors[tensor.fragment]], [2 * cut + end for cut, end in legs]]
        for cut, bond in enumerate(structure.bonds):
            operands += [bond, [2 * cut, 2 * cut + 1]]
        terms.append(np.einsum(*operands, [], optimize="greedy"))
    return structure.coefficients @ np.array(terms)
