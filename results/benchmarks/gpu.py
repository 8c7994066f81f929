"""Fragments and contractions on a GPU beside the CPU and Aer's GPU: ``python -m results.benchmarks.gpu``.

Under five minutes. Writes gpu.md and gpu.json beside this file, with the sizes from which the GPU is the quicker, as
`qompass calibrate` measures them. Needs a GPU, array-api-compat, and CuPy or PyTorch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qiskit_aer import AerSimulator

from results.benchmarks.limit_work import fragment_of
from results.benchmarks.reconstruction_scale import grid, network
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import enumerate_variants
from tasks.execution.errors import ExecutionError
from tasks.execution.gpu_crossover import gpu_crossover
from tasks.execution.simulators.accelerator import Accelerator, accelerator
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import sample_open
from tasks.reconstruction import contract
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import find_paths
from tasks.reconstruction.contraction.schedule import network_cost
from tasks.runtime.machine import usable_cores

HERE = Path(__file__).resolve().parent
_EXACT = [(10, 2), (12, 2), (12, 4), (14, 4), (16, 4), (18, 4), (20, 2), (20, 4), (22, 4), (24, 2)]
_DRAWN = [(10, 2, 10), (14, 4, 5), (14, 4, 14), (18, 4, 9), (18, 4, 18), (22, 2, 11), (22, 2, 22)]
_VARIANTS, _SHOTS = 75, 1000
_NETWORKS = [(3, 3, 4, 1000), (4, 4, 4, 10_000), (4, 4, 16, 1), (4, 6, 16, 1), (4, 8, 16, 1)]
_LONGEST_S = 15.0  # what takes longer is not repeated, and no larger case is tried
_EACH_S = 70.0  # of a table, after which no case is begun


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


def _exact(gpu: Accelerator, threads: int) -> Iterator[dict[str, Any]]:
    aer = "GPU" if "GPU" in AerSimulator().available_devices() else ""
    for qubits, legs in _EXACT:
        fragment = fragment_of({"qubits": qubits, "legs": legs, "depth": 20, "observables": 10})[0]

        def tensor(own: Accelerator | None, fragment: Fragment = fragment) -> np.ndarray:
            return exact_tensor(fragment, open_state(fragment, threads=threads, gpu=own), threads=threads)

        row = {"case": f"{qubits}/{legs}", "size": 2**qubits * 2**legs}
        yield row | _beside(partial(tensor, None), partial(tensor, gpu), _largest) | _aer(fragment, aer)


def _aer(fragment: Fragment, device: str) -> dict[str, float]:
    if not device:
        return {}
    plain = fragment.circuit.copy()
    plain.save_statevector()
    simulator = AerSimulator(method="statevector", device=device)
    return {"aer": best_of(lambda: simulator.run(plain, shots=1).result().data(0))}


def _drawn(gpu: Accelerator, threads: int) -> Iterator[dict[str, Any]]:
    for qubits, legs, measured in _DRAWN:
        case = {"qubits": qubits, "legs": legs, "depth": 10, "kind": "measured", "observables": measured}
        fragment, schemes, _ = fragment_of(case)
        some = enumerate_variants(fragment, schemes)[:_VARIANTS]
        asked = some, [_SHOTS] * len(some), [str(k) for k in range(len(some))]

        def counts(own: Accelerator | None, fragment: Fragment = fragment, schemes: Any = schemes, asked: Any = asked):
            return sample_open(fragment, schemes, open_state(fragment, threads=threads, gpu=own), *asked)

        row = {"case": f"{qubits}/{legs}, {measured} measured", "size": 2**qubits * 2**legs}
        yield row | _beside(partial(counts, None), partial(counts, gpu), _others)


def _contracted(gpu: Accelerator) -> Iterator[dict[str, Any]]:
    for rows, columns, dimension, terms in _NETWORKS:
        structure, tensors = network(*grid(rows, columns), dimension, terms)
        paths = find_paths(network_of(structure))
        values = partial(contract, structure, tensors, paths=paths)
        flops = network_cost(structure).flops
        row = {"case": f"grid {rows} x {columns}, cuts of {dimension}, {terms:,} terms", "size": flops}
        yield row | _beside(values, partial(values, gpu=gpu), _largest)


def _beside(here: Callable[[], Any], there: Callable[[], Any], off: Callable[[Any, Any], float]) -> dict[str, float]:
    difference = off(here(), there())
    return {"cpu": best_of(here), "gpu": best_of(there), "off": difference}


def _largest(here: np.ndarray, there: np.ndarray) -> float:
    off = float(np.abs(here - there).max() / max(1.0, np.abs(here).max()))
    assert off < 1e-10, f"the GPU is off by {off}"
    return off


def _others(here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> float:
    """How many numbers of the counts are others."""
    same = all(here[name].shape == there[name].shape for name in here)
    return sum(int((here[name] != there[name]).sum()) for name in here) if same else float("nan")


def _within(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    ends, found = time.monotonic() + _EACH_S, []
    for row in rows:
        found.append(row)
        print(row, file=sys.stderr)
        if max(row["cpu"], row["gpu"]) > _LONGEST_S or time.monotonic() > ends:
            break
    return found


def main() -> None:
    """Measure and write the tables."""
    try:
        gpu = accelerator()
    except ExecutionError as error:
        print(f"gpu.py: nothing is measured: {error}", file=sys.stderr)
        sys.exit(2)
    crossover = gpu_crossover()
    assert crossover is not None
    everything = Accelerator(gpu.xp, gpu.device, smallest=1, smallest_flops=0)
    threads = usable_cores()
    tables = {
        "exact": _within(_exact(everything, threads)),
        "drawn": _within(_drawn(everything, threads)),
        "contracted": _within(_contracted(everything)),
    }
    (HERE / "gpu.json").write_text(json.dumps({"crossover": vars(crossover), **tables}, indent=1) + "\n")
    states, networks = (
        "never" if least is None else f"from {least:.3g} {what} on"
        for least, what in ((crossover.amplitudes, "amplitudes"), (crossover.flops, "operations"))
    )
    lines = [
        "# Fragments and contractions on a GPU",
        "",
        f"`python -m results.benchmarks.gpu`: {crossover.gpu} beside {threads} CPU cores. The GPU is quicker than one "
        f"core with fragments {states}, with contractions {networks} (`qompass calibrate`).",
        "",
        "## Exact fragments",
        "",
        "Dense, of depth 20 with 10 observables; Aer's GPU, where its build has one, simulates them without legs.",
        "",
        *_table(tables["exact"], "qubits/legs", "Aer GPU, no legs, s"),
        "",
        f"## {_VARIANTS} variants of {_SHOTS:,} shots",
        "",
        "Simulation and draws; the last column says how many numbers of the counts are others.",
        "",
        *_table(tables["drawn"], "qubits/legs"),
        "",
        "## Contractions",
        "",
        *_table(tables["contracted"], "network"),
    ]
    (HERE / "gpu.md").write_text("\n".join(lines) + "\n")


def _table(rows: Sequence[dict[str, Any]], first: str, peer: str = "") -> list[str]:
    beside, line = (f" {peer} |", "---:|") if peer else ("", "")
    lines = [f"| {first} | CPU s | GPU s | quicker |{beside} difference |", f"|---|---:|---:|---:|{line}---:|"]
    for row in rows:
        own = f" {row['aer']:.3f} |" if "aer" in row else " - |" if peer else ""
        quicker = f"{row['cpu'] / row['gpu']:.1f}x"
        lines.append(f"| {row['case']} | {row['cpu']:.3f} | {row['gpu']:.3f} | {quicker} |{own} {row['off']:.0e} |")
    return lines


if __name__ == "__main__":
    main()
