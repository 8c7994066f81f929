"""The benchmarks in two checkouts, in turn: ``python -m results.benchmarks.rebuild PART ... --before CHECKOUT``.

Parts: speed, engines, reconstruction, scaling, width, cache. Each runs the quick form of its benchmark in another
checkout and in this one, both with a ``.venv`` of their own, A B A B ..., so that a machine whose speed drifts
changes both. Writes rebuild.md, .json and .png beside this file: least seconds of each line, and their ratio; parts
that are not named keep their numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Lines = Iterator[tuple[str, float]]


def _speed(document: Any) -> Lines:
    for case in document["cases"]:
        yield f"{case['name']}: exact", case["ours_exact"]["total"]
        yield f"{case['name']}: exact, end to end", case["ours_exact_end_to_end"]
        yield f"{case['name']}: 4,096 shots a variant", case["ours_sampled"]["total"]
        yield f"{case['name']}: 4,096 shots a variant, end to end", case["ours_sampled_end_to_end"]
    yield "README's first example as a command", min(document["bundled_s"])


def _engines(document: Any) -> Lines:
    for engine in document["engines"]:
        name = engine["engine"]
        yield f"{name}: start of the program to the first result", engine["first_result_s"]
        for key, text in (("empty_ms", "an empty task"), ("isolated_ms", "in a child"), ("chained_ms", "chained")):
            if key in engine:
                yield f"{name}: {text}", engine[key] / 1e3
        if "batched" in engine:
            yield f"{name}: overhead of a 5 ms variant in batches", engine["batched"]["overhead_ms_a_variant"] / 1e3


def _reconstruction(document: Any) -> Lines:
    for row in document["speed"]:
        yield f"{row['network']}: planning", row["planning_s"]
        yield f"{row['network']}: contraction", row["contraction_s"]
        yield f"{row['network']}: both", row["planning_s"] + row["contraction_s"]
    for row in document["peer"]:
        yield f"{row['cuts']} cuts: counts to values", row["counts_to_values_s"]
        yield f"{row['cuts']} cuts: error bars", row["error_bars_s"]


def _scaling(document: Any) -> Lines:
    for row in document["scaling"]:
        if row["gflop"] is not None:
            yield f"{row['what']}: one rank", row["one_rank_s"]
            yield f"{row['what']}: two ranks", row["two_ranks_s"]


def _width(document: Any) -> Lines:
    for row in document:
        yield f"100 qubits, {row['family']}, depth {row['depth']}", row["seconds"]


def _cache(document: Any) -> Lines:
    for workload, ways in document.items():
        for way, row in ways.items() if isinstance(ways, dict) else ():
            if isinstance(row, dict) and "executions" in row:
                yield f"{workload}: {way}", row["seconds"]


PARTS: dict[str, tuple[list[str], str, Callable[[Any], Lines]]] = {
    "speed": (["speed", "--quick", "--peer-budget", "0.2"], "speed_quick.json", _speed),
    "engines": (["engines", "--quick"], "engines_quick.json", _engines),
    "reconstruction": (["reconstruction", "speed", "peer", "--quick"], "reconstruction_quick.json", _reconstruction),
    "scaling": (["reconstruction", "scaling", "--quick"], "reconstruction_quick.json", _scaling),
    "width": (["width", "--quick"], "width_quick.json", _width),
    "cache": (["cache", "workloads", "--quick"], "cache_quick_workloads.json", _cache),
}


def measured(checkout: Path, part: str) -> dict[str, float]:
    """Seconds of each line of a part, in a checkout."""
    (name, *arguments), file, lines = PARTS[part]
    command = [str(checkout / ".venv" / "bin" / "python"), "-m", f"results.benchmarks.{name}", *arguments]
    subprocess.run(command, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
    return dict(lines(json.loads((checkout / "results" / "benchmarks" / file).read_text())))


def main() -> None:
    """Measure the parts and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS, metavar="PART")
    parser.add_argument("--before", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    kept = HERE / "rebuild.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for part in options.parts:
        runs = [(measured(options.before, part), measured(ROOT, part)) for _ in range(options.runs)]
        found[part] = {
            line: [min(old[line] for old, _ in runs), min(new[line] for _, new in runs)]
            for line in runs[0][0]
            if line in runs[0][1]
        }
        kept.write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "rebuild.md").write_text(page(found))
    figure(found, HERE / "rebuild.png")


def figure(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """How many times as fast as before every line is, a row of points a part."""
    axes = plt.subplots(figsize=(9, 3.2))[1]
    for height, (part, rows) in enumerate(found.items()):
        ratios = [old / new for old, new in rows.values()]
        axes.plot(ratios, [height] * len(ratios), "o", alpha=0.6, label=part)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 40]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(found)), list(found))
    axes.set_xlabel("times as fast as before the rebuild")
    axes.invert_yaxis()
    axes.figure.savefig(path, dpi=120, bbox_inches="tight")


def page(found: dict[str, dict[str, list[float]]]) -> str:
    """The table as Markdown."""
    lines = [
        "# The benchmarks before and after the house was rebuilt",
        "",
        "`python -m results.benchmarks.rebuild PART ... --before CHECKOUT`, before: commit f3feb21; quick forms, the",
        "two checkouts in turn, seconds of the faster of the runs. A ratio above 1 is faster than before.",
        "",
        "![Ratios of all lines](rebuild.png)",
    ]
    for part, rows in found.items():
        lines += ["", f"## {part}", "", "| | before | after | ratio |", "|---|---:|---:|---:|"]
        lines += [f"| {line} | {old:.3g} | {new:.3g} | {old / new:.2f}x |" for line, (old, new) in rows.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
