"""How near execution comes to its limit: ``python -m results.benchmarks.limit --before CHECKOUT``.

The limit of an exact fragment is one plain simulation of it by Aer without legs, that of a sampled variant drawing its
shots from a distribution that is known. Every case runs in a process of its own, in the other checkout and in this one
in turn, on one thread. Writes limit.md, limit.json and limit.png beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from results.benchmarks.limit_frame import frame
from results.benchmarks.limit_page import LONGEST_S, figure, table
from results.benchmarks.reconstruction_scale import chain, grid, network, tree
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import find_paths

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_EXACT = [
    # qubits, legs, observables, kind, depth
    (12, 0, 10, "local", 20), (12, 2, 10, "local", 20), (12, 4, 10, "local", 20), (12, 6, 1, "local", 20),
    (12, 6, 10, "local", 20), (12, 6, 500, "local", 20), (16, 2, 10, "local", 20), (16, 4, 1, "local", 20),
    (16, 4, 10, "local", 20), (16, 4, 1000, "local", 20), (16, 4, 1000, "dense", 20), (16, 6, 10, "local", 20),
    (20, 2, 10, "local", 20), (20, 4, 10, "local", 20), (20, 6, 10, "local", 20), (24, 2, 10, "local", 20),
    (24, 2, 10, "local", 6),
]  # fmt: skip
_WIRES = [(12, 2), (16, 3)]
_SAMPLED = [
    # qubits, legs, measured, variants
    (12, 4, 1, 625), (12, 4, 12, 625), (15, 4, 1, 625), (15, 4, 8, 625), (15, 4, 15, 625),
    (15, 6, 15, 3000), (18, 4, 2, 625), (18, 4, 18, 200), (20, 4, 20, 50),
]  # fmt: skip


def measured(checkout: Path, case: dict[str, Any], longest: float | None = None) -> dict[str, Any] | None:
    """A case in a checkout; None where it takes too long or runs out of memory."""
    return _run_alone(checkout, [str(HERE / "limit_work.py"), json.dumps(case)], longest)


def _run_alone(checkout: Path, arguments: list[str], longest: float | None = None) -> dict[str, Any] | None:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    try:
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=longest, check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cases() -> dict[str, dict[str, Any]]:
    """All cases of fragments by name."""
    made: dict[str, dict[str, Any]] = {}
    for qubits, legs, observables, kind, depth in _EXACT:
        name = f"{qubits}/{legs}, {observables} {kind}" + (f", depth {depth}" if depth != 20 else "")
        made[name] = {"path": "exact", "qubits": qubits, "legs": legs, "observables": observables, "kind": kind}
        made[name]["depth"] = depth
    for qubits, legs in _WIRES:
        made[f"{qubits}/{legs} wires, 10 local"] = {
            "path": "exact", "qubits": qubits, "legs": legs, "observables": 10, "depth": 20, "wires": True,
        }  # fmt: skip
    for qubits, legs, bits, variants in _SAMPLED:
        made[f"{qubits}/{legs}, {bits} measured"] = {
            "path": "sampled", "qubits": qubits, "legs": legs, "measured": bits, "variants": variants, "depth": 24,
        }  # fmt: skip
    return made


def searches() -> list[dict[str, Any]]:
    """Seconds of the path search for 100 and 200 fragments, and its growth exponent."""
    rows = []
    shapes = {
        "chain, 2 cuts each": lambda n: chain(n, 2),
        "tree and more": lambda n: tree(n, 6 * n // 10),
        "grid 4 x n/4": lambda n: grid(4, n // 4),
        "grid 10 x n/10": lambda n: grid(10, n // 10),
    }
    for name, shape in shapes.items():
        seconds = []
        for fragments in (100, 200):
            laid_out = network_of(network(*shape(fragments), 4, 1)[0])
            times = []
            for _ in range(3):
                began = time.perf_counter()
                find_paths(laid_out)
                times.append(time.perf_counter() - began)
            seconds.append(min(times))
        rows.append({"network": name, "seconds": seconds, "exponent": log2(seconds[1] / seconds[0])})
    return rows


_FRAGMENTS = """
import sys, json, time
sys.path.insert(0, sys.argv[1])
from limit_work import fragment_of
from qiskit_aer import AerSimulator
from tasks.execution.jobs import ExactJob, run_job
job = ExactJob(fragment_of({"qubits": 20, "legs": 2, "depth": 20, "observables": 10})[0])
simulator = AerSimulator(method="statevector", max_parallel_threads=1)
plain = job.fragment.circuit.copy()
plain.save_statevector()
print(flush=True)
for line in sys.stdin:
    began, before = time.perf_counter(), time.process_time()
    run_job(job, threads=int(line)) if int(line) else simulator.run(plain, shots=1).result().data(0)
    print(time.perf_counter() - began, time.process_time() - before, flush=True)
"""


def cores() -> list[dict[str, Any]]:
    """1, 2, 3 and 16 fragments of 20 qubits on two workers, each on one core, and lending itself the other."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _FRAGMENTS, str(HERE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, cwd=ROOT,
        )
        for _ in range(2)
    ]  # fmt: skip

    def ask_both(worker: subprocess.Popen[str], threads: int) -> tuple[float, float]:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(f"{threads}\n")
        worker.stdin.flush()
        wall, processor = map(float, worker.stdout.readline().split())
        return wall, processor

    def ask(worker: subprocess.Popen[str], threads: int) -> float:
        return ask_both(worker, threads)[0]

    rows = []
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
            ask(worker, 1)
        # In turn, so that what else the machine does meets both alike.
        turns = [(ask_both(workers[0], 1), ask_both(workers[0], 2)) for _ in range(9)]
        pairs = [(one, two) for (one, _), (two, _) in turns]
        alone = min(one for one, _ in pairs)
        peer = min(ask(workers[0], 0) for _ in range(2))
        with ThreadPoolExecutor(2) as pool:
            beside = min(max(pool.map(lambda w: ask(w, 0), workers)) for _ in range(2))
        ceiling: dict[str, Any] = {"fragments": "Aer, two at once", "efficiency_1": peer / beside, "efficiency_2": None}
        rows.append(ceiling)
        for fragments in (1, 2, 3, 16):
            row: dict[str, Any] = {"fragments": fragments}
            for threads in (1, 2):
                times = []
                for _ in range(3 if fragments < 16 else 1):
                    left = iter(range(fragments))
                    began = time.perf_counter()
                    with ThreadPoolExecutor(2) as pool:
                        list(pool.map(lambda w, left=left, threads=threads: [ask(w, threads) for _ in left], workers))
                    times.append(time.perf_counter() - began)
                row[f"efficiency_{threads}"] = fragments * alone / (2 * min(times))
            rows.append(row)
        rows[1] |= {
            "walls": [float(np.median(own)) for own in zip(*pairs, strict=True)],
            "processors": [float(np.median([turn[k][1] for turn in turns])) for k in (0, 1)],
        }
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return rows


def main() -> None:
    """Measure, write the table, the data and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="without it what was measured before is kept")
    parser.add_argument(
        "--part",
        choices=["exact", "sampled", "cones", "choice", "legs", "searches", "cores", "frame", "all"],
        default="all",
        help="others are kept",
    )
    options = parser.parse_args()
    data = HERE / "limit.json"
    results = json.loads(data.read_text()) if data.exists() else {"cases": {}, "searches": [], "cores": []}
    for name, case in cases().items():
        if options.part in (case["path"], "all"):
            kept = results["cases"].get(name, (None, None))[0]
            old = measured(options.before, case, LONGEST_S) if options.before else kept
            results["cases"][name] = (old, measured(ROOT, case))
            data.write_text(json.dumps(results, indent=1) + "\n")
    if options.part in ("cones", "all"):
        results["cones"] = _run_alone(ROOT, [str(HERE / "limit_cones.py")])
    if options.part in ("choice", "all"):
        results["choice"] = _run_alone(ROOT, [str(HERE / "limit_choice.py")])
    if options.part in ("legs", "all"):
        results["legs"] = _run_alone(ROOT, [str(HERE / "limit_legs.py")])
    if options.part in ("searches", "all"):
        results["searches"] = searches()
    if options.part in ("cores", "all"):
        results["cores"] = cores()
    if options.part in ("frame", "all"):
        results["frame"] = frame()
    results["cases"] = {name: results["cases"][name] for name in cases() if name in results["cases"]}
    data.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "limit.md").write_text("\n".join(table(results)) + "\n")
    figure(results)


if __name__ == "__main__":
    main()
