"""What COMPSs would accept and then die or hang on is refused in one line that says where and what to do."""

from __future__ import annotations

import pytest

from resources_xml import Need, ResourcesError, needs_of_devices, read_devices, read_nodes, unsatisfied

CPU = "<Processor Name='CPU'><ComputingUnits>2</ComputingUnits></Processor>"
NODE = "<ComputeNode Name='{name}'>{inside}</ComputeNode>"


def processor(name="P", units="1", type="CPU", more=""):
    return f"<Processor Name='{name}'><ComputingUnits>{units}</ComputingUnits><Type>{type}</Type>{more}</Processor>"


def pair(folder, master=CPU, nodes="", resources="", head=""):
    (folder / "project.xml").write_text(f"{head}<Project><MasterNode>{master}</MasterNode>{nodes}</Project>")
    (folder / "resources.xml").write_text(f"<ResourcesList>{resources}</ResourcesList>")
    return folder


@pytest.mark.parametrize(
    ("master", "words"),
    [
        (processor("Q", type="QPU"), ("Processor Q", "QPU", "OTHER")),
        (processor("Q", type="TPU"), ("Processor Q", "TPU", "CPU, GPU")),
        (processor("P", units="0"), ("Processor P", "ComputingUnits 0", "at least 1")),
        (processor("P", units="-2"), ("ComputingUnits -2",)),
        (processor("P", units="two"), ("ComputingUnits two",)),
        (processor("P", units=""), ("ComputingUnits missing",)),
        (processor("P") + processor("P"), ("two MasterNode Processor", "P", "rename")),
        ("<Processor><ComputingUnits>1</ComputingUnits></Processor>", ("no Name",)),
        (CPU + "<Memory><Size>-1</Size></Memory>", ("Memory", "-1")),
        (CPU + "<Memory><Size>nan</Size></Memory>", ("Memory", "nan")),
        (CPU + "<Memory><Size>0</Size></Memory>", ("Memory", "0")),
        (CPU + "<Memory><Size>inf</Size></Memory>", ("Memory", "inf")),
        (CPU + "<Memory><Size>much</Size></Memory>", ("MasterNode: Memory", "much")),
        (processor(more="<InternalMemorySize>-2</InternalMemorySize>"), ("Processor P", "InternalMemorySize -2")),
        (processor(units="1.5"), ("ComputingUnits 1.5",)),
        (processor(units="9" * 5000), ("Processor P", "ComputingUnits 999", "at most 1,000,000")),
        (processor(units="1000001"), ("ComputingUnits 1000001", "at most 1,000,000")),
        (processor(more="<InternalMemorySize>1e308</InternalMemorySize>"), ("Processor P", "InternalMemorySize 1e308")),
        (CPU + "</MasterNode><MasterNode>" + CPU, ("has 2 MasterNode elements", "exactly one")),
        ("", ("nothing executes tasks",)),
    ],
)
def test_a_master_that_would_not_run(tmp_path, master, words):
    with pytest.raises(ResourcesError) as caught:
        read_nodes(pair(tmp_path, master))
    message = str(caught.value)
    assert "\n" not in message and "project.xml" in message
    assert all(word in message for word in words), message


def test_a_project_without_a_master(tmp_path):
    pair(tmp_path)
    (tmp_path / "project.xml").write_text("<Project/>")
    with pytest.raises(ResourcesError, match="has 0 MasterNode elements: give it exactly one"):
        read_nodes(tmp_path)


def test_a_file_is_read_up_to_four_mebibytes(tmp_path):
    pair(tmp_path)
    body = (tmp_path / "project.xml").read_text()
    (tmp_path / "project.xml").write_text(body + " " * ((4 << 20) - len(body)))
    assert read_nodes(tmp_path)
    (tmp_path / "project.xml").write_text(body + " " * ((4 << 20) - len(body) + 1))
    with pytest.raises(ResourcesError, match=r"project\.xml: is larger than 4 MiB"):
        read_nodes(tmp_path)


@pytest.mark.parametrize("attribute", ["", "Name=' '"])
def test_a_node_without_a_name(tmp_path, attribute):
    pair(tmp_path, resources=f"<ComputeNode {attribute}>{CPU}</ComputeNode>")
    with pytest.raises(ResourcesError, match=r"resources\.xml: a ComputeNode has no Name"):
        read_nodes(tmp_path)


def test_what_is_optional_or_surrounded_by_blanks_is_read(tmp_path):
    more = (
        "<InternalMemorySize>0.5</InternalMemorySize><ProcessorProperty><Key>colour</Key><Value>red</Value>"
        "</ProcessorProperty><ProcessorProperty><Key> qompass </Key><Value>clients  a=1</Value></ProcessorProperty>"
    )
    text = CPU + processor(" G ", " 3 ", " GPU ", more) + "<Memory><Size>8</Size></Memory>"
    (node,) = read_nodes(pair(tmp_path, text))
    assert node.memory_gb == 8 and node.title == "the master node" and node.most_tasks == 2
    cpu, gpu = node.processors
    assert (cpu.name, cpu.type, cpu.units, cpu.memory_gb, cpu.words) == ("CPU", "CPU", 2, None, ())
    assert (gpu.name, gpu.type, gpu.units, gpu.memory_gb, gpu.words) == ("G", "GPU", 3, 0.5, ("clients", "a=1"))
    assert gpu.clients and not cpu.clients


def test_the_master_comes_first_and_nodes_in_the_order_of_the_project(tmp_path):
    nodes = "".join(NODE.format(name=name, inside="") for name in ("b", "a"))
    resources = "".join(NODE.format(name=name, inside=CPU) for name in ("a", "b", "unused"))
    found = read_nodes(pair(tmp_path, nodes=nodes, resources=resources))
    assert [(node.name, node.title) for node in found] == [
        ("", "the master node"),
        ("b", "node b"),
        ("a", "node a"),
    ]


def test_entities_and_external_references(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("77")
    heads = [
        f"<!DOCTYPE Project [<!ENTITY n SYSTEM 'file://{secret}'>]>",
        "<!DOCTYPE Project [<!ENTITY n '2'>]>",
        "<!DOCTYPE Project SYSTEM 'http://127.0.0.1:9/x.dtd'>",
    ]
    for head in heads:
        with pytest.raises(ResourcesError, match="remove it"):
            read_nodes(pair(tmp_path, CPU.replace("2", "&n;") if "ENTITY" in head else CPU, head=head))
    include = f"<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='{secret}' parse='text'/>"
    with pytest.raises(ResourcesError, match="outside the file"):
        read_nodes(pair(tmp_path, CPU + include))


def test_nodes_that_do_not_match(tmp_path):
    node = NODE.format(name="n1", inside=CPU)
    with pytest.raises(ResourcesError, match=r"ComputeNode n1 is not in resources\.xml"):
        read_nodes(pair(tmp_path, nodes=NODE.format(name="n1", inside="")))
    with pytest.raises(ResourcesError, match="two ComputeNode elements are called n1"):
        read_nodes(pair(tmp_path, nodes=NODE.format(name="n1", inside=""), resources=node + node))
    other = NODE.format(name="n2", inside=processor("CPU", type="GPU"))
    both = "".join(NODE.format(name=name, inside="") for name in ("n1", "n2"))
    with pytest.raises(ResourcesError, match="Processor CPU is of Type GPU on node n2 and CPU elsewhere"):
        read_nodes(pair(tmp_path, nodes=both, resources=node + other))
    assert [n.name for n in read_nodes(pair(tmp_path, "", NODE.format(name="n1", inside=""), node + other))] == ["n1"]


def test_files_that_are_none(tmp_path):
    pair(tmp_path)
    with pytest.raises(ResourcesError, match=r"name it resources\.xml"):
        other = tmp_path / "other.xml"
        other.write_text("<ResourcesList/>")
        read_nodes(other)
    (tmp_path / "resources.xml").write_text("<ResourcesList>")
    with pytest.raises(ResourcesError, match="line 1"):
        read_nodes(tmp_path)
    (tmp_path / "resources.xml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResourcesError):
        read_nodes(tmp_path)
    for encoding in ("nosuch", "rot13", "base64"):
        (tmp_path / "resources.xml").write_text(f"<?xml version='1.0' encoding='{encoding}'?><ResourcesList/>")
        with pytest.raises(ResourcesError, match=rf"resources\.xml: cannot be read: .*{encoding}"):
            read_nodes(tmp_path)
    (tmp_path / "resources.xml").write_text("<Project/>")
    with pytest.raises(ResourcesError, match="must begin with ResourcesList"):
        read_nodes(tmp_path)
    (tmp_path / "resources.xml").unlink()
    with pytest.raises(ResourcesError, match=r"resources\.xml: is missing"):
        read_nodes(tmp_path)
    with pytest.raises(ResourcesError, match="nowhere: no such file or folder"):
        read_nodes(tmp_path / "nowhere")


def test_a_name_beside_a_folder_stands_for_the_pair_in_it(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    pair(folder)
    assert read_nodes(tmp_path / "mine.xml") == read_nodes(folder)
    with pytest.raises(ResourcesError, match="no such file or folder"):
        read_nodes(tmp_path / "mine.txt")


def test_attributes_of_another_namespace(tmp_path):
    text = CPU.replace("<Processor ", "<Processor xmlns:o='urn:other' o:href='x' ")
    with pytest.raises(ResourcesError, match="outside the file"):
        read_nodes(pair(tmp_path, text))


def test_a_qpu_of_unknown_size_or_unsuitable_name(tmp_path):
    with pytest.raises(ResourcesError, match="how many qubits"):
        read_devices(pair(tmp_path, CPU + processor("QPU_A", type="OTHER")))
    for size in ("9" * 5000, "1000001", "0", "-1"):
        told = f"<ProcessorProperty><Key>qompass</Key><Value>qubits={size}</Value></ProcessorProperty>"
        with pytest.raises(ResourcesError, match="how many qubits"):
            read_devices(pair(tmp_path, CPU + processor("QPU_A", type="OTHER", more=told)))
    with pytest.raises(ResourcesError, match="letters, digits and _"):
        read_devices(pair(tmp_path, CPU + processor("qpu-a", type="OTHER")), {"qpu-a": 5})


def test_the_check_before_submission_says_which_task_cannot_run(tmp_path):
    qubits = {"QPU_A": 5}
    nodes = read_nodes(pair(tmp_path, CPU + processor("QPU_A", type="OTHER") + "<Memory><Size>4</Size></Memory>"))
    devices = read_devices(tmp_path, qubits)
    assert unsatisfied([*needs_of_devices("execute", devices), Need("cut", memory_gb=4)], nodes) == []
    lines = unsatisfied(
        [Need("cut", units=3), Need("load", memory_gb=5), Need("run", processor="QPU_B", type="OTHER"), Need("ok")],
        nodes,
    )
    assert len(lines) == 3
    for line, words in zip(
        lines, [("cut", "3", "offers 2"), ("load", "5 GB"), ("run", "QPU_B", "offers 0")], strict=True
    ):
        assert all(word in line for word in words), line
    only_qpu = read_nodes(pair(tmp_path, processor("QPU_A", type="OTHER")))
    lines = unsatisfied(needs_of_devices("execute", read_devices(tmp_path, qubits)), only_qpu)
    assert any("no processor of Type CPU" in line for line in lines)


def test_a_need_says_what_the_node_would_have_to_have(tmp_path):
    assert Need("a") == Need("a", units=1, processor="", type="CPU", memory_gb=0.0)
    nodes = read_nodes(pair(tmp_path, processor("A", "2") + processor("B", "3") + processor("G", "9", "GPU")))
    assert (
        unsatisfied([Need("a", 3), Need("b", 2, "A"), Need("c", 9, "G", "GPU"), Need("d", memory_gb=999)], nodes) == []
    )
    for need, words in (
        (
            Need("a", 4),
            "task a needs 4 computing units of processors of Type CPU on one node; the resources file offers 3",
        ),
        (Need("b", 3, "A"), "task b needs 3 computing units of processor A on one node; the resources file offers 2"),
        (Need("c", 1, "G"), "task c needs 1 computing units of processor G on one node; the resources file offers 0"),
    ):
        (line,) = unsatisfied([need], nodes)
        assert line.startswith(words), line
    (line,) = unsatisfied([Need("a")], [])
    assert "offers 0" in line
    assert unsatisfied([Need("a")], read_nodes(pair(tmp_path, processor("A", "1")))) == []
    nodes = "".join(NODE.format(name=name, inside="") for name in ("n1", "n2"))
    resources = NODE.format(name="n1", inside=CPU) + NODE.format(name="n2", inside=processor("CPU", "3"))
    (line,) = unsatisfied([Need("a", 4)], read_nodes(pair(tmp_path, "", nodes, resources)))
    assert "offers 3" in line


def test_only_nodes_without_a_cpu_are_warned_of(tmp_path):
    nodes = read_nodes(pair(tmp_path, CPU, NODE.format(name="n1", inside=""), NODE.format(name="n1", inside=CPU)))
    assert unsatisfied([], nodes) == []
    gpu = NODE.format(name="n1", inside=processor("G", type="GPU"))
    nodes = read_nodes(pair(tmp_path, CPU, NODE.format(name="n1", inside=""), gpu))
    (line,) = unsatisfied([Need("a")], nodes)
    assert line.startswith("node n1 has no processor of Type CPU")
    (line, _) = unsatisfied([Need("g", 1, "G", "GPU")], nodes)
    assert "task g needs 1 computing units of processor G" in line


@pytest.mark.parametrize(
    "head", ["<!DOCTYPE Project [<!ELEMENT Project ANY>]>", "<!DOCTYPE Project SYSTEM 'project.dtd'>"]
)
def test_a_document_type_of_any_kind(tmp_path, head):
    with pytest.raises(ResourcesError, match=r"project\.xml: has a document type, entity or external reference"):
        read_nodes(pair(tmp_path, head=head))
