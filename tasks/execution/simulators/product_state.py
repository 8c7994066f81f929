"""A fragment's whole tensor from a matrix product state with open legs: wide shallow fragments that no memory holds.

Each qubit is a site with a tensor (left bond, bit, branches opened there, right bond). A leg opens on one site; a gate
is applied as a product of its operator-Schmidt terms, which multiplies the bonds between its sites by its rank, and
singular values below rounding are cut off at once (U. Schollwöck, Annals of Physics 326, 96 (2011), arXiv:1008.3477).
What is left out is below the rounding of the numbers, so the tensor is as exact as the state vector's.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tasks.cutting.openings import Gate, Opening
from tasks.cutting.plan import Fragment
from tasks.cutting.product_program import ProductProgram
from tasks.execution.simulators.leg_bases import LegBases

_ROUNDING = 1e-13  # of a singular value, relative to the largest
_PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, -1]], [[0, -1j], [1j, 0]]])


def product_tensor(fragment: Fragment, program: ProductProgram) -> np.ndarray:
    """Fragment tensor by a matrix product state; what ``exact_tensor`` makes of all amplitudes.

    Returns:
        (leg_0, ..., leg_k, factor) float64.
    """
    line = _Line(program)
    for step in program.steps:
        line.add(step)
    bases = LegBases(fragment.legs, program.branchings)
    letters = (fragment.factors_x + 2 * fragment.factors_z).astype(np.int64)[:, np.argsort(program.places)]
    tensor = np.empty((*(leg.dimension for leg in fragment.legs), len(letters)))
    order = np.lexsort(letters.T[::-1])[::-1]  # neighbours agree on many sites, more and more of them
    begun = _Begun(np.zeros(0, dtype=np.int64), np.ones((1, 1, 1), dtype=complex))
    line.close()
    for k, index in enumerate(order.tolist()):
        own = letters[index]
        following = letters[order[k + 1]] if k + 1 < len(order) else own
        shared = int(np.argmax(np.append(own != following, True)))
        grams, begun = line.grams(own, begun, shared)
        tensor[..., index] = bases.entries(grams[None])[..., 0]
    return tensor


class _Begun:
    """Sites contracted with Paulis that several factors share: their letters, and (pairs, bra bond, ket bond)."""

    def __init__(self, letters: np.ndarray, array: np.ndarray):
        self.letters, self.array = letters, array

    def starts(self, letters: np.ndarray) -> bool:
        """Whether a factor begins with these letters."""
        return bool((letters[: len(self.letters)] == self.letters).all())


class _Line:
    """The sites; left of ``centre`` they are isometries from the left, right of it from the right."""

    def __init__(self, program: ProductProgram):
        self._program = program
        self._place = program.places
        self._branchings = program.branchings
        zero = np.zeros((1, 2, 1, 1), dtype=complex)
        zero[0, 0] = 1.0
        self._sites = [zero.copy() for _ in program.places]
        self._axes: list[list[int]] = [[] for _ in program.places]  # branchings on each site, as their axes are joined
        self._centre = 0
        self._closed: dict[int, np.ndarray] = {}  # of all sites from one on: (bra bond, ket bond, pairs)

    def add(self, step: Gate | Opening) -> None:
        """Apply a gate or open legs."""
        if isinstance(step, Opening):
            site = self._place[step.qubits[0]]
            self._move(site)
            opened = np.einsum("jab,lbkr->lakjr", step.operators, self._sites[site])
            self._sites[site] = opened.reshape(*opened.shape[:2], -1, opened.shape[-1])
            self._axes[site].append(step.branching)
        elif len(step.qubits) == 1:
            site = self._place[step.qubits[0]]
            self._sites[site] = np.einsum("ab,lbkr->lakr", step.matrix, self._sites[site])
        else:
            self._join(self._place[step.qubits[0]], self._place[step.qubits[1]], step.matrix)

    def _join(self, first: int, second: int, matrix: np.ndarray) -> None:
        """Apply a gate to two sites, the most significant bit of its matrix that of ``first``."""
        split = matrix.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
        left, sizes, right = np.linalg.svd(split)
        rank = int((sizes > _ROUNDING * sizes[0]).sum())
        terms = (left[:, :rank] * sizes[:rank]).T.reshape(rank, 2, 2), right[:rank].reshape(rank, 2, 2)
        low, high = min(first, second), max(first, second)
        one, other = terms if first < second else terms[::-1]
        self._move(low)
        sites = self._sites
        sites[low] = _joined(np.einsum("jab,lbkr->lakrj", one, sites[low]), 3)
        for between in range(low + 1, high):
            wider = np.einsum("lbkr,ij->libkrj", sites[between], np.eye(rank))
            sites[between] = _joined(_joined(wider, 0), 3)
        sites[high] = _joined(np.einsum("jab,lbkr->ljakr", other, sites[high]), 0)
        self._move(high)
        for site in range(high, low, -1):  # narrow the bonds again
            array = sites[site]
            u, s, v = np.linalg.svd(array.reshape(len(array), -1), full_matrices=False)
            kept = max(1, int((s > _ROUNDING * s[0]).sum()))
            sites[site] = v[:kept].reshape(kept, *array.shape[1:])
            sites[site - 1] = np.tensordot(sites[site - 1], u[:, :kept] * s[:kept], axes=(3, 0))
        self._centre = low

    def _move(self, site: int) -> None:
        while self._centre < site:
            array = self._sites[self._centre]
            q, r = np.linalg.qr(array.reshape(-1, array.shape[3]))
            self._sites[self._centre] = q.reshape(*array.shape[:3], -1)
            self._centre += 1
            self._sites[self._centre] = np.tensordot(r, self._sites[self._centre], axes=(1, 0))
        while self._centre > site:
            array = self._sites[self._centre]
            q, r = np.linalg.qr(array.reshape(len(array), -1).T)
            self._sites[self._centre] = q.T.reshape(-1, *array.shape[1:])
            self._centre -= 1
            self._sites[self._centre] = np.tensordot(self._sites[self._centre], r.T, axes=(3, 0))

    def close(self) -> None:
        """Contract sites from the last one on, of which a factor may ask nothing."""
        end = np.ones((1, 1, 1), dtype=complex)
        self._closed = {len(self._sites): end}
        for site in range(len(self._sites) - 1, self._program.closed - 1, -1):
            ket = self._open_site(site)
            opened = np.tensordot(np.tensordot(ket, end, axes=(3, 1)), ket.conj(), axes=([1, 3], [1, 3]))
            end = opened.transpose(3, 0, 1, 4, 2).reshape(len(ket), len(ket), -1)
            self._closed[site] = end

    def grams(self, letters: np.ndarray, begun: _Begun, shared: int) -> tuple[np.ndarray, _Begun]:
        """Gram matrix of a Pauli between all branches.

        Args:
            letters: (site,) 0 to 3 for I, X, Z, Y.
            begun: of an earlier factor.
            shared: how many of the first sites the next factor shares with this one.

        Returns:
            (branch, branch') complex, row-major over the branchings; and the first ``shared`` sites for the next.
        """
        start = len(begun.letters) if begun.starts(letters) else 0
        array = begun.array if start else np.ones((1, 1, 1), dtype=complex)
        following = begun if start and shared >= start else _Begun(letters[:0], np.ones((1, 1, 1), dtype=complex))
        asked = int(np.flatnonzero(np.append(True, letters))[-1])  # the first sites, behind them nothing is
        close = max(start, asked, self._program.closed)
        for site in range(start, close):
            if site == shared:
                following = _Begun(letters[:site], array)
            ket = self._open_site(site)
            bra = ket.conj()
            if letters[site]:
                ket = np.einsum("ab,lbkr->lakr", _PAULIS[letters[site]], ket)
            array = np.tensordot(np.tensordot(array, ket, axes=(2, 0)), bra, axes=([1, 2], [0, 1]))
            array = array.transpose(0, 1, 3, 4, 2).reshape(-1, bra.shape[3], ket.shape[3])
        end = self._closed[close]
        pairs = array.reshape(len(array), -1) @ end.reshape(-1, end.shape[2])
        return self._in_order(pairs.reshape(-1)), following

    def _open_site(self, site: int) -> np.ndarray:
        """(left, bit, branches, right); where a wire's open end is, its bit is the last of the branches."""
        array = self._sites[site]
        if self._end_of(site) is None:
            return array
        return array.transpose(0, 2, 1, 3).reshape(len(array), 1, -1, array.shape[3])

    def _end_of(self, site: int) -> int | None:
        for index, one in enumerate(self._branchings):
            if one.qubit is not None and self._place[one.qubit] == site:
                return index
        return None

    def _in_order(self, pairs: np.ndarray) -> np.ndarray:
        """Pairs of branches, site by site, as a matrix."""
        shape: list[int] = []
        kets: dict[int, int] = {}
        bras: dict[int, int] = {}
        for site, opened in enumerate(self._axes):
            end = self._end_of(site)
            own = [*opened, *([] if end is None else [end])]
            for where in (kets, bras):
                for index in own:
                    where[index] = len(shape)
                    shape.append(self._branchings[index].rank)
        number = range(len(self._branchings))
        branches = prod(one.rank for one in self._branchings)
        order = [*(kets[k] for k in number), *(bras[k] for k in number)]
        return pairs.reshape(shape).transpose(order).reshape(branches, branches)


def _joined(array: np.ndarray, axis: int) -> np.ndarray:
    """Two neighbouring axes as one."""
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
