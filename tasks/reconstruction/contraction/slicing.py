"""How a contraction is cut into pieces: small enough for the memory there is, and enough of them for the ranks.

Two ways to make a piece smaller: fix a cut's index and repeat for each of its values, or split the terms into blocks
that are contracted one after the other. Parts of the tree that no fixed index touches are contracted once a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.layout import Path
from tasks.reconstruction.contraction.load import Load, Shape, load_of, shape_of
from tasks.reconstruction.contraction.network import Network
from tasks.reconstruction.contraction.path import Tree, bind
from tasks.reconstruction.contraction.sharing import share_units, slowest

MOST_UNITS = 1 << 14
"""Slices times blocks beyond which a contraction would spend its time on bookkeeping."""

MOST_BLOCKS = 1024
"""Blocks of terms beyond which their bookkeeping outweighs what they save."""

_MORE_WORK = 1.3  # times the effort of one piece that pieces for many ranks may be together
_MOST_CUTS = 4  # fixed indices to try at once
_PATIENCE = 2  # finer choices to try after the best so far


@dataclass(frozen=True)
class Choice:
    """One way to slice, and its price.

    Attributes:
        trees: one for each block of terms.
        shapes: of the trees.
        sliced: cuts whose index is fixed in each slice.
        loads: of each block.
        gradients: whether the pass backwards is counted.
    """

    trees: tuple[Tree, ...]
    shapes: tuple[Shape, ...]
    sliced: tuple[int, ...]
    loads: tuple[Load, ...]
    gradients: bool

    @classmethod
    def of(cls, trees: tuple[Tree, ...], shapes: tuple[Shape, ...], sliced: tuple[int, ...], gradients: bool) -> Choice:
        """Price a way to slice."""
        return cls(trees, shapes, sliced, tuple(load_of(shape, sliced, gradients) for shape in shapes), gradients)

    def fixing(self, cut: int) -> Choice:
        """The same with one more index fixed."""
        return Choice.of(self.trees, self.shapes, (*self.sliced, int(cut)), self.gradients)

    @property
    def slices(self) -> float:
        """Assignments of the fixed indices."""
        return float(np.prod([self.shapes[0].sizes[cut] for cut in self.sliced]))

    @property
    def units(self) -> float:
        """Independent pieces of work."""
        return len(self.trees) * self.slices

    @property
    def work(self) -> float:
        """Multiply-adds of all pieces."""
        return sum(load.once + load.each * self.slices for load in self.loads)

    @property
    def effort(self) -> float:
        """What all pieces take, in multiply-adds of a large matrix product."""
        return sum(load.effort_once + load.effort_each * self.slices for load in self.loads)

    @property
    def peak(self) -> float:
        """Elements alive at the worst moment, without the inputs."""
        return max(load.peak for load in self.loads)

    @property
    def largest(self) -> float:
        """Elements of the largest array."""
        return max(load.largest for load in self.loads)

    def slowest(self, ranks: int) -> float:
        """Effort of the rank that has most to do."""
        once, each = [load.effort_once for load in self.loads], [load.effort_each for load in self.loads]
        return slowest(share_units(once, each, int(self.slices), ranks), once, each)

    def score(self, before: Choice) -> float:
        """Extra effort for each factor gained in memory; infinite for no gain."""
        left = max(load.pressure for load in self.loads)
        gain = max(load.pressure for load in before.loads) / left if left else 1.0  # nothing is left where no term is
        if gain <= 1.0 + 1e-9:
            return math.inf
        return math.log(max(self.effort, 1.0) / max(before.effort, 1.0) + 1e-12) / math.log(gain)


def whole(structure: Structure, network: Network, path: Path, gradients: bool) -> Choice:
    """Everything in one piece."""
    tree = bind(structure, network, path)
    return Choice.of((tree,), (shape_of(tree, network.sizes),), (), gradients)


def fitted(structure: Structure, network: Network, path: Path, first: Choice, start: Choice, elements: float) -> Choice:
    """Slice until the peak is within ``elements``, or as far as it goes down.

    Args:
        structure: the structure.
        network: its network.
        path: the path.
        first: the contraction in one piece.
        start: the slices to begin with.
        elements: most that may be alive at one moment.
    """
    choice = least = start
    while choice.peak > elements:
        worst = max(choice.loads, key=lambda load: load.peak)
        options = [choice.fixing(cut) for cut in worst.widest]
        options += _in_blocks(structure, network, path, first, choice)
        scored = [(option.score(choice), number) for number, option in enumerate(options)]
        scored = [item for item in scored if item[0] < math.inf and options[item[1]].units <= MOST_UNITS]
        if not scored:
            return least
        choice = options[min(scored)[1]]
        least = min(least, choice, key=lambda option: option.peak)
    return choice


def spread(
    structure: Structure, network: Network, path: Path, first: Choice, start: Choice, elements: float, ranks: int
) -> Choice:
    """Slice further until ``ranks`` equal ranks would end soonest.

    Args:
        structure: the structure.
        network: its network.
        path: the path.
        first: the contraction in one piece.
        start: what fits.
        elements: most that may be alive at one moment.
        ranks: how many ranks to think of.
    """

    def allowed(option: Choice) -> bool:
        return (
            option.units <= MOST_UNITS
            and option.peak <= max(elements, start.peak)
            and option.effort <= _MORE_WORK * max(start.effort, 1.0)
        )

    def end(option: Choice) -> float:
        return option.slowest(ranks) * option.slowest(min(2, ranks))  # few ranks count as much as many

    choice = best = start
    tried = 0
    while tried < _PATIENCE:
        options = [o for o in _in_blocks(structure, network, path, first, choice) if allowed(o)]
        if not options:  # blocks of terms cost least
            options = [o for o in map(choice.fixing, _good_cuts(choice, ranks)) if allowed(o)]
        if not options:
            break
        choice = min(options, key=end)
        if end(choice) < 0.98 * end(best):
            best, tried = choice, 0
        else:
            tried += 1
    return best


def _good_cuts(choice: Choice, ranks: int) -> list[int]:
    """Indices that leave a rank least to do when they are fixed too, by the first block."""
    shape, load = choice.shapes[0], choice.loads[0]

    def share(cut: int) -> float:
        fixed = load_of(shape, (*choice.sliced, cut), choice.gradients)
        return fixed.effort_once + fixed.effort_each * choice.slices * float(shape.sizes[cut]) / ranks

    free = [cut for cut in np.flatnonzero(shape.sizes > 1).tolist() if cut not in choice.sliced]
    good = sorted((share(cut), cut) for cut in free)[:_MOST_CUTS]
    return [cut for cost, cut in good if cost < load.effort_once + load.effort_each * choice.slices]


def _in_blocks(structure: Structure, network: Network, path: Path, first: Choice, choice: Choice) -> list[Choice]:
    """The same slices with twice as many blocks of terms; [] if they cannot be split."""
    trees = _split(structure, network, path, first.trees[0], 2 * len(choice.trees))
    if not trees:
        return []
    return [Choice.of(trees, tuple(shape_of(tree, network.sizes) for tree in trees), choice.sliced, choice.gradients)]


def _split(structure: Structure, network: Network, path: Path, tree: Tree, blocks: int) -> tuple[Tree, ...]:
    """Split the terms into blocks whose largest node shares as little as possible; () if they cannot be split."""
    if blocks > MOST_BLOCKS or tree.terms.size < blocks or not tree.steps:
        return ()
    elements = [
        count * math.prod(network.sizes[i] for i in indices)
        for indices, count in zip(tree.indices, tree.counts, strict=True)
    ]
    below: list[list[int]] = [[leaf] for leaf in range(len(network.leaves))]
    for step in sorted(tree.steps, key=lambda step: step.out):
        below.append(below[step.left] + below[step.right])
    heavy = below[max(range(len(elements)), key=lambda node: elements[node])]
    keys = structure.factor_index[tree.terms]
    order = np.lexsort((*keys.T, *keys[:, heavy].T))
    return tuple(bind(structure, network, path, np.sort(part)) for part in np.array_split(tree.terms[order], blocks))
