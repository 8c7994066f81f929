"""The planner beside its peers, and what it predicts: ``python -m results.benchmarks.planner [--report]``.

Plans the cases of ``planner_problems.py`` (``planner_plans.py``) and measures predicted errors (``planner_errors.py``);
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

from results.benchmarks import planner_errors, planner_plans

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
MODES = {"sampled": ("overhead", "kappa^2"), "exact": ("seconds", "predicted seconds")}
PEERS = ("find_cuts", "Mt-KaHyPar", "KaHyPar")


def main() -> None:
    """Measure what is missing, then write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="only write the tables and the figure again")
    if not parser.parse_args().report:
        planner_plans.main()
        planner_errors.main()
    plans, errors = (json.loads(module.DATA.read_text()) for module in (planner_plans, planner_errors))
    draw(plans, errors)
    (HERE / "planner.md").write_text("\n".join([*compared(plans), *predicted(errors)]) + "\n")


def best_peer(row: dict[str, Any], key: str) -> float | None:
    """Of those whose fragments keep the width."""
    found = [p[key] for p in row["peers"].values() if p and p["width"] <= row["width"]]
    return min(found, default=None)


def compared(plans: list[dict[str, Any]]) -> list[str]:
    """Plans beside peers', and the time planning took."""
    lines = [
        "# The planner",
        "",
        "`python -m results.benchmarks.planner` ([figure](planner.png)); 2 shared cores, process seconds of planning.",
        "",
        f"{len(plans)} (circuit, width) cases of {len({row['case'] for row in plans})} circuits, half with other"
        " qubit numbers. Peers: qiskit-addon-cutting 0.10 `find_cuts` with its defaults (up to 8 s), and"
        " the qubit graph split by Mt-KaHyPar 1.7 and KaHyPar 1.3 into as few blocks as fit, or one more. A plan of a"
        " peer whose fragments are too wide does not count. QCut, Qdislib and PennyLane were not run.",
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
                    cells.append(f"{peer[key]:.1f}" if peer and peer["width"] <= row["width"] else "")
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


def draw(plans: list[dict[str, Any]], errors: list[dict[str, Any]]) -> None:
    """Leads over the best peer, and predicted against measured errors."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), constrained_layout=True)
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
    figure.savefig(HERE / "planner.png", dpi=110)


if __name__ == "__main__":
    main()
