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
        ("", ("nothing executes tasks",)),
    ],
)
def test_a_master_that_would_not_run(tmp_path, master, words):
    with pytest.raises(ResourcesError) as caught:
        read_nodes(pair(tmp_path, master))
    message = str(caught.value)
    assert "\n" not in message and "project.xml" in message
    assert all(word in message for word in words), message


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
    (tmp_path / "resources.xml").write_text("<Project/>")
    with pytest.raises(ResourcesError, match="must begin with ResourcesList"):
        read_nodes(tmp_path)
    (tmp_path / "resources.xml").unlink()
    with pytest.raises(ResourcesError, match="is missing"):
        read_nodes(tmp_path)


def test_a_qpu_of_unknown_size_or_unsuitable_name(tmp_path):
    with pytest.raises(ResourcesError, match="how many qubits"):
        read_devices(pair(tmp_path, CPU + processor("QPU_A", type="OTHER")))
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
