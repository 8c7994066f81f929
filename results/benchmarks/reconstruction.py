"""Benchmark of the reconstruction: ``python -m results.benchmarks.reconstruction [PART ...] [--quick]``.

Four questions, one part and one table each: how fast are contractions of large networks beside numpy's matrix product
(speed); how long does reconstruction take beside qiskit-addon-cutting's and a plain einsum on the same counts (peer);
does memory stay under the bound (memory); how do two MPI ranks scale (scaling). Writes reconstruction.md, .json and
.png beside this file (reconstruction_quick.* with --quick); parts that are not named keep their numbers. One thread a
process throughout.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from threadpoolctl import threadpool_limits

from results.benchmarks.reconstruction_peer import beside_the_peer
from results.benchmarks.reconstruction_scale import memory, one_peak, scaling, speed

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_HERE = Path(__file__).parent
_PARTS = ("speed", "peer", "memory", "scaling")


def table(rows: Sequence[dict]) -> str:
    """A Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.2e}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def figure(found: dict, path: Path) -> None:
    """Reconstruction time beside the peer's, and contraction time against predicted work."""
    both, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    peer = found["peer"]
    cuts = [row["cuts"] for row in peer]
    left.semilogy(cuts, [row["peer_reconstruction_s"] for row in peer], "o-", label="qiskit-addon-cutting")
    left.semilogy(cuts, [row["counts_to_values_s"] for row in peer], "s-", label="Qompass, values")
    left.semilogy(cuts, [row["error_bars_s"] for row in peer], "^-", label="Qompass, values and errors")
    left.set(xlabel="severed gates", ylabel="seconds", title="From the same counts to expectation values", xticks=cuts)
    left.legend()
    speeds = found["speed"]
    right.loglog([r["gflop"] for r in speeds], [r["contraction_s"] for r in speeds], "o", label="contractions")
    span = np.array([min(r["gflop"] for r in speeds), max(r["gflop"] for r in speeds)])
    rate = np.median([r["gflop_per_s"] * r["numpy_over_ours"] for r in speeds])
    right.loglog(span, span / rate, "-", label="numpy matrix product")
    right.loglog(span, 3 * span / rate, "--", label="three times that")
    right.set(xlabel="predicted Gflop", ylabel="seconds of one core", title="Contraction of large networks")
    right.legend()
    both.tight_layout()
    both.savefig(path, dpi=150)


def main() -> None:
    """Run the parts asked for and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument("--one-peak", nargs=5, type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no part {min(unknown)}: there are {', '.join(_PARTS)}")
    name = "reconstruction_quick" if options.quick else "reconstruction"
    kept = _HERE / f"{name}.json"
    found = json.loads(kept.read_text()) if kept.exists() and options.parts else {}
    with threadpool_limits(limits=1):
        if options.one_peak:
            print(json.dumps(one_peak(*options.one_peak)))
            return
        work = {
            "speed": lambda: speed(options.quick),
            "peer": lambda: beside_the_peer(range(2, 4 if options.quick else 7), 256),
            "memory": lambda: memory(options.quick),
            "scaling": lambda: scaling(options.quick),
        }
        for part in options.parts or _PARTS:
            found[part] = work[part]()
            kept.write_text(json.dumps(found, indent=1) + "\n")
    if all(part in found for part in _PARTS):
        write(found, name)


def write(found: dict, name: str) -> None:
    """Tables and figure beside this file."""
    command = "python -m results.benchmarks.reconstruction" + (" --quick" if name.endswith("quick") else "")
    figure(found, _HERE / f"{name}.png")
    text = [
        "# Reconstruction",
        f"Made by `{command}` on {os.cpu_count()} cores, one thread a process.",
        "## Contraction of large networks beside numpy's matrix product (1024 x 1024, same machine)",
        "*numpy over ours*: our seconds over those that numpy's product of two 1024 x 1024 matrices takes for the same"
        " flops; the absorption of the cuts' bond matrices is in the seconds and not in the flops. *At fewest flops*:"
        " the same beside the flops of the cheapest path that was found, where ours does more flops in less time.",
        table(found["speed"]),
        "## Twelve qubits in two parts: the same counts through qiskit-addon-cutting and through Qompass",
        table(found["peer"]),
        "## Memory: growth of the process beside its limit",
        table(found["memory"]),
        "## MPI ranks",
        "*Largest share*: of the work, that the busier of two ranks has. The first line is what two processes gain on"
        " this machine when nothing is shared at all.",
        table(found["scaling"]),
    ]
    (_HERE / f"{name}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
