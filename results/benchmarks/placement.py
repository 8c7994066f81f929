"""What placing pieces costs the application: ``python -m results.benchmarks.placement``.

Everything else that takes longer than milliseconds is a task: planning, the fidelities of QPUs, the search for a
contraction order, the allocation of shots. Writes placement.json and placement.md beside this file.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from results.benchmarks.policies_scenarios import cpus, gpus, qpus
from results.benchmarks.policies_works import workload
from scheduler_policies import POLICIES, Candidate, DeviceState, Goal, Work, place

_HERE = Path(__file__).parent
_PIECES = (100, 1_000, 10_000)
_AT_LEAST = 0.3  # seconds that each figure is measured for


def works(count: int) -> list[Work]:
    """So many pieces: the fragments of a sweep of Trotter circuits on 60 qubits, again and again."""
    base = workload("sweep-60/30")
    return [replace(base[number % len(base)], fragment=number) for number in range(count)]


def main() -> None:
    """Place them with every policy."""
    pool = [*cpus(4, 1), *gpus(2, 1), *qpus(3, 1)]
    candidates = [Candidate(device, DeviceState(free_units=device.units)) for device, _ in pool]
    rows = []
    for count in _PIECES:
        pieces = works(count)
        for name, policy in sorted(POLICIES.items()):
            seconds, began = [], time.perf_counter()
            while not seconds or time.perf_counter() - began < _AT_LEAST:
                start = time.process_time()
                decision = place(policy, pieces, candidates, Goal(None, None), 0.0)
                seconds.append(time.process_time() - start)
            used = Counter(placement.device for placement in decision.placements)
            rows.append({"pieces": count, "policy": name, "seconds": min(seconds), "devices": len(used)})
    (_HERE / "placement.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "# Placing pieces",
        "",
        "`python -m results.benchmarks.placement`: processor milliseconds (and microseconds a piece) of one decision",
        "of the application, on 4 nodes, 2 GPUs and 3 QPUs. All else that takes longer than milliseconds is a task.",
        "",
        "| policy | " + " | ".join(f"{count:,} pieces" for count in _PIECES) + " | devices used |",
        "|---|" + "---:|" * (len(_PIECES) + 1),
    ]
    for name in sorted(POLICIES):
        own = [row for row in rows if row["policy"] == name]
        cells = [f"{row['seconds'] * 1e3:,.1f} ({row['seconds'] / row['pieces'] * 1e6:.0f})" for row in own]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {own[-1]['devices']} |")
    (_HERE / "placement.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
