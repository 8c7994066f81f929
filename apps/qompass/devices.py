"""Backends of Qiskit as devices of a run, beside the CPUs, GPUs and QPUs of a resources file."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from defusedxml.ElementTree import parse

from resources_xml import pair_of
from tasks.errors import InputError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@contextlib.contextmanager
def devices(
    *named: str, resources: Path | str | None = None, simulate: bool = True, seed: int = 0, **backends: Any
) -> Iterator[Path]:
    """Make backends devices that policies place fragments on, with leases, mitigation and a place in the record.

    >>> from qiskit import QuantumCircuit
    >>> from qompass import devices, estimate
    >>> circuit = QuantumCircuit(4)
    >>> _ = circuit.h(0); _ = [circuit.cx(qubit, qubit + 1) for qubit in range(3)]
    >>> with devices("aer", simulate=False) as resources:
    ...     found = estimate(circuit, "Z0 Z3", max_qubits=2, shots=4000, resources=resources, cache="off")
    >>> abs(found[0].value - 1) < 0.3
    True

    Args:
        named: backends that have a name: fake ones (``"fake_torino"``), ``"aer"``.
        resources: a COMPSs resources file (or its folder) whose devices stay; None for this machine's cores.
        simulate: whether fragments may be simulated on this machine's cores, too, where ``resources`` is None.
        seed: of simulators.
        backends: by the name that records and reports should show: what ``QompassEstimator(backend=...)`` takes, a
            noise model of Aer, a ``BackendV2`` or a ``SamplerV2`` of any provider.

    Yields:
        what to give as ``resources``: for as long as the block lasts.

    Raises:
        InputError: a name is none, or there is no such backend.
        ResourcesError: the resources file cannot be used.
    """
    from tasks.execution.qpu.served import serving
    from tasks.execution.qpu.vendors import SERVED

    every = {name: name for name in named} | backends
    if not every:
        raise InputError("no backend is given: name one (`devices('fake_torino')`)", field="backends")
    for name in every:
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name:.40}' cannot be a device's name: letters, digits and _", field="backends")
    with serving(every, seed) as widths, tempfile.TemporaryDirectory(prefix="qompass-") as folder:
        pair = Path(folder)
        _write_pair(pair, None if resources is None else Path(resources), widths, SERVED, simulate)
        yield pair


def _write_pair(folder: Path, resources: Path | None, widths: Mapping[str, int], kind: str, simulate: bool) -> None:
    """Project and resources files with one more processor for each name, on the node that comes first."""
    if resources is None:
        project, others = Element("Project"), Element("ResourcesList")
        node = SubElement(project, "MasterNode")
        if simulate:
            _add(node, "CPU", "CPU", os.cpu_count() or 1, "")
    else:
        project, others = (parse(path).getroot() for path in pair_of(resources))
        compute, master = others.find("ComputeNode"), project.find("MasterNode")
        node = master if master is not None and master.find("Processor") is not None else compute
        if node is None:
            raise InputError(f"{resources}: no node has a processor: name other `resources`", field="resources")
    _add(node, "BackendClients", "CPU", len(widths), "clients")
    for name, qubits in widths.items():
        _add(node, name, "OTHER", 1, f"qubits={qubits} type={kind}")
    (folder / "project.xml").write_bytes(tostring(project, encoding="utf-8", xml_declaration=True))
    (folder / "resources.xml").write_bytes(tostring(others, encoding="utf-8", xml_declaration=True))


def _add(node: Element, name: str, kind: str, units: int, words: str) -> None:
    there = [place for place, own in enumerate(node) if own.tag == "Processor"]
    if any(node[place].get("Name") == name for place in there):
        raise InputError(f"the resources file has a processor '{name}' already: call the backend otherwise")
    processor = Element("Processor", Name=name)
    SubElement(processor, "ComputingUnits").text = str(units)
    SubElement(processor, "Type").text = kind
    if words:
        said = SubElement(processor, "ProcessorProperty")
        SubElement(said, "Key").text = "qompass"
        SubElement(said, "Value").text = words
    node.insert(there[-1] + 1 if there else 0, processor)
