"""Batches: which pieces of a round one process runs, on devices of which kind; and the file that lists them.

`stages/batches.json` in a run's folder is part of the contract in tasks/stages/README.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from scheduler_policies import Device
from tasks.execution.pieces import Piece
from tasks.runs import RunRecordError
from tasks.runs.results import write

FORMAT_OF_STAGES = 1
"""Of the files below ``stages/``; whoever changes what one means raises it."""
FOLDER_OF_STAGES = "stages"
WORTH_S = 30.0  # a batch is predicted to last so long at least: a job of a queue or a container takes seconds to start
MOST_BATCHES = 16  # of a kind of device in a round, where nobody says how many

_FILE = f"{FOLDER_OF_STAGES}/batches.json"
_PART_FIELDS = {"fragment": int, "first": int, "count": int}


@dataclass(frozen=True)
class Batch:
    """What one process runs.

    Attributes:
        index: unique in the run; ``batch`` names it.
        round_index: which round of shots it belongs to.
        device: where the policy has placed it.
        kind: of that device: cpu, gpu or qpu.
        seconds: predicted, on one core.
        parts: (fragment, first variant, number of variants); 0 variants: the whole tensor.
    """

    index: int
    round_index: int
    device: str
    kind: str
    seconds: float
    parts: tuple[tuple[int, int, int], ...]

    @property
    def fragments(self) -> list[int]:
        """The fragments that it has a part of."""
        return sorted({fragment for fragment, _, _ in self.parts})

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "index": self.index,
            "round": self.round_index,
            "device": self.device,
            "kind": self.kind,
            "seconds": round(self.seconds, 3),
            "parts": [dict(zip(_PART_FIELDS, part, strict=True)) for part in self.parts],
        }


def batch_from(document: Mapping[str, Any]) -> Batch:
    """The inverse of ``Batch.document``."""
    parts = tuple(tuple(int(part[name]) for name in _PART_FIELDS) for part in document["parts"])
    return Batch(
        int(document["index"]), int(document["round"]), str(document["device"]), str(document["kind"]),
        float(document["seconds"]), parts,  # type: ignore[arg-type]
    )  # fmt: skip


def batches_of(
    placed: Iterable[tuple[Device, Piece]],
    predicted: Callable[[Piece], float],
    *,
    first: int,
    round_index: int,
    most: int | None = None,
) -> list[Batch]:
    """Placed pieces in batches: for each device as many as are worth it, of about equal predicted time.

    Args:
        placed: pieces with the devices they were placed on.
        predicted: how many seconds each takes on one core.
        first: index of the first batch.
        round_index: which round of shots it is.
        most: batches of one device, however short they get; None for as many as last ``WORTH_S``, up to
            ``MOST_BATCHES``.
    """
    by_device: dict[str, list[Piece]] = {}
    devices: dict[str, Device] = {}
    for device, piece in placed:
        devices[device.name] = device
        by_device.setdefault(device.name, []).append(piece)
    made: list[Batch] = []
    for name, device in devices.items():
        pieces = _joined(by_device[name])
        total = sum(map(predicted, pieces))
        count = most or min(MOST_BATCHES, max(1, math.floor(total / WORTH_S)))
        for share in _shares(pieces, predicted, count):
            made.append(
                Batch(
                    first + len(made),
                    round_index,
                    name,
                    device.kind.value.lower(),
                    sum(map(predicted, share)),
                    tuple((piece.fragment, piece.first, piece.count) for piece in share),
                )
            )
    return made


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces in order, those that follow each other as one."""
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.key):
        last = joined[-1] if joined else None
        follows = (
            last is not None
            and not piece.exact
            and not last.exact
            and last.key[:2] == piece.key[:2]
            and last.first + last.count == piece.first
        )
        if last is not None and follows:
            joined[-1] = Piece(last.fragment, last.round_index, last.first, last.shots + piece.shots)
        else:
            joined.append(piece)
    return joined


def _shares(pieces: Sequence[Piece], predicted: Callable[[Piece], float], count: int) -> list[list[Piece]]:
    """Consecutive pieces in up to ``count`` shares of about equal time; long pieces are divided where they can be."""
    shares: list[list[Piece]] = [[] for _ in range(count)]
    each = max(sum(map(predicted, pieces)) / count, 1e-12)
    at = 0.0
    for piece in pieces:
        seconds = predicted(piece)
        if piece.count < 2:
            shares[min(count - 1, int((at + seconds / 2) / each))].append(piece)
        else:
            first, last = int(at / each), min(count - 1, int((at + seconds) / each))
            edges = [round(((number + 1) * each - at) / seconds * piece.count) for number in range(first, last)]
            bounds = [0, *(min(max(edge, 0), piece.count) for edge in edges), piece.count]
            for number, (begin, end) in enumerate(pairwise(bounds), first):
                if begin < end:
                    shares[min(number, count - 1)].append(piece.share(piece.first + begin, end - begin))
        at += seconds
    return [share for share in shares if share]


def read_batches(run: Path) -> list[Batch]:
    """The batches of a run, in order; none where it was not planned in stages.

    Raises:
        RunRecordError: the file is of a newer version, or damaged.
    """
    path = run / _FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunRecordError(f"{path}: cannot be read: {error.strerror}: make it readable") from error
    return [batch_from(entry) for entry in read_versioned(path, content)["batches"]]


def write_batches(run: Path, batches: Sequence[Batch]) -> None:
    """Keep the batches of a run.

    Raises:
        RunRecordError: they cannot be written.
    """
    document = {"schema": FORMAT_OF_STAGES, "batches": [batch.document() for batch in batches]}
    write(run, _FILE, json.dumps(document).encode())


def read_versioned(path: Path, content: bytes) -> dict[str, Any]:
    """A JSON document below ``stages/``.

    Raises:
        RunRecordError: it is of another version, or damaged.
    """
    try:
        document = dict(json.loads(content))
        schema = int(document["schema"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunRecordError(f"{path}: is damaged ({error}): `qompass resume` finishes the run without it") from error
    if schema != FORMAT_OF_STAGES:
        age = "a newer" if schema > FORMAT_OF_STAGES else "an older"
        raise RunRecordError(
            f"{path}: was written by {age} version of Qompass (format {schema}, this one reads {FORMAT_OF_STAGES}): "
            "use that version, or start anew"
        )
    return document
