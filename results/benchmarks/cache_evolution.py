"""Cache benchmark 7: Differential Evolution where executions take from nothing to as long as on a QPU.

The workload of part 4, multi-angle QAOA on a cut ring, as a run asks for it: with what an execution is predicted to
take, so that what is quick is not looked for and what takes little is looked for as it is written. The peer's keys on
the same circuits say what its cache would run; its time is those executions and its keys.
"""

from __future__ import annotations

import tempfile
import time
from statistics import median

from results.benchmarks.cache_circuits import SHOTS, Rounds, differential_evolution
from results.benchmarks.cache_peer_work import peer_keys_on
from results.benchmarks.cache_workloads import TARGET, Runner, wrong_values
from tasks.execution.cache.cache import OFF, open_cache
from tasks.execution.cache.requests import CountsRequest, MissingShots

# Seconds that an execution is held beside its simulation, generations, and how often it is measured.
PACES = ((0.0, 3, 9), (0.01, 6, 1), (0.05, 3, 1), (0.3, 2, 1))
_TRIED = 20


def measure(quick: bool, peer: str | None) -> dict:
    """Seconds and executions without the cache and with it, at each pace; medians, taken in turn."""
    rounds = differential_evolution()
    circuits = [circuit for part in rounds for circuit in part]
    began = time.perf_counter()
    Runner()([MissingShots(circuit, SHOTS, None, 0) for circuit in circuits[:_TRIED]])
    typical = (time.perf_counter() - began) / _TRIED
    out: dict = {"simulation": typical, "rows": []}
    for pace, generations, repeats in PACES[: 2 if quick else None]:
        some = rounds[:generations]
        off, kept = [], []
        for number in range(1 if quick else repeats):
            for cached in (number % 2 == 1, number % 2 == 0):  # neither is always the first
                with tempfile.TemporaryDirectory() as folder:
                    where, into = (f"{folder}/cache", kept) if cached else (OFF, off)
                    into.append(_timed(where, some, pace, typical))
        row = {
            "pace": pace, "requests": sum(map(len, some)), "off": median(own["seconds"] for own in off),
            "kept": median(own["seconds"] for own in kept), "executed": kept[0]["executed"],
            "keys by meaning": kept[0]["meaning"], "wrong": sum(own["wrong"] for own in (*off, *kept)),
        }  # fmt: skip
        if peer:
            row["peer"] = peer_keys_on(peer, [circuit for part in some for circuit in part])
        out["rows"].append(row)
    return out


def _timed(where: str, rounds: Rounds, pace: float, typical: float) -> dict:
    cache, run = open_cache(where), Runner(pace)
    answers = []
    began = time.perf_counter()
    for part in rounds:
        for circuit in part:
            (draw,) = cache.counts([CountsRequest(circuit, SHOTS, seconds=pace + typical)], TARGET, run)
            assert draw is not None
            answers.append((circuit, draw.counts))
    seconds = time.perf_counter() - began
    cache.close()
    return {"seconds": seconds, "executed": cache.tally.executed, "meaning": cache.tally.meaning_keys,
            "wrong": wrong_values(answers)}  # fmt: skip
