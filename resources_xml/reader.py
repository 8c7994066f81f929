"""Read a pair of COMPSs files (project.xml, resources.xml) into nodes with processors.

What COMPSs would accept and then die on is refused: https://compss-doc.readthedocs.io (Configuration Files).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree

from resources_xml.errors import ResourcesError

_TYPES = ("CPU", "GPU", "FPGA", "OTHER")
_MOST_BYTES = 4 << 20
_MOST_UNITS = 10**6
_MOST_GIGABYTES = 1e9


@dataclass(frozen=True)
class Processor:
    """One processor of a node.

    Attributes:
        name: what constraints call it; unique within its node.
        type: CPU, GPU, FPGA or OTHER.
        units: computing units, at least 1.
        memory_gb: its own memory, None where the file does not say.
        words: what ``<ProcessorProperty>`` with the key ``qompass`` says about it, split into words.
    """

    name: str
    type: str
    units: int
    memory_gb: float | None = None
    words: tuple[str, ...] = ()

    @property
    def clients(self) -> bool:
        """Whether its units are only for tasks that wait for another processor."""
        return "clients" in self.words


@dataclass(frozen=True)
class Node:
    """A computer that executes tasks.

    Attributes:
        name: as in both files; "" for the master.
        processors: what it has; at least one.
        memory_gb: its memory, None where the file does not say.
    """

    name: str
    processors: tuple[Processor, ...]
    memory_gb: float | None = None

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"node {self.name}" if self.name else "the master node"

    @property
    def most_tasks(self) -> int:
        """How many tasks COMPSs 3.3 executes on it at once, whatever they need: its units of type CPU."""
        return sum(processor.units for processor in self.processors if processor.type == "CPU")


def pair_of(path: Path) -> tuple[Path, Path]:
    """The project and the resources file behind a folder that holds both, or behind either file.

    Raises:
        ResourcesError: if one of them is missing.
    """
    if not path.exists() and path.suffix == ".xml" and path.with_suffix("").is_dir():
        path = path.with_suffix("")  # resources_xml/local_qpu.xml names the pair in resources_xml/local_qpu/
    if not path.exists():
        raise ResourcesError(f"{path}: no such file or folder: name a folder that holds project.xml and resources.xml")
    folder = path if path.is_dir() else path.parent
    project, resources = folder / "project.xml", folder / "resources.xml"
    if path.is_file() and path.name not in ("project.xml", "resources.xml"):
        raise ResourcesError(f"{path}: name it resources.xml, with project.xml beside it, or give the folder")
    for file in (project, resources):
        if not file.is_file():
            raise ResourcesError(f"{file}: is missing: both project.xml and resources.xml are needed")
    return project, resources


def read_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes that execute tasks: the master where it has processors, and every compute node named in both files.

    Args:
        path: a folder with project.xml and resources.xml, or either file.

    Raises:
        ResourcesError: for anything that would not run.
    """
    project_file, resources_file = pair_of(Path(path))
    project, resources = _root(project_file, "Project"), _root(resources_file, "ResourcesList")
    nodes = []
    masters = project.findall("MasterNode")
    if len(masters) != 1:
        raise ResourcesError(f"{project_file}: has {len(masters)} MasterNode elements: give it exactly one")
    if masters[0].findall("Processor"):
        nodes.append(_node("", masters[0], project_file))
    described = _by_name(resources.findall("ComputeNode"), resources_file, "ComputeNode")
    for name in _by_name(project.findall("ComputeNode"), project_file, "ComputeNode"):
        if name not in described:
            raise ResourcesError(f"{project_file}: ComputeNode {name} is not in {resources_file.name}: add it there")
        nodes.append(_node(name, described[name], resources_file))
    if not nodes:
        raise ResourcesError(f"{project_file}: nothing executes tasks: give MasterNode a Processor, or add nodes")
    _check_types_agree(nodes, resources_file)
    return tuple(nodes)


def _root(file: Path, name: str) -> Element:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ResourcesError(f"{file}: is larger than {_MOST_BYTES >> 20} MiB: that is no resources file")
        root: Element = SafeTree.parse(file, forbid_dtd=True, forbid_entities=True, forbid_external=True).getroot()
    except DefusedXmlException as error:
        raise ResourcesError(
            f"{file}: has a document type, entity or external reference ({type(error).__name__}): remove it"
        ) from None
    except ParseError as error:
        raise ResourcesError(f"{file}: is not XML: {error}: mend it there") from None
    except (OSError, LookupError, UnicodeError, ValueError) as error:  # LookupError: of an unknown encoding
        raise ResourcesError(f"{file}: cannot be read: {error}") from None
    if root.tag != name:
        raise ResourcesError(f"{file}: begins with {root.tag}: it must begin with {name}")
    for element in root.iter():
        if "}" in str(element.tag) or any("}" in key for key in element.attrib):
            raise ResourcesError(f"{file}: {element.tag} refers to something outside the file: remove it")
    return root


def _by_name(elements: Iterable[Element], file: Path, what: str) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for element in elements:
        name = element.get("Name", "").strip()
        if not name:
            raise ResourcesError(f"{file}: a {what} has no Name: give it one")
        if name in found:
            raise ResourcesError(f"{file}: two {what} elements are called {name}: rename one")
        found[name] = element
    return found


def _node(name: str, element: Element, file: Path) -> Node:
    where = f"ComputeNode {name}" if name else "MasterNode"
    processors = _by_name(element.findall("Processor"), file, f"{where} Processor")
    memory = element.find("Memory/Size")
    return Node(
        name,
        tuple(_processor(key, value, f"{file}: {where}: Processor {key}") for key, value in processors.items()),
        None if memory is None else _number(memory, f"{file}: {where}: Memory"),
    )


def _processor(name: str, element: Element, where: str) -> Processor:
    kind = element.findtext("Type", "CPU").strip()
    if kind not in _TYPES:
        hint = "OTHER is COMPSs' type for a QPU" if kind.upper() == "QPU" else f"choose one of {', '.join(_TYPES)}"
        raise ResourcesError(f"{where}: has Type {kind}, on which COMPSs ends the run: {hint}")
    text = element.findtext("ComputingUnits", "").strip()
    units = whole_number(text, _MOST_UNITS)
    if units is None:
        raise ResourcesError(
            f"{where}: has ComputingUnits {text[:40] or 'missing'}: give it a whole number of at least 1, at most "
            f"{_MOST_UNITS:,}"
        )
    memory = element.find("InternalMemorySize")
    words = [
        prop.findtext("Value", "").split()
        for prop in element.findall("ProcessorProperty")
        if prop.findtext("Key", "").strip() == "qompass"
    ]
    return Processor(
        name, kind, units, None if memory is None else _number(memory, where), tuple(w for ws in words for w in ws)
    )


def whole_number(text: str, most: int) -> int | None:
    """The whole number from 1 to ``most`` that a text says, None where it says none; however long the text is."""
    digits = text.lstrip("0")
    return int(digits) if digits.isdecimal() and len(digits) <= len(str(most)) and 1 <= int(digits) <= most else None


def _number(element: Element, where: str) -> float:
    try:
        value = float(element.text or "")
    except ValueError:
        value = -1.0
    if not 0 < value <= _MOST_GIGABYTES:
        text = " ".join((element.text or "").split())
        raise ResourcesError(f"{where}: {element.tag} {text:.40} is not a positive number of gigabytes")
    return value


def _check_types_agree(nodes: Iterable[Node], file: Path) -> None:
    # A constraint names a processor, not a node: the same name must mean the same everywhere.
    types: dict[str, str] = {}
    for node in nodes:
        for processor in node.processors:
            if types.setdefault(processor.name, processor.type) != processor.type:
                raise ResourcesError(
                    f"{file}: Processor {processor.name} is of Type {processor.type} on {node.title} and "
                    f"{types[processor.name]} elsewhere: rename one"
                )
