"""Cache benchmark 7: Differential Evolution where executions take from nothing to as long as on a QPU.

Three workloads, as a run asks for them: with what an execution is predicted to take, so that what is quick is not
looked for and what takes little is looked for as it is written. The peer executes the same circuits through its own
cache, held as long. ``on_qpu`` does the same on the QPU emulator, a generation a job.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import starmap
from statistics import median, stdev

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from results.benchmarks.cache_circuits import EVOLUTIONS, SHOTS, Rounds
from results.benchmarks.cache_keys import ask_peer, peer_keys, peer_texts
from results.benchmarks.cache_on_qpu import generations_on_emulator
from results.benchmarks.cache_workloads import TARGET, Runner, wrong_values
from tasks.execution.cache.cache import OFF, open_cache
from tasks.execution.cache.keys import KeyMaker
from tasks.execution.cache.requests import CountsRequest, MissingShots
from tasks.model.tensor import VariantCounts

# Seconds that an execution is held beside its simulation, generations of each workload, and how often it is measured.
PACES = ((0.0, (3, 15, 15), 9), (0.01, (6, 15, 15), 5), (0.05, (3, 15, 15), 3), (0.3, (2, 7, 7), 2))
_WAITED_FOR = 0.05  # then the workloads are measured at once: they take little of a core
ON_QPU, QPU_SHOTS, _TURNS_ON_QPU = (2, 7, 7), 400, 3
_TRIED = 20


def measure(quick: bool, peer: str | None) -> dict:
    """Seconds and executions without the cache and with it, at each pace; medians."""
    out: dict = {name: [] for name in EVOLUTIONS}
    for pace, generations, repeats in PACES[: 2 if quick else None]:
        asked = [(name, pace, 2 if quick else number, 1 if quick else repeats)
                 for name, number in zip(EVOLUTIONS, generations, strict=True)]  # fmt: skip
        for name, row in zip(EVOLUTIONS, _at_once(asked) if pace >= _WAITED_FOR else starmap(_row, asked), strict=True):
            out[name].append(row)
    if not peer:
        return out
    return {**out, "qdislib": {name: [_peer(peer, _circuits(name, row["generations"]), row["pace"]) for row in rows]
                               for name, rows in out.items()}}  # fmt: skip


def _at_once(asked: Sequence[tuple[str, float, int, int]]) -> list[dict]:
    """Each workload in a process of its own."""
    with ProcessPoolExecutor(max_workers=len(asked)) as pool:
        return [future.result() for future in [pool.submit(_row, *own) for own in asked]]


def _circuits(name: str, generations: int) -> list[QuantumCircuit]:
    return [circuit for part in EVOLUTIONS[name](generations=generations) for circuit in part]


def _row(name: str, pace: float, generations: int, repeats: int) -> dict:
    """A workload at one pace."""
    rounds = EVOLUTIONS[name](generations=generations)
    circuits = [circuit for part in rounds for circuit in part]
    began = time.perf_counter()
    Runner()([MissingShots(circuit, SHOTS, None, 0) for circuit in circuits[:_TRIED]])
    typical = (time.perf_counter() - began) / _TRIED
    turns = []
    for turn in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            turns.append(_turn(f"{folder}/cache", rounds, pace, typical, turn))
    ratios = [own["off"] / own["kept"] for own in turns]
    return {
        "pace": pace, "generations": generations, "simulation": typical, "requests": len(circuits),
        **_distinct(circuits),
        "off": median(own["off"] for own in turns), "kept": median(own["kept"] for own in turns),
        "ratio": median(ratios),
        "ratio_error": stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else None,
        "executed": turns[0]["executed"],
        "passed over": turns[0]["passed over"],
        "keys by meaning": turns[0]["meaning"],
        "wrong": sum(own["wrong"] for own in turns),
    }  # fmt: skip


def _distinct(circuits: Sequence[QuantumCircuit]) -> dict[str, float]:
    keys = KeyMaker()
    written = {keys.counts_key(c, TARGET, as_written=True).digest for c in circuits}
    began = time.process_time()
    meaning = {keys.counts_key(c, TARGET).digest for c in circuits}
    each = (time.process_time() - began) / len(written)
    return {"distinct as written": len(written), "distinct by meaning": len(meaning), "key by meaning": each}


def _turn(where: str, rounds: Rounds, pace: float, typical: float, turn: int) -> dict:
    """Each generation without the cache and with it, in turn: what else the machine does meets both alike."""
    caches, seconds = {"off": open_cache(OFF), "kept": open_cache(where)}, {"off": 0.0, "kept": 0.0}
    runners = {name: Runner(pace) for name in caches}
    answers: list[tuple[QuantumCircuit, VariantCounts]] = []
    for number, part in enumerate(rounds):
        for name in ("off", "kept") if (number + turn) % 2 == 0 else ("kept", "off"):
            began = time.perf_counter()
            for circuit in part:
                asked = CountsRequest(circuit, SHOTS, seconds=pace + typical)
                (draw,) = caches[name].counts([asked], TARGET, runners[name])
                assert draw is not None
                answers.append((circuit, draw.counts))
            seconds[name] += time.perf_counter() - began
    tally = caches["kept"].tally
    caches["kept"].close()
    return {**seconds, "executed": tally.executed, "meaning": tally.meaning_keys,
            "passed over": tally.passed_over, "wrong": wrong_values(answers)}  # fmt: skip


def _peer(peer: str, circuits: Sequence[QuantumCircuit], pace: float) -> dict:
    """Qdislib through its own cache on LMDB; wrong is a <Z...Z> more than six standard deviations off."""
    with tempfile.TemporaryDirectory() as folder:
        work = {"circuits": peer_texts(circuits), "shots": SHOTS, "pace": pace, "folder": f"{folder}/cache"}
        answer = ask_peer(peer, {"evolve": work})
    assert isinstance(answer, dict)
    wrong = 0
    for circuit, value in zip(circuits, answer.pop("values"), strict=True):
        exact = _parity(circuit)
        wrong += abs(value - exact) > 6 * np.sqrt(max(1 - exact**2, 1e-9) / SHOTS) + 1e-9
    return {"pace": pace, "requests": len(circuits), **answer, "wrong": int(wrong)}


def _parity(circuit: QuantumCircuit) -> float:
    bare = circuit.remove_final_measurements(inplace=False)
    return float(Statevector(bare).expectation_value(SparsePauliOp("Z" * bare.num_qubits)).real)


def on_qpu(quick: bool, peer: str | None) -> dict:
    """The same on the QPU emulator through QRMI: without the cache, with it, by meaning, and under the peer's keys."""
    turns = [
        _at_emulators(
            [(name, 2 if quick else number, peer, turn) for name, number in zip(EVOLUTIONS, ON_QPU, strict=True)]
        )
        for turn in range(1 if quick else _TURNS_ON_QPU)
    ]
    out: dict = {}
    for number, name in enumerate(EVOLUTIONS):
        found = [turn[number] for turn in turns]
        out[name] = found[0]
        for mode, own in out[name].items():
            if isinstance(own, dict):
                own["turns"] = [other[mode]["seconds"] for other in found]
                own |= {"seconds": median(own["turns"]), "wrong": sum(other[mode]["wrong"] for other in found)}
    return out


def _at_emulators(asked: Sequence[tuple[str, int, str | None, int]]) -> list[dict]:
    """Each workload in a process of its own, with an emulator of its own: they wait for it."""
    with ProcessPoolExecutor(max_workers=len(asked)) as pool:
        return [future.result() for future in [pool.submit(_on_emulator, *own) for own in asked]]


def _on_emulator(name: str, generations: int, peer: str | None, turn: int) -> dict:
    rounds: Rounds = EVOLUTIONS[name](generations=generations)
    keys = None
    if peer:
        found = iter(peer_keys(peer, [circuit for part in rounds for circuit in part]))
        keys = [[next(found) for _ in part] for part in rounds]
    generations_on_emulator(rounds, 1, lambda answers: 0, None)  # what is loaded and transpiled once is, then
    return generations_on_emulator(rounds, QPU_SHOTS, wrong_values, keys, backwards=turn % 2 == 1)
