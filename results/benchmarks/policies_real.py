"""The policies for real: three QPU emulators of different quality, speed and queue, and a value that is known.

``python -m results.benchmarks.policies_real [--quick]`` starts the emulator on loopback, runs one problem under every
policy through the whole workflow (no simulator takes part, so that the QPUs have to be chosen among), and compares with
the exact value. Writes policies_real.md, .json and .png beside this file (policies_real_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from scheduler_policies import POLICIES
from tasks.inputs import make_problem
from tasks.runtime.record import RunDirectory
from tasks.workflow import Options, run

_HERE = Path(__file__).parent
# Good and slow with a queue, ordinary, bad and fast: no rule that looks at one property only suits all three.
DEVICES = {
    "QPU_GOOD": "kind=ibm,backend=hanoi,noise=0.5,queue=2.0,shot=0.0004,seed=11",
    "QPU_USUAL": "kind=ibm,backend=hanoi,noise=1.0,queue=1.0,shot=0.0002,seed=12",
    "QPU_FAST": "kind=ibm,backend=hanoi,noise=4.0,queue=0.2,shot=0.0001,seed=13",
}
_PROCESSOR = """<Processor Name="{name}"><ComputingUnits>1</ComputingUnits><Type>OTHER</Type><ProcessorProperty>
<Key>qompass</Key><Value>qubits=27 type=ibm-quantum-compute-service</Value></ProcessorProperty></Processor>"""
_PROJECT = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Project><MasterNode>
<Processor Name="Clients"><ComputingUnits>5</ComputingUnits><Type>CPU</Type><ProcessorProperty>
<Key>qompass</Key><Value>clients</Value></ProcessorProperty></Processor>
{processors}
</MasterNode></Project>
"""
_RESOURCES = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<ResourcesList/>\n'


def circuit(qubits: int, steps: int) -> QuantumCircuit:
    """A disordered Ising chain whose bonds differ in strength, so that cuts differ in weight."""
    rng = np.random.default_rng(5)
    made = QuantumCircuit(qubits)
    for _ in range(steps):
        for qubit in range(qubits):
            made.rx(float(rng.uniform(0.3, 0.9)), qubit)
        for qubit in range(qubits - 1):
            made.rzz(float(rng.uniform(0.1, 0.8)), qubit, qubit + 1)
    for qubit in range(qubits):
        made.rx(0.3, qubit)
    return made


@contextmanager
def emulators() -> Any:
    """The three emulators for as long as this lasts, and the variables that lead QRMI to them in the environment."""
    with tempfile.TemporaryDirectory() as folder:
        devices = [f"--device={name}:{text}" for name, text in DEVICES.items()]
        service = subprocess.Popen(
            [sys.executable, "-m", "launch.emulator", "run", "--folder", folder, *devices], stdout=subprocess.DEVNULL
        )
        try:
            end = time.monotonic() + 120
            while not (Path(folder) / "pid").exists():
                if service.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the emulator did not start")
                time.sleep(0.1)
            os.environ["QRMI_JOB_QPU_RESOURCES"] = ",".join(DEVICES)
            os.environ["QRMI_JOB_QPU_TYPES"] = ",".join(["ibm-quantum-compute-service"] * len(DEVICES))
            os.environ["QOMPASS_QRMI_CONFIG"] = str(Path(folder) / "qrmi_config.json")
            yield
        finally:
            service.terminate()
            service.wait(30)


def main() -> None:
    """Runs all policies and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a narrower circuit, fewer shots, one run each")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the emulator is stopped too
    qubits, widest, shots, repeats = (8, 4, 20_000, 1) if arguments.quick else (12, 4, 100_000, arguments.repeats)
    made = circuit(qubits, 1)
    bonds = [("ZZ", [q, q + 1], 1 / (qubits - 1)) for q in range(qubits - 1)]
    observable = SparsePauliOp.from_sparse_list(bonds, qubits)
    exact = float(np.real(Statevector(made).expectation_value(observable)))
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in POLICIES}
    with tempfile.TemporaryDirectory() as text, emulators():
        folder = Path(text)
        processors = "\n".join(_PROCESSOR.format(name=name) for name in DEVICES)
        (folder / "project.xml").write_text(_PROJECT.format(processors=processors))
        (folder / "resources.xml").write_text(_RESOURCES)
        for repeat in range(repeats):
            for name in POLICIES:
                options = Options(
                    max_qubits=widest, shots=shots, seed=repeat, engine="embedded", resources=folder, policy=name
                )
                rows[name].append(_run(options, made, observable, exact, folder / "runs"))
                sys.stderr.write(f"{name}: {rows[name][-1]}\n")
    stem = "policies_real_quick" if arguments.quick else "policies_real"
    document = {"exact": exact, "qubits": qubits, "shots": shots, "devices": DEVICES, "policies": rows}
    (_HERE / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / f"{stem}.md").write_text(table(rows, exact, qubits, shots))
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
        used[entry.get("device", "?")] += int(entry.get("shots", 0))
    return {
        "seconds": seconds,
        "execute_seconds": result.record["timings"].get("execute"),
        "value": found.value,
        "std_error": found.std_error,
        "error": abs(found.value - exact),
        "shots_by_device": dict(used),
    }


def table(rows: dict[str, list[dict[str, Any]]], exact: float, qubits: int, shots: int) -> str:
    """The committed table."""
    lines = [
        "# Policies for real, on three emulators",
        "",
        f"`python -m results.benchmarks.policies_real`: {qubits} qubits, {shots} shots, exact value {exact:.5f}.",
        f"Medians of {len(next(iter(rows.values())))} run(s). No simulator takes part; readout mitigation is on.",
        "",
        *(f"* {name}: {text}" for name, text in DEVICES.items()),
        "",
        "| policy | seconds | error x 1000 | standard error x 1000 | shots: " + ", ".join(DEVICES) + " |",
        "|---|---|---|---|---|",
    ]
    for name, runs in rows.items():
        seconds, error, spread = (median(r[key] for r in runs) for key in ("seconds", "error", "std_error"))
        total = sum(sum(r["shots_by_device"].values()) for r in runs) or 1
        shares = (sum(r["shots_by_device"].get(device, 0) for r in runs) / total for device in DEVICES)
        split = ", ".join(f"{share:.0%}" for share in shares)
        lines.append(f"| {name} | {seconds:.1f} | {1000 * error:.1f} | {1000 * spread:.1f} | {split} |")
    return "\n".join(lines) + "\n"


def figure(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Error against time, one point for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(figsize=(6, 4))
    for name, runs in rows.items():
        axes.plot([r["seconds"] for r in runs], [r["error"] for r in runs], "o", label=name)
    axes.set_xlabel("seconds")
    axes.set_ylabel("|estimate - exact value|")
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    fig.tight_layout()
    fig.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
