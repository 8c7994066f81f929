"""The four pairs of files: valid for COMPSs, and the devices they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources_xml import (
    ResourcesError,
    needs_of_devices,
    read_devices,
    read_nodes,
    this_machine,
    units_of,
    unsatisfied,
)
from scheduler_policies.device import Device, Kind
from scheduler_policies.machine import CPU_SPEED, GPU_SPEED

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT.parent / "shared/data/compss-3.3"
PAIRS = ("local", "local_gpu", "local_qpu", "cluster")
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="COMPSs' schemas (../shared/data/compss-3.3) are absent"
)
FOLDERS = [*(ROOT / "resources_xml" / name for name in PAIRS), ROOT / "tests/engines/resources"]


@needs_schemas
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("file", ("project", "resources"))
def test_validates_against_the_schema_of_compss(folder, file):
    etree = pytest.importorskip("lxml.etree")
    schema = etree.XMLSchema(etree.parse(SCHEMAS / f"{file}_schema.xsd"))
    schema.assertValid(etree.parse(folder / f"{file}.xml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_says_who_it_is_for_and_can_run_every_device_task(folder):
    assert "<!-- For " in (folder / "project.xml").read_text() + (folder / "resources.xml").read_text()
    nodes = read_nodes(folder)
    sizes = {"QPU_A": 5, "QPU_B": 7}
    assert unsatisfied(needs_of_devices("execute", read_devices(folder, sizes)), nodes) == []
    for node in nodes:
        # Tasks that wait must not take the places of those that compute.
        computing = sum(p.units for p in node.processors if p.type == "CPU" and not p.clients)
        waiting = sum(p.units for p in node.processors if p.type != "CPU")
        assert node.most_tasks >= computing + waiting, node.title


def _found(name):
    return [
        (d.name, d.kind, d.units, d.qubits, d.memory_bytes, d.node) for d in read_devices(ROOT / "resources_xml" / name)
    ]


def test_devices_of_the_pairs():
    assert _found("local") == [("CPU", Kind.CPU, 2, None, 4 * 10**9, "")]
    assert _found("local_gpu") == [
        ("CPU", Kind.CPU, 4, None, 4 * 10**9, ""),
        ("GPU", Kind.GPU, 1, None, 16 * 10**9, ""),
    ]
    assert _found("local_qpu") == [
        ("CPU", Kind.CPU, 2, None, 4 * 10**9, ""),
        ("QPU_A", Kind.QPU, 1, 27, None, ""),
        ("QPU_B", Kind.QPU, 2, 7, None, ""),
    ]
    assert _found("cluster") == [
        ("CPU", Kind.CPU, 48, None, 4 * 10**9, ""),
        ("GPU", Kind.GPU, 3, None, 40 * 10**9, ""),
        ("QPU_A", Kind.QPU, 2, 27, None, "node1"),
    ]


def test_either_file_of_a_pair_stands_for_it():
    folder = ROOT / "resources_xml/local_qpu"
    assert read_devices(folder / "resources.xml") == read_devices(folder / "project.xml") == read_devices(folder)


def test_a_target_says_a_qpus_size_better_than_the_file():
    devices = read_devices(ROOT / "resources_xml/local_qpu", {"QPU_B": 11})
    assert [device.qubits for device in devices] == [None, 27, 11]


def test_units_for_the_embedded_engine():
    assert units_of(read_devices(ROOT / "resources_xml/local_qpu")) == {"CPU": 2, "QPU_A": 1, "QPU_B": 2}
    assert units_of(this_machine(3)) == {"CPU": 3}


def test_prices_are_read_from_the_property(tmp_path):
    text = "qubits=5 price_per_job=0.5 price_per_shot=0.0002 price_per_second=1.6"
    (device,) = read_devices(_one(tmp_path, text))
    assert vars(device.price) == {"per_job": 0.5, "per_shot": 0.0002, "per_second": 1.6}
    (free,) = read_devices(_one(tmp_path, "qubits=5"))
    assert not any(vars(free.price).values())


@pytest.mark.parametrize("word", ["price_per_shot=cheap", "price_per_shot=-1", "price_per_job=inf", "price=3"])
def test_a_price_that_is_none_is_refused(tmp_path, word):
    with pytest.raises(ResourcesError, match=r"^Processor QPU_A: .*price"):
        read_devices(_one(tmp_path, f"qubits=5 {word}"))


def test_a_processor_of_that_name_on_several_nodes_is_one_device(tmp_path):
    node = (
        "<ComputeNode Name='{0}'><Processor Name='CPU'><ComputingUnits>{1}</ComputingUnits></Processor>"
        "<Processor Name='F'><ComputingUnits>1</ComputingUnits><Type>FPGA</Type></Processor>"
        "<Memory><Size>{2}</Size></Memory></ComputeNode>"
    )
    (tmp_path / "resources.xml").write_text(
        f"<ResourcesList>{node.format('a', 4, 16)}{node.format('b', 2, 6)}</ResourcesList>"
    )
    (tmp_path / "project.xml").write_text(
        "<Project><MasterNode/><ComputeNode Name='a'/><ComputeNode Name='b'/></Project>"
    )
    (device,) = read_devices(tmp_path)
    assert (device.name, device.units, device.memory_bytes, device.node) == ("CPU", 6, 3 * 10**9, "")


def test_units_and_memory_of_a_task_are_those_of_what_it_takes(tmp_path):
    two = Device("A", Kind.CPU, units=3, computing_units=2, processor="P")
    assert units_of([two, Device("B", Kind.CPU, units=1, processor="")]) == {"P": 6}
    own = "<InternalMemorySize>12</InternalMemorySize>"
    text = "<Processor Name='{0}'><ComputingUnits>4</ComputingUnits><Type>{0}</Type>{1}</Processor>"
    (tmp_path / "resources.xml").write_text("<ResourcesList/>")
    for more, memory in ((own, 3 * 10**9), ("", 2 * 10**9)):
        (tmp_path / "project.xml").write_text(
            f"<Project><MasterNode>{text.format('CPU', more)}{text.format('GPU', more)}<Memory><Size>8</Size></Memory>"
            "</MasterNode></Project>"
        )
        cpu, gpu = read_devices(tmp_path)
        # What the node has is shared by its cores; a GPU has its own or is not said to have any.
        assert (cpu.memory_bytes, gpu.memory_bytes) == (memory, 3 * 10**9 if more else None)
        assert (cpu.speed, gpu.speed, cpu.units, cpu.node) == (CPU_SPEED, GPU_SPEED, 4, "")


def test_what_the_property_says_of_a_qpu(tmp_path):
    (device,) = read_devices(_one(tmp_path, "qubits=1 type=ibm-quantum-compute-service"))
    assert (device.qubits, device.resource_type, device.node) == (1, "ibm-quantum-compute-service", "")
    for words in ("qubits=0", "qubits=-1", "qubits=many"):
        with pytest.raises(ResourcesError, match="how many qubits"):
            read_devices(_one(tmp_path, words))
    assert read_devices(_one(tmp_path, "clients")) == ()


def _one(folder, words):
    (folder / "resources.xml").write_text("<ResourcesList/>")
    (folder / "project.xml").write_text(
        "<Project><MasterNode><Processor Name='QPU_A'><ComputingUnits>1</ComputingUnits><Type>OTHER</Type>"
        f"<ProcessorProperty><Key>qompass</Key><Value>{words}</Value></ProcessorProperty></Processor>"
        "</MasterNode></Project>"
    )
    return folder


def test_a_simulator_is_as_wide_as_the_file_says_or_as_its_memory(tmp_path):
    processor = "<Processor Name='CPU'><ComputingUnits>1</ComputingUnits>{0}</Processor>"
    word = "<ProcessorProperty><Key>qompass</Key><Value>qubits={0}</Value></ProcessorProperty>"
    (tmp_path / "resources.xml").write_text("<ResourcesList/>")
    found = []
    for text in ("", word.format(20), word.format("700"), word.format("wide")):
        (tmp_path / "project.xml").write_text(f"<Project><MasterNode>{processor.format(text)}</MasterNode></Project>")
        if "wide" in text:
            with pytest.raises(ResourcesError, match="Processor CPU: qubits=wide is not a width"):
                read_devices(tmp_path)
        else:
            found += [device.qubits for device in read_devices(tmp_path)]
    assert found == [None, 20, 700]
