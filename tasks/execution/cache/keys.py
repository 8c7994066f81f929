"""What is in a key: the circuit, as written or by its meaning, and everything else a result depends on."""

from __future__ import annotations

import hashlib
import json
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np
from qiskit import QuantumCircuit

from tasks.execution.as_written import circuit_material, material_digest
from tasks.execution.cache.semantic import ANGLE_GRID, NORMAL_FORM_VERSION, CanonicalForm, canonical_form
from tasks.execution.errors import UnsupportedCircuit

KEY_VERSION = 3
AS_WRITTEN = "as written"
BY_MEANING = "by meaning"
_MEMO_SIZE = 4096


@dataclass(frozen=True)
class Target:
    """Everything but the circuit that a result depends on.

    Attributes:
        backend: what runs the circuit.
        version: its version.
        method: simulation method, precision and the like.
        noise: digest of the noise model; empty means ideal.
        calibration: calibration epoch of a device; empty means none.
        options: layout, transpile and mitigation options, and whatever else changes results.
        share_meaning: on a noisy or calibrated target, share results of circuits that are equal only in the ideal.
            A choice of the user, recorded with the run: equality of ideal circuits is not equality of noisy results.
    """

    backend: str
    version: str = ""
    method: str = ""
    noise: str = ""
    calibration: str = ""
    options: tuple[tuple[str, str], ...] = ()
    share_meaning: bool = False

    @property
    def ideal(self) -> bool:
        """Whether circuits of equal meaning give equal distributions here."""
        return not self.noise and not self.calibration

    @cached_property
    def material(self) -> bytes:
        """The target as bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Key:
    """A key and how the stored bits map to the caller's.

    Attributes:
        digest: 32 bytes, of ``material``.
        material: all that must be equal; stored, and compared on every hit.
        level: AS_WRITTEN or BY_MEANING.
        angles: unrounded angles of the canonical form; empty for AS_WRITTEN.
        bits: the caller's classical bit of each stored bit.
        inverted: whether the caller's bit is the inverse.
        num_bits: classical bits of the caller's circuit.
        written: name of the caller's circuit as written (``circuit_digest``); empty where that is not asked.
    """

    digest: bytes
    material: bytes
    level: str
    angles: np.ndarray
    bits: tuple[int, ...]
    inverted: tuple[bool, ...]
    num_bits: int
    written: str = ""

    @property
    def name(self) -> str:
        """A short name for logs and provenance."""
        return self.digest.hex()[:16]


@dataclass
class KeyMaker:
    """Makes keys; remembers the meaning of circuits it has seen as written.

    Attributes:
        memo: canonical form by digest of the exact circuit, the last few thousand.
        worked_out: circuits as written whose form was computed, until someone takes them away.
    """

    memo: OrderedDict[bytes, CanonicalForm | None] = field(default_factory=OrderedDict)
    worked_out: deque[tuple[bytes, CanonicalForm | None]] = field(default_factory=lambda: deque(maxlen=64))

    def counts_key(
        self,
        circuit: QuantumCircuit,
        target: Target,
        *,
        as_written: bool = False,
        reproducible: tuple[int, int] | None = None,
        stream: str = "",
        recall: Callable[[bytes], CanonicalForm | None] | None = None,
        work_out: Callable[[bytes], bool] = lambda digest: True,
    ) -> Key:
        """Return the key of a circuit's counts.

        Args:
            circuit: a variant.
            target: where it runs.
            as_written: not by its meaning, whatever the target allows.
            reproducible: (shots, seed) when the caller asked for counts that a repetition gives again; such counts
                belong to the circuit as written.
            stream: names a sequence of shots that no other stream shares.
            recall: returns the form of a circuit as written if it is known from elsewhere.
            work_out: says of a circuit as written, by its digest, whether its form is worked out where it is not known.

        Raises:
            UnsupportedCircuit: the circuit cannot be put down in bytes.
        """
        exact = circuit_material(circuit)
        parts = [b"counts", target.material, *([b"stream", stream.encode()] if stream else [])]
        if reproducible is not None:
            seeded = [*parts, exact, struct.pack("<qq", *reproducible)]
            return make_key(AS_WRITTEN, seeded, num_bits=circuit.num_clbits, written=material_digest(exact))
        form = None
        if not as_written and (target.ideal or target.share_meaning):
            digest = hashlib.blake2b(exact, digest_size=32).digest()
            form = self._known(digest, exact, recall)
            if form is None and digest not in self.memo and work_out(digest):
                form = self._worked_out(digest, exact, circuit)
        if form is None:
            return make_key(AS_WRITTEN, [*parts, exact], num_bits=circuit.num_clbits, written=material_digest(exact))
        meant = [*parts, tolerance_material(), form.data, *_places(form, target)]
        return make_key(BY_MEANING, meant, form, written=material_digest(exact))

    def _known(
        self, digest: bytes, exact: bytes, recall: Callable[[bytes], CanonicalForm | None] | None
    ) -> CanonicalForm | None:
        if digest in self.memo:
            self.memo.move_to_end(digest)
            return self.memo[digest]
        form = recall(exact) if recall is not None else None
        if form is not None:
            self._remember(digest, form)
        return form

    def _worked_out(self, digest: bytes, exact: bytes, circuit: QuantumCircuit) -> CanonicalForm | None:
        try:
            form = canonical_form(circuit)
        except UnsupportedCircuit:
            form = None  # remembered, too: it cannot be read
        self.worked_out.append((exact, form))
        self._remember(digest, form)
        return form

    def _remember(self, digest: bytes, form: CanonicalForm | None) -> None:
        self.memo[digest] = form
        if len(self.memo) > _MEMO_SIZE:
            self.memo.popitem(last=False)


def _places(form: CanonicalForm, target: Target) -> list[bytes]:
    """Where the bits stand, on a device: what one qubit misreads, and 1 more often than 0, is no other bit's error."""
    return [] if target.ideal else [struct.pack(f"<{len(form.bits)}i", *form.bits) + bytes(form.inverted)]


def tolerance_material() -> bytes:
    """Return the version and tolerance of the normal form as bytes."""
    return struct.pack("<Hd", NORMAL_FORM_VERSION, ANGLE_GRID)


def make_key(
    level: str, parts: Sequence[bytes], form: CanonicalForm | None = None, num_bits: int = 0, written: str = ""
) -> Key:
    """Return the key over the given parts.

    Args:
        level: AS_WRITTEN or BY_MEANING.
        parts: what must be equal, each framed by its length.
        form: the canonical form behind it, where there is one.
        num_bits: classical bits of the circuit, where the form does not say.
        written: name of the circuit as written, where it may be asked.
    """
    framed = [struct.pack("<H", KEY_VERSION), level.encode()]
    for part in parts:
        framed += [struct.pack("<I", len(part)), part]
    material = b"".join(framed)
    digest = hashlib.blake2b(material, digest_size=32).digest()
    if form is None:
        bits = tuple(range(num_bits))
        return Key(digest, material, level, np.empty(0), bits, (False,) * num_bits, num_bits, written)
    return Key(digest, material, level, form.angles, form.bits, form.inverted, form.num_bits, written)
