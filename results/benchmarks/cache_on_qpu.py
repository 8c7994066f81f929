"""A cut circuit on the QPU emulator through QRMI, twice: what the second run pays and how long it takes."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from qiskit import QuantumCircuit

from launch.emulator.options import IBM, DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tasks.execution.cache.cache import open_cache
from tasks.execution.mitigation.extrapolation import Mitigation, run_mitigated
from tasks.execution.qpu import CircuitRequest, QpuOptions, QpuResource

SHOTS = 2000
QUEUE_SECONDS, SHOT_SECONDS = 5.0, 2.5e-4  # IBM's default repetition delay, and a queue shorter than any real one


def on_emulator(circuits: Sequence[QuantumCircuit]) -> dict[str, float]:
    """Run variants with readout mitigation, cold, again in a new process's place, and with half as many shots more."""
    device = DeviceOptions("QPU_A", IBM, backend="hanoi", queue=QUEUE_SECONDS, shot=SHOT_SECONDS)
    emulator = Emulator([device], "token-of-the-benchmark")
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    resource = QpuResource("QPU_A", device.kind, environment(device, emulator.url, "token-of-the-benchmark"))
    out: dict[str, float] = {"circuits": len(circuits), "shots a circuit": SHOTS}
    with tempfile.TemporaryDirectory() as folder:
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
    emulator.shutdown()
    emulator.server_close()
    return out


def _paid(emulator: Emulator) -> int:
    return sum(shots for job in emulator.devices["QPU_A"].jobs.values() for _, shots in job.work)
