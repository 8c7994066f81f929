"""What a run's ``record.json`` says: read-only as a mapping, changed by methods, sealed with a checksum on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any

from tasks.errors import QompassError
from tasks.runs.storage import plain

FORMAT = 2
"""Of a run's folder; tasks/runs/README.md says what belongs to it."""
PROBLEM_FILES = frozenset({"circuit.qpy", "observables.npz"})
STATUSES = ("running", "done", "failed", "interrupted")

_SEAL = "sha256"


class RunRecordError(QompassError):
    """A run's folder cannot be made, read or written, or another process works on it."""


class RunRecord(Mapping[str, Any]):
    """The record of one run; its values are plain JSON.

    Args:
        document: its fields; those that every record has are added where they are missing.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document: dict[str, Any] = {"schema": FORMAT, "notes": [], "timings": {}, "results": {}}
        self.set(**document)

    def __getitem__(self, name: str) -> Any:
        """A field; whoever changes what it holds changes the record."""
        return self._document[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the fields."""
        return iter(self._document)

    def __len__(self) -> int:
        """How many fields there are."""
        return len(self._document)

    def set(self, **fields: Any) -> None:
        """Set fields; NumPy numbers and arrays and paths become plain JSON."""
        self._document.update(json.loads(json.dumps(fields, default=plain)))

    def note(self, text: str) -> None:
        """Say something to whoever reads the result, once."""
        if text not in self["notes"]:
            self["notes"].append(text)

    def result(self, key: str, meta: Mapping[str, Any]) -> None:
        """Say what is known of a stored result: which device made it, how long it took."""
        self["results"][key] = json.loads(json.dumps(dict(meta), default=plain))

    def move(self, piece: Mapping[str, int], source: str, target: str, why: str) -> None:
        """Say that a piece of work went from one device to another."""
        self._document.setdefault("moves", []).append({**piece, "from": source, "to": target, "why": why})

    def count_cache(self, store: str, numbers: Mapping[str, float]) -> None:
        """Add to what the cache in ``store`` did for this run."""
        total = self._document.setdefault("cache", {"store": store})
        for name, number in numbers.items():
            total[name] = round(total.get(name, 0) + number, 6)

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the time that a stage took, over all processes of the run."""
        self["timings"][stage] = round(self["timings"].get(stage, 0.0) + seconds, 6)

    def to_bytes(self) -> bytes:
        """Content of ``record.json``."""
        return json.dumps({_SEAL: _seal(self._document), **self._document}, indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> RunRecord:
        """The record that :meth:`to_bytes` wrote.

        Raises:
            RunRecordError: it was changed or damaged, or belongs to another version of Qompass.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RunRecordError(f"is damaged ({error}): the run cannot be read; start anew") from error
        if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
            raise RunRecordError("is no record of a run: name a folder that `qompass run` made")
        if document["schema"] != FORMAT:
            age = "a newer" if document["schema"] > FORMAT else "an older"
            raise RunRecordError(
                f"was written by {age} version of Qompass (format {document['schema']}, this one reads {FORMAT}): "
                "use that version, or start anew"
            )
        if document.pop(_SEAL, None) != _seal(document):
            raise RunRecordError(
                "was changed after Qompass wrote it (its checksum does not fit), so nothing of the run is believed: "
                "put it back, or start anew"
            )
        wrong = next((name for name, fits in _FIELDS.items() if not fits(document.get(name))), None)
        if wrong is not None:
            raise RunRecordError(f"has no usable field '{wrong}': the run cannot be read; start anew")
        return cls(document)


def _seal(document: Mapping[str, Any]) -> str:
    """SHA-256 of the fields in one order and spelling, in hexadecimal."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is(kind: type | tuple[type, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _all(container: type, kind: type | tuple[type, ...]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        members = value.values() if isinstance(value, dict) else value
        return isinstance(value, container) and all(isinstance(member, kind) for member in members)

    return fits


def _maybe(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _has(**kinds: type | tuple[type, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(isinstance(value.get(n), kind) for n, kind in kinds.items())


def _is_estimates(value: Any) -> bool:
    return _all(list, dict)(value) and all(
        entry.keys() == {"observable", "value", "std_error"}
        and isinstance(entry["observable"], str)
        and isinstance(entry["value"], int | float)
        and isinstance(entry["std_error"], int | float)
        for entry in value
    )


def _is_inputs(value: Any) -> bool:
    return isinstance(value, dict) and _all(dict, str)(value.get("stored")) and set(value["stored"]) == PROBLEM_FILES


def _is_problem(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _all(list, str)(value.get("names"))
        and all(isinstance(value.get(name), int) for name in ("qubits", "observables"))
    )


def _is_plan(value: Any) -> bool:
    cuts = value.get("cuts") if isinstance(value, dict) else None
    return (
        isinstance(cuts, dict)
        and _all(list, dict)(value.get("fragments", []))
        and _all(list, (int, dict))(cuts.get("gates"))
        and all(
            isinstance(gate, int)
            or (
                len(gate) > 1
                and gate.keys() - {"kind", "with"} == {"instruction"}
                and _all(list, int)(gate.get("with", []))
            )
            for gate in cuts["gates"]
        )
        and _all(list, dict)(cuts.get("wires"))
        and all(wire.keys() - {"kind"} == {"instruction", "qubit"} for wire in cuts["wires"])
        and all(isinstance(wire[name], int) for wire in cuts["wires"] for name in ("instruction", "qubit"))
    )


_NUMBER = (int, float)

# What the rooms that read a record rely on.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "run": _is(str),
    "status": lambda value: value in STATUSES,
    "created": _is(str),
    "notes": _all(list, str),
    "timings": _all(dict, (int, float)),
    "results": _all(dict, dict),
    "inputs": _is_inputs,
    "options": _maybe(_is(dict)),
    "plan": _maybe(_is_plan),
    "engine": _maybe(_is(dict)),
    "estimates": _maybe(_is_estimates),
    "moves": _maybe(_all(list, dict)),
    "cache": _maybe(_is(dict)),
    "problem": _maybe(_is_problem),
    "asked": _maybe(lambda value: _is(dict)(value) and _all(list, str)(value.get("observable"))),
    "devices": _maybe(_all(dict, dict)),
    "price": _maybe(_is(_NUMBER)),
    "readout_price": _maybe(_is(_NUMBER)),
    "seed": _maybe(_is(int)),
    "shots": _maybe(_is(int)),
    "versions": _maybe(_all(dict, str)),
    "variance_shares": _maybe(_all(dict, list)),
    "table": _maybe(_has(sha256=str)),
    "tasks": _maybe(_has(overhead_share=_NUMBER)),
    "sweep": _maybe(_has(rows=int, values=int, groups=int)),
    "optimum": _maybe(
        _has(
            energy=_NUMBER,
            std_error=_NUMBER,
            why=str,
            evaluations=int,
            circuits=int,
            shots=int,
            parameters=dict,
            exact=(*_NUMBER, NoneType),
            bits=str,
            bits_energy=(*_NUMBER, NoneType),
        )
    ),
}
