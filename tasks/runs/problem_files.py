"""A problem as two files, so that a run can be resumed without what it was started from."""

from __future__ import annotations

import io
from collections.abc import Mapping

from qiskit import qpy
from scipy.sparse import csr_array

from tasks.model.problem import PauliTerms, Problem
from tasks.runs.storage import pack, unpack


def pack_problem(problem: Problem) -> dict[str, bytes]:
    """The content of each file, by name."""
    circuit = io.BytesIO()
    qpy.dump(problem.circuit, circuit)
    coefficients = problem.terms.coefficients
    arrays = {
        "x": problem.terms.x,
        "z": problem.terms.z,
        "values": coefficients.data,
        "columns": coefficients.indices,
        "row_starts": coefficients.indptr,
    }
    words = {"names": list(problem.names), "notes": list(problem.notes)}
    return {"circuit.qpy": circuit.getvalue(), "observables.npz": pack(arrays, words)}


def unpack_problem(content: Mapping[str, bytes]) -> Problem:
    """The problem again.

    Raises:
        ValueError: the content is not what :func:`pack_problem` made.
    """
    observables = unpack(content["observables.npz"])
    arrays = observables.arrays
    shape = (len(arrays["row_starts"]) - 1, len(arrays["x"]))
    coefficients = csr_array((arrays["values"], arrays["columns"], arrays["row_starts"]), shape=shape)
    return Problem(
        circuit=qpy.load(io.BytesIO(content["circuit.qpy"]))[0],
        terms=PauliTerms(arrays["x"], arrays["z"], coefficients),
        names=tuple(observables.meta["names"]),
        notes=tuple(observables.meta["notes"]),
    )
