"""What is in a key: the circuit, as written or by its meaning, and everything else a result depends on."""

from __future__ import annotations

import hashlib
import json
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, Delay, Instruction, Measure, Reset
from qiskit.circuit.library import UnitaryGate

from tasks.execution.cache.errors import UnsupportedCircuit
from tasks.execution.cache.semantic.canonical import ANGLE_GRID, NORMAL_FORM_VERSION, CanonicalForm, canonical_form
from tasks.execution.cache.semantic.circuit_reader import read_circuit
from tasks.execution.cache.semantic.distribution import CanonicalDistribution, canonical_distribution
from tasks.execution.cache.semantic.gate_table import is_standard

KEY_VERSION = 2
AS_WRITTEN = "as written"
BY_MEANING = "by meaning"
BY_DISTRIBUTION = "by distribution"
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
        by_distribution: key small circuits by their exact distribution (``distribution``): finds more, costs a
            simulation; for targets whose executions are slow or paid.
    """

    backend: str
    version: str = ""
    method: str = ""
    noise: str = ""
    calibration: str = ""
    options: tuple[tuple[str, str], ...] = ()
    share_meaning: bool = False
    by_distribution: bool = False

    @property
    def ideal(self) -> bool:
        """Whether circuits of equal meaning give equal distributions here."""
        return not self.noise and not self.calibration

    def digest_material(self) -> bytes:
        """Return the target as bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Key:
    """A key and how the stored bits map to the caller's.

    Attributes:
        digest: 32 bytes, of ``material``.
        material: all that must be equal; stored, and compared on every hit.
        level: AS_WRITTEN, BY_MEANING or BY_DISTRIBUTION.
        angles: unrounded angles of the canonical form, or probabilities; empty for AS_WRITTEN.
        bits: the caller's classical bit of each stored bit.
        inverted: whether the caller's bit is the inverse.
        num_bits: classical bits of the caller's circuit.
    """

    digest: bytes
    material: bytes
    level: str
    angles: np.ndarray
    bits: tuple[int, ...]
    inverted: tuple[bool, ...]
    num_bits: int

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
        meaning: bool = True,
        distribution: bool = True,
        as_written: bool = False,
        reproducible: tuple[int, int] | None = None,
        stream: str = "",
        recall: Callable[[bytes], CanonicalForm | None] | None = None,
        stored: Callable[[Key], bool] | None = None,
    ) -> Key:
        """Return the key of a circuit's counts.

        Args:
            circuit: a variant.
            target: where it runs.
            meaning: work out what the circuit means, where the target allows sharing by meaning and the circuit can
                be read; without it only a meaning that is known already is used.
            distribution: likewise its exact distribution, where the target asks for it.
            as_written: use neither.
            reproducible: (shots, seed) when the caller asked for counts that a repetition gives again; such counts
                belong to the circuit as written.
            stream: names a sequence of shots that no other stream shares.
            recall: returns the form of a circuit as written if it is known from elsewhere.
            stored: says whether something is stored under a key; a meaning is not worked out where the circuit as
                written has something already.
        """
        exact = exact_material(circuit)
        parts = [b"counts", target.digest_material(), *([b"stream", stream.encode()] if stream else [])]
        if reproducible is not None:
            written = [*parts, exact, struct.pack("<qq", *reproducible)]
            return make_key(AS_WRITTEN, written, num_bits=circuit.num_clbits)
        plainly = make_key(AS_WRITTEN, [*parts, exact], num_bits=circuit.num_clbits)
        if as_written or not (target.ideal or target.share_meaning):
            return plainly
        if target.by_distribution and distribution:
            exactly = canonical_distribution(circuit)
            if exactly is not None:
                return make_key(
                    BY_DISTRIBUTION, [*parts, exactly.data, *_places(exactly, target)], exactly, circuit.num_clbits
                )
        form = self._known(exact, recall)
        if form is None and meaning and not (stored is not None and stored(plainly)):
            form = self._worked_out(exact, circuit)
        if form is None:
            return plainly
        return make_key(BY_MEANING, [*parts, tolerance_material(), form.data, *_places(form, target)], form)

    def _known(self, exact: bytes, recall: Callable[[bytes], CanonicalForm | None] | None) -> CanonicalForm | None:
        digest = hashlib.blake2b(exact, digest_size=32).digest()
        if digest in self.memo:
            self.memo.move_to_end(digest)
            return self.memo[digest]
        form = recall(exact) if recall is not None else None
        if form is not None:
            self._remember(digest, form)
        return form

    def _worked_out(self, exact: bytes, circuit: QuantumCircuit) -> CanonicalForm | None:
        digest = hashlib.blake2b(exact, digest_size=32).digest()
        if digest in self.memo:  # it was tried, and cannot be read
            return None
        try:
            builder = read_circuit(circuit)
            form = canonical_form(builder.finish(), builder.num_qubits, circuit.num_clbits)
        except UnsupportedCircuit:
            form = None
        self.worked_out.append((exact, form))
        self._remember(digest, form)
        return form

    def _remember(self, digest: bytes, form: CanonicalForm | None) -> None:
        self.memo[digest] = form
        if len(self.memo) > _MEMO_SIZE:
            self.memo.popitem(last=False)


def _places(form: CanonicalForm | CanonicalDistribution, target: Target) -> list[bytes]:
    """Where the bits stand, on a device: what one qubit misreads, and 1 more often than 0, is no other bit's error."""
    return [] if target.ideal else [struct.pack(f"<{len(form.bits)}i", *form.bits) + bytes(form.inverted)]


def exact_material(circuit: QuantumCircuit) -> bytes:
    """Return the circuit as written, byte for byte: instructions, parameters, qubits and bits in order.

    Raises:
        UnsupportedCircuit: an instruction whose content cannot be put down in bytes (control flow, free parameters).
    """
    at = {bit: i for i, bit in enumerate(circuit.qubits)}
    bit_at = {bit: i for i, bit in enumerate(circuit.clbits)}
    out = [struct.pack("<HII", KEY_VERSION, circuit.num_qubits, circuit.num_clbits)]
    heads: dict[str, bytes] = {}
    for item in circuit.data:
        name = item.name
        if item.is_standard_gate() and (name in heads or is_standard(item.operation)):
            if name not in heads:
                heads[name] = _head(name)
            out.append(_plain_material(heads[name], item.params) or _instruction_material(item.operation))
        else:
            out.append(_instruction_material(item.operation))
        places = [at[q] for q in item.qubits]
        if item.clbits:
            places += [bit_at[c] for c in item.clbits]
        out.append(struct.pack(f"<{len(places) + 1}i", len(places), *places))
    return b"".join(out)


def _plain_material(head: bytes, parameters: Sequence[object]) -> bytes:
    """What ``_instruction_material`` says of a standard gate, from its name and numbers; b"" if they are no numbers."""
    if not parameters:
        return head + b";"
    try:
        return b"".join((head, *(b"f" + struct.pack("<d", value) for value in parameters), b";"))
    except (TypeError, struct.error):
        return b""


def _head(name: str) -> bytes:
    encoded = name.encode()
    return struct.pack("<H", len(encoded)) + encoded


def _instruction_material(operation: Instruction) -> bytes:
    out = [_head(operation.name)]
    for value in operation.params:
        if isinstance(value, str):  # the letters of a PauliGate
            out.append(_framed(b"s", value.encode()))
            continue
        if isinstance(value, np.ndarray):
            out.append(_framed(b"a", np.ascontiguousarray(value, dtype="<c16").tobytes()))
            continue
        try:
            out.append(b"f" + struct.pack("<d", float(value)))
        except (TypeError, ValueError):
            raise UnsupportedCircuit(f"{operation.name}: a parameter is not a number; bind it first") from None
    # By class: a gate that only borrows one of these names has a definition, and is that.
    if not is_standard(operation) and not isinstance(operation, Measure | Reset | Barrier | Delay | UnitaryGate):
        definition = getattr(operation, "definition", None)
        if definition is None or getattr(operation, "blocks", None):
            raise UnsupportedCircuit(f"{operation.name}: no definition to compare; the circuit is not cached")
        out.append(_framed(b"d", exact_material(definition)))
    if isinstance(operation, Delay):
        out.append(str(operation.unit).encode())
    return b"".join(out) + b";"


def _framed(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data


def tolerance_material() -> bytes:
    """Return the version and tolerance of the normal form as bytes."""
    return struct.pack("<Hd", NORMAL_FORM_VERSION, ANGLE_GRID)


def make_key(
    level: str,
    parts: Sequence[bytes],
    form: CanonicalForm | CanonicalDistribution | None = None,
    num_bits: int = 0,
) -> Key:
    """Return the key over the given parts.

    Args:
        level: AS_WRITTEN, BY_MEANING or BY_DISTRIBUTION.
        parts: what must be equal, each framed by its length.
        form: the canonical form or distribution behind it, where there is one.
        num_bits: classical bits of the circuit, where the form does not say.
    """
    framed = [struct.pack("<H", KEY_VERSION), level.encode()]
    for part in parts:
        framed += [struct.pack("<I", len(part)), part]
    material = b"".join(framed)
    digest = hashlib.blake2b(material, digest_size=32).digest()
    if form is None:
        return Key(digest, material, level, np.empty(0), tuple(range(num_bits)), (False,) * num_bits, num_bits)
    if isinstance(form, CanonicalDistribution):
        return Key(digest, material, level, form.probabilities, form.bits, form.inverted, num_bits)
    return Key(digest, material, level, form.angles, form.bits, form.inverted, form.num_bits)


def exact_digest(circuit: QuantumCircuit) -> str:
    """Return a digest of the circuit as written, for provenance."""
    return hashlib.blake2b(exact_material(circuit), digest_size=16).hexdigest()
