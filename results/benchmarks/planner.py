"""The planner beside its peers, and what it predicts: ``python -m results.benchmarks.planner [--report]``.

``--qcut PYTHON``, ``--qdislib PYTHON`` and ``--pennylane PYTHON`` name interpreters that have these peers.

Plans the cases of ``planner_problems.py`` (``planner_plans.py``), measures predicted errors (``planner_errors.py``) and
seconds (``planner_seconds.py``), the regret of the choice (``planner_regret.py``), and errors against the number of
cuts (``planner_law.py``);
what is in their .json already is not done again, so it can be stopped and started. Writes planner.md and planner.png.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from scipy.stats import spearmanr

from results.benchmarks import planner_errors, planner_law, planner_plans, planner_regret, planner_seconds

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
MODES = {"sampled": ("overhead", "kappa^2"), "exact": ("seconds", "predicted seconds")}
PEERS = ("find_cuts", "Mt-KaHyPar", *planner_plans.ELSEWHERE.values())
_MOST_BITS = 40  # of a fragment tensor: 8 TiB


def main() -> None:
    """Measure what is missing, then write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="only write the tables and the figure again")
    for name, peer in planner_plans.ELSEWHERE.items():
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"an interpreter that has {peer}")
    chosen = parser.parse_args()
    if not chosen.report:
        planner_plans.main()
        planner_plans.ask_elsewhere({name: own for name in planner_plans.ELSEWHERE if (own := getattr(chosen, name))})
        planner_errors.main()
        planner_seconds.main()
        planner_regret.main()
        planner_law.main()
    plans, errors, seconds, law = (
        json.loads(module.DATA.read_text()) for module in (planner_plans, planner_errors, planner_seconds, planner_law)
    )
    asked = json.loads(planner_plans.ASKED.read_text())
    for row in plans:
        if row["copy"] == 0:
            row["peers"] |= asked.get(f"{row['case']} in {row['width']}", {})
    draw(plans, errors, seconds, law)
    pages = [*compared(plans), *predicted(errors), *in_time(seconds), *by_cuts(law)]
    (HERE / "planner.md").write_text("\n".join(pages) + "\n")


def best_peer(row: dict[str, Any], key: str) -> float | None:
    """Of those whose fragments keep the width and have tensors that can be held at all."""
    return min((peer[key] for peer in row["peers"].values() if fits(peer, row)), default=None)


def fits(peer: dict[str, Any] | None, row: dict[str, Any]) -> bool:
    """Whether a peer has a plan of the case's width."""
    return bool(peer) and "why" not in peer and peer["width"] <= row["width"] and peer.get("bits", 0.0) <= _MOST_BITS


def compared(plans: list[dict[str, Any]]) -> list[str]:
    """Plans beside peers', and the time planning took."""
    lines = [
        "# The planner",
        "",
        "`python -m results.benchmarks.planner` ([figure](planner.png)); 2 shared cores, process seconds of planning.",
        "",
        f"{len(plans)} (circuit, width) cases of {len({row['case'] for row in plans})} circuits, half with other"
        " qubit numbers. Peers: qiskit-addon-cutting 0.10 `find_cuts` with its defaults (up to 4 s), and"
        " the qubit graph split by Mt-KaHyPar 1.7 into as few blocks as fit, or one more. A plan of a"
        " peer whose fragments are too wide, or with a tensor of more than 2^40 numbers, does not count. QCut 2.2,"
        " Qdislib 1.0.1 and PennyLane 0.45 with KaHyPar (wires only) ran the circuits of up to 100 qubits as they were"
        " built, each with its own search for cuts, for up to 6 s; their plans are priced as ours.",
        "",
        "| | with a peer's plan | ahead | equal | behind | largest lead (powers of 2) | median of those ahead |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, (key, what) in MODES.items():
        gaps = [
            best - row[mode][key] for row in plans if key in row[mode] and (best := best_peer(row, key)) is not None
        ]
        ahead = [gap for gap in gaps if gap > 0.05]
        behind = [gap for gap in gaps if gap < -0.05]
        lines.append(
            f"| {mode}, {what} | {len(gaps)} | {len(ahead)} | {len(gaps) - len(ahead) - len(behind)} | {len(behind)} |"
            f" {max(gaps):.0f} | {median(ahead or [0]):.1f} |"
        )
    late = [
        f"{row['case']} in {row['width']} by {row[mode][key] - best:.1f}"
        for mode, (key, _) in MODES.items()
        for row in plans
        if key in row[mode] and (best := best_peer(row, key)) is not None and row[mode][key] > best + 0.05
    ]
    lines += ["", f"Behind (powers of 2): {'; '.join(late) or 'none'}."]
    pairs: dict[Any, Any] = defaultdict(dict)
    for row in plans:
        pairs[row["case"], row["width"]][row["copy"]] = row
    both = [pair for pair in pairs.values() if len(pair) == 2]
    same = sum(pair[0][mode].get("places") == pair[1][mode].get("places") for pair in both for mode in MODES)
    lines += [
        "",
        f"A renumbered copy got the same plan in {same} of {2 * len(both)} pairs.",
        "",
        "| qubits | cases | median planning, sampled | most | median, exact | most |",
        "|---|---|---|---|---|---|",
    ]
    for low, high in ((0, 24), (25, 60), (61, 100), (101, 1000)):
        rows = [row for row in plans if low <= row["qubits"] <= high]
        if rows:
            times = {mode: [row[mode]["planning"] for row in rows] for mode in MODES}
            cells = " | ".join(f"{median(t):.2f} s | {max(t):.2f} s" for t in times.values())
            lines.append(f"| {low} to {high} | {len(rows)} | {cells} |")
    heads = [f"{mode}: {name}" for mode in MODES for name in ("ours", *PEERS)]
    lines += ["", "Powers of two; of the original numbering.", "", f"| case | width | {' | '.join(heads)} |"]
    lines.append("|---" * (2 + len(heads)) + "|")
    for row in plans:
        if row["copy"] == 0:
            cells = []
            for mode, (key, _) in MODES.items():
                cells.append(f"{row[mode][key]:.1f}" if key in row[mode] else "refused")
                for name in PEERS:
                    peer = row["peers"].get(name)
                    cells.append(f"{peer[key]:.1f}" if fits(peer, row) else "")
            lines.append(f"| {row['case']} | {row['width']} | {' | '.join(cells)} |")
    return [*lines, ""]


def predicted(errors: list[dict[str, Any]]) -> list[str]:
    """Predicted beside measured errors."""
    ratios = [row["predicted"] / row["measured"] for row in errors]
    within = sum(0.5 <= ratio <= 2 for ratio in ratios)
    measured = [row["measured"] for row in errors]
    lines = [
        f"## Errors: {len(errors)} plans of {len({row['problem'] for row in errors})} problems",
        "",
        f"Even shots, {planner_errors.SHOTS} a variant, {planner_errors.SEEDS} seeds, four observables. Predicted over"
        f" measured root mean square error: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}; within"
        f" twofold in {within} of {len(ratios)} (not where the gradient vanishes at the true values: the"
        " error is then of second order).",
        "",
        "| predictor | median of predicted / measured | least | most | rank correlation over all plans |",
        "|---|---|---|---|---|",
    ]
    for key, name in (("predicted", "from the fragments' tensors"), ("magnitude", "from the cut ends alone"),
                      ("kappa", "kappa / sqrt(shots)")):  # fmt: skip
        own = [row[key] / row["measured"] for row in errors]
        rank = spearmanr([row[key] for row in errors], measured).statistic
        lines.append(f"| {name} | {median(own):.2f} | {min(own):.2f} | {max(own):,.1f} | {rank:.2f} |")
    return lines


def in_time(rows: list[dict[str, Any]]) -> list[str]:
    """Predicted beside measured seconds."""
    ours, baseline, measured = planner_seconds.totals(rows)
    right, theirs = planner_seconds.accuracy(ours, measured), planner_seconds.accuracy(baseline, measured)
    lines = [
        "",
        f"## Seconds: {len(rows)} whole runs",
        "",
        "What the record of a run holds: predicted when it was planned, with the constants that Qompass ships, and"
        " measured (execution and reconstruction; no cache; a busy machine)."
        f" Accuracy 100 min/max: median {np.median(right):.0f} %, at least {right.min():.0f} %."
        " A model of two constants (a circuit, a gate on an amplitude), fitted to these"
        f" very runs: median {np.median(theirs):.0f} %, at least {theirs.min():.0f} %.",
        "",
        "| run | predicted, s | measured, s | accuracy | two constants, s |",
        "|---|---:|---:|---:|---:|",
    ]
    for row, a, b, m, r in zip(rows, ours, baseline, measured, right, strict=True):
        lines.append(f"| {row['problem']} | {a:.3f} | {m:.3f} | {r:.0f} % | {b:.3f} |")
    return lines


def by_cuts(rows: list[dict[str, Any]]) -> list[str]:
    """The law of error."""
    ratios = [row["predicted"] / row["measured"] for row in rows]
    coverage = np.mean([row["coverage"] for row in rows])
    lines = [
        "",
        f"## The law of error: {len(rows)} networks of 2 to {max(row['cuts'] for row in rows)} cuts",
        "",
        f"Fragments of three qubits, an rzz(0.8) cut on every edge, {planner_law.SHOTS:,} even shots in all,"
        f" {planner_law.SEEDS} seeds, six to eight one- and two-body observables: the root mean square error grows with"
        " about the root of the number of cuts, kappa / sqrt(shots) exponentially. Predicted over measured:"
        f" median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}; one error bar holds the true value in"
        f" {100 * coverage:.0f} %.",
        "",
        "| network | cuts | predicted | measured | error bars | within one | kappa / sqrt(shots) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: (row["family"], row["cuts"])):
        lines.append(
            f"| {row['family']} | {row['cuts']} | {row['predicted']:.4f} | {row['measured']:.4f} |"
            f" {row['claimed']:.4f} | {100 * row['coverage']:.0f} % | {row['kappa']:.2g} |"
        )
    return lines


def draw(
    plans: list[dict[str, Any]],
    errors: list[dict[str, Any]],
    seconds: list[dict[str, Any]],
    law: list[dict[str, Any]],
) -> None:
    """Leads over the best peer, predicted against measured errors and seconds, and the law of error."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 9), constrained_layout=True)
    axes = panels.reshape(-1)
    for mode, (key, what) in MODES.items():
        gaps = sorted(
            best - row[mode][key] for row in plans if key in row[mode] and (best := best_peer(row, key)) is not None
        )
        axes[0].plot(np.arange(len(gaps)), np.minimum(gaps, 60), ".", label=f"{mode}: {what}")
    axes[0].axhline(0, color="grey", lw=0.8)
    axes[0].set(xlabel="case", ylabel="powers of 2 ahead of the best peer (at most 60)", title="Plans")
    axes[0].legend()
    measured = np.array([row["measured"] for row in errors])
    for key, name in (("kappa", "kappa / sqrt(shots)"), ("magnitude", "cut ends alone"), ("predicted", "tensors")):
        axes[1].plot(measured, [row[key] for row in errors], ".", label=name)
    span = np.array([measured.min() / 1.3, measured.max() * 1.3])
    axes[1].plot(span, span, color="grey", lw=0.8)
    axes[1].set(xscale="log", yscale="log", xlabel="measured error", ylabel="predicted error", title="Errors")
    axes[1].set_ylim(1e-3, None)
    axes[1].xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes[1].legend()
    ours, baseline, measured = planner_seconds.totals(seconds)
    axes[2].plot(measured, baseline, ".", label="two constants, fitted to these runs")
    axes[2].plot(measured, ours, ".", label="Qompass, when it plans")
    span = np.array([measured.min() / 1.5, measured.max() * 1.5])
    axes[2].plot(span, span, color="grey", lw=0.8)
    axes[2].set(xscale="log", yscale="log", xlabel="measured seconds", ylabel="predicted seconds", title="Seconds")
    axes[2].legend()
    for family in sorted({row["family"] for row in law}):
        own = sorted((row for row in law if row["family"] == family), key=lambda row: row["cuts"])
        cuts = [row["cuts"] for row in own]
        (drawn,) = axes[3].plot(cuts, [row["measured"] for row in own], "o", label=family)
        axes[3].plot(cuts, [row["predicted"] for row in own], "-", color=drawn.get_color(), lw=1)
    every = sorted({row["cuts"]: row["kappa"] for row in law}.items())
    axes[3].plot(*zip(*every, strict=True), "--", color="grey", label="kappa / sqrt(shots)")
    axes[3].set(
        xscale="log", yscale="log", ylim=(1e-3, 1e3), xlabel="cuts", ylabel="standard error",
        title=f"{planner_law.SHOTS:,} shots: measured (points), predicted (lines)",
    )  # fmt: skip
    axes[3].set_xticks([2, 4, 8, 15, 30, 60], ["2", "4", "8", "15", "30", "60"])
    axes[3].xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes[3].legend()
    figure.savefig(HERE / "planner.png", dpi=110)


if __name__ == "__main__":
    main()
