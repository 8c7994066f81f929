"""Exact fragments on a GPU beside the CPU and Aer's GPU: ``python -m results.benchmarks.gpu``. Under five minutes.

Writes gpu.md and gpu.json beside this file, and says from how many amplitudes on the GPU is the quicker of the two
(`GPU_FROM` in scheduler_policies/machine.py). Needs a GPU, array-api-compat, and CuPy or PyTorch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qiskit_aer import AerSimulator

from results.benchmarks.limit_work import fragment_of
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators import open_state
from tasks.execution.simulators.accelerator import accelerator
from tasks.execution.simulators.exact import exact_tensor
from tasks.runtime.machine import usable_cores

HERE = Path(__file__).resolve().parent
_CASES = [(10, 2), (12, 2), (12, 4), (14, 4), (16, 4), (18, 4), (20, 2), (20, 4), (22, 4), (24, 2)]
_LONGEST_S = 20.0  # what takes longer is not repeated, and no larger case is tried
_ALL_S = 200.0  # after which none is begun


def best_of(work: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the quickest of some repeats; one where it takes long."""
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        if best > _LONGEST_S / repeats:
            break
    return best


def main() -> None:
    """Measure and write the table."""
    try:
        gpu = accelerator()
    except ExecutionError as error:
        print(f"gpu.py: nothing is measured: {error}", file=sys.stderr)
        sys.exit(2)
    ends = time.monotonic() + _ALL_S
    gpu.smallest = 1
    threads = usable_cores()
    aer = "GPU" if "GPU" in AerSimulator().available_devices() else ""
    rows = []
    for qubits, legs in _CASES:
        fragment = fragment_of({"qubits": qubits, "legs": legs, "depth": 20, "observables": 10})[0]

        def here(fragment: Any = fragment) -> np.ndarray:
            return exact_tensor(fragment, open_state.open_state(fragment, threads=threads), threads=threads)

        def there(fragment: Any = fragment) -> np.ndarray:
            return exact_tensor(fragment, open_state.open_state(fragment, gpu=gpu))

        off = float(np.abs(here() - there()).max())
        assert off < 1e-10, f"{qubits}/{legs}: the GPU is off by {off}"
        row = {"qubits": qubits, "legs": legs, "cpu": best_of(here), "gpu": best_of(there), "off": off}
        row["amplitudes"] = 2**qubits * 2**legs
        if aer:
            plain = fragment.circuit.copy()
            plain.save_statevector()
            simulator = AerSimulator(method="statevector", device=aer)
            row["aer"] = best_of(lambda s=simulator, p=plain: s.run(p, shots=1).result().data(0))
        rows.append(row)
        if max(row["cpu"], row["gpu"]) > _LONGEST_S or time.monotonic() > ends:
            break
    (HERE / "gpu.json").write_text(json.dumps(rows, indent=1) + "\n")
    quicker = [row["amplitudes"] for row in rows if row["gpu"] < row["cpu"]]
    lines = [
        "# Exact fragments on a GPU",
        "",
        f"`python -m results.benchmarks.gpu`; CPU: {threads} cores. Dense fragments of depth 20 with 10 observables; "
        "Aer's GPU, where its build has one, simulates the fragment without legs.",
        "",
        "| qubits/legs | CPU s | GPU s | quicker | Aer GPU, no legs, s | largest difference |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        peer = f"{row['aer']:.3f}" if "aer" in row else "-"
        lines.append(
            f"| {row['qubits']}/{row['legs']} | {row['cpu']:.3f} | {row['gpu']:.3f} | {row['cpu'] / row['gpu']:.1f}x | "
            f"{peer} | {row['off']:.0e} |"
        )
    lines += [
        "",
        f"The GPU is quicker from {min(quicker):,} amplitudes on." if quicker else "The GPU is never quicker.",
    ]
    (HERE / "gpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
