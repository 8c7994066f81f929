"""Arrays with their metadata and a checksum in plain .npz files, written whole or not at all; never a pickle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.runtime.regular_file import open_regular

_META, _CHECKSUM = "__meta__", "__sha256__"


@dataclass(frozen=True)
class Stored:
    """A result as it was stored.

    Attributes:
        arrays: by name, as given to :meth:`RunDirectory.store`.
        meta: as given; at least what the workflow says of device and time.
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def pack(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> bytes:
    """An uncompressed .npz with the metadata and a checksum of all content among its members.

    Raises:
        TypeError: an array holds objects, or takes a reserved name.
    """
    members = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in members.items():
        if array.dtype.hasobject or name in (_META, _CHECKSUM):
            raise TypeError(f"array '{name}' of dtype {array.dtype} cannot be stored")
    members[_META] = np.frombuffer(json.dumps(dict(meta), default=plain).encode(), dtype=np.uint8)
    members[_CHECKSUM] = np.frombuffer(_checksum(members), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **members)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(content: bytes) -> Stored:
    """What :func:`pack` packed.

    Raises:
        ValueError: the checksum does not fit (other damage surfaces as other exceptions).
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    expected = arrays.pop(_CHECKSUM).tobytes()
    if _checksum(arrays) != expected:
        raise ValueError("checksum mismatch")
    return Stored(arrays, json.loads(arrays.pop(_META).tobytes()))


def _checksum(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.digest()


def read_stored(path: Path) -> bytes:
    """The content of a file of a run; a pipe or a device in its place is refused, not waited for.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside the final name, flush to disk, rename: a reader sees the old content or the new, never a part.

    Args:
        path: of the file.
        content: of the file.
        durable: survive a power cut; else nothing is flushed.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut too
    finally:
        os.close(folder)


def plain(value: Any) -> Any:
    """JSON for NumPy numbers and arrays, and for paths.

    Raises:
        TypeError: it is something else, which has no place in a record.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not belong in a record")
