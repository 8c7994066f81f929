"""The network as contraction sees it: fragments with their bonds absorbed, one index per cut.

Every cut's bond matrix is multiplied into one of its two fragments, a cut with both ends on one fragment is traced out,
and what remains is an ordinary tensor network whose index ``c`` is cut ``c``. Both steps are linear, so the way back
(``Leaf.pull_back``) takes a gradient from a leaf to the fragment tensor it came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.errors import InconsistentNetworkError


@dataclass(frozen=True)
class Leaf:
    """How one fragment tensor enters the network.

    Attributes:
        legs: (leg,) dimension of each leg of the fragment tensor.
        loops: (axis of end 0, axis of end 1, W) for each cut that begins and ends on this fragment.
        open_axes: axes that stay, in order.
        indices: the cut of each open axis.
        bonds: for each open axis the matrix (leg, index) to multiply in, or None where the other end takes the bond.
    """

    legs: tuple[int, ...]
    loops: tuple[tuple[int, int, np.ndarray], ...]
    open_axes: tuple[int, ...]
    indices: tuple[int, ...]
    bonds: tuple[np.ndarray | None, ...]

    def absorb(self, values: np.ndarray) -> np.ndarray:
        """Turn ``values`` (legs..., factor) into the leaf's array (factor, indices...)."""
        array = np.moveaxis(values, -1, 0)
        axes = list(range(len(self.legs)))
        for axis_0, axis_1, bond in self.loops:
            positions = (1 + axes.index(axis_0), 1 + axes.index(axis_1))
            array = np.tensordot(array, bond, axes=(positions, (0, 1)))
            axes = [axis for axis in axes if axis not in (axis_0, axis_1)]
        array = np.ascontiguousarray(array)
        for position, bond_matrix in enumerate(self.bonds):
            if bond_matrix is not None:
                array = _along(array, 1 + position, bond_matrix)
        return array

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """Turn a gradient (row, indices...) at the leaf into one at the fragment tensor, (row, legs...)."""
        array = np.ascontiguousarray(gradient)
        for position, bond_matrix in enumerate(self.bonds):
            if bond_matrix is not None:
                array = _along(array, 1 + position, bond_matrix.T)
        axes = list(self.open_axes)
        for axis_0, axis_1, bond in self.loops:
            array = np.tensordot(array, bond, axes=0)
            axes += [axis_0, axis_1]
        return np.transpose(array, [0, *(1 + axes.index(axis) for axis in range(len(self.legs)))])


def _along(array: np.ndarray, axis: int, matrix: np.ndarray) -> np.ndarray:
    """Multiply ``matrix`` (old, new) into one axis of ``array``, where it stands."""
    shape = array.shape
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if after == 1:
        product = array.reshape(before, shape[axis]) @ matrix
    else:
        product = matrix.T @ array.reshape(before, shape[axis], after)
    return product.reshape(*shape[:axis], matrix.shape[1], *shape[axis + 1 :])


@dataclass(frozen=True)
class Network:
    """Leaves and index sizes of a structure, without any entries.

    Attributes:
        leaves: one per fragment.
        sizes: (cut,) dimension of each cut's index; 1 for a cut that is traced out inside its fragment.
    """

    leaves: tuple[Leaf, ...]
    sizes: tuple[int, ...]


def network_of(structure: Structure) -> Network:
    """Lay out the network of a structure.

    Raises:
        InconsistentNetworkError: if a cut does not have exactly its two ends, or the index arrays do not fit.
    """
    ends: dict[tuple[int, int], tuple[int, int]] = {}
    for fragment, legs in enumerate(structure.legs):
        for axis, leg in enumerate(legs):
            if leg in ends:
                raise InconsistentNetworkError(
                    f"End {leg[1]} of cut {leg[0]} is a leg of fragment {ends[leg][0]} and again of {fragment};"
                    " each end must be exactly one leg. Make the plan again."
                )
            ends[leg] = (fragment, axis)
    wanted = {(cut, end) for cut in range(len(structure.bonds)) for end in (0, 1)}
    if set(ends) != wanted:
        cut, end = min(wanted.symmetric_difference(ends))
        raise InconsistentNetworkError(
            f"End {end} of cut {cut} {'is on no fragment' if (cut, end) in wanted else 'has no bond'}."
            " Make the plan again."
        )
    num_fragments = len(structure.legs)
    if structure.factor_index.ndim != 2 or structure.factor_index.shape[1] != num_fragments:
        raise InconsistentNetworkError(
            f"factor_index has shape {structure.factor_index.shape} for {num_fragments} fragments."
        )
    if structure.coefficients.shape[1] != structure.factor_index.shape[0]:
        raise InconsistentNetworkError(
            f"{structure.coefficients.shape[1]} coefficients an observable for {structure.factor_index.shape[0]} terms."
        )
    if len(structure.num_factors) != num_fragments:
        raise InconsistentNetworkError(f"num_factors names {len(structure.num_factors)} of {num_fragments} fragments.")
    if structure.factor_index.size:
        worst = structure.factor_index.max(axis=0)
        bad = np.flatnonzero((worst >= np.asarray(structure.num_factors)) | (structure.factor_index.min(axis=0) < 0))
        if bad.size:
            raise InconsistentNetworkError(
                f"A term takes factor {worst[bad[0]]} of fragment {bad[0]}, which has {structure.num_factors[bad[0]]}."
            )

    takes = [0 if bond.shape[1] < bond.shape[0] else 1 for bond in structure.bonds]  # the index keeps the smaller side
    sizes = [min(bond.shape) for bond in structure.bonds]
    leaves = []
    for fragment, legs in enumerate(structure.legs):
        loops, open_axes, indices, bonds = [], [], [], []
        for axis, (cut, end) in enumerate(legs):
            bond = structure.bonds[cut]
            other_fragment, other_axis = ends[(cut, 1 - end)]
            if other_fragment == fragment:
                sizes[cut] = 1
                if end == 0:
                    loops.append((axis, other_axis, bond))
                continue
            open_axes.append(axis)
            indices.append(cut)
            bonds.append((bond if end == 0 else bond.T) if takes[cut] == end else None)
        leaves.append(
            Leaf(
                legs=tuple(structure.bonds[cut].shape[end] for cut, end in legs),
                loops=tuple(loops),
                open_axes=tuple(open_axes),
                indices=tuple(indices),
                bonds=tuple(bonds),
            )
        )
    return Network(tuple(leaves), tuple(sizes))


def values_by_fragment(
    structure: Structure, network: Network, tensors: Sequence[FragmentTensor]
) -> tuple[np.ndarray, ...]:
    """Order the tensors' values by fragment and check that they fit the network.

    Raises:
        InconsistentNetworkError: if a fragment has no tensor or two, a shape does not fit, or an entry is not finite.
    """
    found: dict[int, np.ndarray] = {}
    for tensor in tensors:
        if tensor.fragment in found or not 0 <= tensor.fragment < len(network.leaves):
            raise InconsistentNetworkError(
                f"There is a second tensor of fragment {tensor.fragment}, or the plan has no such fragment."
            )
        expected = (*network.leaves[tensor.fragment].legs, structure.num_factors[tensor.fragment])
        if tensor.values.shape != expected:
            raise InconsistentNetworkError(
                f"The tensor of fragment {tensor.fragment} has shape {tensor.values.shape}; its legs and factors need"
                f" {expected}. Delete this fragment's result and resume the run."
            )
        if not np.isfinite(tensor.values).all():
            where = np.argwhere(~np.isfinite(tensor.values))[0]
            raise InconsistentNetworkError(
                f"The tensor of fragment {tensor.fragment} is not finite at legs {tuple(int(i) for i in where[:-1])},"
                f" factor {int(where[-1])}: no estimate can be made. Delete this fragment's result and resume the run."
            )
        found[tensor.fragment] = np.asarray(tensor.values, dtype=np.float64)
    missing = [fragment for fragment in range(len(network.leaves)) if fragment not in found]
    if missing:
        raise InconsistentNetworkError(f"Fragment {missing[0]} has no tensor ({len(missing)} missing). Resume the run.")
    return tuple(found[fragment] for fragment in range(len(network.leaves)))
