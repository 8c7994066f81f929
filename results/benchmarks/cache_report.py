"""The cache benchmark's tables and figure from the numbers of its parts."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median, stdev
from typing import Any

Numbers = dict[str, Any]


def write_report(folder: Path, stem: str) -> None:
    """Write STEM.md and STEM.png from every STEM_PART.json that is there."""
    parts: dict[str, Numbers] = {}
    for name in ("soundness", "recall", "cost", "workloads", "once", "default", "evolution", "emulator", "structure"):
        path = folder / f"{stem}_{name}.json"
        if path.exists():
            parts[name] = json.loads(path.read_text())
    quick = " --quick" if stem.endswith("quick") else ""
    text = [f"# The semantic cache, measured\n\nMade by `python -m results.benchmarks.cache{quick}`.\n"]
    writers = {
        "soundness": _soundness, "recall": _recall, "cost": _cost, "workloads": _workloads, "once": _once,
        "default": _default, "evolution": _evolution, "emulator": _emulator, "structure": _structure,
    }  # fmt: skip
    for name, numbers in parts.items():
        text.append(writers[name](numbers))
        text.append(f"({numbers['machine']})\n")
    (folder / f"{stem}.md").write_text("\n".join(text))
    _figure(parts, folder / f"{stem}.png")


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _soundness(numbers: Numbers) -> str:
    rows: list[list[object]] = []
    hits = false = 0
    for family, row in numbers.items():
        if isinstance(row, dict) and "hits" in row:
            rows.append([family, row["circuits"], row["hits"], row["false"], f"{row['worst']:.0e}", row["turned away"]])
            hits += row["hits"]
            false += row["false"]
    asked = numbers["mqt.qcec"]
    return (
        f"## 1. Soundness: {hits} hits, {false} false\n\nEvery hit against the exact distribution of its circuit; "
        "*largest difference* is of a probability; *turned away* are circuits with the same form and other angles.\n\n"
        + _table(["family", "circuits", "hits", "false", "largest difference", "turned away"], rows)
        + f"\nmqt.qcec calls {asked['equivalent']} of {asked['common key']} pairs with a common key equivalent "
        "(bits permuted and inverted as the keys say), and "
        f"{asked['missed']} of {asked['different keys']} random pairs with different keys (missed hits).\n"
    )


def _with_error(found: Numbers) -> str:
    return f"{found['ratio']:.2f} ± {found['error']:.2f}" if found else "-"


def _evolution(numbers: Numbers) -> str:
    text = (
        "## 7. Differential Evolution, at several paces\n\nscipy's Differential Evolution, told exact energies so that"
        " the circuits are the same whatever executes them; LMDB, first run, one worker; generations without and with"
        " the cache in turn, medians (± standard error of the mean). A run says what an execution is predicted to take:"
        " below 10 ms nothing is looked"
        " for, a key by meaning is made where it costs at most a twentieth of that, and where too little has been found"
        " for what looking costs, most is *passed over*: run at once, but for circuits equal to one that ran before in"
        " the same process. Looking in vain may so cost one execution and one in two hundred. From 50 ms on all three"
        " workloads are measured at once: they mostly wait (300 ms: commit b6719ca)."
        " *Ratio* above 1: faster with the cache. *Qdislib*: the same"
        " circuits through Qdislib 1.0.1's own cache on LMDB, each execution held as long, beside the same without"
        " (measured earlier, once).\n"
    )
    peers = numbers.get("qdislib", {})
    for name, found in numbers.items():
        if not isinstance(found, list):
            continue
        rows: list[list[object]] = []
        for number, row in enumerate(found):
            own = peers.get(name, [])[number : number + 1]
            other = ["-", "-", "-"]
            if own:
                other = [str(own[0]["executed"]), f"{own[0]['off'] / own[0]['on']:.2f}", str(own[0]["wrong"])]
            ratio = (
                f"{row['ratio']:.3f} ± {row['ratio_error']:.3f}" if row.get("ratio_error") else f"{row['ratio']:.2f}"
            )
            rows.append(
                [f"{1e3 * (row['pace'] + row['simulation']):.0f}", row["requests"], row["distinct as written"],
                 row["distinct by meaning"], row.get("passed over", "-"), row["executed"],
                 f"{100 * (1 - row['executed'] / row['requests']):.1f} %",
                 f"{row['off']:.2f}", f"{row['kept']:.2f}", ratio, row["wrong"], *other]
            )  # fmt: skip
        each = 1e3 * max(row["key by meaning"] for row in found)
        head = ["an execution, ms", "requests", "distinct as written", "by meaning", "passed over", "executed",
                "avoided", "seconds without", "with", "ratio", "wrong", "Qdislib executes", "its ratio",
                "its wrong"]  # fmt: skip
        text += f"\n{name} (a key by meaning: {each:.1f} ms):\n\n" + _table(head, rows)
    return text


def _emulator(numbers: Numbers) -> str:
    rows: list[list[object]] = []
    for name, found in numbers.items():
        if not isinstance(found, dict):
            continue
        for mode, label in (
            ("off", "no cache"), ("as written", "Qompass, as written"), ("by meaning", "Qompass, `--share-meaning`"),
            ("qdislib", "Qdislib's keys"),
        ):  # fmt: skip
            if mode in found:
                own = found[mode]
                rows.append(
                    [name, label, found["requests"], own["executed"],
                     f"{100 * (1 - own['executed'] / found['requests']):.1f} %", f"{own['shots']:,}",
                     f"{own['seconds']:.1f}", _beside(found["off"], own), own["wrong"]]
                )  # fmt: skip
    pace = next(found["seconds a circuit"] for found in numbers.values() if isinstance(found, dict))
    return (
        f"## 8. Differential Evolution on the QPU emulator\n\nThrough QRMI, a generation a job, {pace} s of the device"
        " a circuit, no queue and no noise. A device is calibrated, so circuits are found as they are written, unless"
        " `--share-meaning` says otherwise; equal circuits of one generation are one execution of as many shots as"
        " all ask for. *Qdislib's keys*: what has a new key is executed, the time its keys take is waited for; without"
        " an error, measured once, on another machine; its ratio is to no cache there.\n\n"
        + _table(["workload", "cache", "requests", "executed", "avoided", "shots", "seconds", "ratio", "wrong"], rows)
    )


def _beside(off: Numbers, own: Numbers) -> str:
    """Seconds without, in the same run, over with, and the standard error where there were several turns."""
    ratios = [a / b for a, b in zip(off["turns"], own["turns"], strict=True)] if "turns" in own else []
    if len(ratios) < 2:
        return f"{own.get('beside', off['seconds']) / own['seconds']:.2f}"
    return f"{median(ratios):.2f} ± {stdev(ratios) / len(ratios) ** 0.5:.2f}"


def _structure(numbers: Numbers) -> str:
    rows: list[list[object]] = [
        [name, row["requests"], row["written"], row["structure"], row["meaning"], row["outcomes"]]
        for name, row in numbers.items()
        if isinstance(row, dict)
    ]
    return (
        "## 9. Keys by structure: executions, counted\n\n*By structure*: circuits equal up to names of qubits, with"
        " equal angles, are one (an upper bound of what such a key avoids: a hash of the graph of instructions). *By"
        " outcomes*: no key that permutes and inverts bits could execute fewer.\n\n"
        + _table(["workload", "requests", "as written", "by structure", "by meaning", "by outcomes"], rows)
    )


def _recall(numbers: Numbers) -> str:
    families = [name for name, row in numbers.items() if isinstance(row, dict) and "reordered" in row]
    rewrites = list(numbers[families[0]])
    peer = numbers.get("qdislib", {})
    rows: list[list[object]] = []
    for family in families:
        row: list[object] = [family]
        for rewrite in rewrites:
            own = f"{100 * numbers[family][rewrite]:.0f}"
            row.append(own + (f" ({100 * peer[family][rewrite]:.0f})" if family in peer else ""))
        rows.append(row)
    text = (
        "## 2. Recall: equivalent pairs that share a key, percent\n\nIn brackets ZX + WL as Qdislib 1.0.1 builds it, "
        "on the circuits without measurements. *padded* puts in gate-inverse pairs and phases before measurements; "
        "*bits permuted* also inverts outcomes: both keep distributions, not unitaries, and Qdislib does not look for "
        "them.\n\n" + _table(["family", *rewrites], rows)
    )
    own = numbers["own false hits"]
    text += f"\nA parameter-shift set over a uniform ansatz (24 circuits): {own['hits']} hits, {own['false']} false"
    if "false hits" in peer:
        text += f"; Qdislib {peer['false hits']['hits']} hits, {peer['false hits']['false']} false"
    if "counter-example shares a key" in peer:
        shares = "share" if peer["counter-example shares a key"] else "do not share"
        text += f". Under Qdislib's key, `H0; CX01` and `CX01; H0` {shares} a key"
    return text + ".\n"


def _cost(numbers: Numbers) -> str:
    rows: list[list[object]] = []
    peer = numbers.get("qdislib")
    for i, row in enumerate(numbers["rows"]):
        cells = [row["qubits"], row["depth"], row["operations"]]
        cells += [f"{row[name]:.2f}" for name in ("as written", "by meaning", "execution")]
        rows.append([*cells, f"{peer[i]:.0f}" if peer else "-"])
    head = ["qubits", "depth", "operations left", "key as written", "key by meaning", "execution", "Qdislib's key"]
    return (
        "## 3. Cost of a key, CPU milliseconds\n\nHardware-efficient circuits; execution is Aer's statevector with "
        "1000 shots on one core.\n\n" + _table(head, rows)
    )


def _workloads(numbers: Numbers) -> str:
    text = "## 4. Whole workloads\n\n"
    first: list[list[object]] = []
    second: list[list[object]] = []
    for name, row in numbers.items():
        if not isinstance(row, dict) or "off, 1 worker" not in row:
            continue
        done, off = row["LMDB, 1 worker"], row["off, 1 worker"]
        avoided = 100 * (1 - done["executions"] / row["requests"])
        first.append(
            [name, row["requests"], row["distinct as written"], row["distinct by meaning"], done["executions"],
             f"{avoided:.0f} %",
             f"{100 * (1 - done['executions'] / row['distinct as written']):.0f} %",
             max(cell.get("wrong", 0) for cell in row.values() if isinstance(cell, dict))]
        )  # fmt: skip
        eight = row["off, 8 workers"]["seconds"]
        second.append(
            [name, f"{off['seconds']:.1f}", _with_error(row.get("as a run, LMDB", {}))]
            + [f"{off['seconds'] / row[k]['seconds']:.1f}" for k in ("LMDB, 1 worker", "Redis, 1 worker")]
            + [f"{off['seconds'] / row[k]['seconds']:.1f}" for k in ("LMDB, after a restart", "Redis, after a restart")]
            + [f"{eight / row[k]['seconds']:.1f}" for k in ("LMDB, 8 workers", "Redis, 8 workers")]
        )
    text += "Executions (1024 shots each). *Avoided* is of all requests; *beyond* is of those distinct as written."
    text += "\n\n"
    head = ["workload", "requests", "distinct as written", "by meaning", "executed", "avoided", "beyond", "wrong"]
    text += _table(head, first)
    text += (
        "\nWall time without the cache over with it, Aer on one core an execution. *As a run*: it says how long"
        " executions take, here 2 to 4 ms, so nothing is looked for (in turn, median ± standard"
        " error; to open the store takes 1 ms). The others look"
        " for everything by its meaning, whatever it costs, as the counts above do.\n\n"
    )
    head = ["workload", "seconds without", "as a run, LMDB", "LMDB", "Redis", "LMDB again", "Redis again", "LMDB, 8",
            "Redis, 8 workers"]  # fmt: skip
    text += _table(head, second)
    paced = numbers["at a QPU's pace"]
    text += (
        f"\nAt a QPU's pace ({paced['seconds an execution']} s an execution), wire cutting with 2 cuts: "
        f"{paced['executions']} of {paced['requests']} executed, {paced['ratio']:.1f}x faster, "
        f"and {paced['ratio again']:.0f}x when it is run again; {paced['wrong']} wrong.\n"
    )
    real = numbers["QPU emulator"]
    text += (
        f"\nOn the QPU emulator through QRMI ({real['circuits']} variants of gate-cut QAOA, "
        f"{real['shots a circuit']} shots each, readout mitigated):\n\n"
    )
    runs: list[list[object]] = [
        [name, f"{real[f'{name}, shots paid']:,}", f"{real[f'{name}, seconds']:.1f}"]
        for name in ("cold", "again", "half as many more")
    ]
    text += _table(["run", "shots paid", "seconds"], runs)
    if "qdislib" in numbers:
        rows: list[list[object]] = []
        for name, row in numbers["qdislib"]["wire cutting"].items():
            stats = row["stats"]
            rows.append(
                [name, stats["hits"] + stats["misses"], stats["misses"], f"{row['exact']:.4f}",
                 f"{row['on']['value']:.4f}", f"{row['off']['value']:.4f}",
                 f"{row['off']['seconds'] / row['on']['seconds']:.1f}", row["wrong"]]
            )  # fmt: skip
        head = ["Qdislib's wire cutting", "circuits", "executed", "exact", "with its cache", "without", "time ratio",
                "wrong"]  # fmt: skip
        keyed: list[list[object]] = []
        for name, row in numbers["qdislib"]["keys"].items():
            keyed.append([name, row["requests"], row["executed"], numbers[name]["LMDB, 1 worker"]["executions"],
                          row["wrong"], f"{row['key_ms']:.0f}"])  # fmt: skip
        text += (
            "\nThe same circuits under Qdislib 1.0.1's keys (of the circuits without measurements); wrong is a hit "
            "on a circuit of another <Z...Z>:\n\n"
        )
        text += _table(["workload", "requests", "its executions", "ours", "its wrong values", "its key, ms"], keyed)
        text += (
            "\nQdislib 1.0.1 on its own workload with its own cache (one wire cut, 20,000 shots; wrong is more than "
            "six standard deviations off):\n\n"
        )
        text += _table(head, rows)
    left = {cuts: (3**cuts + 6**cuts) / (2 * 8**cuts) for cuts in (2, 3, 4, 6)}
    shares = ", ".join(f"{100 * (1 - share):.0f} % with {cuts}" for cuts, share in left.items())
    gains = ", ".join(f"{1 / share:.1f}x" for share in left.values())
    return text + (
        "\nPublished of Qdislib's cache: 91.98 % avoided and 7.0x (wire cutting), 11.2x on a QPU, 27.6 % (Differential"
        " Evolution, part 7; what its abstract says is all that was at hand of it). Of the circuits of naive wire"
        f" cutting, cuts and what they repeat: {shares}; where executions take long that is {gains}. A plan of"
        " Qompass asks for none of these repetitions, with the cache or without.\n"
    )


def _once(numbers: Numbers) -> str:
    rows: list[list[object]] = []
    for name, row in numbers.items():
        if isinstance(row, dict):
            rows.append([name, row["runs"], row["requests"], row["distinct"], row["executions"], row["wrong"],
                         f"{row['seconds']:.1f}"])  # fmt: skip
    head = ["store", "runs", "requests answered", "distinct", "executions", "wrong", "seconds"]
    return (
        "## 5. Exactly once: 16 processes\n\nWorst of all runs. The killed holder had claimed twenty circuits; its own "
        "requests died with it, and completed executions are counted.\n\n" + _table(head, rows)
    )


def _default(numbers: Numbers) -> str:
    rows: list[list[object]] = []
    for name, row in numbers.items():
        if isinstance(row, dict):
            rows.append(
                [name, row["qubits"], row["width"], row["fragments"], f"{row['off']:.2f}", f"{row['cold']:.2f}",
                 f"{row['ratio']:.3f} ± {row['ratio_error']:.3f}", f"{row['warm']:.3f}", f"{row['rewritten']:.2f}",
                 f"{row['rewritten, hits']:.0f} of {row['fragments']}"]
            )  # fmt: skip
    head = ["circuit", "qubits", "at most", "fragments", "off", "cold", "off over cold", "again", "rewritten", "found"]
    return (
        "## 6. A default run, exact\n\nCPU seconds of one process, medians of 9 rounds; off and cold in turn."
        " *Rewritten* is the circuit in other gates, when "
        "the first is cached: rotations about X as H RZ H, barriers between layers; no fragment of it is found as "
        "written. A key by meaning is made where the fragment is predicted to take twenty times as long; below 10 ms "
        "nothing is looked for.\n\n" + _table(head, rows)
    )


def _figure(parts: dict[str, Numbers], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2))
    if "cost" in parts:
        rows = parts["cost"]["rows"]
        x = [row["operations"] for row in rows]
        for name, marker in (("as written", "v"), ("by meaning", "o"), ("execution", "s")):
            axes[0].plot(x, [row[name] for row in rows], marker, label=name if name == "execution" else f"key {name}")
        if "qdislib" in parts["cost"]:
            axes[0].plot(x, parts["cost"]["qdislib"], "x", label="key of Qdislib 1.0.1")
        axes[0].set(xlabel="rotations and measured bits", ylabel="CPU milliseconds", xscale="log", yscale="log")
        axes[0].xaxis.set_minor_formatter(NullFormatter())
        axes[0].set_xticks([50, 100, 200, 400, 800], ["50", "100", "200", "400", "800"])
        axes[0].legend(fontsize=8)
    if "workloads" in parts:
        names = [n for n, row in parts["workloads"].items() if isinstance(row, dict) and "off, 1 worker" in row]
        for offset, (label, of) in enumerate(
            (("distinct as written", "distinct as written"), ("distinct by meaning", "distinct by meaning"))
        ):
            share = [100 * parts["workloads"][n][of] / parts["workloads"][n]["requests"] for n in names]
            axes[1].barh([k + 0.38 * offset for k in range(len(names))], share, 0.36, label=label)
        axes[1].set_yticks([k + 0.19 for k in range(len(names))], names, fontsize=7)
        axes[1].set(xlabel="percent of requests")
        axes[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
