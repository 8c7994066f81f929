"""A network on disk: what the ranks of the MPI program read, mapped into memory so that a node holds it once.

One folder, one plain .npy file an array, and a JSON file that says what belongs together; never a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from tasks.model.tensor import FragmentTensor, LegSettings, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction.errors import SpillError

_INDEX = "network.json"


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
    variants = samples.variants
    arrays = {
        "settings": np.array([variant.settings for variant in variants], dtype=np.int64),
        "leg_bits": np.array([variant.leg_bits for variant in variants], dtype=np.int64),
        "half": np.array([variant.half for variant in variants], dtype=np.int64),
        "num_bits": np.array([variant.counts.num_bits for variant in variants], dtype=np.int64),
        "widths": np.array([variant.counts.outcomes.shape[1] for variant in variants], dtype=np.int64),
        "num_outcomes": np.array([variant.counts.counts.size for variant in variants], dtype=np.int64),
        "group_sizes": np.array([len(variant.factors) for variant in variants], dtype=np.int64),
        "factors": np.concatenate([np.asarray(variant.factors, dtype=np.int64) for variant in variants]),
        "masks": np.concatenate([variant.factor_masks.astype(np.uint8).ravel() for variant in variants]),
        "outcomes": np.concatenate([variant.counts.outcomes.ravel() for variant in variants]),
        "counts": np.concatenate([variant.counts.counts for variant in variants]),
    }
    readings = [variant.counts.readings for variant in variants]
    weights = [variant.counts.weights for variant in variants]
    arrays["has_readings"] = np.array([array is not None for array in readings])
    arrays["has_weights"] = np.array([array is not None for array in weights])
    arrays["readings"] = np.concatenate([np.zeros((0, 2)), *(array for array in readings if array is not None)])
    arrays["weights"] = np.concatenate([np.zeros(0), *(array for array in weights if array is not None)])
    for axis, leg in enumerate(samples.legs):
        arrays[f"leg-{axis}-columns"] = leg.columns
        arrays[f"leg-{axis}-inverse"] = leg.inverse
        arrays[f"leg-{axis}-settings"] = np.array([leg.num_settings])
    return arrays


def _read_samples(folder: Path, fragment: int, num_legs: int) -> SampledData:
    def get(name: str) -> np.ndarray:
        return _read(folder, f"{name}-{fragment}")

    sizes, groups = get("num_outcomes"), get("group_sizes")
    widths, num_bits = get("widths"), get("num_bits")
    ends = np.cumsum(sizes)
    byte_ends, group_ends, mask_ends = np.cumsum(sizes * widths), np.cumsum(groups), np.cumsum(groups * num_bits)
    settings, leg_bits = get("settings").reshape(sizes.size, num_legs), get("leg_bits").reshape(sizes.size, num_legs)
    factors, masks, outcomes, counts = get("factors"), get("masks"), get("outcomes"), get("counts")
    has_readings, has_weights = get("has_readings"), get("has_weights")
    reading_ends, weight_ends = np.cumsum(num_bits * has_readings), np.cumsum(sizes * has_weights)
    readings, weights, half = get("readings"), get("weights"), get("half")
    variants = []
    for v in range(sizes.size):
        bits, width, group, size = int(num_bits[v]), int(widths[v]), int(groups[v]), int(sizes[v])
        variants.append(
            VariantData(
                settings=tuple(int(setting) for setting in settings[v]),
                leg_bits=tuple(int(bit) for bit in leg_bits[v]),
                factors=factors[group_ends[v] - group : group_ends[v]],
                factor_masks=masks[mask_ends[v] - group * bits : mask_ends[v]].reshape(group, bits).astype(bool),
                counts=VariantCounts(
                    outcomes[byte_ends[v] - size * width : byte_ends[v]].reshape(size, width),
                    counts[ends[v] - size : ends[v]],
                    bits,
                    readings[reading_ends[v] - bits : reading_ends[v]] if has_readings[v] else None,
                    weights[weight_ends[v] - size : weight_ends[v]] if has_weights[v] else None,
                ),
                half=int(half[v]),
            )
        )
    legs = tuple(
        LegSettings(get(f"leg-{axis}-columns"), get(f"leg-{axis}-inverse"), int(get(f"leg-{axis}-settings")[0]))
        for axis in range(num_legs)
    )
    return SampledData(legs, tuple(variants))
