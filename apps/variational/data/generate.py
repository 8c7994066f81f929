"""Writes the Hamiltonians that are shipped: ``python -m apps.variational.data.generate`` (molecules need PySCF).

Molecules: restricted Hartree-Fock orbitals in STO-3G from PySCF, the second-quantised electronic Hamiltonian with the
nuclear repulsion (Szabo, Ostlund, Modern Quantum Chemistry, eq. 2.231 on), Jordan and Wigner's mapping, qubit p for
spin up and p + n for spin down of orbital p. ``exact`` is PySCF's full configuration interaction of the neutral
singlet; the tests diagonalise the written terms and find the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from apps.variational.energies import transverse_ising

HERE = Path(__file__).parent
_DROPPED = 1e-10  # coefficients below
MOLECULES = {
    "h2": ("H2, 0.735 angstrom, STO-3G", "H 0 0 0; H 0 0 0.735"),
    "h4": ("H4 chain, 1 angstrom apart, STO-3G", "H 0 0 0; H 0 0 1; H 0 0 2; H 0 0 3"),
    "lih": ("LiH, 1.5 angstrom, STO-3G", "Li 0 0 0; H 0 0 1.5"),
}
LATTICE = (4, 4, 3.0)


def main() -> None:
    """Write every file beside this one."""
    rows, columns, field = LATTICE
    lattice = transverse_ising(rows, columns, field)
    exact = lowest_energy(lattice)
    source = f"minus ZZ on neighbours, minus {field:g} X on sites, open edges; exact: Lanczos on 2^16 amplitudes"
    _write("ising2d", f"transverse-field Ising, {rows} x {columns}, field {field:g}", lattice, exact, source, [])
    for name, (title, atoms) in MOLECULES.items():
        operator, exact, occupied, version = molecule(atoms)
        source = f"PySCF {version}: {atoms}; RHF orbitals, Jordan-Wigner; exact: FCI"
        _write(name, title, operator, exact, source, occupied)


def lowest_energy(operator: SparsePauliOp) -> float:
    """The lowest eigenvalue."""
    from scipy.sparse.linalg import eigsh

    size = 2**operator.num_qubits
    start = np.full(size, size**-0.5)
    return float(eigsh(operator.to_matrix(sparse=True).tocsr(), k=1, which="SA", v0=start, tol=1e-12)[0][0])


def molecule(atoms: str) -> tuple[SparsePauliOp, float, list[int], str]:
    """The Hamiltonian, its FCI energy, the qubits that Hartree and Fock occupy, and PySCF's version."""
    import pyscf
    from pyscf import ao2mo, fci, gto, scf

    molecule = gto.M(atom=atoms, basis="sto-3g", verbose=0)
    field = scf.RHF(molecule)
    field.conv_tol = 1e-12
    field.kernel()
    orbitals = field.mo_coeff.shape[1]
    one = field.mo_coeff.T @ field.get_hcore() @ field.mo_coeff
    two = ao2mo.restore(1, ao2mo.kernel(molecule, field.mo_coeff), orbitals)  # (pq|rs)
    exact = float(fci.FCI(field).kernel()[0])
    occupied = [spin * orbitals + orbital for spin in (0, 1) for orbital in range(molecule.nelectron // 2)]
    return jordan_wigner(one, two, float(molecule.energy_nuc())), exact, occupied, pyscf.__version__


def jordan_wigner(one: np.ndarray, two: np.ndarray, constant: float) -> SparsePauliOp:
    """Sum h_pq a+_p a_q + 1/2 sum (pq|rs) a+_p a+_r a_s a_q over orbitals and spins, as Pauli strings."""
    orbitals = len(one)
    width = 2 * orbitals
    lower = [
        SparsePauliOp.from_sparse_list(
            [("Z" * mode + "X", [*range(mode), mode], 0.5), ("Z" * mode + "Y", [*range(mode), mode], 0.5j)], width
        )
        for mode in range(width)
    ]
    raise_ = [one_mode.adjoint() for one_mode in lower]
    moved = {
        (p, q): (raise_[p] @ lower[q]).simplify() for p in range(width) for q in range(width)
    }  # of one electron from q to p
    parts = [SparsePauliOp("I" * width, constant)]
    spins = (0, orbitals)
    for p in range(orbitals):
        for q in range(orbitals):
            parts += [one[p, q] * moved[p + s, q + s] for s in spins if abs(one[p, q]) > _DROPPED]
            for r in range(orbitals):
                for s in range(orbitals):
                    value = two[p, q, r, s] / 2
                    if abs(value) <= _DROPPED:
                        continue
                    for a in spins:
                        for b in spins:  # a+_p a+_r a_s a_q = a+_p a_q a+_r a_s - [q = r] a+_p a_s
                            parts.append(value * (moved[p + a, q + a] @ moved[r + b, s + b]))
                            if q + a == r + b:
                                parts.append(-value * moved[p + a, s + b])
        parts = [SparsePauliOp.sum(parts).simplify(atol=1e-14)]
    return parts[0].simplify(atol=_DROPPED)


def _write(name: str, title: str, operator: SparsePauliOp, exact: float, source: str, occupied: list[int]) -> None:
    terms = [[label, round(float(value.real), 14)] for label, value in sorted(operator.to_list())]
    document: dict[str, Any] = {"name": title, "source": source, "exact": exact, "occupied": occupied, "terms": terms}
    lines = json.dumps({**document, "terms": None})[:-5].rstrip()
    (HERE / f"{name}.json").write_text(lines + " [\n" + ",\n".join(map(json.dumps, terms)) + "\n]}\n")


if __name__ == "__main__":
    main()
