"""Variants -> programs: circuits a QPU can run as they are, made once per calibration."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.exceptions import QiskitError
from qiskit.transpiler import PassManager, generate_preset_pass_manager

from tasks.execution.as_written import circuit_digest
from tasks.execution.own_stages import own_stages
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.target import QpuTarget

REGISTER = "c"
LEVEL = 2  # of optimisation: routing that looks at error rates, without the exponential passes of level 3
SEED = 17  # transpilation is part of the result's provenance, so it must not differ from run to run
CACHE_SIZE = 8192

_cache: OrderedDict[tuple[str, str, int, str], Program] = OrderedDict()
_managers: OrderedDict[tuple[str, str, int], PassManager] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Program:
    """A variant as one device runs it.

    Attributes:
        digest: of the variant's circuit (``circuit_digest``).
        circuit: on physical qubits, in the device's basis, one classical register ``c``.
        measured: (bit,) physical qubit whose measurement gives each bit.
    """

    digest: str
    circuit: QuantumCircuit
    measured: tuple[int, ...]

    @property
    def num_clbits(self) -> int:
        """How many bits it measures."""
        return len(self.measured)


def defer_measurements(circuit: QuantumCircuit, room: int) -> QuantumCircuit:
    """The same circuit with measurements only at the end: each one that something follows is copied to an ancilla.

    A measurement followed by a reset needs no copy: the qubit is left alone and a fresh one takes its place.

    Args:
        circuit: without classical control.
        room: how many qubits the result may have.

    Raises:
        ValueError: it needs more qubits than that, or resets or controls what cannot be deferred.
    """
    last = {}
    for position, entry in enumerate(circuit.data):
        if entry.operation.name != "barrier":
            for bit in entry.qubits:
                last[circuit.find_bit(bit).index] = position
    wire = list(range(circuit.num_qubits))
    size = circuit.num_qubits
    body: list[tuple[object, list[int]]] = []
    reads: list[tuple[int, int]] = []
    untouched = set(wire)
    for position, entry in enumerate(circuit.data):
        name = entry.operation.name
        qubits = [circuit.find_bit(bit).index for bit in entry.qubits]
        if name == "barrier":
            continue
        if name == "measure":
            bit = circuit.find_bit(entry.clbits[0]).index
            if last[qubits[0]] == position or _reset_next(circuit, position, qubits[0]):
                reads.append((wire[qubits[0]], bit))
            else:
                body.append(("cx", [wire[qubits[0]], size]))
                reads.append((size, bit))
                size += 1
        elif name == "reset":
            if qubits[0] not in untouched:
                wire[qubits[0]] = size
                size += 1
        elif entry.clbits or getattr(entry.operation, "condition", None) is not None:
            raise ValueError(f"{name} depends on a measured bit")
        else:
            body.append((entry.operation, [wire[qubit] for qubit in qubits]))
        if name != "reset":
            untouched.difference_update(qubits)
    if size > room:
        raise ValueError(f"measuring at the end only takes {size} qubits, {size - circuit.num_qubits} of them ancillas")
    out = QuantumCircuit(QuantumRegister(size, "q"), ClassicalRegister(circuit.num_clbits, REGISTER))
    for operation, places in body:
        if operation == "cx":
            out.cx(*places)
        else:
            out.append(operation, places)
    for place, bit in reads:
        out.measure(place, bit)
    return out


def _reset_next(circuit: QuantumCircuit, position: int, qubit: int) -> bool:
    for entry in circuit.data[position + 1 :]:
        if entry.operation.name != "barrier" and any(circuit.find_bit(bit).index == qubit for bit in entry.qubits):
            return entry.operation.name == "reset"
    return False


def measures_midway(circuit: QuantumCircuit) -> bool:
    """Whether a qubit is used after it was measured, or reset after use."""
    seen: set[int] = set()
    used: set[int] = set()
    for entry in circuit.data:
        name = entry.operation.name
        if name == "barrier":
            continue
        qubits = {circuit.find_bit(bit).index for bit in entry.qubits}
        if seen & qubits or (name == "reset" and used & qubits):
            return True
        used |= qubits
        if name == "measure":
            seen |= qubits
    return False


def make_programs(circuits: Sequence[QuantumCircuit | Program], target: QpuTarget, level: int = LEVEL) -> list[Program]:
    """Programs of variants on a target; those made before for the same calibration are not made again.

    Args:
        circuits: variants, each with at least one measured bit; programs are left as they are.
        target: of the device, at its present calibration.
        level: Qiskit's optimisation level.

    Raises:
        QpuError: one does not fit (too many qubits, no room for an ancilla, a basis gate missing).
    """
    programs = []
    for circuit in circuits:
        if isinstance(circuit, Program):
            programs.append(circuit)
            continue
        key = (target.resource, target.epoch, level, circuit_digest(circuit))
        with _lock:
            found = _cache.get(key)
        if found is None:
            found = _transpile(circuit, target, level, key[3])
            with _lock:
                _cache[key] = found
                while len(_cache) > CACHE_SIZE:
                    _cache.popitem(last=False)
        programs.append(found)
    return programs


def _transpile(circuit: QuantumCircuit, target: QpuTarget, level: int, digest: str) -> Program:
    if circuit.num_qubits > target.num_qubits:
        raise QpuError(
            Fault.UNFIT, target.resource, f"a variant has {circuit.num_qubits} qubits, the device {target.num_qubits}"
        )
    try:
        flat = _flatten(circuit, target)
    except ValueError as error:
        raise QpuError(Fault.UNFIT, target.resource, f"it cannot measure within a circuit, and {error}") from None
    try:
        made = _manager(target, level).run(flat)
    except QiskitError as error:
        text = " ".join(str(error.message).split())[:300]
        raise QpuError(
            Fault.UNFIT, target.resource, f"a variant cannot be written in its gates {target.basis_gates}: {text}"
        ) from None
    measured = [-1] * circuit.num_clbits
    for entry in made.data:
        if entry.operation.name == "measure":
            measured[made.find_bit(entry.clbits[0]).index] = made.find_bit(entry.qubits[0]).index
    missing = {entry.operation.name for entry in made.data} - {*target.target.operation_names, "barrier", "measure"}
    if missing:
        raise QpuError(Fault.UNFIT, target.resource, f"it lacks {', '.join(sorted(missing))}")
    return Program(digest, made, tuple(measured))


def _flatten(circuit: QuantumCircuit, target: QpuTarget) -> QuantumCircuit:
    if measures_midway(circuit) and not (target.limits.mid_circuit_measurement and target.limits.reset):
        return defer_measurements(circuit, target.num_qubits)
    flat = QuantumCircuit(QuantumRegister(circuit.num_qubits, "q"), ClassicalRegister(circuit.num_clbits, REGISTER))
    for entry in circuit.data:
        if entry.operation.name != "barrier":
            places = [circuit.find_bit(bit).index for bit in entry.qubits]
            flat.append(entry.operation, places, [circuit.find_bit(bit).index for bit in entry.clbits])
    return flat


def _manager(target: QpuTarget, level: int) -> PassManager:
    key = (target.resource, target.epoch, level)
    with _lock:
        if key not in _managers:
            with own_stages():
                _managers[key] = generate_preset_pass_manager(level, target=target.target, seed_transpiler=SEED)
            while len(_managers) > 16:
                _managers.popitem(last=False)
        return _managers[key]
