"""Policies on three emulated QPUs of different quality and speed: ``python -m results.benchmarks.policies_emulators``.

Real runs: plan, QRMI, leases, mitigation, reconstruction, against the emulator, with the true value known from a
statevector. Every policy runs the same circuits; told are the error of the estimates and the time to the last result.
Writes policies_emulators.md, .json and .png beside this file (policies_emulators_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

HERE = Path(__file__).parent
# Quality and speed pull in different directions: the best chip is the slowest.
QPUS = {
    "GOOD": "kind=ibm,backend=oslo,noise=0.5,shot=4e-4,overhead=0.05",
    "FAIR": "kind=iqm,backend=nairobi,noise=1.5,shot=1e-4,overhead=0.02,seed=2",
    "POOR": "kind=ibm,backend=jakarta,noise=4,shot=2.5e-5,overhead=0.01,seed=3",
}
SHOTS, WIDTH, MAX_QUBITS = 60_000, 12, 4


def main() -> None:
    """Run, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one circuit, fewer shots: a minute or two")
    quick = parser.parse_args().quick
    name = "policies_emulators_quick" if quick else "policies_emulators"
    with tempfile.TemporaryDirectory() as scratch, emulator(Path(scratch)):
        from scheduler_policies import POLICIES

        resources = resources_folder(Path(scratch))
        rows = {
            policy: [run(policy, seed, SHOTS // (4 if quick else 1), resources) for seed in range(1 if quick else 4)]
            for policy in POLICIES
        }
    (HERE / f"{name}.json").write_text(json.dumps({"qpus": QPUS, "shots": SHOTS, "runs": rows}, indent=1) + "\n")
    (HERE / f"{name}.md").write_text(table(rows, quick))
    figure(rows, HERE / f"{name}.png")
    sys.stdout.write(table(rows, quick))


@contextlib.contextmanager
def emulator(scratch: Path) -> Iterator[None]:
    """Three QPUs on loopback for as long as the block lasts, and the variables that lead to them."""
    devices = [argument for name, options in QPUS.items() for argument in ("--device", f"{name}:{options}")]
    command = [sys.executable, "-m", "launch.emulator", "run", "--folder", str(scratch / "qpu"), *devices]
    process = subprocess.Popen(command)
    try:
        while not (scratch / "qpu" / "pid").exists():
            if process.poll() is not None:
                raise SystemExit("the emulator did not start")
            time.sleep(0.1)
        os.environ |= {
            "QOMPASS_QRMI_CONFIG": str(scratch / "qpu" / "qrmi_config.json"),
            "XDG_STATE_HOME": str(scratch / "state"),
            "QOMPASS_LEASES": str(scratch / "leases"),
        }
        for variable in ("QRMI_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_RESOURCES"):
            os.environ.pop(variable, None)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def resources_folder(scratch: Path) -> Path:
    """A resources file with the three QPUs and no processor that could simulate."""
    processors = "".join(
        f'<Processor Name="{name}"><ComputingUnits>1</ComputingUnits><Type>OTHER</Type>'
        "<ProcessorProperty><Key>qompass</Key><Value>qubits=7</Value></ProcessorProperty></Processor>"
        for name in QPUS
    )
    clients = (
        f'<Processor Name="Clients"><ComputingUnits>{len(QPUS) + 1}</ComputingUnits><Type>CPU</Type>'
        "<ProcessorProperty><Key>qompass</Key><Value>clients</Value></ProcessorProperty></Processor>"
    )
    folder = scratch / "resources"
    folder.mkdir()
    (folder / "resources.xml").write_text("<ResourcesList/>\n")
    (folder / "project.xml").write_text(f"<Project><MasterNode>{clients}{processors}</MasterNode></Project>\n")
    return folder


def problem(seed: int) -> tuple[QuantumCircuit, list[SparsePauliOp]]:
    """A chain of rotations and entangling gates, and three observables that are neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(WIDTH)
    for _ in range(2):
        for qubit in range(WIDTH):
            circuit.ry(rng.uniform(0.2, 1.2), qubit)
        for qubit in range(WIDTH - 1):
            circuit.cx(qubit, qubit + 1) if (qubit + 1) % MAX_QUBITS else circuit.rzz(0.2, qubit, qubit + 1)
    zz = SparsePauliOp.from_sparse_list([("ZZ", [q, q + 1], 1.0) for q in range(WIDTH - 1)], WIDTH)
    z = SparsePauliOp.from_sparse_list([("Z", [q], 1.0) for q in range(WIDTH)], WIDTH)
    x = SparsePauliOp.from_sparse_list([("X", [q], 1.0) for q in range(WIDTH)], WIDTH)
    return circuit, [zz / (WIDTH - 1), z / WIDTH, x / WIDTH]


def run(policy: str, seed: int, shots: int, resources: Path) -> dict[str, Any]:
    """One run: errors of its estimates against the truth, the errors it predicts, and its time."""
    from tasks.inputs import make_problem
    from tasks.runtime.record import RunDirectory
    from tasks.workflow import Options
    from tasks.workflow import run as run_workflow

    circuit, observables = problem(seed)
    truth = [float(np.real(Statevector(circuit).expectation_value(o))) for o in observables]
    options = Options(max_qubits=MAX_QUBITS, shots=shots, seed=seed, resources=resources, policy=policy)
    with tempfile.TemporaryDirectory() as parent:
        asked = make_problem(circuit, observables)
        with RunDirectory.create(Path(parent), {"seed": seed}, asked) as directory:
            result = run_workflow(asked, options, directory)
    off = [e.value - wanted for e, wanted in zip(result.estimates, truth, strict=True)]
    used: dict[str, int] = {}
    for stored in result.record["results"].values():
        used[stored["device"]] = used.get(stored["device"], 0) + int(stored.get("shots", 0))
    return {
        "seed": seed,
        "error": float(np.sqrt(mean(np.square(off)))),
        "predicted": float(np.sqrt(mean(e.std_error**2 for e in result.estimates))),
        "seconds": result.record["timings"]["execute"],
        "shots": used,
    }


def table(rows: dict[str, list[dict[str, Any]]], quick: bool) -> str:
    """The runs as Markdown."""
    lines = [
        "# Policies on three emulated QPUs",
        "",
        f"`python -m results.benchmarks.policies_emulators{' --quick' if quick else ''}`: {WIDTH} qubits in fragments "
        f"of at most {MAX_QUBITS}, {SHOTS // (4 if quick else 1):,} shots, readout mitigation. "
        + "; ".join(f"{name}: `{options}`" for name, options in QPUS.items())
        + ". Error: root mean square over observables and circuits of estimate minus truth; the sampling error is what "
        "the runs said of themselves.",
        "",
        "| policy | error | sampling error | seconds | " + " | ".join(f"shots on {name}" for name in QPUS) + " |",
        "|---" * (4 + len(QPUS)) + "|",
    ]
    for policy, runs in rows.items():
        total = sum(sum(one["shots"].values()) for one in runs) or 1
        parts = [f"{sum(one['shots'].get(name, 0) for one in runs) / total:.0%}" for name in QPUS]
        error = np.sqrt(mean(one["error"] ** 2 for one in runs))
        predicted = np.sqrt(mean(one["predicted"] ** 2 for one in runs))
        seconds = mean(one["seconds"] for one in runs)
        lines.append(f"| {policy} | {error:.4f} | {predicted:.4f} | {seconds:.1f} | " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


def figure(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Error against time, a point for each policy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fig, axes = pyplot.subplots(figsize=(6, 4))
    for policy, runs in rows.items():
        seconds = mean(one["seconds"] for one in runs)
        error = float(np.sqrt(mean(one["error"] ** 2 for one in runs)))
        axes.plot(seconds, error, "o")
        axes.annotate(policy, (seconds, error), textcoords="offset points", xytext=(5, 5))
    axes.set_xlabel("seconds until the last result")
    axes.set_ylabel("error of the estimates (rms)")
    axes.set_ylim(bottom=0)
    fig.tight_layout()
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
