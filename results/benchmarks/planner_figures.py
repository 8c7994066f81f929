"""The planner's figures: all of its benchmark, and the law of error by itself; part of ``planner.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np

from results.benchmarks import planner_law, planner_law_peers, planner_seconds
from results.benchmarks.planner_plans import MODES, best_peer
from results.benchmarks.planner_regret import of_taken, regret

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
_ONE_SIGMA = 68.3  # per cent


def draw(
    plans: list[dict[str, Any]],
    errors: list[dict[str, Any]],
    seconds: list[dict[str, Any]],
    law: list[dict[str, Any]],
    regret_of: list[dict[str, Any]],
    beside: list[dict[str, Any]],
) -> None:
    """Leads over the best peer, predictions against what is measured, the law of error, regret, peers' errors."""
    figure, panels = plt.subplots(2, 3, figsize=(16, 9), constrained_layout=True)
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
    axes[2].plot(measured, baseline, ".", label="two constants, fitted to the same")
    axes[2].plot(measured, ours, ".", label="Qompass, when it plans")
    span = np.array([measured.min() / 1.5, measured.max() * 1.5])
    axes[2].plot(span, span, color="grey", lw=0.8)
    axes[2].set(xscale="log", yscale="log", xlabel="measured seconds", ylabel="predicted seconds", title="Seconds")
    axes[2].legend()
    _law(axes[3], law)
    for mode, key in (("sampled", "allocated"), ("exact", "measured")):
        ratios = sorted(regret(row[mode], key) for row in regret_of if key in of_taken(row, mode))
        axes[4].plot(
            np.arange(1, len(ratios) + 1),
            ratios,
            ".",
            label="largest error, sampled" if mode == "sampled" else "seconds, exact",
        )
    axes[4].axhline(1.1, color="grey", lw=0.8, ls="--")
    axes[4].set(xlabel="problem, sorted", ylabel="the plan taken / the best candidate", title="Regret")
    axes[4].xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes[4].legend()
    _peers(axes[5], beside)
    figure.savefig(HERE / "planner.png", dpi=110)


def draw_law(law: list[dict[str, Any]], beside: list[dict[str, Any]]) -> None:
    """Errors against the number of cuts beside kappa, how often error bars hold, and peers with the same cuts."""
    figure, axes = plt.subplot_mosaic(
        [["law", "peers"], ["coverage", "peers"]], height_ratios=(3, 1), figsize=(13, 7.5), constrained_layout=True
    )
    _law(axes["law"], law)
    _peers(axes["peers"], beside)
    own = axes["coverage"]
    for family in _families(law):
        rows = [row for row in law if row["family"] == family]
        own.plot([row["cuts"] for row in rows], [100 * row["coverage"] for row in rows], "o", label=family)
    own.axhline(_ONE_SIGMA, color="grey", lw=0.8, ls="--")
    own.set(xlabel="cuts", ylabel="% within one bar", xscale="log", ylim=(40, 100))
    _tick_cuts(own)
    figure.savefig(HERE / "planner_law.png", dpi=130)


def _families(law: list[dict[str, Any]]) -> list[str]:
    return sorted({row["family"] for row in law})


def _law(axes: Any, law: list[dict[str, Any]]) -> None:
    for family in _families(law):
        own = sorted((row for row in law if row["family"] == family), key=lambda row: row["cuts"])
        cuts = [row["cuts"] for row in own]
        (drawn,) = axes.plot(cuts, [row["measured"] for row in own], "o", label=f"{family}: measured")
        axes.plot(cuts, [row["predicted"] for row in own], "-", color=drawn.get_color(), lw=1)
        axes.plot(cuts, [row["kappa"] for row in own], "--", color=drawn.get_color(), lw=1)
    axes.plot([], [], "-", color="grey", label="predicted")
    axes.plot([], [], "--", color="grey", label="kappa / sqrt(shots)")
    axes.set(
        xscale="log", yscale="log", ylim=(1e-3, 1e3), xlabel="cuts", ylabel="standard error",
        title=f"Error at {planner_law.SHOTS:,} shots",
    )  # fmt: skip
    _tick_cuts(axes)
    axes.legend(loc="upper left")


def _tick_cuts(axes: Any) -> None:
    axes.set_xticks([2, 4, 8, 15, 30, 60], ["2", "4", "8", "15", "30", "60"])
    axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def _peers(axes: Any, beside: list[dict[str, Any]]) -> None:
    names = [f"{row['family']} {row['cuts']}" for row in beside]
    tools = ("Qompass", "Qompass, even shots", "qiskit-addon-cutting", "QCut, joint or communicating", "QCut, single")
    for key, name, mark in zip(("run", "ours", "addon", "qcut", "qcut_single"), tools, "oDs^v", strict=True):
        axes.plot(np.arange(len(beside)), [row.get(key) or np.nan for row in beside], mark, label=name)
    axes.set_xticks(np.arange(len(beside)), names, rotation=30, ha="right")
    axes.set(
        yscale="log", ylim=(1e-4, 1.0), ylabel="standard error",
        title=f"The same cuts, {planner_law_peers.SHOTS:,} shots",
    )  # fmt: skip
    axes.legend(loc="upper left")
