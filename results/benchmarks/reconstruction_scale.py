"""Contractions of large networks: time beside numpy's matrix product, memory beside its limit, and MPI ranks."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import networkx
import numpy as np
from scipy.sparse import csr_array, eye_array
from threadpoolctl import threadpool_limits

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction import contract
from tasks.reconstruction.contraction.contraction import contract_block, leaf_arrays
from tasks.reconstruction.contraction.kernel import SCRATCH_BYTES
from tasks.reconstruction.contraction.layout import Path as ContractionPath
from tasks.reconstruction.contraction.load import load_of, shape_of
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.network_files import write_network
from tasks.reconstruction.contraction.path import bind, find_paths, used_terms
from tasks.reconstruction.contraction.schedule import network_cost, schedule, unit_work
from tasks.reconstruction.contraction.sharing import share_units, slowest
from tasks.reconstruction.mpi import PLANNED_RANKS

_ROOT = Path(__file__).parents[2]
Edges = Sequence[tuple[int, int]]


def network(edges: Edges, fragments: int, dimension: int, terms: int, seed: int = 0, reach: int = 2):
    """A random network whose terms each touch ``reach`` neighbouring fragments, and tensors of unit scale."""
    rng = np.random.default_rng(seed)
    legs: list[list[tuple[int, int]]] = [[] for _ in range(fragments)]
    for cut, (left, right) in enumerate(edges):
        legs[left].append((cut, 0))
        legs[right].append((cut, 1))
    factors = 1 if terms == 1 else 4
    index = np.zeros((terms, fragments), dtype=np.int64)
    ends = np.array(edges)
    for _ in range(reach - 1):
        touched = ends[rng.integers(len(edges), size=terms)]
        for side in (0, 1):
            index[np.arange(terms), touched[:, side]] = rng.integers(factors, size=terms)
    structure = Structure(
        legs=tuple(tuple(leg) for leg in legs),
        bonds=tuple(np.eye(dimension) for _ in edges),
        factor_index=index,
        num_factors=(factors,) * fragments,
        coefficients=csr_array(eye_array(terms, format="csr")),
    )
    tensors = []
    for fragment, own in enumerate(legs):
        shape = (dimension,) * len(own)
        scale = float(dimension) ** (-len(own) / 4)
        tensors.append(FragmentTensor(fragment, scale * rng.normal(size=(*shape, factors))))
    return structure, tensors


def grid(rows: int, columns: int) -> tuple[Edges, int]:
    """A grid of fragments."""
    graph = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(rows, columns))
    return list(graph.edges), rows * columns


def chain(fragments: int, parallel: int) -> tuple[Edges, int]:
    """A chain with several cuts between neighbours."""
    return [(i, i + 1) for i in range(fragments - 1) for _ in range(parallel)], fragments


def tree(fragments: int, extra: int, seed: int = 1) -> tuple[Edges, int]:
    """A random tree with some edges doubled and some more between random fragments close to each other."""
    rng = np.random.default_rng(seed)
    edges = [(int(rng.integers(max(0, i - 6), i)), i) for i in range(1, fragments)]
    starts = rng.integers(fragments - 4, size=extra)
    return edges + [(int(a), int(a + rng.integers(1, 4))) for a in starts], fragments


def processor_time(work: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of processor time, the least of some repeats."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def speed(quick: bool) -> list[dict]:
    """Contractions of large networks: predicted work, time, rate beside numpy's."""
    matrix = np.random.default_rng(0).normal(size=(1024, 1024))
    peak = 2 * 1024**3 / processor_time(lambda: matrix @ matrix, 5)
    cases = {
        "chain, 200 fragments, 398 cuts of 4": (*chain(200, 2), 4, 10_000),
        "chain, 100 fragments, 198 cuts of 16": (*chain(100, 2), 16, 10_000),
        "tree and 120 more, 200 fragments, cuts of 4": (*tree(200, 120), 4, 1 if quick else 1_000),
        "grid 4 x 50, cuts of 4": (*grid(4, 50), 4, 10_000),
        "grid 4 x 6, cuts of 16": (*grid(4, 6), 16, 1),
        "grid 4 x 8, cuts of 16": (*grid(4, 8), 16, 1 if quick else 20),
        "grid 10 x 14, cuts of 4": (*grid(10, 14), 4, 1),
        "grid 10 x 20, cuts of 4": (*grid(10, 20), 4, 1),
    }
    rows = []
    for name, (edges, fragments, dimension, terms) in cases.items():
        if quick and "x 20" in name:
            continue
        structure, tensors = network(edges, fragments, dimension, terms)
        laid_out = network_of(structure)
        values = values_by_fragment(structure, laid_out, tensors)
        start = time.process_time()
        paths = find_paths(laid_out)
        plan = schedule(structure, laid_out, memory_bytes=4 << 30, paths=paths)
        planning = time.process_time() - start
        fewest = min(path_flops(structure, path) for path in paths)

        def work(plan=plan, structure=structure, laid_out=laid_out, values=values) -> None:
            for block, bound in enumerate(plan.trees):
                for _ in contract_block(structure, plan, block, leaf_arrays(laid_out, bound, values), plan.slices):
                    pass

        seconds = processor_time(work, 3)
        rate = plan.cost.flops / seconds
        rows.append(
            {
                "network": name,
                "cuts": len(edges),
                "observables": terms,
                "gflop": plan.cost.flops / 1e9,
                "largest_mb": plan.cost.largest_bytes / 1e6,
                "units": plan.cost.units,
                "planning_s": planning,
                "contraction_s": seconds,
                "gflop_per_s": rate / 1e9,
                "numpy_over_ours": peak / rate,
                "at_fewest_flops": peak * seconds / min(fewest, plan.cost.flops),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def path_flops(structure: Structure, path: ContractionPath) -> float:
    """Floating-point operations of a path as the search found it, nothing grouped."""
    terms = used_terms(structure)
    tree = bind(structure, network_of(structure), path, terms)
    load = load_of(shape_of(tree, network_of(structure).sizes), (), False)
    return 2 * load.once


def memory(quick: bool) -> list[dict]:
    """The peak of a process of its own beside the limit it was given."""
    case = (6, 8, 4, 3_000) if quick else (4, 8, 16, 100)
    rows_, columns, dimension, terms = case
    free = network_cost(network(*grid(rows_, columns), dimension, terms)[0]).peak_bytes
    rows = []
    for share in (None, 0.3) if quick else (None, 0.6, 0.3):
        limit = 0 if share is None else int(SCRATCH_BYTES + share * (free - SCRATCH_BYTES))
        program = [sys.executable, "-m", "results.benchmarks.reconstruction", "--one-peak", *map(str, (*case, limit))]
        done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=_ROOT, env=_environment())
        rows.append(json.loads(done.stdout))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def one_peak(rows: int, columns: int, dimension: int, terms: int, limit: int) -> dict:
    """Contract a grid under a limit and report this process's growth."""
    structure, tensors = network(*grid(rows, columns), dimension, terms)
    cost = network_cost(structure, memory_bytes=limit or None)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _resident("VmRSS")
    start = time.process_time()
    contract(structure, tensors, memory_bytes=limit or None)
    seconds = time.process_time() - start
    return {
        "network": f"grid {rows} x {columns}, cuts of {dimension}, {terms} observables",
        "limit_mb": limit / 1e6 if limit else None,
        "predicted_mb": cost.peak_bytes / 1e6,
        "measured_mb": (_resident("VmHWM") - before) / 1e6,
        "units": cost.units,
        "gflop": cost.flops / 1e9,
        "planning_and_contraction_s": seconds,
    }


def _resident(field: str) -> int:
    """Bytes of this process that are in memory, now (VmRSS) or at most (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def scaling(quick: bool) -> list[dict]:
    """The MPI program on one and two ranks, in turns: median seconds, shares of the work, and whether the bits agree.

    The first row is what the machine itself allows: numpy's matrix product in one process, and in two at once.
    """
    cases = {
        "grid 4 x 8, cuts of 16, 100 observables": (*grid(4, 8), 16, 100),
        "grid 4 x 6, cuts of 16, 200 observables": (*grid(4, 6), 16, 200),
        "chain, 100 fragments, 198 cuts of 16, 10,000 observables": (*chain(100, 2), 16, 10_000),
    }
    rows = [_ceiling()]
    for name, case in list(cases.items())[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            structure, tensors = network(*case)
            write_network(Path(folder), structure, tensors)
            seconds: dict[int, list[float]] = {1: [], 2: []}
            found = []
            for _ in range(1 if quick else 5):
                for ranks in (1, 2):
                    seconds[ranks].append(_ranks_seconds(folder, ranks))
                    found.append(np.load(Path(folder) / "values.npy"))
            plan = schedule(structure, network_of(structure))
            plan = schedule(structure, network_of(structure), ranks=PLANNED_RANKS, paths=(plan.path,))
            once, each = unit_work(plan)
            share = slowest(share_units(once, each, len(plan.slices), 2), once, each)
            rows.append(
                {
                    "what": name,
                    "gflop": plan.cost.flops / 1e9,
                    "one_rank_s": median(seconds[1]),
                    "two_ranks_s": median(seconds[2]),
                    "speedup": median(seconds[1]) / median(seconds[2]),
                    "largest_share": share / (plan.cost.flops / 2),
                    "same_bits": all(bool((one == found[0]).all()) for one in found),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _ranks_seconds(folder: str, ranks: int) -> float:
    """Seconds of the contraction on so many ranks, the start of the processes not counted."""
    mpirun = Path(sys.executable).parent / "mpirun"
    program = [mpirun, "-n", ranks, sys.executable, "-m", "tasks.reconstruction.mpi", folder, "--timing"]
    done = subprocess.run([*map(str, program)], capture_output=True, text=True, check=True, env=_environment())
    return float(json.loads(done.stderr.strip().splitlines()[-1])["contraction_s"])


def _ceiling() -> dict:
    """How much more two processes multiply than one."""
    rates = [_products_a_second(processes) for processes in (1, 2, 1, 2, 1, 2)]
    alone, together = median(rates[0::2]), median(rates[1::2])
    return {
        "what": "numpy's matrix product, one process and two at once",
        "gflop": None,
        "one_rank_s": 1 / alone,
        "two_ranks_s": 1 / together,
        "speedup": together / alone,
        "largest_share": 0.5,
        "same_bits": None,
    }


def _products_a_second(processes: int) -> float:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.map(_multiply, [2.0] * processes, chunksize=1))


def _multiply(seconds: float) -> float:
    """Products of 1024 x 1024 matrices a second, in one thread."""
    matrix = np.random.default_rng(0).normal(size=(1024, 1024))
    with threadpool_limits(limits=1):
        matrix @ matrix
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            matrix @ matrix
            done += 1
    return done / (time.perf_counter() - start)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
