"""A network on disk: what the ranks of the MPI program read, mapped into memory so that a node holds it once.

One folder, one plain .npy file an array, and a JSON file that says what belongs together; never a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from tasks.model.tensor import FragmentTensor, LegSettings, SampledData, Structure, VariantColumns, VariantMeaning
from tasks.reconstruction.errors import SpillError

_INDEX = "network.json"
_COLUMNS = ("which", "settings", "halves", "rows", "outcomes", "counts")  # of VariantColumns, as they are


def write_network(
    folder: Path, structure: Structure, tensors: Sequence[FragmentTensor], *, rank_bytes: int | None = None
) -> None:
    """Write a network into an existing, empty folder.

    Args:
        folder: where to.
        structure: how the fragments are joined.
        tensors: one per fragment.
        rank_bytes: what each rank that contracts it may use, unless it is told otherwise; None sets no bound.

    Raises:
        SpillError: if the disk is full or the folder cannot be written.
    """
    arrays: dict[str, np.ndarray] = {
        "factor_index": structure.factor_index,
        "num_factors": np.array(structure.num_factors, dtype=np.int64),
        "coefficients": structure.coefficients.data,
        "columns": structure.coefficients.indices,
        "row_starts": structure.coefficients.indptr,
    }
    for cut, bond in enumerate(structure.bonds):
        arrays[f"bond-{cut}"] = bond
    index = {
        "legs": structure.legs,
        "shape": structure.coefficients.shape,
        "rank_bytes": rank_bytes,
        "tensors": [
            {"fragment": tensor.fragment, "legs": None if tensor.samples is None else len(tensor.samples.legs)}
            for tensor in tensors
        ],
    }
    for tensor in tensors:
        arrays[f"values-{tensor.fragment}"] = tensor.values
        if tensor.samples is not None:
            for name, array in _samples_to_arrays(tensor.samples).items():
                arrays[f"{name}-{tensor.fragment}"] = array
    write_arrays(folder, arrays)
    _write(folder / _INDEX, json.dumps(index).encode())


def read_network(folder: Path) -> tuple[Structure, list[FragmentTensor]]:
    """Read a network; its arrays stay on disk and are mapped into memory.

    Raises:
        SpillError: if something is missing or damaged.
    """
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        legs = tuple(tuple((int(cut), int(end)) for cut, end in fragment) for fragment in index["legs"])
        cuts = 1 + max((cut for fragment in legs for cut, _ in fragment), default=-1)
        structure = Structure(
            legs=legs,
            bonds=tuple(_read(folder, f"bond-{cut}") for cut in range(cuts)),
            factor_index=_read(folder, "factor_index"),
            num_factors=tuple(int(count) for count in _read(folder, "num_factors")),
            coefficients=csr_array(
                (_read(folder, "coefficients"), _read(folder, "columns"), _read(folder, "row_starts")),
                shape=tuple(index["shape"]),
            ),
        )
        tensors = [
            FragmentTensor(
                fragment=int(entry["fragment"]),
                values=_read(folder, f"values-{entry['fragment']}"),
                samples=None if entry["legs"] is None else _read_samples(folder, entry["fragment"], entry["legs"]),
            )
            for entry in index["tensors"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpillError(f"The network in {folder} cannot be read ({error}). Repeat the reconstruction.") from error
    return structure, tensors


def stored_bound(folder: Path) -> int | None:
    """The ``rank_bytes`` that a network was written with.

    Raises:
        SpillError: if the network cannot be read.
    """
    try:
        found: int | None = json.loads((folder / _INDEX).read_bytes())["rank_bytes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpillError(f"The network in {folder} cannot be read ({error}). Repeat the reconstruction.") from error
    return found


def write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write each array to ``folder/name.npy``.

    Raises:
        SpillError: if the disk is full or the folder cannot be written.
    """
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        try:
            with open(path, "wb") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        except OSError as error:
            raise _spill_error(path, error) from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise _spill_error(path, error) from error


def _spill_error(path: Path, error: OSError) -> SpillError:
    return SpillError(
        f"Writing {path.name} to {path.parent} failed ({error.strerror or error}). Free space there or set TMPDIR to a"
        " larger disk; the fragments' results are kept, so only the reconstruction is repeated."
    )


def _read(folder: Path, name: str) -> np.ndarray:
    array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return np.asarray(array) if array.size else np.array(array)


def _samples_to_arrays(samples: SampledData) -> dict[str, np.ndarray]:
    own = samples.columns
    arrays = {name: getattr(own, name) for name in _COLUMNS}
    arrays["leg_bits"] = np.array([meaning.leg_bits for meaning in own.meanings], dtype=np.int64)
    arrays["mask_shapes"] = np.array([meaning.factor_masks.shape for meaning in own.meanings], dtype=np.int64)
    arrays["factors"] = np.concatenate([np.asarray(meaning.factors, dtype=np.int64) for meaning in own.meanings])
    arrays["masks"] = np.concatenate([meaning.factor_masks.ravel() for meaning in own.meanings])
    arrays["readings_of"] = np.array(list(own.readings), dtype=np.int64)
    arrays["readings"] = np.concatenate([np.zeros((0, 2)), *own.readings.values()])
    arrays["weights_of"] = np.array(list(own.weights), dtype=np.int64)
    arrays["weights"] = np.concatenate([np.zeros(0), *own.weights.values()])
    for axis, leg in enumerate(samples.legs):
        arrays[f"leg-{axis}-columns"] = leg.columns
        arrays[f"leg-{axis}-inverse"] = leg.inverse
        arrays[f"leg-{axis}-settings"] = np.array([leg.num_settings])
    return arrays


def _read_samples(folder: Path, fragment: int, num_legs: int) -> SampledData:
    def get(name: str) -> np.ndarray:
        return _read(folder, f"{name}-{fragment}")

    shapes, leg_bits = get("mask_shapes"), get("leg_bits")
    factors = _pieces(get("factors"), shapes[:, 0])
    masks = _pieces(get("masks"), shapes.prod(axis=1))
    meanings = tuple(
        VariantMeaning(tuple(bits), own, mask.reshape(shape))
        for bits, own, mask, shape in zip(leg_bits.tolist(), factors, masks, shapes.tolist(), strict=True)
    )
    which, rows, of, weights_of = get("which"), get("rows"), get("readings_of"), get("weights_of")
    columns = VariantColumns(
        meanings, which, get("settings"), get("halves"), rows, get("outcomes"), get("counts"),
        dict(zip(of.tolist(), _pieces(get("readings"), shapes[which[of], 1]), strict=True)),
        dict(zip(weights_of.tolist(), _pieces(get("weights"), rows[weights_of]), strict=True)),
    )  # fmt: skip
    legs = tuple(
        LegSettings(get(f"leg-{axis}-columns"), get(f"leg-{axis}-inverse"), int(get(f"leg-{axis}-settings")[0]))
        for axis in range(num_legs)
    )
    return SampledData(legs, columns)


def _pieces(array: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """An array as pieces of these lengths, one after the other."""
    ends = np.cumsum(lengths).tolist()
    return [array[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
