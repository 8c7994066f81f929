"""The policies for real: three QPU emulators of different quality, speed and price, and a value that is known.

``python -m results.benchmarks.policies_real [--quick]`` starts the emulator on loopback, runs one problem under every
policy through the whole workflow (no simulator takes part, so that the QPUs have to be chosen among), and compares with
the exact value; then the same problem on this machine's simulator alone. Writes policies_real.md, .json and .png beside
this file (policies_real_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from scheduler_policies import POLICIES
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory
from tasks.workflow import Options, run

_HERE = Path(__file__).parent
# Good, slow and dear, with a queue; ordinary; bad, fast and cheap: no rule that looks at one property suits all three.
DEVICES = {
    "QPU_GOOD": "kind=ibm,backend=hanoi,noise=0.5,queue=2.0,shot=0.0004,seed=11",
    "QPU_USUAL": "kind=ibm,backend=hanoi,noise=1.0,queue=1.0,shot=0.0002,seed=12",
    "QPU_FAST": "kind=ibm,backend=hanoi,noise=4.0,queue=0.2,shot=0.0001,seed=13",
}
PRICES = {"QPU_GOOD": 3e-4, "QPU_USUAL": 1e-4, "QPU_FAST": 5e-5}  # of a shot
ALONE = {"simulator, same shots": True, "simulator, exact": False}  # rows without QPUs: whether they are sampled
_PROCESSOR = """<Processor Name="{name}"><ComputingUnits>1</ComputingUnits><Type>OTHER</Type><ProcessorProperty>
<Key>qompass</Key><Value>qubits=27 type=ibm-quantum-compute-service price_per_shot={price}</Value>
</ProcessorProperty></Processor>"""
_PROJECT = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Project><MasterNode>
<Processor Name="Clients"><ComputingUnits>5</ComputingUnits><Type>CPU</Type><ProcessorProperty>
<Key>qompass</Key><Value>clients</Value></ProcessorProperty></Processor>
{processors}
</MasterNode></Project>
"""
_RESOURCES = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<ResourcesList/>\n'

Rows = dict[str, list[dict[str, Any]]]


def circuit(qubits: int) -> QuantumCircuit:
    """A disordered Ising chain whose bonds differ in strength, so that cuts differ in weight."""
    rng = np.random.default_rng(5)
    made = QuantumCircuit(qubits)
    for qubit in range(qubits):
        made.rx(float(rng.uniform(0.3, 0.9)), qubit)
    for qubit in range(qubits - 1):
        made.rzz(float(rng.uniform(0.1, 0.8)), qubit, qubit + 1)
    for qubit in range(qubits):
        made.rx(0.3, qubit)
    return made


@contextmanager
def emulators(folder: Path) -> Any:
    """The three emulators for as long as this lasts, and the variables that lead QRMI to them in the environment."""
    devices = [f"--device={name}:{text}" for name, text in DEVICES.items()]
    service = subprocess.Popen(
        [sys.executable, "-m", "launch.emulator", "run", "--folder", str(folder), *devices], stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while not (folder / "pid").exists():
            if service.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the emulator did not start")
            time.sleep(0.1)
        os.environ |= {
            "QRMI_JOB_QPU_RESOURCES": ",".join(DEVICES),
            "QRMI_JOB_QPU_TYPES": ",".join(["ibm-quantum-compute-service"] * len(DEVICES)),
            "QOMPASS_QRMI_CONFIG": str(folder / "qrmi_config.json"),
            "XDG_STATE_HOME": str(folder / "state"),  # calibrations and journals of this comparison only
            "QOMPASS_LEASES": str(folder / "leases"),
        }
        yield
    finally:
        service.terminate()
        service.wait(30)


def resources(folder: Path, names: Sequence[str]) -> Path:
    """A pair of resources files with these QPUs and nothing that simulates."""
    folder.mkdir()
    processors = "\n".join(_PROCESSOR.format(name=name, price=PRICES[name]) for name in names)
    (folder / "project.xml").write_text(_PROJECT.format(processors=processors))
    (folder / "resources.xml").write_text(_RESOURCES)
    return folder


def main() -> None:
    """Runs all policies and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a narrower circuit, fewer shots, one run each")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the emulator is stopped too
    qubits, widest, shots, repeats = (8, 4, 10_000, 1) if arguments.quick else (12, 4, 60_000, arguments.repeats)
    made = circuit(qubits)
    bonds = [("ZZ", [q, q + 1], 1 / (qubits - 1)) for q in range(qubits - 1)]
    observable = SparsePauliOp.from_sparse_list(bonds, qubits)
    exact = float(np.real(Statevector(made).expectation_value(observable)))
    rows: Rows = {name: [] for name in [*POLICIES, *ALONE]}
    with tempfile.TemporaryDirectory() as text, emulators(Path(text) / "emulator"):
        folder = Path(text)

        def measure(label: str, where: Path | None, policy: str, sampled: int | None, seed: int) -> dict[str, Any]:
            options = Options(
                max_qubits=widest, shots=sampled, seed=seed, engine="embedded", resources=where, policy=policy
            )
            found = _run(options, made, observable, exact, folder / "runs")
            sys.stderr.write(f"{label}, seed {seed}: {found}\n")
            return found

        # Readout is measured once a calibration, on the qubits in use; that is nobody's merit, so it is done before.
        for name in DEVICES:
            measure(f"{name}, not counted", resources(folder / name, [name]), "availability", 2_000, 999)
        everything = resources(folder / "all", list(DEVICES))
        for repeat in range(repeats):
            order = list(POLICIES)
            random.Random(repeat).shuffle(order)
            for name in order:
                rows[name].append(measure(name, everything, name, shots, repeat))
        for label, sampled in ALONE.items():
            for repeat in range(repeats):
                rows[label].append(measure(label, None, "balanced", shots if sampled else None, repeat))
    stem = "policies_real_quick" if arguments.quick else "policies_real"
    about = {"exact": exact, "qubits": qubits, "widest": widest, "shots": shots, "cores": os.cpu_count()}
    document = {**about, "devices": DEVICES, "prices": PRICES, "rows": rows}
    (_HERE / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / f"{stem}.md").write_text(table(rows, about, stem))
    figure(rows, _HERE / f"{stem}.png")


def _run(
    options: Options, made: QuantumCircuit, observable: SparsePauliOp, exact: float, parent: Path
) -> dict[str, Any]:
    problem = make_problem(made, observable)
    begun = time.monotonic()
    with RunDirectory.create(parent, {"seed": options.seed}, problem) as directory:
        result = run(problem, options, directory)
    seconds = time.monotonic() - begun
    (found,) = result.estimates
    used = Counter[str]()
    for entry in result.record["results"].values():
        used[entry["device"]] += int(entry.get("shots", 0))
    return {
        "seconds": seconds,
        "execute_seconds": result.record["timings"]["execute"],
        "value": found.value,
        "std_error": found.std_error,
        "error": found.value - exact,
        "shots_by_device": dict(used),
        "cost": sum(PRICES.get(name, 0.0) * count for name, count in used.items()),
        "moves": len(result.record.get("moves", [])),
    }


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table: means over the runs, and the root mean square of their errors."""
    total = sum(sum(r["shots_by_device"].values()) for r in runs)
    return {
        "seconds": mean(r["seconds"] for r in runs),
        "fastest": min(r["seconds"] for r in runs),
        "slowest": max(r["seconds"] for r in runs),
        "error": math.sqrt(mean(r["error"] ** 2 for r in runs)),
        "bias": mean(r["error"] for r in runs),
        "std_error": mean(r["std_error"] for r in runs),
        "cost": mean(r["cost"] for r in runs),
        "shares": {d: sum(r["shots_by_device"].get(d, 0) for r in runs) / total if total else 0.0 for d in DEVICES},
    }


def table(rows: Rows, about: dict[str, Any], stem: str) -> str:
    """The committed table."""
    repeats = len(next(iter(rows.values())))
    command = "python -m results.benchmarks.policies_real" + (" --quick" if stem.endswith("quick") else "")
    lines = [
        "# Policies for real, on three emulators",
        "",
        f"`{command}`, {about['cores']} cores: a disordered Ising chain of {about['qubits']} qubits in fragments of at",
        f"most {about['widest']}, the mean of ZZ over its bonds, exact value {about['exact']:.5f}.",
        f"{about['shots']:,} shots, {repeats} run(s) each (seeds 0 to {repeats - 1}), the policies in shuffled order.",
        "Readout mitigation is on; what it needs was measured before the clock started. With the policies no simulator",
        "takes part.",
        "",
        "| device | price of a shot | emulator |",
        "|---|---:|---|",
        *(f"| {name} | {PRICES[name]:g} | `{text}` |" for name, text in DEVICES.items()),
        "",
        "Seconds: of the whole run, mean (least to most). Error: root mean square of estimate - exact value; bias: its",
        "mean. Standard error: what the runs reported. Error beyond it is that of the gates, which nothing takes out.",
        "",
        "| policy | seconds | error x 1000 | bias x 1000 | standard error x 1000 | cost | "
        + " | ".join(f"{name.removeprefix('QPU_').lower()} shots" for name in DEVICES)
        + " |",
        "|---|---|---:|---:|---:|---:|" + "---:|" * len(DEVICES),
    ]
    for name, runs in rows.items():
        row = summary(runs)
        shares = [f"{share:.0%}" for share in row["shares"].values()] if row["cost"] else ["", "", ""]
        cells = [
            name,
            f"{row['seconds']:.1f} ({row['fastest']:.1f} to {row['slowest']:.1f})",
            f"{1000 * row['error']:.2f}",
            f"{1000 * row['bias']:+.2f}",
            f"{1000 * row['std_error']:.2f}",
            f"{row['cost']:.2f}",
            *shares,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"![Error against time]({stem}.png)"]) + "\n"


def figure(rows: Rows, path: Path) -> None:
    """Error against time: a small mark for each run, a large one for each policy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(figsize=(7.5, 4.2), layout="constrained")
    for number, (name, runs) in enumerate((n, r) for n, r in rows.items() if n in POLICIES):
        row, color = summary(runs), f"C{number}"
        axes.plot([r["seconds"] for r in runs], [1000 * abs(r["error"]) for r in runs], ".", color=color, alpha=0.4)
        axes.plot(row["seconds"], 1000 * row["error"], "osD^vP"[number], color=color, markersize=9, label=name)
    level = mean(summary(runs)["std_error"] for name, runs in rows.items() if name in POLICIES)
    axes.axhline(1000 * level, color="grey", linestyle=":", label="mean standard error")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds for the whole run")
    axes.set_ylabel("1000 x |estimate - exact value|")
    axes.set_title("Three emulated QPUs: small marks are runs,\nlarge ones root mean squares", fontsize=10)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.grid(alpha=0.3)
    fig.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
