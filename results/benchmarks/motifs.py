"""Execution motifs on the engines that are here: ``python -m results.benchmarks.motifs``.

The same as ``qompass motif all --quick`` with one unit and with all cores, on the embedded engine; under runcompss
(``launch/local_compss.sh results/benchmarks/motifs.py``) on COMPSs, where units are those of its resources file; with
``--pilot``, on a pilot of two nodes of a core each that it starts and ends; with ``--qpus``, also on two QPUs of the
emulator (the pilot's too), ``QPU_A`` with one unit and ``QPU_B`` with two. Rows of the engine, device and motifs that
ran replace the earlier ones in motifs.json; motifs.md and motifs.svg are made of all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from apps.motifs.characterise import Characterised, Where, characterise, page
from apps.motifs.couplings import MOTIFS
from apps.report.drawing import rendered
from results.benchmarks.pilot import pilot
from scheduler_policies import Device, Kind
from tasks.execution.run_devices import run_devices
from tasks.pilots import pilot_status
from tasks.runtime import under_compss

_HERE = Path(__file__).parent
_ENGINES = ("embedded", "compss", "cluster", "pilot")
_TOKEN = "token-of-the-benchmark"
_QPUS = ("QPU_A:kind=ibm,backend=lagos,noise=0,shot=2.5e-4", "QPU_B:kind=iqm,backend=nairobi,noise=0,shot=1e-4")
_PROJECT = """<Project><MasterNode>
<Processor Name="CPU"><ComputingUnits>2</ComputingUnits><Type>CPU</Type></Processor>
<Processor Name="Clients"><ComputingUnits>3</ComputingUnits><Type>CPU</Type>
<ProcessorProperty><Key>qompass</Key><Value>clients</Value></ProcessorProperty></Processor>
<Processor Name="QPU_A"><ComputingUnits>1</ComputingUnits><Type>OTHER</Type>
<ProcessorProperty><Key>qompass</Key><Value>qubits=7</Value></ProcessorProperty></Processor>
<Processor Name="QPU_B"><ComputingUnits>2</ComputingUnits><Type>OTHER</Type>
<ProcessorProperty><Key>qompass</Key><Value>qubits=7</Value></ProcessorProperty></Processor>
</MasterNode></Project>
"""


def main() -> None:
    """Measure, keep what other engines gave, write the table and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--only", choices=list(MOTIFS), nargs="*", default=list(MOTIFS))
    parser.add_argument("--scheduler", help="folder of a cluster that executes the tasks")
    parser.add_argument("--pilot", action="store_true", help="start a pilot that executes the tasks")
    parser.add_argument("--qpus", action="store_true", help="on QPUs of the emulator, too")
    chosen = parser.parse_args()
    names = [name for name in MOTIFS if name in chosen.only]
    path = _HERE / "motifs.json"
    before = json.loads(path.read_text()) if path.exists() else {"seconds": {}, "motifs": []}
    sizes = {name: motif.quick for name, motif in MOTIFS.items()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        devices: tuple[Device, ...] = ()
        if chosen.qpus:
            stack.enter_context(emulated(folder))
        if chosen.qpus or under_compss():
            devices = tuple(run_devices(folder / "pair" if chosen.qpus else None))
        where = Where(devices=devices, sizes={name: quick for name in names if (quick := MOTIFS[name].on_qpus)})
        if chosen.pilot:
            shared = {device.processor: 2 * device.units for device in devices if device.kind is Kind.QPU}
            where = replace(where, scheduler=str(stack.enter_context(pilot(2, shared=shared))), label="pilot")
            while len(pilot_status("benchmark").nodes) < 2:
                time.sleep(0.1)
        elif chosen.scheduler:
            where = replace(where, scheduler=chosen.scheduler, label="cluster")
        began = time.perf_counter()
        found = characterise(
            names, sizes, chosen.units, where, 0, folder, lambda line: print(line, file=sys.stderr)
        )  # fmt: skip
        taken = time.perf_counter() - began
    own = found[0].engine
    new = {(row.motif, row.engine, row.device) for row in found}
    rows = [Characterised(**row) for row in before["motifs"]]
    rows = [row for row in rows if (row.motif, row.engine, row.device) not in new]
    earlier = before["seconds"].get(own, 0.0) if any(row.engine == own for row in rows) else 0.0
    seconds = {**before["seconds"], own: earlier + taken}
    order = list(MOTIFS)
    rows = sorted(
        [*rows, *found],
        key=lambda row: (_ENGINES.index(row.engine), row.device, row.units, order.index(row.motif)),
    )
    path.write_text(json.dumps({"seconds": seconds, "motifs": [asdict(row) for row in rows]}, indent=1) + "\n")
    (_HERE / "motifs.md").write_text(_markdown(rows, seconds))
    (_HERE / "motifs.svg").write_bytes(rendered(page(rows).to_dict(), "svg"))


@contextmanager
def emulated(folder: Path) -> Iterator[None]:
    """Two QPUs of the emulator as this process' own, and ``folder``/pair with the files that declare them."""
    # Imported here: COMPSs has a module of its own that is called launch.
    from launch.emulator.options import parse_device
    from launch.emulator.server import Emulator
    from launch.emulator.services import environment

    devices = [parse_device(text) for text in _QPUS]
    emulator = Emulator(devices, _TOKEN)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    (folder / "pair").mkdir()
    (folder / "pair" / "project.xml").write_text(_PROJECT)
    (folder / "pair" / "resources.xml").write_text("<ResourcesList/>")
    config = folder / "qrmi_config.json"
    config.touch(mode=0o600)
    entries = [{"name": d.name, "type": d.kind, "environment": environment(d, emulator.url, _TOKEN)} for d in devices]
    config.write_text(json.dumps({"resources": entries}))
    os.environ |= {"QOMPASS_QRMI_CONFIG": str(config), "QOMPASS_LEASES": str(folder / "leases"),
                   "XDG_STATE_HOME": str(folder / "state")}  # fmt: skip
    try:
        yield
    finally:
        emulator.shutdown()
        emulator.server_close()


def _markdown(rows: list[Characterised], seconds: dict[str, float]) -> str:
    took = ", ".join(f"{name} {own:.0f} s" for name, own in seconds.items())
    lines = [
        "# Execution motifs",
        "",
        f"`python -m results.benchmarks.motifs` wrote this (in all: {took}), on {os.cpu_count()} cores that were busy"
        " with other work: a utilisation below 100 % and a scaling below the units are partly theirs. Circuits of 12"
        " qubits and 4 layers take a few milliseconds, so what is measured is the engine. Overhead: seconds of units"
        " beside the work inside of tasks, a task. Scaling: throughput over that with the fewest units measured of that"
        " device on that engine. `compss`: `launch/local_compss.sh results/benchmarks/motifs.py`, all motifs in one"
        " program, units as its resources file says. `cluster`: workers of `qompass cluster` (`--scheduler`)."
        " `pilot`: `--pilot`, two nodes of a core each. Training and classifier are this process' own work, on one"
        " core, whatever the units; the state vector is its MPI ranks', their start included.",
        "",
        "QPUs are two of the emulator without noise (`--qpus`), circuits of 7 qubits and 1,000 shots: `QPU_A` takes"
        " 0.25 s a circuit and one job at a time, `QPU_B` 0.1 s and two. There the work is the time for which a unit is"
        " held: transpiling, submission, queue, shots, result. Motifs whose tasks are not all circuits have no rows"
        " there.",
        "",
        "| motif | engine | device | units | tasks | seconds | tasks/s | overhead, ms a task | utilisation | scaling |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.motif} | {row.engine} | {row.device} | {row.units} | {row.tasks} | {row.seconds:.2f} |"
            f" {row.throughput:.3g} | {1e3 * row.overhead:.3g} | {row.utilisation:.0%} | {row.scaling:.2f} |"
        )
    return "\n".join([*lines, "", "![Throughput, overhead, utilisation and scaling of every motif](motifs.svg)"]) + "\n"


if __name__ == "__main__":
    main()
