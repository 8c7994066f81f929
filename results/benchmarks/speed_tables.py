"""The speed benchmark's numbers as tables and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Row = dict[str, Any]


def markdown(document: dict[str, Any]) -> str:
    """All tables."""
    rows, machine = document["cases"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        "# Speed beside other tools",
        "",
        f"`python -m results.benchmarks.speed` on {machine['cores']} cores (load {machine['load']} at the end),"
        f" {versions}. Times of Qompass are warm and in one process, error bars included, unless they say end to end"
        " (engine started and stopped, run folder written). ~ marks a peer's time that is extrapolated from the part"
        f" of its sub-experiments that fitted {document['budget_s']:.0f} s. {document['shots']:,} shots a"
        " sub-experiment or variant.",
        "",
        "## Sampled: qiskit-addon-cutting in Aer, and Qompass",
        "",
        *_table(
            ["circuit and cuts", "their runs", "our runs", "theirs", "ours", "ratio", "ours end to end", "ratio"],
            [
                [
                    r["name"],
                    f"{r['peer_sampled']['experiments']:,}",
                    f"{r['variants']:,}",
                    _peer(r["peer_sampled"]),
                    _seconds(r["ours_sampled"]["total"]),
                    _ratio(r["peer_sampled"]["total"] / r["ours_sampled"]["total"]),
                    _seconds(r["ours_sampled_end_to_end"]),
                    _ratio(r["peer_sampled"]["total"] / r["ours_sampled_end_to_end"]),
                ]
                for r in rows
            ],
        ),
        "",
        "## Reconstruction alone, from the same number of shots a run (ours with the error bar, theirs without)",
        "",
        *_table(
            ["circuit and cuts", "theirs", "ours", "ratio"],
            [
                [
                    r["name"],
                    _peer(r["peer_sampled"], "reconstruct"),
                    _seconds(r["ours_sampled"]["reconstruct"]),
                    _ratio(r["peer_sampled"]["reconstruct"] / r["ours_sampled"]["reconstruct"]),
                ]
                for r in rows
            ],
        ),
        "",
        "## Exact: no shots at all, and the circuit simulated whole",
        "",
        *_table(
            [
                "circuit and cuts",
                "theirs, ExactSampler",
                "ours",
                "ratio",
                "their sampled time / our exact one",
                "ours end to end",
                "uncut",
            ],
            [
                [
                    r["name"],
                    _peer(r["peer_exact"]),
                    _seconds(r["ours_exact"]["total"]),
                    _ratio(r["peer_exact"]["total"] / r["ours_exact"]["total"]),
                    _ratio(r["peer_sampled"]["total"] / r["ours_exact"]["total"]),
                    _seconds(r["ours_exact_end_to_end"]),
                    _seconds(r["uncut"]),
                ]
                for r in rows
            ],
        ),
        "",
        "## Standard error at equal total shots (uniform over our variants, and over their sub-experiments)",
        "",
        *_table(
            ["circuit and cuts", "total shots", "theirs", "ours", "ours / theirs", "spread of ours over 20 seeds"],
            [
                [
                    r["name"],
                    f"{r['peer_shots']:,}",
                    f"{r['peer_error']:.5f}",
                    f"{r['ours_error_equal_shots']:.5f}",
                    f"{r['ours_error_equal_shots'] / r['peer_error']:.2f}",
                    f"{r['ours_spread_equal_shots']:.5f}" if "ours_spread_equal_shots" in r else "with --full",
                ]
                for r in rows
                if r["peer_error"]
            ],
        ),
    ]
    wires = [r for r in rows if r["family"] == "wire"]
    if wires:
        parts += [
            "",
            "## PennyLane's qcut (default.qubit), wire cuts",
            "",
            *_table(
                ["circuit and cuts", "tapes", "sampled", "ratio to ours", "exact", "ratio to ours"],
                [
                    [
                        r["name"],
                        _tapes(r["pennylane_exact"]),
                        *_pennylane(r["pennylane_sampled"], r["ours_sampled"]["total"]),
                        *_pennylane(r["pennylane_exact"], r["ours_exact"]["total"]),
                    ]
                    for r in wires
                ],
            ),
        ]
    calls = " and ".join(_seconds(s) for s in document["bundled_s"])
    parts += ["", f"`qompass run` of two 6-qubit halves (`ghz12.qasm`), whole command, second and third call: {calls}."]
    return "\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _seconds(value: float) -> str:
    if value < 1:
        return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def _peer(times: Row, stage: str = "total") -> str:
    return ("~" if times["extrapolated"] else "") + _seconds(times[stage])


def _ratio(value: float) -> str:
    return f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def _tapes(answer: Row) -> str:
    return f"{answer['tapes']:,}" if "tapes" in answer else "-"


def _pennylane(answer: Row, ours: float) -> tuple[str, str]:
    if "skipped" in answer:
        return answer["skipped"], "-"
    return _seconds(answer["seconds"]), _ratio(answer["seconds"] / ours)


def figure(rows: list[Row], path: Path) -> None:
    """Times of every tool, sampled and exact, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(1, 2, figsize=(12, 0.6 + 0.45 * len(rows)), sharey=True)
    places = range(len(rows))
    for axis, kind in zip(axes, ("sampled", "exact"), strict=True):
        series = [
            ("qiskit-addon-cutting", [r[f"peer_{kind}"]["total"] for r in rows], "#b5651d"),
            ("PennyLane", [r.get(f"pennylane_{kind}", {}).get("seconds", float("nan")) for r in rows], "#6a8f3c"),
            ("Qompass, end to end", [r[f"ours_{kind}_end_to_end"] for r in rows], "#8fb8de"),
            ("Qompass, in process", [r[f"ours_{kind}"]["total"] for r in rows], "#1f5fa8"),
        ]
        if kind == "exact":
            series.append(("uncut simulation", [r["uncut"] for r in rows], "#777777"))
        height = 0.8 / len(series)
        for k, (name, seconds, color) in enumerate(series):
            axis.barh(
                [p + (k - len(series) / 2 + 0.5) * height for p in places], seconds, height, label=name, color=color
            )
        axis.set_xscale("log")
        axis.set_xlabel("seconds")
        axis.set_title(f"{kind}, {4096:,} shots a run" if kind == "sampled" else kind)
    axes[0].set_yticks(list(places), [r["name"] for r in rows])
    axes[0].invert_yaxis()
    handles, names = axes[1].get_legend_handles_labels()
    fig.legend(handles, names, fontsize=9, loc="lower center", ncols=len(names), frameon=False)
    fig.tight_layout(rect=(0, 0.05, 1, 1))
    fig.savefig(path, dpi=130)
    pyplot.close(fig)
