"""Read a pair of COMPSs files before runcompss does, and refuse what it would accept and then die on.

usage: resources_of.py PATH

Prints a line for each node that COMPSs reaches over ssh: its address (``user@name`` where the project names a user) and
its working folder. Status 2 with one line on stderr where the files cannot be used.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree.ElementTree import Element

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from defusedxml.ElementTree import parse

from resources_xml import ResourcesError, pair_of, read_nodes


def main(path: Path) -> int:
    """Check the pair and list its compute nodes."""
    try:
        names = {node.name for node in read_nodes(path)} - {""}
        project = pair_of(path)[0]
    except ResourcesError as error:
        print(f"local_compss: {error}", file=sys.stderr)
        return 2
    for element in parse(project).iter("ComputeNode"):
        if element.get("Name", "").strip() in names:
            print(address(element), element.findtext("WorkingDir", "").strip())
    return 0


def address(element: Element) -> str:
    """What ssh calls the node."""
    user = element.findtext("User", "").strip()
    name = element.get("Name", "").strip()
    return f"{user}@{name}" if user else name


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
