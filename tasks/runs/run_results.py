"""What a run's folder holds of its fragments and of its rounds of shots, believed as far as the record bears it out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.runs.record import RunRecord, RunRecordError
from tasks.runs.results import FOLDER, file_name, read_result, store_result, write
from tasks.runs.storage import Stored, pack, read_stored, unpack

logger = logging.getLogger(__name__)


class RunResults:
    """The results of one run.

    Args:
        path: the run's folder.
        record: of the run; what is stored or believed is noted in it, and written with its next update.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self._record = record

    def store(self, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Keep a completed result (`store_result`), and what is known of it in the record."""
        self._record.result(key, {**meta, "sha256": store_result(self.path, key, arrays, meta)})

    def load(self, key: str) -> Stored | None:
        """A result stored under this key, or None when there is none; a damaged one is reported and counts as none."""
        found = read_result(self.path / FOLDER / file_name(key))
        return None if found is None else self._believed(*found)

    def stored(self, begin: tuple[str, ...] = ("",)) -> Iterator[tuple[str, Stored]]:
        """Every result that is there, with its key; damaged ones are reported and left out.

        Args:
            begin: only those whose keys begin with one of these.
        """
        for path in sorted((self.path / FOLDER).glob("[!.]*.npz")):
            found = read_result(path) if path.name.startswith(begin) else None
            if found is not None and (stored := self._believed(*found)) is not None:
                yield found[0], stored

    def _believed(self, key: str, stored: Stored) -> Stored | None:
        known = self._record["results"].get(key, {}).get("sha256", stored.meta["sha256"])
        if known != stored.meta["sha256"]:
            path = self.path / FOLDER / file_name(key)
            logger.warning("%s is not what the run stored: it is computed again", path)
            # Tasks take what they find of their own results, and do not see the record.
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise RunRecordError(f"cannot remove {path}: {error.strerror}: remove it") from error
            return None
        self._record.result(key, stored.meta)
        return stored

    def store_round(self, number: int, digest: str, shots: Mapping[int, np.ndarray]) -> None:
        """Keep what a round of shots is to take: a resumed run must ask for the same, whatever prices are then.

        Args:
            number: of the round.
            digest: of everything asked for in the rounds before.
            shots: (half, variant) by fragment.
        """
        arrays = {str(fragment): counts for fragment, counts in shots.items()}
        write(self.path, f"round-{number}.npz", pack(arrays, {"digest": digest}))

    def load_round(self, number: int, digest: str) -> dict[int, np.ndarray] | None:
        """What :meth:`store_round` kept after the same rounds, or None."""
        found = self._round(number)
        return found[1] if found is not None and found[0] == digest else None

    def shots_of_round(self, number: int) -> dict[int, np.ndarray] | None:
        """What :meth:`store_round` kept, after whatever rounds, or None."""
        found = self._round(number)
        return None if found is None else found[1]

    def _round(self, number: int) -> tuple[str, dict[int, np.ndarray]] | None:
        path = self.path / f"round-{number}.npz"
        try:
            stored = unpack(read_stored(path))
            return str(stored.meta["digest"]), {int(name): array for name, array in stored.arrays.items()}
        except FileNotFoundError:
            return None
        except Exception as error:  # as in read_result
            logger.warning("%s is damaged (%s): it is computed again", path, error)
            return None
