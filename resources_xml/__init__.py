"""COMPSs' project and resources files, and the reader that turns them into the devices Qompass may use."""

from resources_xml.check import Need, needs_of_devices, unsatisfied
from resources_xml.devices import devices_of, read_devices, this_machine, units_of
from resources_xml.errors import ResourcesError
from resources_xml.reader import Node, Processor, pair_of, read_nodes

__all__ = [
    "Need",
    "Node",
    "Processor",
    "ResourcesError",
    "devices_of",
    "needs_of_devices",
    "pair_of",
    "read_devices",
    "read_nodes",
    "this_machine",
    "units_of",
    "unsatisfied",
]
