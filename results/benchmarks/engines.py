"""What a task costs on each engine, beside plain PyCOMPSs: start-up, throughput, overhead, units, batching.

usage: python results/benchmarks/engines.py [--quick]      (writes engines.json, .md and .png beside this file)

COMPSs is measured where runcompss is on the PATH, all programs through launch/local_compss.sh. Work of a known length
is a sleep: what is measured is the engines, not the processor.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))
STARTED = "QOMPASS_BENCHMARK_STARTED"
WORKERS = 2
VARIANT_S = 0.005
UNITS, UNIT_TASK_S = (1, 2, 4), 0.1
PROGRAMS = {
    "embedded": "Qompass, embedded",
    "compss": "Qompass on COMPSs",
    "plain": "plain PyCOMPSs that imports Qiskit",
    "bare": "plain PyCOMPSs that imports nothing",
}


def measure(program: str, units: int, quick: bool) -> dict[str, Any]:
    """Measure a program on the engine that runs this process."""
    began = float(os.environ[STARTED])
    if program in ("plain", "bare"):
        from results.benchmarks import engines_plain

        return measured_tasks(engines_plain, engines_plain.wait_on, began, units, quick, program == "plain")
    from results.benchmarks import engines_work
    from tasks.runtime import engine, wait_on

    with engine(units={"CPU": units}) as info:
        found = measured_tasks(engines_work, wait_on, began, units, quick, True)
        return found | {"version": info.version}


def measured_tasks(work: Any, wait_on: Any, began: float, units: int, quick: bool, imports: bool) -> dict[str, Any]:
    """Measure the tasks of a module.

    Args:
        work: the module.
        wait_on: waits for futures.
        began: when the program was started.
        units: computing units that there are.
        quick: with fewer tasks.
        imports: have every process that executes tasks import what tasks on circuits do, first.
    """

    def timed(futures: Any) -> float:
        start = time.perf_counter()
        wait_on(futures())
        return time.perf_counter() - start

    def variants_in(groups: list[tuple[int, ...]]) -> dict[str, float]:
        wall = timed(lambda: [work.variants((VARIANT_S,) * len(group)) for group in groups])
        total = sum(map(len, groups))
        return {
            "variants": total,
            "tasks": len(groups),
            "wall_s": wall,
            "overhead_share": 1 - total * VARIANT_S / (wall * units),
            "overhead_ms_a_variant": 1e3 * (wall * units / total - VARIANT_S),
        }

    ready = time.time() - began
    wait_on(work.empty(0))
    first = time.time() - began
    if imports:
        wait_on([work.load(1.0 + units) for _ in range(units)])
    wait_on([work.variants((0.2 * units,)) for _ in range(2 * units)])  # every process has its child now, if it has any
    if units != WORKERS:
        return {"units": units, "tasks_s": tasks_a_second(work, wait_on, units)}
    count = 60 if quick else 150

    def chain() -> Any:
        future = work.empty(0)
        for _ in range(count // 4 - 1):
            future = work.empty(future)
        return future

    def median_ms(futures: Any, tasks: int) -> float:
        return statistics.median(1e3 * timed(futures) / tasks for _ in range(3))

    found: dict[str, Any] = {"ready_s": ready, "first_result_s": first}
    found["empty_ms"] = median_ms(lambda: [work.empty(i) for i in range(count)], count)
    if hasattr(work, "empty_isolated"):
        found["isolated_ms"] = median_ms(lambda: [work.empty_isolated(i) for i in range(count)], count)
    found["chained_ms"] = median_ms(chain, count // 4)
    found["one_a_task"] = variants_in([(i,) for i in range(count)])
    if hasattr(work, "empty_isolated"):
        from tasks.runtime import engine_info
        from tasks.runtime.batching import batches

        found["batched"] = variants_in(batches([VARIANT_S] * 2 * count, engine_info().overhead_s, units))
    return found | {"units": units, "tasks_s": tasks_a_second(work, wait_on, units)}


def tasks_a_second(work: Any, wait_on: Any, units: int) -> float:
    """Tasks of ``UNIT_TASK_S`` a second, twelve for each unit."""
    start = time.perf_counter()
    wait_on([work.variants((UNIT_TASK_S,)) for _ in range(12 * units)])
    return 12 * units / (time.perf_counter() - start)


def measured(program: str, units: int, quick: bool) -> dict[str, Any]:
    """Measure a program in processes of its own."""
    this = [str(Path(__file__).resolve()), "--measure", program, "--units", str(units), *(["--quick"] if quick else [])]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *this]
        if program != "embedded":
            local = ROOT / "resources_xml/local"
            for name in ("project.xml", "resources.xml"):
                text = (local / name).read_text()
                text = text.replace("<ComputingUnits>2</ComputingUnits>", f"<ComputingUnits>{units}</ComputingUnits>")
                (Path(folder) / name).write_text(text)
            command = ["bash", str(ROOT / "launch/local_compss.sh"), "--resources", folder, *this]
        environment = {**os.environ, "QOMPASS_PYTHON": sys.executable, STARTED: str(time.time())}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def results_of(quick: bool) -> list[dict[str, Any]]:
    """What every program gives with so many units as there are cores, and its tasks a second with others."""
    results = []
    for program in PROGRAMS if shutil.which("runcompss") else ["embedded"]:
        found = measured(program, WORKERS, quick)
        found["engine"] = program
        found["tasks_s"] = {str(WORKERS): found.pop("tasks_s")}
        if program != "bare" and not quick:
            others = {str(units): measured(program, units, quick)["tasks_s"] for units in UNITS if units != WORKERS}
            found["tasks_s"] = dict(sorted({**found["tasks_s"], **others}.items(), key=lambda pair: int(pair[0])))
        results.append(found)
    return results


def table(results: list[dict[str, Any]], machine: str) -> str:
    """The Markdown page."""

    def batched(result: dict[str, Any], cell: str) -> str:
        own = result.get("batched")
        return "" if own is None else cell.format(**own)

    rows = [
        ("version", lambda r: r.get("version", "the same COMPSs")),
        ("start of the program to engine ready", lambda r: f"{r['ready_s']:.2f} s"),
        ("... to the first task's result", lambda r: f"{r['first_result_s']:.2f} s"),
        ("tasks a second, independent and empty", lambda r: f"{1e3 / r['empty_ms']:.0f}"),
        ("an independent empty task", lambda r: f"{r['empty_ms']:.1f} ms"),
        ("the same, its work in a child process", lambda r: f"{r['isolated_ms']:.1f} ms" if "isolated_ms" in r else ""),
        ("a chained task", lambda r: f"{r['chained_ms']:.1f} ms"),
        ("5 ms of work a task: overhead", lambda r: f"{r['one_a_task']['overhead_ms_a_variant']:.1f} ms"),
        ("... share of the units' time", lambda r: f"{r['one_a_task']['overhead_share']:.0%}"),
        ("5 ms of work in batches: pieces, tasks", lambda r: batched(r, "{variants} in {tasks}")),
        ("... overhead a piece", lambda r: batched(r, "{overhead_ms_a_variant:.2f} ms")),
        ("... share of the units' time", lambda r: batched(r, "{overhead_share:.1%}")),
    ]
    for units in UNITS:
        ideal = units / UNIT_TASK_S
        rows.append((
            f"0.1 s tasks a second, {units} unit{'s' * (units > 1)}: of {ideal:.0f}",
            lambda r, key=str(units), ideal=ideal: (
                f"{r['tasks_s'][key]:.1f} ({r['tasks_s'][key] / ideal:.0%})" if key in r["tasks_s"] else ""
            ),
        ))  # fmt: skip
    lines = ["# Engines", "", f"{machine}, {WORKERS} computing units where nothing else is said.", ""]
    lines += ["| | " + " | ".join(PROGRAMS[r["engine"]] for r in results) + " |", "|---|" + "---|" * len(results)]
    lines += [f"| {name} | " + " | ".join(cell(r) for r in results) + " |" for name, cell in rows]
    by_name = {r["engine"]: r for r in results}
    if "plain" in by_name:
        own, plain, bare, embedded = (by_name[name] for name in ("compss", "plain", "bare", "embedded"))

        def times(key: str, one: dict[str, Any], other: dict[str, Any]) -> str:
            return f"{one[key] / other[key]:.2g}"

        lines += [
            "",
            f"On COMPSs an independent task of Qompass takes {times('empty_ms', own, plain)} times what one of plain"
            f" PyCOMPSs takes that imports Qiskit ({times('empty_ms', own, bare)} times one that imports nothing), a"
            f" chained one {times('chained_ms', own, plain)} ({times('chained_ms', own, bare)}) times; on the embedded"
            f" engine {times('empty_ms', embedded, bare)} and {times('chained_ms', embedded, bare)} times the latter."
            " PyCOMPSs' workers collect garbage twice after each task, among all objects of all modules; Qompass leaves"
            " out what was imported before its tasks are declared (`tasks/runtime/compss.py`).",
        ]
    lines += ["", "![overhead](engines.png)", "", "Command: `python results/benchmarks/engines.py`", ""]
    return "\n".join(lines)


def figure(results: list[dict[str, Any]], path: Path) -> None:
    """Overhead of 5 ms of work, one piece a task and in batches, in each program."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(7, 3.2))
    for place, result in enumerate(reversed(results)):
        for offset, (key, label, colour) in enumerate(
            [("one_a_task", "one a task", "#888888"), ("batched", "in batches", "#2266aa")]
        ):
            if key not in result:
                continue
            value = max(result[key]["overhead_ms_a_variant"], 0.01)
            label = label if result["engine"] == "embedded" else None
            axes.barh(place + 0.38 * offset, value, height=0.35, color=colour, label=label)
            axes.text(value * 1.1, place + 0.38 * offset, f"{value:.2f} ms", va="center", fontsize=8)
    axes.axvline(1e3 * VARIANT_S, color="black", linewidth=0.8, linestyle=":", label="the work itself")
    axes.set_yticks([place + 0.19 for place in range(len(results))], [PROGRAMS[r["engine"]] for r in reversed(results)])
    axes.set_xscale("log")
    axes.set_xlim(right=500)
    axes.set_xlabel("overhead of 5 ms of work (ms)")
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False)
    pyplot.tight_layout()
    pyplot.savefig(path, dpi=120)


def main() -> None:
    """Measure every engine there is and write the page."""
    parser = argparse.ArgumentParser(description="Measure the engines.")
    parser.add_argument("--quick", action="store_true", help="fewer tasks; writes engines_quick.*")
    parser.add_argument("--measure", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, default=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.units, options.quick)))
        return
    results = results_of(options.quick)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    name = HERE / ("engines_quick" if options.quick else "engines")
    document = {"date": datetime.date.today().isoformat(), "machine": machine, "engines": results}
    name.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    name.with_suffix(".md").write_text(table(results, machine).replace("engines.png", f"{name.name}.png"))
    figure(results, name.with_suffix(".png"))


if __name__ == "__main__":
    main()
