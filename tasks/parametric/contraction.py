"""The network of fragment tensors for many sets at once: values, and derivatives by every tensor and every bond.

The order of the contraction and which factors meet are those of ``tasks.reconstruction.contraction``; here every array
has one more axis, for the sets, and a bond may have another matrix in each of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import Step, bind, find_paths

_SETS = 1000  # that one network is contracted for, about: a loop asks for many
_COLUMNS = 16  # behind an axis, from where a product is quicker with the axis where it stands


@dataclass(frozen=True)
class Contracted:
    """A contraction and what it went through.

    Attributes:
        values: (set, observable) float64.
        leaves: (fragment,) the tensors as they were before their bonds, (set or 1, factor, legs ...).
        nodes: (node,) arrays (set or 1, combination, indices ...).
        bonds: (cut,) (set or 1, leg, leg).
    """

    values: np.ndarray
    leaves: list[np.ndarray]
    nodes: list[np.ndarray]
    bonds: list[np.ndarray]


class Contraction:
    """A network made ready.

    Args:
        structure: how the fragments are joined, whatever the entries of its bonds are.
        seed: of the path search.

    Attributes:
        largest: entries of the largest array for one set.
        work: multiply-adds for one set.
    """

    def __init__(self, structure: Structure, seed: int = 0) -> None:
        self._legs, self._num_factors = structure.legs, structure.num_factors
        network = network_of(structure)
        asked = structure.legs and structure.coefficients.nnz
        self._tree = bind(structure, network, find_paths(network, uses=_SETS, seed=seed)[0]) if asked else None
        # What an observable takes of the terms, in their order in the tree.
        self._taken = structure.coefficients[:, self._tree.terms] if self._tree is not None else structure.coefficients
        self._ranks = tuple(bond.shape[0] for bond in structure.bonds)
        owner = {(cut, end): number for number, legs in enumerate(structure.legs) for cut, end in legs}
        # A cut with both ends on one fragment is traced out there; any other is multiplied into the smaller tensor.
        cuts = range(len(structure.bonds))
        self._loops = [owner[cut, 0] == owner[cut, 1] for cut in cuts]
        entries = [
            count * math.prod(self._ranks[cut] for cut, _ in legs)
            for count, legs in zip(structure.num_factors, structure.legs, strict=True)
        ]
        self._ends = [int(entries[owner[cut, 1]] < entries[owner[cut, 0]]) for cut in cuts]
        self.largest = self.work = 1
        if self._tree is not None:
            sizes = [math.prod(self._ranks[i] for i in own) for own in self._tree.indices]
            self.largest = max(size * count for size, count in zip(sizes, self._tree.counts, strict=True))
            for step in self._tree.steps:
                summed = math.prod(self._ranks[i] for i in step.summed)
                self.work += len(step.rows_left) * sizes[step.out] * summed

    def contract(self, tensors: Sequence[np.ndarray], bonds: Sequence[np.ndarray]) -> Contracted:
        """Contract.

        Args:
            tensors: (fragment,) (set or 1, legs ..., factor) float64.
            bonds: (cut,) (set or 1, leg of end 0, leg of end 1) float64.
        """
        tree = self._tree
        if tree is None:
            value = np.asarray(self._taken.sum(axis=1), dtype=np.float64).reshape(1, -1)
            return Contracted(value, list(tensors), [], list(bonds))
        leaves = [
            np.moveaxis(tensor if _is_all(used, tensor.shape[-1]) else tensor[..., used], -1, 1)
            for tensor, used in zip(tensors, tree.factors, strict=True)
        ]
        nodes = [self._absorbed(number, leaf, bonds) for number, leaf in enumerate(leaves)]
        nodes += [np.empty(0)] * len(tree.steps)
        for step in tree.steps:
            left, right = self._operands(step, nodes)
            product = np.matmul(left, right.swapaxes(-1, -2))
            nodes[step.out] = self._placed(step, product)
        terms = nodes[tree.root].reshape(len(nodes[tree.root]), -1)[:, tree.rows]
        values = np.asarray((self._taken @ terms.T).T)
        return Contracted(values, leaves, nodes, list(bonds))

    def backward(self, found: Contracted, weights: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Derivatives of weighted sums of the observables.

        Args:
            found: what ``contract`` gave.
            weights: (sum, set or 1, observable) float64.

        Returns:
            by the tensors, (fragment,) (sum, set, legs ..., factor), and by the bonds, (cut,) (sum, set, leg, leg).
        """
        tree = self._tree
        if tree is None:  # nothing is asked
            sums = len(weights)
            of_bonds = [np.zeros((sums, *bond.shape)) for bond in found.bonds]
            return [np.zeros((sums, *leaf.shape)) for leaf in found.leaves], of_bonds
        sums, sets = weights.shape[0], max(weights.shape[1], *(len(node) for node in found.nodes))
        weights = np.broadcast_to(weights, (sums, sets, weights.shape[2]))
        of_terms = (weights.reshape(sums * sets, -1) @ self._taken).reshape(sums, sets, -1)
        adjoints: list[np.ndarray] = [np.empty(0)] * len(found.nodes)
        adjoints[tree.root] = _gathered(of_terms, tree.rows, tree.counts[tree.root])
        for step in sorted(tree.steps, key=lambda own: -own.out):
            left, right = self._operands(step, found.nodes)
            product = self._unplaced(step, adjoints[step.out], left.shape[2], right.shape[2])
            of_left = np.matmul(product, right)
            of_right = np.matmul(product.swapaxes(-1, -2), left)
            for node, kept, rows, own in (
                (step.left, step.kept_left, step.rows_left, of_left),
                (step.right, step.kept_right, step.rows_right, of_right),
            ):
                summed = _gathered(own, rows, tree.counts[node])
                order = (*kept, *step.summed)
                shaped = summed.reshape(sums, sets, tree.counts[node], *(self._ranks[i] for i in order))
                adjoints[node] = shaped.transpose(0, 1, 2, *(3 + order.index(i) for i in tree.indices[node]))
        of_bonds = [np.zeros((sums, sets, *bond.shape[1:])) for bond in found.bonds]
        of_tensors = []
        for number, leaf in enumerate(found.leaves):
            own = self._released(number, adjoints[number], leaf, found.bonds, of_bonds)
            of_tensors.append(np.moveaxis(own, 2, -1))
        return self._all_factors(of_tensors), of_bonds

    def _all_factors(self, gradients: list[np.ndarray]) -> list[np.ndarray]:
        """Zeros for the factors that no observable asks for."""
        assert self._tree is not None
        return [
            own if np.array_equal(used, np.arange(count)) else _gathered(own, used, count, axis=-1)
            for own, used, count in zip(gradients, self._tree.factors, self._num_factors, strict=True)
        ]

    def _absorbed(self, number: int, leaf: np.ndarray, bonds: Sequence[np.ndarray]) -> np.ndarray:
        """A leaf with the bonds that it takes multiplied in and its loops traced out."""
        axes = list(self._legs[number])
        for cut, end in self._legs[number]:
            if self._loops[cut] and end == 0:
                first, second = axes.index((cut, 0)), axes.index((cut, 1))
                moved = np.moveaxis(leaf, (2 + first, 2 + second), (-2, -1))
                bond = bonds[cut].reshape(len(bonds[cut]), *(1,) * (moved.ndim - 3), *bonds[cut].shape[1:])
                leaf = (moved * bond).sum(axis=(-2, -1))
                axes = [axis for axis in axes if axis[0] != cut]
        for place, (cut, end) in enumerate(axes):
            if end == self._ends[cut]:
                leaf = _times(leaf, 2 + place, _from(end, bonds[cut]))
        return leaf

    def _released(
        self,
        number: int,
        adjoint: np.ndarray,
        leaf: np.ndarray,
        bonds: Sequence[np.ndarray],
        of_bonds: list[np.ndarray],
    ) -> np.ndarray:
        """The way back of ``_absorbed``: the adjoint of the leaf; those of its bonds are added to ``of_bonds``."""
        legs = list(self._legs[number])
        outer = [leg for leg in legs if not self._loops[leg[0]]]
        absorbed = [(place, leg) for place, leg in enumerate(outer) if leg[1] == self._ends[leg[0]]]
        traced = [cut for cut, end in legs if self._loops[cut] and end == 0]
        # Derivatives by a bond: all other bonds absorbed, that one not.
        for cut in dict.fromkeys([cut for _, (cut, _) in absorbed] + traced):
            others = [own if other != cut else None for other, own in enumerate(bonds)]
            self._bond_adjoint(cut, legs, adjoint, leaf, others, of_bonds)
        for place, (cut, end) in absorbed:
            adjoint = _times(adjoint, 3 + place, _from(1 - end, bonds[cut])[None], lead=2)
        axes = outer
        for cut in traced:
            bond = bonds[cut].reshape(1, len(bonds[cut]), *(1,) * (adjoint.ndim - 2), *bonds[cut].shape[1:])
            adjoint = adjoint[..., None, None] * bond
            axes = [*axes, (cut, 0), (cut, 1)]
        return adjoint.transpose(0, 1, 2, *(3 + axes.index(leg) for leg in legs))

    def _bond_adjoint(
        self,
        cut: int,
        legs: list[tuple[int, int]],
        adjoint: np.ndarray,
        leaf: np.ndarray,
        bonds: Sequence[np.ndarray | None],
        of_bonds: list[np.ndarray],
    ) -> None:
        axes = list(legs)
        for other, end in legs:
            if self._loops[other] and end == 0 and other != cut:
                bond = bonds[other]
                assert bond is not None
                first, second = axes.index((other, 0)), axes.index((other, 1))
                moved = np.moveaxis(leaf, (2 + first, 2 + second), (-2, -1))
                leaf = (moved * bond.reshape(len(bond), *(1,) * (moved.ndim - 3), *bond.shape[1:])).sum(axis=(-2, -1))
                axes = [axis for axis in axes if axis[0] != other]
        for place, (other, end) in enumerate(axes):
            bond = bonds[other]
            if end == self._ends[other] and other != cut and bond is not None and not self._loops[other]:
                leaf = _times(leaf, 2 + place, _from(end, bond))
        names = "abcdefghijklmnopqr"
        own = {axis: names[place] for place, axis in enumerate(axes)}
        above = [axis for axis in axes if not self._loops[axis[0]]]
        end = self._ends[cut]
        outer = "".join("z" if axis == (cut, end) else own[axis] for axis in above)
        inner = "".join(own[axis] for axis in axes)
        if self._loops[cut]:
            result = own[cut, 0] + own[cut, 1]
        else:
            result = own[cut, 0] + "z" if end == 0 else "z" + own[cut, 1]
        wide = np.broadcast_to(leaf, (adjoint.shape[1], *leaf.shape[1:]))
        found = np.einsum(f"uvw{outer},vw{inner}->uv{result}", adjoint, wide, optimize=True)
        of_bonds[cut] += found

    def _operands(self, step: Step, nodes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(set, product, kept, summed) of both."""
        assert self._tree is not None
        found = []
        for node, kept, rows in (
            (step.left, step.kept_left, step.rows_left),
            (step.right, step.kept_right, step.rows_right),
        ):
            indices = self._tree.indices[node]
            order = [indices.index(i) for i in (*kept, *step.summed)]
            array = nodes[node].transpose(0, 1, *(2 + place for place in order))
            height = math.prod(self._ranks[i] for i in kept)
            array = array.reshape(len(array), array.shape[1], height, -1)
            found.append(array if _is_all(rows, array.shape[1]) else array[:, rows])
        return found[0], found[1]

    def _placed(self, step: Step, product: np.ndarray) -> np.ndarray:
        """(set, product, kept of left, kept of right) with its axes in the order of the tree."""
        assert self._tree is not None
        order = (*step.kept_left, *step.kept_right)
        shaped = product.reshape(*product.shape[:2], *(self._ranks[i] for i in order))
        return shaped.transpose(0, 1, *(2 + order.index(i) for i in self._tree.indices[step.out]))

    def _unplaced(self, step: Step, adjoint: np.ndarray, height: int, width: int) -> np.ndarray:
        assert self._tree is not None
        indices = self._tree.indices[step.out]
        shaped = adjoint.reshape(*adjoint.shape[:3], *(self._ranks[i] for i in indices))
        order = (*step.kept_left, *step.kept_right)
        moved = shaped.transpose(0, 1, 2, *(3 + indices.index(i) for i in order))
        return moved.reshape(*adjoint.shape[:3], height, width)


def _is_all(rows: np.ndarray, size: int) -> bool:
    return len(rows) == size and bool((rows == np.arange(size)).all())


def _gathered(array: np.ndarray, rows: np.ndarray, size: int, axis: int = 2) -> np.ndarray:
    """Sums of the entries of an axis that go to the same row."""
    if _is_all(rows, size):
        return array
    moved = np.moveaxis(array, axis, 0)
    out = np.zeros((size, *moved.shape[1:]))
    np.add.at(out, rows, moved)
    return np.moveaxis(out, 0, axis)


def _from(end: int, bond: np.ndarray) -> np.ndarray:
    """A bond (set or 1, leg of end 0, leg of end 1) with the leg of an end first."""
    return bond if end == 0 else bond.swapaxes(1, 2)


def _times(array: np.ndarray, axis: int, matrix: np.ndarray, lead: int = 1) -> np.ndarray:
    """Multiply matrices (set or 1, old, new) into one axis; ``lead``: axes of ``array`` that the matrices have, too."""
    shape = array.shape
    if math.prod(shape[axis + 1 :]) >= _COLUMNS:
        flat = array.reshape(*shape[:lead], math.prod(shape[lead:axis]), shape[axis], -1)
        product = np.matmul(matrix.swapaxes(-1, -2)[..., None, :, :], flat)
        return product.reshape(*product.shape[:lead], *shape[lead:axis], matrix.shape[-1], *shape[axis + 1 :])
    moved = np.moveaxis(array, axis, -1)
    shape = moved.shape
    flat = moved.reshape(*shape[:lead], -1, shape[-1])
    product = np.matmul(flat, matrix)
    return np.moveaxis(product.reshape(*product.shape[:lead], *shape[lead:-1], matrix.shape[-1]), -1, axis)
