"""Benchmark of the policies in the simulator: ``python -m results.benchmarks.policies [--quick]``.

Every policy runs every scenario; then `balanced` runs it again with the error that each simple policy made as its
bound, which is the comparison at the same error. Writes policies.md, policies.json and policies.png beside this file
(policies_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import median

from results.benchmarks.policies_scenarios import COUNT, scenario
from scheduler_policies import POLICIES, Candidate, DeviceState, Goal, usual_bound
from scheduler_policies.simulator.events import simulate_run
from scheduler_policies.simulator.scenario import Scenario, SimulatedRun

SIMPLE = tuple(name for name in POLICIES if name != "balanced")
_HERE = Path(__file__).parent
Row = dict[str, dict[str, float]]


def run_scenario(task: tuple[int, int]) -> tuple[str, Row]:
    """All policies on one scenario of one seed."""
    number, seed = task
    world = scenario(number, seed)
    pool = [Candidate(device, DeviceState(free_units=device.units)) for device, _ in world.devices]
    row: Row = {}
    for name in SIMPLE:
        row[name] = _numbers(simulate_run(world, POLICIES[name]))
    bound = usual_bound(world.works, pool)
    row["balanced"] = _numbers(simulate_run(world, POLICIES["balanced"], Goal(max_error=bound)))
    row["balanced, no bound"] = _numbers(simulate_run(world, POLICIES["balanced"]))
    known: dict[float, dict[str, float]] = {}
    for name in SIMPLE:
        error = row[name]["error"]
        if error not in known:
            known[error] = _at_error(world, error)
        row[f"balanced at {name}"] = known[error]
    return world.name, row


def _at_error(world: Scenario, error: float) -> dict[str, float]:
    return _numbers(simulate_run(world, POLICIES["balanced"], Goal(max_error=error)))


def _numbers(result: SimulatedRun) -> dict[str, float]:
    numbers = asdict(result)
    del numbers["by_device"]
    return numbers


def main() -> None:
    """Runs, writes the tables and says whether the aims hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, without the largest pools")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    seeds = 1 if arguments.quick else arguments.seeds
    count = COUNT - (6 if arguments.quick else 0)
    stem = "policies_quick" if arguments.quick else "policies"
    rows: dict[str, list[Row]] = {}
    with ProcessPoolExecutor(arguments.workers) as pool:
        for seed in range(seeds):
            for done, (name, row) in enumerate(pool.map(run_scenario, [(n, seed) for n in range(count)]), 1):
                rows.setdefault(name, []).append(row)
                sys.stderr.write(f"seed {seed}: {done} of {count}\n")
            # After each seed, so that a run that is stopped early leaves a table of what it did.
            write(rows, stem)


def write(rows: dict[str, list[Row]], stem: str) -> None:
    """Table, figure and numbers beside this file."""
    summary = summarise(rows)
    (_HERE / f"{stem}.json").write_text(json.dumps({"summary": summary, "scenarios": rows}, indent=1) + "\n")
    (_HERE / f"{stem}.md").write_text(table(rows, summary))
    figure(rows, _HERE / f"{stem}.png")


def ratios(rows: list[Row], name: str) -> list[float]:
    """Makespan of balanced over that of a simple policy at the same error, for each seed."""
    return [row[f"balanced at {name}"]["makespan"] / row[name]["makespan"] for row in rows]


def summarise(rows: dict[str, list[Row]]) -> dict[str, object]:
    """The aims, over all scenarios."""
    typical = {(s, n): median(ratios(r, n)) for s, r in rows.items() for n in SIMPLE}
    single = {(s, n): max(ratios(r, n)) for s, r in rows.items() for n in SIMPLE}
    runs = [ratio for r in rows.values() for n in SIMPLE for ratio in ratios(r, n)]
    over = [
        row[f"balanced at {n}"]["error"] / row[n]["error"]
        for r in rows.values()
        for row in r
        for n in SIMPLE
        if row[n]["error"] > 0
    ]
    worst, worst_single = max(typical, key=lambda k: typical[k]), max(single, key=lambda k: single[k])
    return {
        "scenarios": len(rows),
        "runs compared": len(runs),
        "balanced over availability, median scenario": median(typical[s, "availability"] for s in rows),
        "balanced over each simple policy, median scenario": {n: median(typical[s, n] for s in rows) for n in SIMPLE},
        "worst scenario (median of seeds)": [typical[worst], *worst],
        "worst single run": [single[worst_single], *worst_single],
        "single runs more than 5 % slower": sum(ratio > 1.05 for ratio in runs) / len(runs),
        "error over that of the simple policy, median and worst": [median(over), max(over)],
    }


def table(rows: dict[str, list[Row]], summary: dict[str, object]) -> str:
    """The committed table."""
    names = [*SIMPLE, "balanced"]
    seeds = len(next(iter(rows.values())))
    lines = [
        "# Policies in the simulator",
        "",
        f"`python -m results.benchmarks.policies`; medians of {seeds} seed(s). In each cell: makespan in seconds,",
        "predicted error x 1000, cost, share of QPU time busy. `balanced` runs with its usual error bound.",
        "",
        "| scenario | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for title, runs in rows.items():
        cells = [_cell(run[name] for run in runs) for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## balanced at the same error",
        "",
        "Makespan of `balanced`, bound to the error that the simple policy made, over the simple policy's; below 1 is",
        "faster. Median over seeds, and in brackets the worst seed.",
        "",
        "| scenario | " + " | ".join(SIMPLE) + " |",
        "|---" * (len(SIMPLE) + 1) + "|",
    ]
    for title, runs in rows.items():
        cells = [f"{median(ratios(runs, n)):.2f} ({max(ratios(runs, n)):.2f})" for n in SIMPLE]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "## Summary", ""]
    lines += [f"* {key}: {_plain(value)}" for key, value in summary.items()]
    return "\n".join(lines) + "\n"


def _cell(numbers: Iterable[dict[str, float]]) -> str:
    runs = list(numbers)
    makespan, error, price, busy = (median(r[key] for r in runs) for key in ("makespan", "error", "price", "qpu_busy"))
    return f"{_short(makespan)} s, {1000 * error:.2f}, {_short(price)}, {busy:.0%}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return str(value)


def figure(rows: dict[str, list[Row]], path: Path) -> None:
    """Makespan of balanced over each simple policy's at the same error, one line of dots for each scenario."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(figsize=(9, 0.32 * len(rows) + 1.5))
    for offset, name in enumerate(SIMPLE):
        values = [max(median(ratios(runs, name)), 1e-3) for runs in rows.values()]
        heights = [line + 0.12 * (offset - 2) for line in range(len(rows))]
        axes.plot(values, heights, "o", markersize=4, label=name)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.axvline(0.7, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axes.invert_yaxis()
    label = "makespan of balanced over the simple policy's at the same error (left: balanced is faster)"
    axes.set_xlabel(label, fontsize=8)
    axes.legend(fontsize=7, loc="lower left")
    fig.tight_layout()
    fig.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
