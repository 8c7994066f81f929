"""The chip behind an emulated device: published calibration, true (drifting) noise, and simulation with Aer."""

from __future__ import annotations

import copy
import json
import random
import threading
import time
from datetime import datetime, timezone
from functools import lru_cache
from importlib.util import find_spec
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from launch.emulator.options import IQM, DeviceOptions

DENSITY_QUBITS = 7  # up to here a density matrix is faster than one trajectory a shot


@lru_cache(maxsize=8)
def backend_files(backend: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and properties of a fake backend of qiskit-ibm-runtime.

    Raises:
        ValueError: there is no such backend.
    """
    package = find_spec("qiskit_ibm_runtime")  # only found: to import it takes longer than all else here together
    places = [] if package is None else package.submodule_search_locations or []
    for place in places if backend.isidentifier() else []:
        folder = Path(place) / "fake_provider" / "backends" / backend
        found = [next(folder.glob(f"{kind}_*.json"), None) for kind in ("conf", "props")]
        if None not in found:
            return tuple(json.loads(file.read_text()) for file in found if file)
    raise ValueError(f"backend {backend!r}: no such fake backend in qiskit-ibm-runtime; try lagos")


class Chip:
    """Error rates, true and published, of one device, and the simulator that has them."""

    def __init__(self, options: DeviceOptions) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        self._seed = random.Random(options.seed + 1)
        self._lock = threading.Lock()
        configuration, properties = copy.deepcopy(backend_files(options.backend))
        self.configuration = self._configure(configuration)
        self._properties = self._adapt(properties)
        self._drift: dict[str, float] = {}
        self._models: dict[tuple[int, tuple[int, ...]], NoiseModel] = {}
        self._step = 0
        self._drifted = self._calibrated = time.monotonic()
        self.calibrate()

    @property
    def qubits(self) -> int:
        """Number of physical qubits."""
        return int(self.configuration["n_qubits"])

    @property
    def gates(self) -> set[str]:
        """Names of the gates the device has."""
        return set(self.configuration["basis_gates"])

    def _configure(self, configuration: dict[str, Any]) -> dict[str, Any]:
        lacks = set(filter(None, self._options.lacks.split("+")))
        configuration["backend_name"] = self._options.name
        configuration["max_experiments"] = self._options.circuits
        configuration["max_shots"] = self._options.shots
        configuration["default_rep_delay"] = 1e6 * self._options.shot
        for key in ("basis_gates", "supported_instructions"):
            names = [name for name in configuration[key] if name not in lacks]
            if not self._options.dynamic:
                names = [name for name in names if name not in {"if_else", "for_loop", "switch_case", "reset"}]
            configuration[key] = names
        configuration["gates"] = [gate for gate in configuration["gates"] if gate["name"] not in lacks]
        if not self._options.dynamic:
            configuration["conditional"] = False
            configuration["supported_features"] = []
        return configuration

    def _adapt(self, properties: dict[str, Any]) -> dict[str, Any]:
        lacks = set(filter(None, self._options.lacks.split("+")))
        properties["backend_name"] = self._options.name
        properties["gates"] = [gate for gate in properties["gates"] if gate["gate"] not in lacks]
        names = {"readout_error", "prob_meas0_prep1", "prob_meas1_prep0"}
        gates = [entry for gate in properties["gates"] for entry in gate["parameters"] if entry["name"] == "gate_error"]
        reads = [entry for qubit in properties["qubits"] for entry in qubit if entry["name"] in names]
        for entries, factor in ((gates, 1.0), (reads, self._options.readout)):
            for entry in entries:
                if entry["value"] < 1:  # 1 marks a broken gate, which stays broken
                    entry["value"] = min(0.5, entry["value"] * self._options.noise * factor)
        return properties

    def calibrate(self) -> None:
        """Undo all drift and publish a new calibration epoch."""
        with self._lock:
            self._drift = {}
            self._step += 1
            self._models.clear()
            self._calibrated = self._drifted = time.monotonic()
            self._properties["last_update_date"] = datetime.now(timezone.utc).isoformat()

    def publish(self) -> None:
        """Measure the device as it is, drift included, and publish that as a new calibration epoch."""
        names = {"readout_error", "prob_meas0_prep1", "prob_meas1_prep0"}
        with self._lock:
            for gate in self._properties["gates"]:
                _multiply(gate["parameters"], {"gate_error"}, self._factor(gate["name"]), 0.7)
            for qubit, entries in enumerate(self._properties["qubits"]):
                _multiply(entries, names, self._factor(f"q{qubit}"), 0.5)
        self.calibrate()

    def properties(self) -> dict[str, Any]:
        """The calibration as published: what the device was like when it was last calibrated."""
        self._age()
        with self._lock:
            return copy.deepcopy(self._properties)

    def worsen(self, factor: float) -> None:
        """Multiply every true error rate by ``factor``; the published calibration does not say so."""
        with self._lock:
            self._step += 1
            self._models.clear()
            self._drift["*"] = self._drift.get("*", 1.0) * factor

    def _age(self) -> None:
        options, now = self._options, time.monotonic()
        if options.recalibrate and now - self._calibrated > options.recalibrate:
            self.calibrate()
        while options.drift_every and now - self._drifted > options.drift_every:
            with self._lock:
                self._drifted += options.drift_every
                self._step += 1
                self._models.clear()
                for key in [gate["name"] for gate in self._properties["gates"]] + [
                    f"q{qubit}" for qubit in range(self.qubits)
                ]:
                    self._drift[key] = self._drift.get(key, 1.0) * exp(self._random.gauss(0.0, options.drift))

    def _factor(self, key: str) -> float:
        return self._drift.get(key, 1.0) * self._drift.get("*", 1.0)

    def _model(self, active: tuple[int, ...]) -> NoiseModel:
        with self._lock:
            found = self._models.get((self._step, active))
            if found is None:
                found = self._models[self._step, active] = self._build(active)
            return found

    def _build(self, active: tuple[int, ...]) -> NoiseModel:
        model = NoiseModel(basis_gates=["id", "rz", "sx", "x", "cx", "cz", "ecr", "r", "rx", "rzz"])
        place = {qubit: index for index, qubit in enumerate(active)}
        renamed = {"sx": ("sx", "r"), "cx": ("cx", "cz")} if self._options.kind == IQM else {}
        for gate in self._properties["gates"]:
            if gate["gate"] in {"reset", "measure"} or not all(qubit in place for qubit in gate["qubits"]):
                continue
            rate = next((entry["value"] for entry in gate["parameters"] if entry["name"] == "gate_error"), 0.0)
            rate = min(rate * self._factor(gate["name"]), 0.7)
            if rate <= 0:
                continue
            size = 2 ** len(gate["qubits"])
            # average gate infidelity e of a depolarizing channel of strength p is p (d - 1) / d
            error = depolarizing_error(min(rate * size / (size - 1), 1.0), len(gate["qubits"]))
            names = renamed.get(gate["gate"], (gate["gate"],))
            model.add_quantum_error(error, list(names), [place[qubit] for qubit in gate["qubits"]], warnings=False)
        for qubit, index in place.items():
            values = {entry["name"]: entry["value"] for entry in self._properties["qubits"][qubit]}
            factor, fallback = self._factor(f"q{qubit}"), values.get("readout_error", 0.0)
            p10 = min(0.5, factor * values.get("prob_meas1_prep0", fallback))
            p01 = min(0.5, factor * values.get("prob_meas0_prep1", fallback))
            if p10 > 0 or p01 > 0:
                model.add_readout_error(ReadoutError([[1 - p10, p10], [p01, 1 - p01]]), [index])
        return model

    def sample(self, circuit: QuantumCircuit, shots: int) -> np.ndarray:
        """(shot, classical bit) uint8 of a circuit on physical qubits.

        Noise acts on the qubits of one gate at a time, so parts that no gate connects are independent, and each is
        simulated by itself.
        """
        self._age()
        bits = np.zeros((shots, circuit.num_clbits), dtype=np.uint8)
        for part in _parts(circuit):
            used = {circuit.find_bit(bit).index for entry in part for bit in entry.qubits}
            active = tuple(sorted(used))
            columns = sorted({circuit.find_bit(bit).index for entry in part for bit in entry.clbits})
            if not columns:
                continue
            small = QuantumCircuit(len(active), len(columns))
            for entry in part:
                where = [active.index(circuit.find_bit(bit).index) for bit in entry.qubits]
                small.append(
                    entry.operation, where, [columns.index(circuit.find_bit(bit).index) for bit in entry.clbits]
                )
            method = "density_matrix" if len(active) <= DENSITY_QUBITS else "statevector"
            simulator = AerSimulator(method=method, noise_model=self._model(active), max_parallel_threads=1)
            result = simulator.run(small, shots=shots, memory=True, seed_simulator=self._seed.getrandbits(31)).result()
            if not result.success:
                raise RuntimeError(result.status)
            letters = np.array([list(text[::-1]) for text in result.get_memory(0)])
            bits[:, columns] = letters == "1"
        return bits


def _multiply(entries: list[dict[str, Any]], names: set[str], factor: float, most: float) -> None:
    for entry in entries:
        if entry["name"] in names and entry["value"] < 1:  # 1 marks a broken gate
            entry["value"] = min(most, entry["value"] * factor)


def _parts(circuit: QuantumCircuit) -> list[list[CircuitInstruction]]:
    """The circuit's instructions, those that share a qubit or a classical bit (through others) together, in order."""
    root = list(range(circuit.num_qubits + circuit.num_clbits))

    def find(bit: int) -> int:
        while root[bit] != bit:
            root[bit] = root[root[bit]]
            bit = root[bit]
        return bit

    places = []
    for entry in circuit.data:
        bits = [circuit.find_bit(bit).index for bit in entry.qubits]
        bits += [circuit.num_qubits + circuit.find_bit(bit).index for bit in entry.clbits]
        places.append(bits[0])
        for bit in bits[1:]:
            root[find(bit)] = find(bits[0])
    parts: dict[int, list[CircuitInstruction]] = {}
    for place, entry in zip(places, circuit.data, strict=True):
        parts.setdefault(find(place), []).append(entry)
    return list(parts.values())
