"""Benchmark of the reconstruction: ``python -m results.benchmarks.reconstruction [--quick]``.

Four questions, one table each: how fast are contractions of large networks beside numpy's matrix product; how long does
reconstruction take beside qiskit-addon-cutting's and a plain einsum on the same counts; does memory stay under the
bound; how do two MPI ranks scale. Writes reconstruction.md, .json and .png beside this file (reconstruction_quick.*
with --quick). One thread a process throughout; times of contractions are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import networkx
import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, PubResult
from qiskit.quantum_info import PauliList
from scipy.sparse import csr_array, eye_array
from threadpoolctl import threadpool_limits

from tasks.cutting import GateCut
from tasks.reconstruction import contract, estimate, tensor_values
from tasks.reconstruction.contraction import contract_block, leaf_arrays
from tasks.reconstruction.kernel import SCRATCH_BYTES
from tasks.reconstruction.network import network_of, values_by_fragment
from tasks.reconstruction.schedule import contraction_cost, schedule
from tasks.reconstruction.spill import write_network
from tasks.tensor import FragmentTensor, Structure
from tests.peers.addon import peer_problem, peer_structure, peer_tensors, peer_values

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
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
        plan = schedule(structure, laid_out, memory_bytes=4 << 30)
        planning = time.process_time() - start

        def work(plan=plan, structure=structure, laid_out=laid_out, values=values) -> None:
            for block, bound in enumerate(plan.trees):
                for _ in contract_block(structure, plan, block, leaf_arrays(laid_out, bound, values), plan.slices):
                    pass

        seconds = processor_time(work, 3 if plan.cost.flops < 1e10 else 1)
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
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def beside_the_peer(cuts: Sequence[int], shots: int, seed: int = 3) -> list[dict]:
    """Twelve qubits in two parts with k severed gates: the same counts through the peer, an einsum and Qompass."""
    rows = []
    for k in cuts:
        rng = np.random.default_rng(seed)
        circuit = QuantumCircuit(12)
        severed = []
        for layer in range(k):
            for q in (*range(5), *range(6, 11)):
                circuit.rzz(0.3, q, q + 1)
            severed.append(GateCut(len(circuit.data)))
            circuit.rzz(0.7, layer % 6, 6 + layer % 6)
        observables = PauliList(["Z" * 12, "ZZIIIIIIIIII", "IIIIIZZIIIII", "IIIIIIIIIIZZ", "ZIIIIIIIIIIZ"])
        start = time.perf_counter()
        problem = peer_problem(circuit, tuple(severed), observables)
        generating = time.perf_counter() - start
        results = {
            fragment.label: {
                key: PubResult(
                    DataBin(
                        observable_measurements=BitArray(rng.integers(256, size=(shots, 1), dtype=np.uint8) & 63, 6),
                        qpd_measurements=BitArray(
                            rng.integers(256, size=(shots, 1), dtype=np.uint8)
                            & (
                                2 ** max(1, _measured(problem, fragment, key)) - 1
                                if _measured(problem, fragment, key)
                                else 0
                            ),
                            max(1, _measured(problem, fragment, key)),
                        ),
                    )
                )
                for key in fragment.distinct()
            }
            for fragment in problem.fragments
        }
        structure, tensors = peer_structure(problem), peer_tensors(problem, results)

        def ours(structure=structure, tensors=tensors):
            again = [
                FragmentTensor(t.fragment, tensor_values(t.samples, t.values.shape[-1]), t.samples) for t in tensors
            ]
            return contract(structure, again)

        start = time.perf_counter()
        values = ours()
        to_values = time.perf_counter() - start
        start = time.perf_counter()
        estimate(structure, tensors)
        with_errors = time.perf_counter() - start
        start = time.perf_counter()
        by_einsum = _einsum(structure, tensors)
        einsum_time = time.perf_counter() - start
        start = time.perf_counter()
        theirs = peer_values(problem, results)
        peer_time = time.perf_counter() - start
        scale = max(1.0, float(np.abs(theirs).max()))
        assert np.abs(values - theirs).max() < 1e-9 * scale and np.abs(values - by_einsum).max() < 1e-9 * scale
        rows.append(
            {
                "cuts": k,
                "sub_experiments": problem.num_experiments,
                "distinct": problem.num_distinct,
                "shots_each": shots,
                "peer_generating_s": generating,
                "peer_reconstruction_s": peer_time,
                "einsum_from_tensors_s": einsum_time,
                "counts_to_values_s": to_values,
                "error_bars_s": with_errors,
                "largest_difference": float(np.abs(values - theirs).max()),
                "ratio": peer_time / to_values,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _measured(problem, fragment, key) -> int:
    return sum(
        problem.sides[cut][end].measured[setting] for (cut, end), setting in zip(fragment.legs, key[0], strict=True)
    )


def _einsum(structure: Structure, tensors: Sequence[FragmentTensor]) -> np.ndarray:
    """One call of numpy.einsum with its own path search for each term."""
    terms = []
    for factors in structure.factor_index:
        operands: list = []
        for tensor, legs in zip(tensors, structure.legs, strict=True):
            operands += [tensor.values[..., factors[tensor.fragment]], [2 * cut + end for cut, end in legs]]
        for cut, bond in enumerate(structure.bonds):
            operands += [bond, [2 * cut, 2 * cut + 1]]
        terms.append(np.einsum(*operands, [], optimize="greedy"))
    return structure.coefficients @ np.array(terms)


def memory(quick: bool) -> list[dict]:
    """The peak of a process of its own beside the limit it was given."""
    case = (6, 8, 4, 3_000) if quick else (4, 8, 16, 100)
    rows_, columns, dimension, terms = case
    free = contraction_cost(network(*grid(rows_, columns), dimension, terms)[0]).peak_bytes
    rows = []
    for share in (None, 0.3) if quick else (None, 0.6, 0.3, 0.15):
        limit = 0 if share is None else int(SCRATCH_BYTES + share * (free - SCRATCH_BYTES))
        program = [sys.executable, "-m", "results.benchmarks.reconstruction", "--one-peak", *map(str, (*case, limit))]
        done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=_ROOT, env=_environment())
        rows.append(json.loads(done.stdout))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def one_peak(rows: int, columns: int, dimension: int, terms: int, limit: int) -> dict:
    """Contract a grid under a limit and report this process's growth."""
    structure, tensors = network(*grid(rows, columns), dimension, terms)
    cost = contraction_cost(structure, memory_bytes=limit or None)
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
    """The MPI program on one and two ranks: seconds, and whether the bits agree."""
    rows = []
    mpirun = Path(sys.executable).parent / "mpirun"
    with tempfile.TemporaryDirectory() as folder:
        structure, tensors = network(*grid(4, 8), 16, 10 if quick else 100)
        write_network(Path(folder), structure, tensors)
        found = []
        for ranks in (1, 2):
            program = [mpirun, "-n", ranks, sys.executable, "-m", "tasks.reconstruction.mpi", folder, "--timing"]
            start = time.perf_counter()
            done = subprocess.run([*map(str, program)], capture_output=True, text=True, check=True, env=_environment())
            wall = time.perf_counter() - start
            found.append(np.load(Path(folder) / "values.npy"))
            inside = json.loads(done.stderr.strip().splitlines()[-1])
            rows.append({"ranks": ranks, "wall_s": wall, "contraction_s": inside["contraction_s"]})
            rows[-1]["speedup"] = rows[0]["contraction_s"] / rows[-1]["contraction_s"]
            rows[-1]["same_bits"] = bool((found[0] == found[-1]).all())
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def table(rows: Sequence[dict]) -> str:
    """A Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.2e}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def figure(found: dict, path: Path) -> None:
    """Reconstruction time beside the peer's, and contraction time against predicted work."""
    both, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    peer = found["peer"]
    cuts = [row["cuts"] for row in peer]
    left.semilogy(cuts, [row["peer_reconstruction_s"] for row in peer], "o-", label="qiskit-addon-cutting")
    left.semilogy(cuts, [row["counts_to_values_s"] for row in peer], "s-", label="Qompass, values")
    left.semilogy(cuts, [row["error_bars_s"] for row in peer], "^-", label="Qompass, values and errors")
    left.set(xlabel="severed gates", ylabel="seconds", title="From the same counts to expectation values", xticks=cuts)
    left.legend()
    speeds = found["speed"]
    right.loglog([r["gflop"] for r in speeds], [r["contraction_s"] for r in speeds], "o", label="contractions")
    span = np.array([min(r["gflop"] for r in speeds), max(r["gflop"] for r in speeds)])
    rate = np.median([r["gflop_per_s"] * r["numpy_over_ours"] for r in speeds])
    right.loglog(span, span / rate, "-", label="numpy matrix product")
    right.loglog(span, 3 * span / rate, "--", label="three times that")
    right.set(xlabel="predicted Gflop", ylabel="seconds of one core", title="Contraction of large networks")
    right.legend()
    both.tight_layout()
    both.savefig(path, dpi=150)


def main() -> None:
    """Run everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument(
        "--most-cuts", type=int, default=5, help="for the comparison with the peer (6 takes it half an hour)"
    )
    parser.add_argument("--one-peak", nargs=5, type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        if options.one_peak:
            print(json.dumps(one_peak(*options.one_peak)))
            return
        cuts = range(2, 4 if options.quick else options.most_cuts + 1)
        found = {
            "speed": speed(options.quick),
            "peer": beside_the_peer(cuts, 1024 if options.quick else 4096),
            "memory": memory(options.quick),
            "scaling": scaling(options.quick),
        }
    write(found, options.quick, options.most_cuts)


def write(found: dict, quick: bool, most_cuts: int) -> None:
    """Tables, numbers and figure beside this file."""
    name = "reconstruction_quick" if quick else "reconstruction"
    command = "python -m results.benchmarks.reconstruction" + (" --quick" if quick else "")
    command += f" --most-cuts {most_cuts}" if most_cuts != 5 else ""
    (_HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    figure(found, _HERE / f"{name}.png")
    text = [
        "# Reconstruction",
        f"Made by `{command}` on {os.cpu_count()} cores, one thread a process.",
        "## Contraction of large networks beside numpy's matrix product (1024 x 1024, same machine)",
        table(found["speed"]),
        "## Twelve qubits in two parts: the same counts through qiskit-addon-cutting and through Qompass",
        table(found["peer"]),
        "## Memory: growth of the process beside its limit",
        table(found["memory"]),
        "## MPI ranks",
        table(found["scaling"]),
    ]
    (_HERE / f"{name}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
