"""One case of limit.py in a process of its own, in whichever checkout is the current folder: JSON in, JSON out.

It imports only what both checkouts have, so that the same lines measure both.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.cost import fragment_cost
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.jobs import ExactJob, SampledJob, run_job
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import sample_open
from tasks.model.tensor import VariantCounts
from tests.oracles import problem_of


def fragment_of(case: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A dense fragment: brickwork of the given depth, legs at equal distances on random qubits."""
    qubits, legs, depth = case["qubits"], case["legs"], case["depth"]
    rng = np.random.default_rng(case.get("seed", 0))
    circuit, cuts = QuantumCircuit(qubits + 1), []
    at = [int((k + 1) * depth / (legs + 1)) for k in range(legs)]
    for layer in range(depth):
        for q in range(qubits + 1):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(layer % 2, qubits - 1, 2):
            circuit.cz(q, q + 1)
        for _ in range(at.count(layer)):
            place = len(circuit.data)
            own = int(rng.integers(qubits))
            if case.get("wires"):  # a swap of qubits through a wire that is cut: prepared here, measured there
                circuit.cz(own, qubits)
                cuts += [WireCut(place, qubits)]
            else:
                cuts.append(GateCut(place))
                circuit.cz(own, qubits)
    labels = labels_of(qubits, case["observables"], case.get("kind", "local"), rng)
    plan = make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=tuple(cuts))
    index = max(range(len(plan.fragments)), key=lambda k: plan.fragments[k].num_qubits)
    return plan.fragments[index], plan.schemes[index], plan.costs[index]


def labels_of(qubits: int, number: int, kind: str, rng: np.random.Generator) -> list[str]:
    """Distinct observables: two-body Paulis, dense ones, or Z on the last ``number`` qubits."""
    if kind == "measured":
        return ["I" + "I" * (qubits - number) + "Z" * number]
    found: set[str] = set()
    while len(found) < number:
        letters = ["I"] * (qubits + 1)
        where = range(qubits) if kind == "dense" else rng.choice(qubits, 2, replace=False)
        for q in where:
            letters[int(q)] = str(rng.choice(list("XYZ")))
        found.add("".join(reversed(letters)))
    return sorted(found)


def least(work: Any, repeats: int) -> float:
    """Seconds of the quickest of some repeats."""
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def most_resident() -> int:
    """Bytes of this program that were resident at most; ``ru_maxrss`` would begin with what started it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def exact(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a whole tensor and of the limit, one plain simulation of the same fragment; memory of the tensor."""
    fragment, _, cost = fragment_of(case)
    run_job(ExactJob(fragment_of({**case, "qubits": 4, "observables": 2, "kind": "local"})[0]))
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    plain = fragment.circuit.copy()
    plain.save_statevector()
    first = most_resident()
    began = time.perf_counter()
    run_job(ExactJob(fragment))
    seconds = time.perf_counter() - began
    peak = most_resident() - first
    if seconds < 5:
        seconds = min(seconds, least(lambda: run_job(ExactJob(fragment)), 2))
    limit = least(lambda: simulator.run(plain, shots=1).result().data(0), 2 if case["qubits"] < 22 else 1)
    return {"seconds": seconds, "limit": limit, "peak": peak, "predicted": cost.exact_bytes}


def sampled(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds a variant, and those of drawing its shots alone from a distribution that is known."""
    fragment, schemes, _ = fragment_of({**case, "kind": "measured", "observables": case["measured"]})
    variants = tuple(enumerate_variants(fragment, schemes)[: case["variants"]])
    shots = 1000
    job = SampledJob(fragment, schemes, variants, (shots,) * len(variants))
    small, own, _ = fragment_of({**case, "qubits": 4, "observables": 2, "kind": "measured"})
    run_job(SampledJob(small, own, tuple(enumerate_variants(small, own)[:9]), (shots,) * 9))
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    plain = fragment.circuit.copy()
    plain.save_statevector()
    first = most_resident()
    began = time.perf_counter()
    run_job(job)
    seconds = time.perf_counter() - began
    peak = most_resident() - first
    builder = VariantBuilder(fragment, schemes)
    bits = Counter(builder.meaning(variant).num_bits for variant in variants)
    drawing = [draw_alone(number, shots) * among for number, among in bits.items()]
    state, alone = open_state(fragment), replace(job, variants=variants[:1], shots=(shots,))

    def draw(own: SampledJob) -> Any:
        return sample_open(fragment, schemes, state, own.variants, own.shots, own.streams)

    both = medians([lambda: draw(job), lambda: draw(alone)])
    return {
        "seconds": min(seconds, least(lambda: run_job(job), 1 if seconds < 5 else 0)) / len(variants),
        "further": (both[0] - both[1]) / (len(variants) - 1),
        "limit": sum(drawing) / len(variants),
        "simulation": least(lambda: simulator.run(plain, shots=1).result().data(0), 2),
        "variants": len(variants),
        "peak_bytes": peak,
        "predicted_bytes": fragment_cost(fragment, schemes, sampled=True).exact_bytes,
    }


def medians(works: Sequence[Callable[[], Any]], seconds: float = 4.0) -> list[float]:
    """Median seconds of pieces of work, done in turn, 5 to 40 times each."""
    times: list[list[float]] = [[] for _ in works]
    ends = time.perf_counter() + seconds
    while len(times[0]) < 5 or (len(times[0]) < 40 and time.perf_counter() < ends):
        for work, own in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            own.append(time.perf_counter() - began)
    return [float(np.median(own)) for own in times]


def draw_alone(bits: int, shots: int) -> float:
    """Median seconds of drawing from a distribution of so many bits that is known, as NumPy does it the quickest."""
    law = np.random.default_rng(1).random(1 << bits)
    law /= law.sum()
    philox = np.random.Philox(0)
    rng, state = np.random.Generator(philox), np.random.Philox(key=[1, 2]).state

    def multinomial() -> tuple[np.ndarray, np.ndarray]:
        drawn = rng.multinomial(shots, law)
        places = drawn.nonzero()[0]
        return places, drawn[places]

    def search() -> tuple[np.ndarray, np.ndarray]:
        return np.unique(np.searchsorted(np.cumsum(law), rng.random(shots)), return_counts=True)

    def packed(drawn: Callable[[], tuple[np.ndarray, np.ndarray]], times: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(times):
                philox.state = state
                places, found = drawn()
                raw = places.astype("<u8").view(np.uint8).reshape(-1, 8)
                VariantCounts(np.ascontiguousarray(raw[:, : (bits + 7) // 8]), found, bits)

        return work

    times = max(1, (1 << 14) >> bits)
    return min(medians([packed(multinomial, times), packed(search, times)], 0.5)) / times


def main() -> None:
    """Read a case, print what was measured."""
    case = json.loads(sys.argv[1])
    print(json.dumps(exact(case) if case["path"] == "exact" else sampled(case)))


if __name__ == "__main__":
    main()
