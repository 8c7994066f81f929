"""qiskit-addon-cutting beside Qompass: the same cuts handed to both, and the peer's counts put into our tensors.

The peer's leg basis is its own settings: one raw column for each distinct list of operations on a side (signed where it
measures), so ``LegSettings.inverse`` is the identity and the bond ``W[a, b]`` sums the coefficients of the maps that
pair side-settings a and b. Our reconstruction of such tensors is then, term by term, the peer's own sum.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction
from qiskit.primitives import PrimitiveResult, PubResult
from qiskit.quantum_info import PauliList
from qiskit_addon_cutting import (
    cut_wires,
    expand_observables,
    generate_cutting_experiments,
    partition_problem,
    reconstruct_expectation_values,
)
from qiskit_addon_cutting.instructions import CutWire
from qiskit_addon_cutting.qpd import QPDBasis, TwoQubitQPDGate, WeightType, generate_qpd_weights
from qiskit_addon_cutting.utils.observable_grouping import ObservableCollection
from scipy.sparse import csr_array

from tasks.cutting import Cut, GateCut
from tasks.model.tensor import FragmentTensor, LegSettings, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction import tensor_values

Key = tuple[tuple[int, ...], int]  # settings of the legs, measurement group


@dataclass(frozen=True)
class PeerSide:
    """What one end of a cut can do, in the peer's terms.

    Attributes:
        setting_of_map: (map,) which distinct list of operations each map of the decomposition puts here.
        measured: (setting,) whether it reads a bit.
    """

    setting_of_map: tuple[int, ...]
    measured: tuple[bool, ...]


@dataclass(frozen=True)
class PeerFragment:
    """One of the peer's subcircuits.

    Attributes:
        label: the peer's name for it.
        legs: (cut, end) in the order in which they act.
        observables: ``ObservableCollection`` of the factors asked of it.
        factors: the distinct factors, as labels.
        factor_index: (term,) which factor each observable takes.
        experiments: all sub-experiments, as the peer lists them.
        keys: (sub-experiment,) what each is: equal keys are equal circuits.
    """

    label: Hashable
    legs: tuple[tuple[int, int], ...]
    observables: ObservableCollection
    factors: tuple[str, ...]
    factor_index: np.ndarray
    experiments: list[QuantumCircuit]
    keys: list[Key]

    def distinct(self) -> dict[Key, QuantumCircuit]:
        """One circuit for each key."""
        return dict(zip(self.keys, self.experiments, strict=True))


@dataclass(frozen=True)
class PeerProblem:
    """A cut circuit as the peer sees it.

    Attributes:
        fragments: its subcircuits with all their sub-experiments.
        coefficients: the peer's coefficient of each sample.
        subobservables: the peer's factors by label.
        sides: (cut, end).
        bases: the peer's decomposition of each cut.
    """

    fragments: tuple[PeerFragment, ...]
    coefficients: list[tuple[float, WeightType]]
    subobservables: Mapping[Hashable, PauliList]
    sides: tuple[tuple[PeerSide, PeerSide], ...]
    bases: tuple[QPDBasis, ...]

    @property
    def num_experiments(self) -> int:
        """Sub-experiments in all."""
        return sum(len(f.experiments) for f in self.fragments)

    @property
    def num_distinct(self) -> int:
        """Distinct ones among them."""
        return sum(len(set(f.keys)) for f in self.fragments)


def marked(circuit: QuantumCircuit, cuts: tuple[Cut, ...], paulis: PauliList) -> tuple[QuantumCircuit, PauliList]:
    """The circuit with our cuts marked as the peer wants them: QPD gates and moves; and the observables on it."""
    out = circuit.copy_empty_like()
    gates = {c.instruction for c in cuts if isinstance(c, GateCut)}
    wires = {(c.instruction, c.qubit) for c in cuts if not isinstance(c, GateCut)}
    for i, item in enumerate(circuit.data):
        qubits = [circuit.find_bit(q).index for q in item.qubits]
        for q in qubits:
            if (i, q) in wires:
                out.append(CutWire(), [q])
        if i in gates:
            out.append(
                CircuitInstruction(TwoQubitQPDGate.from_instruction(item.operation), [out.qubits[q] for q in qubits])
            )
        else:
            out.append(item.operation, qubits)
    if not wires:
        return out, paulis
    moved = cut_wires(out)
    return moved, expand_observables(paulis, circuit, moved)


def peer_problem(circuit: QuantumCircuit, cuts: tuple[Cut, ...], paulis: PauliList) -> PeerProblem:
    """All of the peer's sub-experiments for a circuit and cuts."""
    with_cuts, expanded = marked(circuit, cuts, paulis)
    parts = partition_problem(with_cuts, observables=expanded)
    experiments, coefficients = generate_cutting_experiments(parts.subcircuits, parts.subobservables, np.inf)
    # The order of samples is that of generate_cutting_experiments: by weight, the heaviest first, ties as they come.
    weights = generate_qpd_weights(parts.bases, num_samples=np.inf)
    samples = [maps for maps, _ in sorted(weights.items(), key=lambda pair: pair[1][0], reverse=True)]
    sides = tuple((_side(basis, 0), _side(basis, 1)) for basis in parts.bases)
    fragments = []
    for label, subcircuit in parts.subcircuits.items():
        legs = tuple(
            (int(item.operation.label.split("_")[-1]), item.operation.qubit_id)
            for item in subcircuit.data
            if item.operation.name == "qpd_1q"
        )
        observables = ObservableCollection(parts.subobservables[label])
        labels = parts.subobservables[label].to_labels()
        factors = tuple(sorted(set(labels)))
        keys = [
            (tuple(sides[cut][end].setting_of_map[maps[cut]] for cut, end in legs), group)
            for maps in samples
            for group in range(len(observables.groups))
        ]
        index = np.array([factors.index(text) for text in labels])
        fragments.append(PeerFragment(label, legs, observables, factors, index, experiments[label], keys))
    return PeerProblem(tuple(fragments), coefficients, parts.subobservables, sides, tuple(parts.bases))


def _side(basis: QPDBasis, end: int) -> PeerSide:
    distinct: list[tuple] = []
    measured: list[bool] = []
    of_map = []
    for pair in basis.maps:
        key = tuple((op.name, tuple(np.asarray(p).tobytes() for p in op.params)) for op in pair[end])
        if key not in distinct:
            distinct.append(key)
            measured.append(any(name == "qpd_measure" for name, _ in key))
        of_map.append(distinct.index(key))
    return PeerSide(tuple(of_map), tuple(measured))


def peer_values(problem: PeerProblem, results: Mapping[Hashable, Mapping[Key, PubResult]]) -> np.ndarray:
    """What the peer's reconstruction makes of one result for each distinct sub-experiment."""
    listed = {f.label: PrimitiveResult([results[f.label][key] for key in f.keys]) for f in problem.fragments}
    return np.array(reconstruct_expectation_values(listed, problem.coefficients, problem.subobservables))


def peer_structure(problem: PeerProblem) -> Structure:
    """The peer's sum as a network of ours."""
    bonds = []
    for basis, (left, right) in zip(problem.bases, problem.sides, strict=True):
        bond = np.zeros((len(left.measured), len(right.measured)))
        np.add.at(bond, (left.setting_of_map, right.setting_of_map), np.real(basis.coeffs))
        bonds.append(bond)
    count = problem.fragments[0].factor_index.size
    return Structure(
        legs=tuple(f.legs for f in problem.fragments),
        bonds=tuple(bonds),
        factor_index=np.stack([f.factor_index for f in problem.fragments], axis=1),
        num_factors=tuple(len(f.factors) for f in problem.fragments),
        coefficients=csr_array(np.eye(count)),
    )


def peer_tensors(problem: PeerProblem, results: Mapping[Hashable, Mapping[Key, PubResult]]) -> list[FragmentTensor]:
    """Our fragment tensors of the peer's counts, in the basis of the peer's own settings."""
    tensors = []
    for index, fragment in enumerate(problem.fragments):
        variants = tuple(
            _variant(problem, fragment, key, results[fragment.label][key]) for key in sorted(set(fragment.keys))
        )
        data = SampledData(tuple(_leg_settings(problem.sides[cut][end]) for cut, end in fragment.legs), variants)
        tensors.append(FragmentTensor(index, tensor_values(data, len(fragment.factors)), data))
    return tensors


def _leg_settings(side: PeerSide) -> LegSettings:
    count = len(side.measured)
    columns = np.array([(setting, int(side.measured[setting])) for setting in range(count)])
    return LegSettings(columns, np.eye(count), count)


def _variant(problem: PeerProblem, fragment: PeerFragment, key: Key, result: PubResult) -> VariantData:
    settings, group = key
    leg_bits, signed = [], 0
    for (cut, end), setting in zip(fragment.legs, settings, strict=True):
        measured = problem.sides[cut][end].measured[setting]
        leg_bits.append(signed if measured else -1)
        signed += measured
    observables = fragment.observables.groups[group]
    asked = max(1, len(observables.pauli_indices))
    factors = np.array([fragment.factors.index(p.to_label()) for p in observables.commuting_observables])
    masks = np.zeros((len(factors), signed + asked), dtype=bool)
    for row, mask in enumerate(observables.pauli_bitmasks):
        masks[row, signed:] = [bool(mask >> bit & 1) for bit in range(asked)]
    # (shot, bit) with bit 0 first: BitArray.to_bool_array counts from the most significant unless told otherwise.
    bits = np.concatenate(
        [
            result.data.qpd_measurements.to_bool_array(order="little")[:, :signed],
            result.data.observable_measurements.to_bool_array(order="little"),
        ],
        axis=1,
    )
    outcomes, counts = np.unique(np.packbits(bits, axis=1, bitorder="little"), axis=0, return_counts=True)
    return VariantData(settings, tuple(leg_bits), factors, masks, VariantCounts(outcomes, counts, signed + asked))
