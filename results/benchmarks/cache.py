"""Benchmarks of the semantic cache: ``python -m results.benchmarks.cache [PART ...] [--quick] [--peer PYTHON]``.

Parts: soundness, recall, cost, once, workloads, default, evolution, emulator, structure; all unless named. Each writes
a cache_PART.json; cache.md and cache.png are made from all parts that have been measured (cache_quick.* with --quick).
``--peer`` names the Python of an environment of its own with qdislib 1.0.1, qiskit, qiskit-aer, lmdb and pyzx; without
it, Qdislib's columns stay as they were last measured. The soundness part also needs mqt.qcec.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # CPU times are of one core
_HERE = Path(__file__).parent
Numbers = dict[str, Any]


def soundness(quick: bool, peer: str | None) -> Numbers:
    """Part 1: hits against exact distributions, and QCEC."""
    from results.benchmarks.cache_soundness import FAMILIES, second_oracle
    from results.benchmarks.cache_soundness import soundness as measure

    hits, shards = (200, 1) if quick else (18_000, 6)
    out: Numbers = {}
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        jobs = {
            family: [pool.submit(measure, family, hits // shards, 1000 + shard) for shard in range(shards)]
            for family in FAMILIES
        }
        oracle = pool.submit(second_oracle, 50 if quick else 2000, 7)
        for family, futures in jobs.items():
            parts = [future.result() for future in futures]
            out[family] = {k: sum(p[k] for p in parts) for k in ("circuits", "hits", "false", "turned away")}
            out[family]["worst"] = max(p["worst"] for p in parts)
        out["mqt.qcec"] = oracle.result()
    return out


def recall(quick: bool, peer: str | None) -> Numbers:
    """Part 2: equivalent pairs found, by family and rewrite."""
    from results.benchmarks.cache_keys import measure_recall

    return measure_recall(8 if quick else 60, peer)


def cost(quick: bool, peer: str | None) -> Numbers:
    """Part 3: time of a key beside time of an execution."""
    from results.benchmarks.cache_keys import measure_cost

    return measure_cost(quick, peer)


def once(quick: bool, peer: str | None) -> Numbers:
    """Part 5: executions by 16 processes for 900 requests of 150 keys."""
    from results.benchmarks.cache_once import measure

    return measure(1 if quick else 5)


def workloads(quick: bool, peer: str | None) -> Numbers:
    """Part 4: executions avoided and wall time on whole workloads."""
    from results.benchmarks.cache_workloads import measure

    return measure(quick, peer)


def default(quick: bool, peer: str | None) -> Numbers:
    """Part 6: what a default run gains and loses."""
    from results.benchmarks.cache_default import measure

    return {**measure(quick)}


def evolution(quick: bool, peer: str | None) -> Numbers:
    """Part 7: Differential Evolution at several paces."""
    from results.benchmarks.cache_evolution import measure

    return measure(quick, peer)


def emulator(quick: bool, peer: str | None) -> Numbers:
    """Part 8: Differential Evolution on the QPU emulator."""
    from results.benchmarks.cache_evolution import on_qpu

    return on_qpu(quick, peer)


def structure(quick: bool, peer: str | None) -> Numbers:
    """Part 9: what keys by structure would avoid."""
    from results.benchmarks.cache_structure import measure

    return measure(quick)


PARTS: dict[str, Callable[[bool, str | None], Numbers]] = {
    "soundness": soundness, "recall": recall, "cost": cost, "once": once, "workloads": workloads,
    "default": default, "evolution": evolution, "emulator": emulator, "structure": structure,
}  # fmt: skip


def _take_over(before: Numbers, numbers: Numbers) -> None:
    """Keep the peer's numbers as they were last measured, of the whole part or of its workloads."""
    for name, own in before.items():
        if name == "qdislib":
            numbers[name] = own
        elif isinstance(own, dict) and "qdislib" in own:
            numbers[name]["qdislib"] = {"beside": own["off"]["seconds"]} | own["qdislib"]


def main() -> None:
    """Measures the parts asked for and writes tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which to measure (all)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--peer", help="Python of an environment with qdislib 1.0.1, qiskit and pyzx")
    options = parser.parse_args()
    stem = "cache_quick" if options.quick else "cache"
    for name in options.parts or PARTS:
        path = _HERE / f"{stem}_{name}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        numbers = PARTS[name](options.quick, options.peer)
        if not options.peer:
            _take_over(before, numbers)
        numbers["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        path.write_text(json.dumps(numbers, indent=1) + "\n")
        sys.stdout.write(f"{name}: written to {path.name}\n")
    from results.benchmarks.cache_report import write_report

    write_report(_HERE, stem)


if __name__ == "__main__":
    main()
