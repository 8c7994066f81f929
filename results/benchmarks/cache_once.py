"""Cache benchmark 5: 16 processes, 900 requests, 150 distinct circuits: how many executions, on each store."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from tests.execution.cache.conftest import RedisServer
from tests.execution.cache.test_single_flight import answers, deal, executions, finish, start


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Run undisturbed, and with a holder of twenty claims killed in the middle, so many times each."""
    out: dict[str, dict[str, float]] = {}
    for kind in ("LMDB", "Redis"):
        for killed in (False, True):
            rows = [_once(kind, killed, seed) for seed in range(rounds)]
            name = kind + (", a holder killed" if killed else "")
            out[name] = {
                "runs": rounds,
                "distinct": max(row["distinct"] for row in rows),
                "executions": max(row["executions"] for row in rows),
                "requests": min(row["requests"] for row in rows),
                "answered": min(row["answered"] for row in rows),
                "wrong": max(row["wrong"] for row in rows),
                "seconds": sorted(row["seconds"] for row in rows)[rounds // 2],
            }
    return out


def _once(kind: str, killed: bool, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = RedisServer(directory) if kind == "Redis" else None
        where = server.url if server else str(directory / "cache")
        log = directory / "log"
        began = time.perf_counter()
        shares = deal(seed, 16)
        if killed:
            victim = start(where, log, shares[:1], 20, 0.5)[0]
            while sum(executions(log, "began").values()) < 2:
                time.sleep(0.01)
            workers = start(where, log, shares[1:], 20, 0.002)
            time.sleep(0.2)
            os.kill(victim.pid or 0, signal.SIGKILL)
            victim.join(10)
            asked = [n for share in shares[1:] for n in share]
        else:
            workers = start(where, log, shares, 20, 0.002)
            asked = [n for share in shares for n in share]
        finish(workers)
        seconds = time.perf_counter() - began
        if server:
            server.stop()
        got = answers(log)
        return {
            "distinct": len(set(asked)),
            "executions": sum(executions(log, "done").values()),
            "requests": len(asked),
            "answered": len(got),
            "wrong": sum(not right for _, right in got),
            "seconds": seconds,
        }
