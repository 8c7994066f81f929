"""What a pilot gives: tasks a second, whole runs a minute, and how busy it keeps a QPU.

usage: python -m results.benchmarks.pilot [--part tasks|runs|qpu]     (writes pilot.json, .md and .png beside this file)

A pilot on this machine, two nodes of a core. Empty tasks measure the pilot; runs are whole ``qompass run`` commands,
two at once, on one pilot or each by itself: small ones, for which a process alone starts no engine unless it is told
to, and large ones, for which it does; the QPU is the emulator, whose shots take time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))
SIZES = (1000, 2000, 4000, 8192, 16000)
RUNS, AT_ONCE = 6, 2
SMALL = [ROOT / "apps/circuits/vqe40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "20", "--shots", "300000"]
LARGE = ["--observable", "Z10 Z30", "--observable", "Z19 Z20", "--max-qubits", "22", "--shots", "100000"]
SHARERS = (1, 4, 16)
ON_QPU = [ROOT / "apps/circuits/ghz12.qasm", "--observable", "Z0 Z11", "--max-qubits", "6", "--shots", "6000"]
SHOT_S, CIRCUIT_S = 0.0005, 0.02
PUBLISHED = {"low": 22.0, "high": 26.0, "tasks": 8192}  # Pilot-Quantum, arXiv:2412.18519, on its authors' machines
QPU_PAIR = """<Project><MasterNode>
<Processor Name="Clients"><ComputingUnits>2</ComputingUnits><Type>CPU</Type><ProcessorProperty><Key>qompass</Key>
<Value>clients</Value></ProcessorProperty></Processor>
<Processor Name="QPU_A"><ComputingUnits>1</ComputingUnits><Type>OTHER</Type><ProcessorProperty><Key>qompass</Key>
<Value>qubits=27 type=ibm-quantum-compute-service</Value></ProcessorProperty></Processor>
</MasterNode></Project>"""


@contextlib.contextmanager
def pilot(nodes: int, **more: Any) -> Iterator[Path]:
    """A pilot of this machine, ended afterwards; its folder."""
    from tasks.pilots import start_pilot, stop_pilot

    try:
        yield start_pilot("benchmark", "local", nodes, 3600, units={"CPU": 1}, **more).folder
    finally:
        stop_pilot("benchmark")


def tasks_a_second() -> list[dict[str, float]]:
    """Empty independent tasks through a pilot of two nodes, several sizes."""
    from results.benchmarks import engines_work as work
    from tasks.runtime import engine, wait_on

    found = []
    with pilot(2) as folder, engine(scheduler=str(folder)):
        wait_on([work.empty(i) for i in range(50)])
        for size in SIZES:
            began = time.perf_counter()
            wait_on([work.empty(i) for i in range(size)])
            seconds = time.perf_counter() - began
            found.append({"tasks": size, "seconds": seconds, "a_second": size / seconds})
    return found


def command(arguments: Sequence[Any], folder: Path, *more: str, small: bool = True) -> list[str]:
    """A whole run as a user starts it; ``small=False``: nothing is so small that it is done without an engine."""
    code = "import sys; sys.path[:] = filter(None, sys.path); from apps.cli.main import main; "
    if not small:
        code += "import tasks.dispatch.start as start; start.INLINE_S = -1.0; "
    return [
        sys.executable,
        "-c",
        code + "sys.exit(main(sys.argv[1:]))",
        "run",
        *map(str, arguments),
        "--cache",
        "off",
        "--json",
        "--out",
        str(folder),
        *more,
    ]


def finish(commands: Sequence[list[str]], at_once: int) -> tuple[float, list[dict[str, Any]]]:
    """Seconds until all commands are done, so many at once, and what they say."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    waiting, running, said = list(commands), [], []
    began = time.perf_counter()
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(subprocess.Popen(waiting.pop(0), env=environment, text=True, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE))  # fmt: skip
        for process in [process for process in running if process.poll() is not None]:
            running.remove(process)
            out, err = process.communicate()
            if process.returncode:
                raise RuntimeError(err)
            said.append(json.loads(out))
        time.sleep(0.005)
    return time.perf_counter() - began, said


def two_deep_halves(path: Path, half: int = 20, layers: int = 24) -> Path:
    """Write a circuit of two halves of so many qubits and layers with one gate between them."""
    draw = random.Random(7)
    lines = [f'OPENQASM 3.0; include "stdgates.inc"; qubit[{2 * half}] q;']
    for layer in range(layers):
        lines += [f"ry({draw.uniform(0, 3.1):.4f}) q[{i}];" for i in range(2 * half)]
        lines += [f"cz q[{i}], q[{i + 1}];" for i in range(layer % 2, 2 * half - 1, 2) if i != half - 1]
    path.write_text("\n".join([*lines, f"cz q[{half - 1}], q[{half}];"]))
    return path


def runs_a_minute() -> dict[str, Any]:
    """Whole runs that share a pilot, and the same each by itself; in turns, medians of three."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as kept, pilot(2) as folder:
        seeds = itertools.count()
        for size, circuit in (("small", SMALL), ("large", [two_deep_halves(Path(kept) / "deep.qasm"), *LARGE])):
            rates: dict[str, list[float]] = {"pilot": [], "engine": [], "alone": []}
            if size == "large":
                del rates["engine"]  # it starts one by itself
            for _ in range(3):
                for kind in rates:
                    commands = [whole(kind, circuit, Path(kept), next(seeds), folder) for _ in range(RUNS // 3)]
                    seconds, _ = finish(commands, AT_ONCE)
                    rates[kind].append(60.0 * len(commands) / seconds)
            found[size] = {kind: sorted(values)[1] for kind, values in rates.items()} | {"all": rates}
        found["parts"] = {kind: parts(kind, Path(kept), folder, seeds) for kind in ("alone", "engine", "pilot")}
    return found


def whole(kind: str, circuit: Sequence[Any], kept: Path, seed: int, folder: Path) -> list[str]:
    """A run by itself, by itself with an engine in any case, or on the pilot."""
    more = ["--scheduler", str(folder)] if kind == "pilot" else []
    return command(circuit, kept, "--seed", str(seed), *more, small=kind != "engine")


def parts(kind: str, kept: Path, folder: Path, seeds: Iterator[int]) -> dict[str, float]:
    """Where the seconds of a small run go that has the machine to itself, medians of five."""
    taken = []
    for _ in range(5):
        seconds, (said,) = finish([whole(kind, SMALL, kept, next(seeds), folder)], 1)
        taken.append({**said["timings"], "rest": seconds - sum(said["timings"].values()), "all": seconds})
    return {name: statistics.median(own[name] for own in taken) for name in taken[0]}


class Watch(threading.Thread):
    """Looks every few milliseconds whether the emulator's device works on a job."""

    def __init__(self, device: Any) -> None:
        super().__init__(daemon=True)
        self.device, self.seen, self.over = device, [], threading.Event()
        self.start()

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(0.003):
            self.seen.append((time.perf_counter(), self.device._running > 0))

    def share(self) -> float:
        """Of the time between the first and the last job."""
        self.over.set()
        self.join()
        busy = [moment for moment, works in self.seen if works]
        within = [works for moment, works in self.seen if busy[0] <= moment <= busy[-1]]
        return sum(within) / len(within)


def qpu_share(sharers: int) -> dict[str, float]:
    """How busy so many runs that share a pilot keep a QPU of one unit."""
    from launch.emulator.options import parse_device
    from launch.emulator.server import Emulator
    from launch.emulator.services import environment

    token = "of-the-benchmark"
    device = parse_device(f"QPU_A:kind=ibm,backend=hanoi,shot={SHOT_S},overhead={CIRCUIT_S}")
    emulator = Emulator([device], token)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    with tempfile.TemporaryDirectory() as kept:
        pair = Path(kept) / "pair"
        pair.mkdir()
        (pair / "project.xml").write_text(QPU_PAIR)
        (pair / "resources.xml").write_text("<ResourcesList/>")
        config = Path(kept) / "qrmi_config.json"
        config.touch(mode=0o600)
        resource = {"name": "QPU_A", "type": device.kind, "environment": environment(device, emulator.url, token)}
        config.write_text(json.dumps({"resources": [resource]}))
        os.environ |= {"QOMPASS_QRMI_CONFIG": str(config), "QRMI_JOB_QPU_RESOURCES": "QPU_A",
                       "QRMI_JOB_QPU_TYPES": device.kind, "QOMPASS_LEASES": str(Path(kept) / "leases")}  # fmt: skip
        with pilot(1, shared={"QPU_A": 2}) as folder:
            watch = Watch(emulator.devices["QPU_A"])
            more = ["--scheduler", str(folder), "--resources", str(pair), "--mitigation", "none"]
            commands = [command(ON_QPU, Path(kept) / "runs", "--seed", str(i), *more) for i in range(sharers)]
            seconds, said = finish(commands, sharers)
            share = watch.share()
    emulator.shutdown()
    emulator.server_close()
    worst = max(abs(run["estimates"][0]["value"] - 1.0) for run in said)
    return {"runs": sharers, "busy_share": share, "seconds": seconds, "worst_deviation": worst}


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# Pilot", "", f"{found['machine']}. A pilot of two nodes of a core each, on one machine.",
             "Load of the machine when each part began (other work; the measurement came first): "
             + ", ".join(f"{part} {load:.1f}" for part, load in found["load"].items()) + ".",
             ""]  # fmt: skip
    lines += ["| empty tasks | seconds | tasks a second |", "|---|---|---|"]
    lines += [f"| {row['tasks']:,} | {row['seconds']:.1f} | {row['a_second']:.0f} |" for row in found["tasks"]]
    at = next(row for row in found["tasks"] if row["tasks"] == PUBLISHED["tasks"])
    lines += [
        "",
        f"Pilot-Quantum's published traces say {PUBLISHED['low']:.0f} to {PUBLISHED['high']:.0f} tasks a second at "
        f"{PUBLISHED['tasks']:,} tasks (arXiv:2412.18519): *published, on its authors' machines*, not measured here, "
        f"and its tasks are small circuits where these are empty. "
        f"At {at['a_second']:.0f} a second the pilot itself is not what a run waits for.",
        "",
        f"| whole runs a minute, {AT_ONCE} at once (median of three; {RUNS // 3} runs each) | by itself | "
        "by itself, with an engine | on the pilot | beside by itself | beside an engine of its own |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {
        "small": "small: by itself a run computes in its own process, without an engine unless it is told to",
        "large": "large (two halves of 20 qubits, 24 layers): by itself a run starts an engine",
    }
    for size, what in kinds.items():
        rates = found["runs"][size]
        ours, engine = rates["pilot"], rates.get("engine")
        lines.append(
            f"| {what} | {rates['alone']:.1f} | {rates['alone'] if engine is None else engine:.1f} | {ours:.1f} | "
            f"{ours / rates['alone']:.2f} | {ours / (engine or rates['alone']):.2f} |"
        )
    taken = found["runs"]["parts"]
    lines += [
        "",
        "| seconds of a small run, one at a time (median of five) | by itself | with an engine | on the pilot |",
    ]
    lines += ["|---|---|---|---|"]
    for name, what in (("rest", "start: Python, imports, reading, connecting; end"), ("cut", "planning"),
                       ("execute", "executing"), ("reconstruct", "reconstructing"), ("all", "all")):  # fmt: skip
        lines.append(f"| {what} | " + " | ".join(f"{taken[k][name]:.2f}" for k in ("alone", "engine", "pilot")) + " |")
    lines += [
        "",
        "What a run on a pilot saves is the start of an engine and of its processes. A run so small that it needs "
        "none saves nothing: it pays for the library that connects (dask.distributed, a quarter of a second of "
        "imports) and for the way of its tasks to the pilot's processes and back. Such runs gain from a pilot only "
        "where the command's own machine has no cores to spare, as a login node; many of them are better asked for in "
        "one process (`qompass sweep`, or a session in Python).",
        "",
        "| runs that share a QPU of one unit | busy share | with the lease taken first |",
        "|---|---|---|",
    ]
    for row, before in zip(found["qpu"], found["qpu_lease_first"], strict=True):
        lines.append(f"| {row['runs']} | {row['busy_share']:.0%} | {before['busy_share']:.0%} |")
    lines += [
        "",
        "Share of the time between the first job and the last one in which the emulated QPU worked "
        f"({SHOT_S * 1e3:g} ms a shot, {CIRCUIT_S * 1e3:g} ms a circuit). The pilot lets two tasks of the QPU be in "
        "work for each of its units, and a task waits for its lease only when it is ready to submit. The last column "
        "is from before that: the lease was taken first, the QPU waited while a task connected and transpiled, and the "
        "intervals at which a job is asked for grew by half (now by a tenth, so that its end is seen that soon).",
        "",
        "![tasks a second and busy share](pilot.png)",
        "",
        "Command: `python -m results.benchmarks.pilot`",
        "",
    ]
    return "\n".join(lines)


def figure(found: dict[str, Any], path: Path) -> None:
    """Throughput by number of tasks, and busy share by number of runs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    sizes = [row["tasks"] for row in found["tasks"]]
    left.plot(
        sizes, [row["a_second"] for row in found["tasks"]], "o-", color="#2266aa", label="Qompass' pilot, empty tasks"
    )
    left.plot([PUBLISHED["tasks"]] * 2, [PUBLISHED["low"], PUBLISHED["high"]], "s-", color="#888888",
              label="Pilot-Quantum, published")  # fmt: skip
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylim(10, 3000)
    left.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
    left.minorticks_off()
    left.set_xlabel("tasks")
    left.set_ylabel("tasks a second")
    left.legend(fontsize=8, loc="upper left")
    for key, colour, label in (
        ("qpu", "#2266aa", "made ready, then leased"),
        ("qpu_lease_first", "#cc7722", "leased first"),
    ):
        rows = found[key]
        right.plot(
            [row["runs"] for row in rows], [100 * row["busy_share"] for row in rows], "o-", color=colour, label=label
        )
    right.set_xscale("log", base=2)
    right.set_xticks(SHARERS, list(map(str, SHARERS)))
    right.set_ylim(0, 105)
    right.set_xlabel("runs that share the pilot")
    right.set_ylabel("QPU busy (%)")
    right.legend(fontsize=8, loc="lower right")
    pyplot.tight_layout()
    pyplot.savefig(path, dpi=120)


def main() -> None:
    """Measure, one part or all, and write the page."""
    parser = argparse.ArgumentParser(description="Measure pilots.")
    parser.add_argument("--part", choices=("tasks", "runs", "qpu"), help="only this one; the others stay as they are")
    part = parser.parse_args().part
    path = HERE / "pilot.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found["machine"] = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    measures = {"tasks": tasks_a_second, "runs": runs_a_minute, "qpu": lambda: [qpu_share(count) for count in SHARERS]}
    with tempfile.TemporaryDirectory() as pilots:
        os.environ["QOMPASS_PILOTS"] = str(Path(pilots) / "pilots")
        for name in measures if part is None else [part]:
            found.setdefault("load", {})[name] = os.getloadavg()[0]
            found[name] = measures[name]()
    path.write_text(json.dumps(found, indent=1) + "\n")
    if {"tasks", "runs", "qpu"} <= found.keys():
        (HERE / "pilot.md").write_text(page(found))
        figure(found, HERE / "pilot.png")


if __name__ == "__main__":
    main()
