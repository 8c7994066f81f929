"""Scenarios of the policy benchmark: pools from a laptop to a supercomputer, calm and troubled, with real plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from results.benchmarks.policies_works import workload
from scheduler_policies import Device, DeviceLimits, GateRate, Kind, Price, Speed
from scheduler_policies.simulator.scenario import Scenario
from scheduler_policies.simulator.world import Behaviour

Pool = tuple[tuple[Device, Behaviour], ...]

# A whole node with a threaded state-vector simulator, bound by memory bandwidth: 32 bytes moved for each amplitude
# and gate at about 150 GB/s (CPU) and 2 TB/s (GPU). Gram matrices on the node's cores in both cases.
_NODE = Speed(job=0.05, circuit=0.02, shot=1e-8, amplitude_gate=2e-10, pair=7e-11)
_GPU = Speed(job=0.5, circuit=0.05, shot=1e-8, amplitude_gate=1.6e-11, pair=7e-11)
_GIB = 2**30


def cpus(count: int, seed: int, memory: int = 128 * _GIB) -> Pool:
    """Equal nodes, one simulation at a time each; some are a little slow."""
    rng = np.random.default_rng((seed, 1))
    pool = []
    for number in range(count):
        device = Device(
            f"node{number:04d}", Kind.CPU, memory_bytes=memory, speed=_NODE, price=Price(per_second=3.0 / 3600)
        )
        pool.append((device, Behaviour(slowness=float(rng.lognormal(0.0, 0.05)), jitter=0.05)))
    return tuple(pool)


def gpus(count: int, seed: int, memory: int = 80 * _GIB) -> Pool:
    """Equal GPUs."""
    rng = np.random.default_rng((seed, 2))
    pool = []
    for number in range(count):
        device = Device(
            f"gpu{number:03d}", Kind.GPU, memory_bytes=memory, speed=_GPU, price=Price(per_second=4.0 / 3600)
        )
        pool.append((device, Behaviour(slowness=float(rng.lognormal(0.0, 0.03)), jitter=0.05)))
    return tuple(pool)


def qpus(count: int, seed: int, qubits: tuple[int, int] = (27, 156), **behaviour: object) -> Pool:
    """QPUs of different size, quality, speed, queue and price; small queues mostly in front of bad machines."""
    rng = np.random.default_rng((seed, 3))
    pool = []
    for number in range(count):
        size = int(rng.integers(qubits[0], qubits[1] + 1)) if number else qubits[1]
        error = float(np.clip(rng.lognormal(np.log(0.004), 0.6), 0.0008, 0.02))
        pairs = tuple(GateRate("cz", (q, q + 1), error * float(rng.lognormal(0, 0.2)), 7e-8) for q in range(8))
        ones = tuple(GateRate("sx", (q,), error / 12, 3e-8) for q in range(8))
        device = Device(
            f"qpu{number:02d}",
            Kind.QPU,
            qubits=size,
            coupling=tuple((q, q + 1) for q in range(8)),
            gates=pairs + ones,
            readout_errors=tuple(float(e) for e in error * 3 * rng.lognormal(0, 0.3, size=8)),
            speed=Speed(job=2.0, circuit=0.03, shot=float(rng.choice([5e-5, 2.5e-4, 2.5e-4, 1e-3])), layer=8e-8),
            price=Price(per_second=float(rng.choice([0.5, 1.0, 1.6]))),
            limits=DeviceLimits(circuits_per_job=300, shots_per_job=100_000, mid_circuit_measurement=False),
        )
        wait = float(rng.lognormal(np.log(60.0), 0.8)) * (0.004 / error) ** 0.5
        hidden = Behaviour(
            slowness=float(rng.lognormal(0.05, 0.1)), jitter=0.08, wait=wait, wait_spread=0.5, failure=0.01, drift=0.02
        )
        pool.append((device, replace(hidden, **behaviour)))  # type: ignore[arg-type]
    return tuple(pool)


def _scaled(pool: Pool, **factors: float) -> Pool:
    return tuple((d, replace(b, **{k: getattr(b, k) * f for k, f in factors.items()})) for d, b in pool)


def _rising_queues(pool: Pool, seed: int) -> Pool:
    """A trace: queues that grow tenfold within an hour, as before a conference deadline."""
    rng = np.random.default_rng((seed, 4))
    troubled = []
    for device, behaviour in pool:
        peak = float(rng.uniform(3, 20))
        points = [(0.0, 1.0), (900.0, 1.5), (1800.0, peak / 2), (3600.0, peak), (7200.0, peak / 3), (14_400.0, 1.0)]
        trace = tuple((time, behaviour.wait * factor) for time, factor in points)
        troubled.append((device, replace(behaviour, wait_trace=trace)))
    return tuple(troubled)


def _dropping(pool: Pool, seed: int) -> Pool:
    """Each device is gone for a while, twice."""
    rng = np.random.default_rng((seed, 5))
    troubled = []
    for device, behaviour in pool:
        begins = np.sort(rng.uniform(0, 3000, size=2))
        gaps = tuple((float(b), float(b + rng.uniform(120, 900))) for b in begins)
        troubled.append((device, replace(behaviour, dropouts=gaps)))
    return tuple(troubled)


def _three(s: int) -> Pool:
    return qpus(3, s, (36, 60))


def _site(s: int) -> Pool:
    return cpus(16, s) + gpus(4, s) + qpus(4, s)


def _centre(s: int) -> Pool:
    return cpus(100, s) + gpus(20, s) + qpus(8, s)


def _nation(s: int) -> Pool:
    return cpus(1000, s) + gpus(200, s) + qpus(20, s)


_LAPTOP = 16 * _GIB
_SMALL = 2**22

# (pool in words, plan, pool of a seed)
_TABLE: list[tuple[str, str, Callable[[int], Pool]]] = [
    ("1 CPU 1 QPU", "chain-60/20", lambda s: cpus(1, s, _LAPTOP) + qpus(1, s)),
    ("1 CPU 1 QPU", "chain-100/27", lambda s: cpus(1, s, _LAPTOP) + qpus(1, s)),
    ("1 CPU 3 QPU", "ladder-40/24", lambda s: cpus(1, s, _LAPTOP) + _three(s)),
    ("1 CPU 3 QPU", "chain-100/27", lambda s: cpus(1, s, _LAPTOP) + _three(s)),
    ("1 CPU 3 QPU", "chain-120/32", lambda s: cpus(1, s, _LAPTOP) + _three(s)),
    ("1 small CPU 3 QPU", "qaoa-32/22", lambda s: cpus(1, s, _SMALL) + _three(s)),
    ("1 small CPU 3 QPU", "sweep-60/30", lambda s: cpus(1, s, _SMALL) + _three(s)),
    ("4 CPU 3 QPU", "chain-120/32", lambda s: cpus(4, s) + qpus(3, s)),
    ("4 CPU 3 QPU", "ladder-80/30", lambda s: cpus(4, s) + qpus(3, s)),
    ("4 CPU 3 QPU", "sweep-60/30", lambda s: cpus(4, s) + qpus(3, s)),
    ("4 CPU 3 QPU, long queues", "sweep-100/34", lambda s: cpus(4, s) + _scaled(qpus(3, s), wait=10.0)),
    ("16 CPU 4 GPU 4 QPU", "sweep-60/30", _site),
    ("16 CPU 4 GPU 4 QPU", "sweep-100/34", _site),
    ("16 CPU 4 GPU 4 QPU", "hex-115/40", _site),
    ("16 CPU 4 GPU 4 QPU, rising queues", "sweep-100/34", lambda s: _rising_queues(_site(s), s)),
    ("4 CPU 8 QPU", "hex-115/40", lambda s: cpus(4, s) + qpus(8, s)),
    ("4 CPU 8 QPU, surges", "hex-115/40", lambda s: cpus(4, s) + qpus(8, s, surge=0.1)),
    ("4 CPU 8 QPU, failures", "hex-115/40", lambda s: cpus(4, s) + qpus(8, s, failure=0.15)),
    ("4 CPU 8 QPU, drop-outs", "hex-115/40", lambda s: cpus(4, s) + _dropping(qpus(8, s), s)),
    ("4 CPU 8 QPU, drift", "hex-115/40", lambda s: cpus(4, s) + qpus(8, s, drift=0.4, calibration=28_800.0)),
    ("100 CPU 20 GPU 8 QPU", "sweep-100/34", _centre),
    ("100 CPU 20 GPU 8 QPU", "hex-115/40", _centre),
    ("100 CPU 8 QPU", "chain-100/27", lambda s: cpus(100, s) + qpus(8, s)),
    ("1000 CPU 200 GPU 20 QPU", "hex-115/40", _nation),
    ("1000 CPU 200 GPU 20 QPU", "sweep-100/34", _nation),
    ("1000 CPU 20 QPU, failures", "hex-115/40", lambda s: cpus(1000, s) + qpus(20, s, failure=0.15)),
]
COUNT = len(_TABLE)


def scenario(number: int, seed: int) -> Scenario:
    """One scenario with the random parts of one seed."""
    words, plan, pool = _TABLE[number]
    return Scenario(f"{words}, {plan}", pool(seed), workload(plan), seed, start=3600.0 * (7 * seed % 24))
