"""What each engine costs: start-up, throughput, a task's overhead, and what batching makes of it.

usage: python results/benchmarks/engines.py [--quick]      (writes engines.json, .md and .png beside this file)

COMPSs is measured where runcompss is on the PATH, through launch/local_compss.sh. Work of a known length is a sleep:
what is measured is the engines, not the processor.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))
STARTED = "QOMPASS_BENCHMARK_STARTED"
WORKERS = 2
VARIANT_S = 0.005


def measure(quick: bool) -> dict[str, Any]:
    """Measure the engine that runs this process."""
    from results.benchmarks import engines_work as work
    from tasks.runtime import engine, wait_on
    from tasks.runtime.batching import batches, task_statistics

    began = float(os.environ[STARTED])
    count = 100 if quick else 500

    def timed(futures: Any) -> tuple[float, list[Any]]:
        start = time.perf_counter()
        outcomes = wait_on(futures())
        return time.perf_counter() - start, outcomes if isinstance(outcomes, list) else [outcomes]

    def chain() -> Any:
        future = work.empty(0)
        for _ in range(count // 5 - 1):
            future = work.empty(future)
        return future

    def variants_in(groups: list[tuple[int, ...]]) -> dict[str, float]:
        wall, outcomes = timed(lambda: [work.variants((VARIANT_S,) * len(group)) for group in groups])
        found = task_statistics([outcome.seconds for outcome in outcomes], wall, WORKERS)
        total = sum(map(len, groups))
        return {
            "variants": total,
            "tasks": len(groups),
            "wall_s": wall,
            "overhead_share": found.overhead_share,
            "mean_task_s": found.mean_seconds,
            "overhead_ms_a_variant": 1e3 * (wall * WORKERS / total - VARIANT_S),
        }

    with engine(units={"CPU": WORKERS}) as info:
        ready = time.time() - began
        wait_on(work.empty(0))
        first = time.time() - began
        timed(lambda: [work.variants((0.2,)) for _ in range(2 * WORKERS)])  # every worker has its child process now
        found = {"engine": info.name, "version": info.version, "ready_s": ready, "first_result_s": first}
        found["empty_ms"] = 1e3 * timed(lambda: [work.empty(i) for i in range(count)])[0] / count
        found["isolated_ms"] = 1e3 * timed(lambda: [work.empty_isolated(i) for i in range(count)])[0] / count
        found["chained_ms"] = 1e3 * timed(chain)[0] / (count // 5)
        total = 400 if quick else 2000
        found["one_a_task"] = variants_in([(i,) for i in range(total // 10)])
        found["batched"] = variants_in(batches([VARIANT_S] * total, info.overhead_s, WORKERS))
    return found


def measured(engine: str, quick: bool) -> dict[str, Any]:
    """Measure an engine in processes of its own."""
    this = [str(Path(__file__).resolve()), "--measure", *(["--quick"] if quick else [])]
    if engine == "compss":
        command = ["bash", str(ROOT / "launch/local_compss.sh"), *this]
    else:
        command = [sys.executable, *this]
    environment = {**os.environ, "QOMPASS_PYTHON": sys.executable, STARTED: str(time.time())}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def table(results: list[dict[str, Any]], machine: str) -> str:
    """The Markdown page."""
    rows = [
        ("version", lambda r: r["version"]),
        ("start of the program to engine ready", lambda r: f"{r['ready_s']:.2f} s"),
        ("... to the first task's result", lambda r: f"{r['first_result_s']:.2f} s"),
        ("tasks a second, independent and empty", lambda r: f"{1e3 / r['empty_ms']:.0f}"),
        ("an independent empty task", lambda r: f"{r['empty_ms']:.1f} ms"),
        ("the same, its work in a child process", lambda r: f"{r['isolated_ms']:.1f} ms"),
        ("a chained task", lambda r: f"{r['chained_ms']:.1f} ms"),
        (
            "5 ms variants, one a task: overhead a variant",
            lambda r: f"{r['one_a_task']['overhead_ms_a_variant']:.1f} ms",
        ),
        ("... share of the workers' time", lambda r: f"{r['one_a_task']['overhead_share']:.0%}"),
        ("5 ms variants in batches: variants", lambda r: f"{r['batched']['variants']}"),
        ("... tasks", lambda r: f"{r['batched']['tasks']}"),
        ("... mean duration of a task", lambda r: f"{r['batched']['mean_task_s']:.2f} s"),
        ("... overhead, share of the workers' time", lambda r: f"{r['batched']['overhead_share']:.1%}"),
    ]
    lines = ["# Engines", "", f"{machine}, {WORKERS} computing units.", ""]
    lines += ["| | " + " | ".join(r["engine"] for r in results) + " |", "|---|" + "---|" * len(results)]
    lines += [f"| {name} | " + " | ".join(cell(r) for r in results) + " |" for name, cell in rows]
    lines += ["", "![overhead](engines.png)", "", "Command: `python results/benchmarks/engines.py`", ""]
    return "\n".join(lines)


def figure(results: list[dict[str, Any]], path: Path) -> None:
    """Overhead of a 5 ms variant, one a task and in batches, on each engine."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(6, 3))
    for place, result in enumerate(results):
        for offset, (key, label, colour) in enumerate(
            [("one_a_task", "one a task", "#888888"), ("batched", "in batches", "#2266aa")]
        ):
            value = max(result[key]["overhead_ms_a_variant"], 0.01)
            axes.barh(place + 0.38 * offset, value, height=0.35, color=colour, label=label if place == 0 else None)
            axes.text(value * 1.1, place + 0.38 * offset, f"{value:.2f} ms", va="center", fontsize=8)
    axes.axvline(1e3 * VARIANT_S, color="black", linewidth=0.8, linestyle=":", label="the variant itself")
    axes.set_yticks(
        [place + 0.19 for place in range(len(results))], [f"{r['engine']}\n{r['version']}" for r in results]
    )
    axes.set_xscale("log")
    axes.set_xlim(right=200)
    axes.set_xlabel("overhead of a 5 ms variant (ms)")
    axes.legend(fontsize=8, loc="lower right")
    pyplot.tight_layout()
    pyplot.savefig(path, dpi=120)


def main() -> None:
    """Measure every engine there is and write the page."""
    parser = argparse.ArgumentParser(description="Measure the engines.")
    parser.add_argument("--quick", action="store_true", help="fewer tasks; writes engines_quick.*")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.quick)))
        return
    engines = ["embedded"] + (["compss"] if shutil.which("runcompss") else [])
    results = [measured(engine, options.quick) for engine in engines]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    name = HERE / ("engines_quick" if options.quick else "engines")
    document = {"date": datetime.date.today().isoformat(), "machine": machine, "engines": results}
    name.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    name.with_suffix(".md").write_text(table(results, machine).replace("engines.png", f"{name.name}.png"))
    figure(results, name.with_suffix(".png"))


if __name__ == "__main__":
    main()
