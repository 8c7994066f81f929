"""A cut circuit on the QPU emulator through QRMI, twice: what the second run pays and how long it takes."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from qiskit import QuantumCircuit

from launch.emulator.__main__ import environment
from launch.emulator.options import IBM, DeviceOptions
from launch.emulator.server import Emulator
from tasks.execution.cache.cache import open_cache
from tasks.execution.mitigation.extrapolation import Mitigation, run_mitigated
from tasks.execution.qpu import QpuOptions, QpuResource

SHOTS = 2000
QUEUE_SECONDS, SHOT_SECONDS = 5.0, 2.5e-4  # IBM's default repetition delay, and a queue shorter than any real one


def on_emulator(circuits: Sequence[QuantumCircuit]) -> dict[str, float]:
    """Run variants with readout mitigation, cold, again in a new process's place, and with half as many shots more."""
    options = DeviceOptions("QPU_A", IBM, backend="hanoi", queue=QUEUE_SECONDS, shot=SHOT_SECONDS)
    emulator = Emulator([options], "token-of-the-benchmark")
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    resource = QpuResource("QPU_A", options.kind, environment(options, emulator.url, "token-of-the-benchmark"))
    streams = tuple(f"0:{number}" for number in range(len(circuits)))
    out: dict[str, float] = {"circuits": len(circuits), "shots a circuit": SHOTS}
    with tempfile.TemporaryDirectory() as folder:
        for name, shots in (("cold", SHOTS), ("again", SHOTS), ("half as many more", SHOTS * 3 // 2)):
            cache = open_cache(f"{folder}/cache")
            asked = QpuOptions(cache=cache, streams=streams, journal=Path(folder) / name)
            paid, began = _paid(emulator), time.perf_counter()
            run = run_mitigated(resource, circuits, [shots] * len(circuits), Mitigation(), asked)
            out[f"{name}, seconds"] = time.perf_counter() - began
            out[f"{name}, shots paid"] = _paid(emulator) - paid
            assert all(found is not None and found.shots >= shots for found in run.counts), run.failures
            cache.close()
    emulator.shutdown()
    emulator.server_close()
    return out


def _paid(emulator: Emulator) -> int:
    return sum(shots for job in emulator.devices["QPU_A"].jobs.values() for _, shots in job.work)
