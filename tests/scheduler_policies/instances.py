"""Random pools and works for the tests of this room."""

from __future__ import annotations

import numpy as np

from scheduler_policies import Device, DeviceState, GateRate, Kind, Price, Speed, Work
from scheduler_policies.placement import Candidate


def qpu(name: str, qubits: int, error: float, shot: float, wait: float = 0.0, price: float = 0.0) -> Candidate:
    """A QPU with one number for its quality: the error of its CZ."""
    device = Device(
        name,
        Kind.QPU,
        qubits=qubits,
        gates=(GateRate("cz", (0, 1), error), GateRate("sx", (0,), error / 10)),
        readout_errors=(2 * error,),
        speed=Speed(job=1.0, circuit=0.1, shot=shot),
        price=Price(per_shot=price),
    )
    return Candidate(device, DeviceState(expected_wait=wait))


def cpu(name: str, amplitude_gate: float = 1e-8, memory: int = 2**26) -> Candidate:
    """A CPU simulator that holds 22 qubits unless told otherwise."""
    speed = Speed(job=0.1, circuit=0.01, shot=1e-6, amplitude_gate=amplitude_gate)
    return Candidate(
        Device(name, Kind.CPU, speed=speed, memory_bytes=memory, price=Price(per_second=0.01)), DeviceState()
    )


def work(fragment: int, width: int = 10, variants: int = 6, weight: float = 0.1, branches: int = 2) -> Work:
    """A fragment of ordinary depth."""
    return Work(
        fragment=fragment,
        width=width,
        depth=20,
        one_qubit_gates=5 * width,
        two_qubit_gates=3 * width,
        measured=width,
        branches=branches,
        outputs=1,
        factors=2,
        variants=variants,
        shots=4000,
        weight=weight,
    )


def tiny_instance(seed: int) -> tuple[list[Work], list[Candidate]]:
    """Four fragments of up to three variants and three devices, at least one of them a QPU that fits all."""
    rng = np.random.default_rng(seed)
    works = [
        Work(
            fragment=fragment,
            width=int(rng.integers(4, 20)),
            depth=int(rng.integers(5, 60)),
            one_qubit_gates=int(rng.integers(20, 100)),
            two_qubit_gates=int(rng.integers(5, 80)),
            measured=8,
            branches=int(rng.integers(0, 5)),
            outputs=1,
            factors=2,
            variants=int(rng.integers(1, 4)),
            shots=int(rng.integers(1000, 8000)),
            weight=float(rng.lognormal(-2, 1)),
        )
        for fragment in range(4)
    ]
    pool = [qpu("qpu0", 30, _log(rng, -3.3, -1.8), _log(rng, -4, -3), float(rng.exponential(3)), _log(rng, -5, -3))]
    for number in (1, 2):
        if rng.random() < 0.4:
            pool.append(cpu(f"cpu{number}", _log(rng, -8.5, -7)))
        else:
            qubits, wait = int(rng.integers(18, 30)), float(rng.exponential(3))
            error, shot, price = _log(rng, -3.3, -1.8), _log(rng, -4, -3), _log(rng, -5, -3)
            pool.append(qpu(f"qpu{number}", qubits, error, shot, wait, price))
    return works, pool


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(10 ** rng.uniform(low, high))
