"""Sixteen processes, many requests: each distinct circuit runs once, also when a holder is killed in the middle."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.keys import Target
from tasks.execution.cache.requests import CountsRequest, MissingShots
from tasks.model.tensor import VariantCounts

TARGET = Target("counter")
LEASE = 5.0  # seconds; workers of a busy machine must not miss three renewals
SPAWN = multiprocessing.get_context("fork")


def circuit_number(number: int, spelling: int) -> QuantumCircuit:
    """One of many circuits, spelled in one of several ways."""
    circuit = QuantumCircuit(2, 2)
    if spelling % 2:
        circuit.rz(0.1 * spelling, 1)
    circuit.ry(0.01 + 0.01 * number, 0)
    circuit.cx(0, 1)
    if spelling % 3:
        circuit.rz(0.2, 0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def work(where: str, log: Path, worker: int, requests: list[int], batch: int, pause: float) -> None:
    """Ask for counts in batches; every execution is a line in a file of this process."""
    cache = open_cache(where, lease=LEASE)

    def run(jobs: list[MissingShots]) -> list[VariantCounts]:
        out = []
        for job in jobs:
            angle = next(item.operation.params[0] for item in job.circuit.data if item.operation.name == "ry")
            number = round((angle - 0.01) / 0.01)
            with (log / f"began.{os.getpid()}").open("a") as lines:
                lines.write(f"{number}\n")
            time.sleep(pause)
            out.append(VariantCounts(np.array([[0], [3]], dtype=np.uint8), np.array([1000, 1 + number]), 2))
        with (log / f"done.{os.getpid()}").open("a") as lines:
            lines.writelines(f"{round((_angle(job) - 0.01) / 0.01)}\n" for job in jobs)
        return out

    for start in range(0, len(requests), batch):
        numbers = requests[start : start + batch]
        draws = cache.counts([CountsRequest(circuit_number(n, worker + n), 1000) for n in numbers], TARGET, run)
        with (log / f"answers.{worker}").open("a") as lines:
            for number, draw in zip(numbers, draws, strict=True):
                right = draw is not None and int(draw.counts.counts[-1]) == 1 + number
                lines.write(f"{number} {int(right)}\n")
    cache.close()


def _angle(job: MissingShots) -> float:
    return float(next(item.operation.params[0] for item in job.circuit.data if item.operation.name == "ry"))


def executions(log: Path, kind: str) -> Counter[int]:
    return Counter(int(line) for path in log.glob(f"{kind}.*") for line in path.read_text().split())


def answers(log: Path) -> list[tuple[int, bool]]:
    lines = [line.split() for path in log.glob("answers.*") for line in path.read_text().splitlines()]
    return [(int(number), right == "1") for number, right in lines]


def deal(seed: int, workers: int, circuits: int = 150) -> list[list[int]]:
    """Six requests for each circuit, dealt to the workers; no worker asks for a circuit twice in one batch.

    (Twice in one batch would mean twice the shots: equal variants of one call are kept independent.)
    """
    order = np.tile(np.random.default_rng(seed).permutation(circuits), 6)
    return [[int(n) for n in part] for part in np.array_split(order, workers)]


def start(where: str, log: Path, shares: list[list[int]], batch: int, pause: float) -> list[multiprocessing.Process]:
    log.mkdir(exist_ok=True)
    workers = [SPAWN.Process(target=work, args=(where, log, k, share, batch, pause)) for k, share in enumerate(shares)]
    for worker in workers:
        worker.start()
    return workers


def finish(workers: list[multiprocessing.Process]) -> None:
    for worker in workers:
        worker.join(120)
    stuck = [worker for worker in workers if worker.is_alive()]
    for worker in stuck:
        worker.kill()
        worker.join(10)
    assert not stuck, f"{len(stuck)} workers did not end"


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 20])
def test_900_requests_for_150_circuits_by_16_processes_run_150(where: str, tmp_path: Path, batch: int) -> None:
    log = tmp_path / "log"
    finish(start(where, log, deal(batch, 16), batch, 0.002))
    ran = executions(log, "done")
    assert len(ran) == 150 and set(ran.values()) == {1}, {n: k for n, k in ran.items() if k > 1}
    assert len(answers(log)) == 900 and all(right for _, right in answers(log))


def test_a_killed_holder_is_replaced_and_nothing_is_lost(where: str, tmp_path: Path, eventually) -> None:
    log = tmp_path / "log"
    shares = deal(3, 15, 60)
    victim = start(where, log, [shares[0]], 20, 0.5)[0]  # holds twenty claims and is slow
    eventually(lambda: sum(executions(log, "began").values()) >= 2)
    others = start(where, log, shares[1:], 20, 0.002)
    time.sleep(0.2)  # let some of them wait for the victim's claims
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(10)
    finish(others)
    ran = executions(log, "done")
    asked = {n for share in shares[1:] for n in share}
    assert set(ran) == asked and set(ran.values()) == {1}, {n: k for n, k in ran.items() if k > 1}
    assert len(answers(log)) == sum(map(len, shares[1:])) and all(right for _, right in answers(log))
