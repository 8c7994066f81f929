"""The page and the figure of limit.py, from its data."""

from __future__ import annotations

from math import log2
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from results.benchmarks.limit_choice import choice_lines
from results.benchmarks.limit_cones import cone_lines
from results.benchmarks.limit_frame import frame_lines
from results.benchmarks.limit_legs import legs_lines

HERE = Path(__file__).resolve().parent
LONGEST_S = 90.0  # a case that takes longer in the other checkout is not waited for


def table(results: dict[str, Any]) -> list[str]:
    """The page."""
    mib = 1 << 20
    lines = [
        "# How near execution comes to its limit",
        "",
        "`python -m results.benchmarks.limit [--before CHECKOUT]`, before: commit b440b4f, exact fragments in the same "
        "run (29 November 2026), variants measured once and set against the limit of the later run; every case in a "
        "process of its own, one thread, 2 cores of a shared machine. Dense fragments: brickwork of "
        "depth 20 (where it says 6: shallow enough for a matrix product state), legs at equal distances.",
        "",
        "## Exact fragments",
        "",
        "The limit is one plain simulation by Aer of the same fragment without legs, without observables. Peaks are of "
        "resident memory, above what the process had before.",
        "",
        "| qubits/legs, observables | limit ms | before | after | quicker | peak MiB | predicted MiB |"
        " predicted / peak | before: peak | predicted |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (old, new) in results["cases"].items():
        if new and "peak" in new:
            then = f"{old['seconds'] / new['limit']:.1f}x" if old else f"over {LONGEST_S:.0f} s"
            ratio = f"{old['seconds'] / new['seconds']:.1f}x" if old else "-"
            memory = f"{old['peak'] / mib:,.0f} | {old['predicted'] / mib:,.0f}" if old else "- | -"
            off = f"{new['predicted'] / new['peak']:.2f}" if new["peak"] > 16 * mib else "-"
            lines.append(
                f"| {name} | {1e3 * new['limit']:,.0f} | {then} | {new['seconds'] / new['limit']:.2f}x | {ratio} | "
                f"{new['peak'] / mib:,.0f} | {new['predicted'] / mib:,.0f} | {off} | {memory} |"
            )
    lines += ["", *growth(results), ""]
    lines += [
        "1,000 two-body observables of 16 qubits have 137 X parts. Each takes at least half a product of 2^16 x 16 "
        "by 2^16 x 16 complex numbers, 67 Mflop, so all of them 184 ms at 50 Gflop/s. In three bases, with all "
        "qubits turned between them, they take 45 passes of half the rows, one a qubit and basis but for the "
        "highest qubit, and 9 of all, whose products are Hermitian and take half: 3.6 Gflop, 72 ms. Of two "
        "qubits one tells rows apart by the other's bit, so that a pass sums over all rows below its own qubit and "
        "its products are of up to 128 rows in place of 32: less than half of the blocks to sum, and no pass "
        "has more.",
        "",
        "So twice the time of 10 is not met, nor will it be with these passes. By parts, in one process, each the "
        "least of ten runs beside the work of others: 553 ms, of which simulation 102, products 272, sums of blocks "
        "67, two turns 39, six reorderings of rows 31, what Python does between (choosing passes, signs, views of the "
        "state) 32, changes of basis 8, real and imaginary parts set apart 3; 10 observables 137 ms: simulation 87, "
        "products 38, the rest 12. Twice that would leave nothing beside simulation and products, and at the 50 "
        "Gflop/s of a machine left alone, where simulation takes 58 ms and 10 observables 83, it would leave 26 ms "
        "for all else, of which turns and reorderings take more. Since then products of blocks with themselves are "
        "real ones of half the work, with the rows times 1 + i, from 16 branches on, and leave a third of the numbers "
        "to sum: .98 of the time, in turns.",
        "",
        "Fewer passes: six of a pair's nine letters differ, and each of these is seen by two passes at most, that "
        "of one qubit in the other's basis and that of the other in the one's, if the pass tells the bit of the "
        "second qubit apart. So each qubit needs a pass in each basis; or one basis needs none, and 32 passes tell "
        "all bits apart, which leaves products no rows to sum. With passes of only one run's qubits in one basis "
        "42 are enough, all but a few of 32 rows: more sums than 45 of longer runs. Counted and not built: reduced "
        "arrays of blocks of qubits (20 blocks of four hold all pairs of 16: 21 Gflop); 15 product bases of a "
        "covering array, in which all pairs are diagonal (45 passes of all rows and 14 turns), or 20 at least and "
        "as many turns where each leaves other bits untold. Measured and no quicker: three real products in place "
        "of four, from states of three parts (1.6 to 1.9 ms a pass beside 1.3 to 1.6: half as much again is read); "
        "rows far apart in memory in place of reordered ones (2.5 ms a pass); blocks in smaller parts that stay in "
        "a core's second cache.",
        "",
        "500 observables of 12 qubits with 64 branches have 79 X parts of as much work each, 106 ms at full "
        "speed: 10 times the limit. Turned bases are taken there. Real products of blocks with themselves took "
        "a quarter off: 456 ms of the tensor in place of 599, the least of five in turns. 1,000 dense observables "
        "have about as many X parts as there are of them, in any basis: 67 Gflop, 1.3 s at full speed and 17 times "
        "the limit. What is above it: rows in the order of the Pauli are copied before they are multiplied, a "
        "quarter of the time, and products of blocks are smaller; copying and signing them in one step was no "
        "quicker.",
        *legs_lines(results.get("legs")),
        *cone_lines(results.get("cones")),
        *choice_lines(results.get("choice")),
        "",
        "## Sampled variants",
        "",
        "1,000 shots each. The limit is drawing them alone: a generator set to its stream, a distribution that is "
        "known, of the bits that each variant reads, drawn by NumPy (the quicker of a multinomial number and of a "
        "search in cumulative sums), the outcomes packed. 'Each' is what a variant costs beside the first one, names "
        "of streams and packing counted: both from one open state, medians of 5 to 40 runs in turn. 'All' counts the "
        "whole job with the opening of the legs and the table; 'with one simulation' is 'all' beside one plain "
        "simulation by Aer and all draws: what nobody can do without. Peaks are of resident memory above what the "
        "process had before. Before: the difference of two runs with a simulation each, no more than their noise "
        "where few variants are cheap beside the state.",
        "",
        "| qubits/legs, bits | variants | limit us | before, each | all | after, each | all | with one simulation |"
        " quicker | peak MiB | predicted MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (old, new) in results["cases"].items():
        if new and "simulation" in new:
            then = f"{old['further'] / new['limit']:.1f}x | {old['seconds'] / new['limit']:.1f}x" if old else "- | -"
            ratio = f"{old['seconds'] / new['seconds']:.1f}x" if old else "-"
            least = new["limit"] + new["simulation"] / new["variants"]
            lines.append(
                f"| {name} | {new['variants']:,} | {1e6 * new['limit']:,.0f} | {then} | "
                f"{new['further'] / new['limit']:.1f}x | {new['seconds'] / new['limit']:.1f}x | "
                f"{new['seconds'] / least:.1f}x | {ratio} | {new['peak_bytes'] / mib:,.0f} | "
                f"{new['predicted_bytes'] / mib:,.0f} |"
            )
    lines += [
        "",
        *_above(results),
        "",
        "Amplitudes of half the length (complex64) are not used. Measured by hand, when draws took two to four times "
        "what they take now, with the state rounded once it was simulated, two runs of each on a machine with other "
        "work: drawing 625 variants of 15/4 took 0.98 s beside 0.97 s, 100 of 18/4 0.98 and 1.17 s beside 1.37 and "
        "0.76 s, 20 of 20/4 1.34 and 1.40 s beside 2.41 and 2.04 s, after 3.6 s of simulation: 1.15 times as fast as a "
        "whole in the widest case and nothing to be seen in the others. No count differed in these 745 variants; an "
        "earlier measurement had 1 in 200 differ, and equal seeds would not give equal counts on machines whose "
        "products round differently. A simulation in complex64 from its first gate on was not built.",
        "",
        "![Multiples of the limit before and after](limit.png)",
        "",
        "## Path search",
        "",
        "| network | 100 fragments, s | 200 fragments, s | exponent |",
        "|---|---:|---:|---:|",
    ]
    for row in results["searches"]:
        lines.append(
            f"| {row['network']} | {row['seconds'][0]:.3f} | {row['seconds'][1]:.3f} | {row['exponent']:.2f} |"
        )
    lines += [
        "",
        "## Both cores busy",
        "",
        "Fragments of 20 qubits, 2 legs, 10 observables on two processes: parallel efficiency, 1 where both cores do "
        "nothing but their share. The first row is the machine's own ceiling: two plain simulations by Aer of the "
        "same fragment without legs, each in a process and on a core of its own, beside one alone.",
        "",
        "| fragments | one core each | cores lent |",
        "|---:|---:|---:|",
    ]
    for row in results["cores"]:
        one, lent = (f"{row[key]:.2f}" if row[key] else "-" for key in ("efficiency_1", "efficiency_2"))
        lines.append(f"| {row['fragments']} | {one} | {lent} |")
    return [*lines, *_one_on_two(results["cores"]), *frame_lines(results.get("frame"))]


def _above(results: dict[str, Any]) -> list[str]:
    """What is said of rows above the aim, and of tables that are too large."""
    each = {name: new["further"] / new["limit"] for name, (_, new) in results["cases"].items() if "further" in new}
    above = [name for name, ratio in each.items() if ratio > 3]
    return [
        ("Above the aim of 3: " + "; ".join(above) + ". " if above else "No row is above the aim of 3. ")
        + "A table of all outcomes would take 1 GiB (15/6) and 2 GiB (20/4), so the bits below its highest are drawn "
        "from the blocks of amplitudes that a variant's shots fall into. Settings of the later legs are applied once "
        "for the variants that share them where these read most blocks (15/6), and not where they read few (20/4, "
        "which took 3.6 times the limit while they were). 'All' of few variants of a wide state is the state.",
    ]


def _one_on_two(rows: list[dict[str, Any]]) -> list[str]:
    """Where the time of one fragment on two cores goes."""
    row = next((row for row in rows if "walls" in row), None)
    if row is None:
        return []
    (one, two), (alone, both) = row["walls"], row["processors"]
    waited = 2 * two - both
    return [
        "",
        f"One fragment, one core and two in turn, medians: {1e3 * one:,.0f} and {1e3 * two:,.0f} ms, a parallel "
        f"efficiency of {one / (2 * two):.2f} where two plain simulations, which share nothing, reach "
        f"{rows[0]['efficiency_1']:.2f} in the same minute. Of the two cores' {2e3 * two:,.0f} ms the work takes "
        f"{1e3 * both:,.0f}, {both / alone:.2f} times what one core needs for it (both read and write one state, and a "
        f"second thread's new pages are cleared by the system), and {1e3 * waited:,.0f} are waited: the first gates of "
        "a small state, matrices of gates and what comes before and after are done by one thread, and each of some 70 "
        "steps ends when its last part does.",
    ]


_GROWTH = [
    ("qubits, 2 legs", "12/2", "20/2", 8), ("qubits, 4 legs", "12/4", "20/4", 8), ("qubits, 6 legs", "12/6", "20/6", 8),
    ("legs, 12 qubits", "12/2", "12/6", 4), ("legs, 16 qubits", "16/2", "16/6", 4),
    ("legs, 20 qubits", "20/2", "20/6", 4),
]  # fmt: skip


def growth(results: dict[str, Any]) -> list[str]:
    """How the seconds and the memory of exact fragments grow with a qubit and with a leg."""
    lines = [
        "Growth with 10 local observables, for one qubit or leg more, as powers of 2 (a state alone: 1 a qubit, 1 a "
        "gate's leg; products of all pairs of branches: 2 a leg). 1,000 local observables take "
        + _times(results, "16/4, 10 local", "16/4, 1000 local")
        + " the time of 10.",
        "",
        "| one more of | time | memory |",
        "|---|---:|---:|",
    ]
    for name, few, many, steps in _GROWTH:
        small, large = (results["cases"].get(f"{case}, 10 local", (None, None))[1] for case in (few, many))
        if small and large:
            grown = [log2(max(large[key], 1e-9) / max(small[key], 1e-9)) / steps for key in ("seconds", "peak")]
            lines.append(f"| {name} | {grown[0]:.2f} | {grown[1]:.2f} |")
    return lines


def _times(results: dict[str, Any], few: str, many: str) -> str:
    small, large = (results["cases"].get(case, (None, None))[1] for case in (few, many))
    return f"{large['seconds'] / small['seconds']:.1f} times" if small and large else "-"


def figure(results: dict[str, Any]) -> None:
    """Multiples of the limit, before and after."""
    pairs = [(n, o, w) for n, (o, w) in results["cases"].items() if w]
    drawing, axes = pyplot.subplots(figsize=(9, 0.3 * len(pairs) + 1.2))
    for place, (_, old, new) in enumerate(pairs):
        if old:
            axes.plot([old["seconds"] / new["limit"]], [place], "o", color="0.6", label="before" if not place else None)
        axes.plot([new["seconds"] / new["limit"]], [place], "o", color="tab:blue", label=None if place else "after")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(pairs)), [name for name, *_ in pairs])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("multiples of the limit (exact: one plain simulation; sampled: drawing alone)")
    axes.legend()
    drawing.tight_layout()
    drawing.savefig(HERE / "limit.png", dpi=110)
