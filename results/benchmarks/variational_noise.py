"""The loop on noisy QPUs: ``python -m results.benchmarks.variational_noise [--seeds N] [--evaluations N]``.

MaxCut of 8 nodes, two rings of four with a chord each, joined by one edge; QAOA with p = 1 in fragments of at most 4
qubits, from a start far off, by COBYLA on three QPU emulators of different noise, pace and price. Three ways: the
policy ``availability``, ``balanced`` with as many shots, and ``balanced`` with no more money for an evaluation
(``budget``) than ``availability`` pays. The order of the devices in the resources file, which ``availability`` goes by,
is another for each seed. What was paid is what the emulators charged. Writes variational_noise.md, .json and .png
beside this file after each way; what is in variational_noise.json is not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from qiskit.quantum_info import Statevector

from apps.variational.energies import maxcut
from apps.variational.graphs import Graph
from apps.variational.loop import State
from apps.variational.program import begin, optimise
from apps.variational.settings import Settings
from launch.emulator.options import DeviceOptions, parse_device
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from results.benchmarks.policies_real import PRICES, resources
from tasks.options import Options

_HERE = Path(__file__).parent
_TOKEN = "token-of-the-benchmark"
_DEVICES = {
    "QPU_GOOD": "kind=ibm,backend=lagos,noise=0.5,queue=0.2,shot=4e-5,seed=11",
    "QPU_USUAL": "kind=ibm,backend=lagos,noise=1.0,queue=0.1,shot=2e-5,seed=12",
    "QPU_FAST": "kind=ibm,backend=lagos,noise=4.0,queue=0.02,shot=1e-5,seed=13",
}
_WAYS = ("availability", "balanced", "balanced, budget")
_SHOTS = 4000
_START = (0.1, 0.1)


def main() -> None:
    """Measure all ways with all seeds, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=20)
    chosen = parser.parse_args()
    devices = [parse_device(f"{name}:{text}") for name, text in _DEVICES.items()]
    emulator = Emulator(devices, _TOKEN)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    stored = _HERE / "variational_noise.json"
    rows: list[dict[str, Any]] = json.loads(stored.read_text())["rows"] if stored.exists() else []
    known = {(row["seed"], row["way"]): row for row in rows}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        _lead_to(emulator, devices, folder)
        for seed in range(chosen.seeds):
            names = [*_DEVICES][seed % 3 :] + [*_DEVICES][: seed % 3]
            where = resources(folder / f"seed{seed}", names)
            for way in _WAYS:
                if (seed, way) in known:
                    continue
                path = known[seed, "availability"]["path"] if way.endswith("budget") else []
                budget = path[-1]["money"] / len(path) if path else None
                made = _optimised(emulator, where, way, seed, chosen.evaluations, budget, folder / "runs")
                known[seed, way] = made
                print(json.dumps({key: value for key, value in made.items() if key != "path"}), flush=True)
                rows.append(made)
                _write(rows)
    emulator.shutdown()
    emulator.server_close()


def _write(rows: list[dict[str, Any]]) -> None:
    seeds = len({row["seed"] for row in rows})
    document = {"seeds": seeds, "shots": _SHOTS, "devices": _DEVICES, "prices": PRICES, **_bounds(),
                "cores": os.cpu_count(), "rows": rows}  # fmt: skip
    (_HERE / "variational_noise.json").write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / "variational_noise.md").write_text(_markdown(document))
    _figure(document)


def graph() -> Graph:
    """Two rings of four, a chord in each, one edge between them."""
    edges = [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2), (4, 5), (5, 6), (6, 7), (4, 7), (5, 7), (3, 4)]
    return Graph(tuple(map(str, range(8))), tuple(edges), (1.0,) * len(edges), (0.0,) * 8)


def _settings(options: Options, evaluations: int) -> Settings:
    return Settings(maxcut(graph()), "qaoa", 1, "cobyla", evaluations, 1e-3, 5, _START, _SHOTS, 0, options)


def _bounds() -> dict[str, float]:
    """The noiseless energies of the start and of the best parameters."""
    from scipy.optimize import minimize

    settings = _settings(Options(), 1)
    corners = [minimize(lambda x: noiseless(settings, x), (beta, gamma)).fun
               for beta in (0.2, 0.6) for gamma in (0.3, 0.9)]  # fmt: skip
    return {"start": noiseless(settings, np.array(_START)), "best": float(min(corners))}


def noiseless(settings: Settings, point: np.ndarray) -> float:
    """The energy of these parameters where nothing errs."""
    state = Statevector(settings.circuit.circuit.assign_parameters(point))
    return float(np.real(state.expectation_value(settings.hamiltonian.operator)))


def _lead_to(emulator: Emulator, devices: Sequence[DeviceOptions], folder: Path) -> None:
    entries = [{"name": d.name, "type": d.kind, "environment": environment(d, emulator.url, _TOKEN)} for d in devices]
    config = folder / "qrmi_config.json"
    config.touch(0o600)
    config.write_text(json.dumps({"resources": entries}))
    os.environ |= {
        "QRMI_JOB_QPU_RESOURCES": ",".join(d.name for d in devices),
        "QRMI_JOB_QPU_TYPES": ",".join(d.kind for d in devices),
        "QOMPASS_QRMI_CONFIG": str(config),
        "XDG_STATE_HOME": str(folder / "state"),
        "QOMPASS_LEASES": str(folder / "leases"),
    }


def _paid(emulator: Emulator) -> dict[str, int]:
    """Shots that each device has taken, calibrations of readout among them."""
    return {name: sum(shots for job in device.jobs.values() for _, shots in job.work)
            for name, device in emulator.devices.items()}  # fmt: skip


def _optimised(
    emulator: Emulator, where: Path, way: str, seed: int, evaluations: int, budget: float | None, out: Path
) -> dict[str, Any]:
    options = Options(max_qubits=4, shots=_SHOTS, seed=seed, engine="embedded", cache="off", resources=where,
                      policy=way.partition(",")[0], budget=budget, mitigation="none")  # fmt: skip
    settings = _settings(options, evaluations)
    before, began = _paid(emulator), time.perf_counter()
    path: list[dict[str, Any]] = []

    def told(state: State) -> None:
        if state.evaluations == len(path) or state.parameters is None:
            return  # the measurement at the end
        spent = {name: count - before[name] for name, count in _paid(emulator).items()}
        path.append({
            "energy": state.energies[-1], "best": state.best, "noiseless": noiseless(settings, state.parameters),
            "shots": sum(spent.values()), "money": sum(PRICES[name] * count for name, count in spent.items()),
            "by_device": spent, "seconds": time.perf_counter() - began,
        })  # fmt: skip

    with begin(settings, out, {}) as directory:
        found = optimise(directory, settings, told)
    point = np.array([found.parameters[p.name] for p in settings.circuit.circuit.parameters])
    return {"way": way, "seed": seed, "budget": budget, "energy": found.energy, "std_error": found.std_error,
            "noiseless": noiseless(settings, point), "path": path}  # fmt: skip


def at_cost(path: Sequence[dict[str, Any]], money: float) -> dict[str, Any]:
    """The last evaluation that was paid for with this much."""
    paid = [step for step in path if step["money"] <= money * (1 + 1e-9)]
    return paid[-1] if paid else path[0]


def _markdown(document: dict[str, Any]) -> str:
    rows = document["rows"]
    lines = [
        "# The loop on noisy QPUs",
        "",
        "`python -m results.benchmarks.variational_noise` wrote this: MaxCut of 8 nodes in fragments of at most 4"
        f" qubits, QAOA with p = 1, COBYLA, {document['shots']:,} shots an evaluation, no mitigation,"
        f" {document['seeds']} seeds (each with another order of the devices in the resources file). Noiseless, the"
        f" energy is {document['start']:.3f} at the start and {document['best']:.3f} at the best parameters.",
        "",
        "| device | price of a shot | emulator |",
        "|---|---:|---|",
        *(f"| {name} | {document['prices'][name]:g} | `{text}` |" for name, text in document["devices"].items()),
        "",
        "Means over the seeds, ± standard error. *Energy*: measured at the end, at the parameters found; *noiseless*:"
        " of the same parameters. *At equal money*: the lowest energy measured until as much had been paid as"
        " `availability` paid in all with the same seed.",
        "",
        "| way | energy | noiseless | at equal money | evaluations | shots | money | good, usual, fast shots"
        " | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    limits = {row["seed"]: row["path"][-1]["money"] for row in rows if row["way"] == "availability"}
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        ends = [row["path"][-1] for row in own]
        total = sum(end["shots"] for end in ends)
        shares = ", ".join(f"{sum(end['by_device'][name] for end in ends) / total:.0%}" for name in _DEVICES)
        equal = [at_cost(row["path"], limits[row["seed"]])["best"] for row in own]
        lines.append(
            f"| {way} | {_mean([row['energy'] for row in own])} | {_mean([row['noiseless'] for row in own])} |"
            f" {_mean(equal)} | {mean(len(row['path']) for row in own):.0f} | {total / len(own):,.0f} |"
            f" {mean(end['money'] for end in ends):.2f} | {shares} | {mean(end['seconds'] for end in ends):.0f} |"
        )
    lines += ["", "Seed by seed, energy at the end (standard error of each"
              f" {mean(row['std_error'] for row in rows):.3f}):", "",
              "| seed | " + " | ".join(_WAYS) + " |", "|---|" + "---:|" * len(_WAYS)]  # fmt: skip
    for seed in sorted(limits):
        found = {row["way"]: f"{row['energy']:.3f}" for row in rows if row["seed"] == seed}
        lines.append(f"| {seed} | " + " | ".join(found.get(way, "") for way in _WAYS) + " |")
    lines += [
        "",
        "`balanced` did not keep the budget: it said that the predicted price and error were both above their bounds.",
    ]
    return "\n".join([*lines, "", "![Energy against cost](variational_noise.png)"]) + "\n"


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"


def _figure(document: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for axis, cost in zip(axes, ("shots", "money"), strict=True):
        for number, way in enumerate(_WAYS):
            for row in document["rows"]:
                if row["way"] == way:
                    label = way if row["seed"] == 0 else None
                    axis.step([step[cost] for step in row["path"]], [step["best"] for step in row["path"]],
                              where="post", color=f"C{number}", alpha=0.7, label=label)  # fmt: skip
        axis.axhline(document["best"], color="grey", linestyle=":", label="best, noiseless")
        axis.set_xlabel(f"{cost} paid")
    axes[0].set_ylabel("lowest energy measured so far")
    axes[1].legend(fontsize=8)
    figure.savefig(_HERE / "variational_noise.png", dpi=110)


if __name__ == "__main__":
    main()
