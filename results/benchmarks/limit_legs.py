"""Few qubits with many legs: seconds and memory beside what is predicted, part of limit.py, a process of its own."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, Plan, make_plan
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.cutting.sizes import exact_bytes, tensor_numbers
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tests.oracles import problem_of

_SEEDS = 40
_MOST_BYTES = 1 << 28
_LARGE = 4 << 20  # bytes from which a peak is more than what Python itself holds
_LONG_S = 2e-3


def many_legs(seed: int) -> Plan:
    """Few qubits, all of whose gates with another one are severed: few or all qubits have legs, of all ranks."""
    rng = np.random.default_rng([seed, 13])
    width, kind = int(rng.integers(1, 9)), ("cz", "rzz", "swap")[seed % 3]
    circuit, cuts = QuantumCircuit(width + 1), []
    with_legs = rng.choice(width, min(width, int(rng.integers(1, 4))), replace=False) if seed % 2 else np.arange(width)
    for _ in range(int(rng.integers(4, 6 if kind == "swap" else 10))):
        for q in range(width + 1):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(width - 1):
            if rng.random() < 0.5:
                circuit.cx(q, q + 1)
        cuts.append(GateCut(len(circuit.data)))
        angle = (0.7,) if kind == "rzz" else ()
        getattr(circuit, kind)(*angle, int(rng.choice(with_legs)), width)
    labels = sorted({"I" + "".join(rng.choice(list("IXYZ"), width)) for _ in range(int(rng.choice([1, 3, 12])))})
    return make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=tuple(cuts))


def measured() -> list[dict[str, Any]]:
    """Of random fragments: qubits, legs, seconds and bytes, taken and predicted."""
    rows = []
    for seed in range(_SEEDS):
        for fragment in many_legs(seed).fragments:
            size = 8 * tensor_numbers(fragment)
            if size > _MOST_BYTES:
                continue
            times = []
            for _ in range(3):
                began = time.perf_counter()
                exact_tensor(fragment, open_state(fragment))
                times.append(time.perf_counter() - began)
            tracemalloc.start()
            exact_tensor(fragment, open_state(fragment))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            predicted = exact_bytes(fragment)
            row = {"seed": seed, "qubits": fragment.num_qubits, "legs": len(fragment.legs), "seconds": min(times)}
            rows.append(row | {"predicted": exact_fragment_seconds(fragment), "peak": peak, "bytes": predicted})
    return rows


def legs_lines(rows: list[dict[str, Any]] | None) -> list[str]:
    """Its part of the page."""
    if not rows:
        return []
    memory = np.array([row["peak"] / row["bytes"] for row in rows if row["peak"] > _LARGE])
    long = [row for row in rows if max(row["seconds"], row["predicted"]) > _LONG_S]
    seconds = np.array([row["seconds"] / row["predicted"] for row in long])
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    legs = max(row["legs"] for row in rows)
    return [
        "",
        "## Few qubits with many legs",
        "",
        f"{len(rows)} random fragments of 1 to {max(row['qubits'] for row in rows)} qubits, up to {legs} legs, alone "
        f"on their wires or many on one: of {len(memory)} that hold more than 4 MiB the peak is {memory.min():.2f} to "
        f"{memory.max():.2f} of what is predicted; {len(long)} that take more than {1e3 * _LONG_S:.0f} ms take "
        f"{middle:.2f} times the seconds predicted in the middle, {low:.2f} to {high:.2f} from the first tenth to the "
        f"last, {seconds.max():.2f} at most.",
    ]


if __name__ == "__main__":
    print(json.dumps(measured()))
