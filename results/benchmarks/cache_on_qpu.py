"""Circuits on the QPU emulator through QRMI, with the cache and without: what is paid and how long it takes."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qiskit import QuantumCircuit

from launch.emulator.options import IBM, DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tasks.execution.cache.cache import open_cache
from tasks.execution.mitigation.extrapolation import Mitigation, run_mitigated
from tasks.execution.qpu import CircuitRequest, QpuOptions, QpuResource, run_requests
from tasks.execution.qpu.cached_run import run_cached
from tasks.model.tensor import VariantCounts

SHOTS = 2000
QUEUE_SECONDS, SHOT_SECONDS = 5.0, 2.5e-4  # IBM's default repetition delay, and a queue shorter than any real one


@contextmanager
def emulated(device: DeviceOptions) -> Iterator[tuple[Emulator, QpuResource]]:
    """An emulator of one device, and the resource that reaches it."""
    token = "token-of-the-benchmark"
    emulator = Emulator([device], token)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield emulator, QpuResource(device.name, device.kind, environment(device, emulator.url, token))
    finally:
        emulator.shutdown()
        emulator.server_close()


def on_emulator(circuits: Sequence[QuantumCircuit]) -> dict[str, float]:
    """Run variants with readout mitigation, cold, again in a new process's place, and with half as many shots more."""
    device = DeviceOptions("QPU_A", IBM, backend="hanoi", queue=QUEUE_SECONDS, shot=SHOT_SECONDS)
    out: dict[str, float] = {"circuits": len(circuits), "shots a circuit": SHOTS}
    with emulated(device) as (emulator, resource), tempfile.TemporaryDirectory() as folder:
        for name, shots in (("cold", SHOTS), ("again", SHOTS), ("half as many more", SHOTS * 3 // 2)):
            cache = open_cache(f"{folder}/cache")
            asked = [CircuitRequest(circuit, shots, f"0:{number}") for number, circuit in enumerate(circuits)]
            paid, began = _paid(emulator), time.perf_counter()
            options = QpuOptions(cache=cache, journal=Path(folder) / name)
            run = run_mitigated(resource, asked, Mitigation(), options)
            out[f"{name}, seconds"] = time.perf_counter() - began
            out[f"{name}, shots paid"] = _paid(emulator) - paid
            assert all(r.counts is not None and r.counts.shots >= shots for r in run.results), run.failures
            cache.close()
    return out


Answers = Sequence[tuple[QuantumCircuit, VariantCounts]]
Keyed = list[list[tuple[str | None, float]]]


def generations_on_emulator(
    rounds: Sequence[Sequence[QuantumCircuit]],
    shots: int,
    wrong: Callable[[Answers], int],
    keys: Keyed | None,
    *,
    backwards: bool = False,
) -> dict:
    """Run rounds of circuits on a device without noise or queue, a job each.

    Args:
        rounds: circuits.
        shots: of each.
        wrong: says how many counts cannot be their circuit's.
        keys: another cache's, and the seconds that each takes, which are waited for: what has a new one is executed.
        backwards: the ways in the opposite order, so that none is the first of every turn.
    """
    device = DeviceOptions("QPU_A", IBM, backend="hanoi", noise=0.0, shot=SHOT_SECONDS)
    out: dict = {"requests": sum(map(len, rounds)), "seconds a circuit": shots * SHOT_SECONDS}
    with emulated(device) as (emulator, resource), tempfile.TemporaryDirectory() as folder:
        ways = ["off", "as written", "by meaning", *(["qdislib"] if keys else [])]
        for name in reversed(ways) if backwards else ways:
            cached = name in ("as written", "by meaning")
            cache = open_cache(f"{folder}/{name}") if cached else None
            options = QpuOptions(cache=cache, journal=Path(folder) / f"of {name}", share_meaning=name == "by meaning")
            before, began = _ran(emulator), time.perf_counter()
            answers: list[tuple[QuantumCircuit, VariantCounts]] = []
            seen: set[str] = set()
            for number, part in enumerate(rounds):
                todo = list(part)
                if name == "qdislib" and keys:
                    time.sleep(sum(seconds for _, seconds in keys[number]))
                    todo = []
                    for circuit, (key, _) in zip(part, keys[number], strict=True):
                        if key is None or key not in seen:
                            todo.append(circuit)
                        seen.add(key or "")
                asked = [CircuitRequest(circuit, shots, "evolution" if cached else "") for circuit in todo]
                run = (run_cached if cached else run_requests)(resource, asked, options) if asked else None
                for circuit, result in zip(todo, run.results if run else [], strict=True):
                    assert result.counts is not None, run and run.failures
                    answers.append((circuit, result.counts))
            out[name] = {"seconds": time.perf_counter() - began, "wrong": wrong(answers)}
            executed, paid = (now - then for now, then in zip(_ran(emulator), before, strict=True))
            out[name] |= {"executed": executed, "shots": paid}
            if cache is not None:
                cache.close()
    return out


def _ran(emulator: Emulator) -> tuple[int, int]:
    work = [shots for job in emulator.devices["QPU_A"].jobs.values() for _, shots in job.work]
    return len(work), sum(work)


def _paid(emulator: Emulator) -> int:
    return _ran(emulator)[1]
