"""A prolog action of enqueue_compss: give the nodes that COMPSs has described the job's QPUs, and hand all to Qompass.

usage: add_qpus.py RUN

COMPSs has written its project and resources files for the allocation (PROJECT_FILE, RESOURCES_FILE) and not yet read
them. It runs this on every node; the files are changed by the first that sees them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring, tostring

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from defusedxml.ElementTree import parse

from launch.slurm.job import devices_ready
from launch.slurm.jobs import processor, qpu_processor, read_job
from tasks.errors import QompassError
from tasks.runs.storage import write_atomically


def main(run: Path) -> int:
    """Add the processors, and copy the pair to ``RUN/job/resources``."""
    if "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_STEP_ID") != "4294967291":
        return 0  # on a worker node: the batch script's own call does it
    job = read_job(run)
    if not devices_ready(run, {**job, "own_resources": False}):
        return 3  # it comes again when the QPU is there
    resources, project = Path(os.environ["RESOURCES_FILE"]), Path(os.environ["PROJECT_FILE"])
    root = parse(resources).getroot()
    nodes = root.findall("ComputeNode")
    if not nodes:
        print("add_qpus.py: COMPSs has described no node", file=sys.stderr)
        return 2
    for number, node in enumerate(nodes):
        clients = job["gpus"]
        if number == 0:  # QPUs are reached from every node: they are the first one's
            clients += sum(qpu["units"] for qpu in job["qpus"])
            _add(node, [qpu_processor(qpu) for qpu in job["qpus"]])
        if clients:
            _add(node, [processor("Clients", "CPU", clients, "clients")])
    pair = run / "job/resources"
    pair.mkdir(exist_ok=True)
    write_atomically(resources, tostring(root, encoding="utf-8", xml_declaration=True))
    write_atomically(pair / "resources.xml", resources.read_bytes())
    write_atomically(pair / "project.xml", project.read_bytes())
    return 0


def _add(node: Element, processors: list[str]) -> None:
    """Put processors after those that the node has."""
    there = {element.get("Name") for element in node.findall("Processor")}
    place = max((index for index, element in enumerate(node) if element.tag == "Processor"), default=-1) + 1
    for text in reversed(processors):
        element = fromstring(text)
        if element.get("Name") not in there:
            node.insert(place, element)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except QompassError as error:
        print(f"add_qpus.py: {error}", file=sys.stderr)
        sys.exit(2)
