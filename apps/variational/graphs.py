"""Weighted graphs from files: an edge list, JSON of networkx (``node_link_data``), or GraphML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from tasks.errors import InputError
from tasks.inputs.files import json_of, read_bytes, text_of

MAX_NODES = 1000
_KINDS = "an edge list, JSON of networkx (node_link_data) or GraphML"
_GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"
# As networkx writes an edge's; a brace ends what is looked at, so that many of them take no longer than their length.
_ATTRIBUTES = re.compile(r"\{\s*(?:'weight'\s*:\s*([^{},]+))?[^{}]*\}")
_Edge = tuple[str, str, Any, str]  # two nodes, weight, and where the file says so


@dataclass(frozen=True)
class Graph:
    """An undirected graph without loops or parallel edges, with one edge at least.

    Attributes:
        nodes: their names; a node's place is its qubit.
        edges: (edge, 2) places of nodes, the lower first.
        weights: (edge,) of the edges.
        fields: (node,) of the nodes, 0 where the file gives none.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]
    fields: tuple[float, ...]


def read_graph(path: Path) -> Graph:
    """The graph in a file.

    Edge lists have an edge a line, two names and a weight (1 where there is none), between blanks or commas, or as
    networkx writes them (``0 1 {'weight': 2.5}``); ``#`` begins a comment. A first line that counts nodes and edges, as
    in rudy's files (Gset, Biq Mac), is known by its two numbers where all others have three. Qubits are numbered as the
    nodes are: by their number where all names are numbers, else in the order of the file.

    Raises:
        InputError: the file cannot be read, has no edges, a self-loop, or an edge twice.
    """
    text = text_of(path, read_bytes(path, "graph file"), _KINDS)
    start = text.lstrip()[:1]
    if start == "{":
        return _of_document(path, json_of(path, text))
    return _of_graphml(path, text) if start == "<" else _of_lines(path, text)


def _of_lines(path: Path, text: str) -> Graph:
    edges: list[_Edge] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = _ATTRIBUTES.sub(r"\1", line.partition("#")[0])
        parts = words.replace(",", " ").split()
        where = f"{path}, line {number}"
        if not parts:
            continue
        if not 2 <= len(parts) <= 3:
            raise InputError(f"{where}: an edge is two nodes and a weight, as in `0 1 2.5`: give {_KINDS}")
        edges.append((parts[0], parts[1], parts[2] if len(parts) == 3 else None, where))
    if _counts(edges):
        del edges[0]
    return _graph(path, [], [(a, b, 1.0 if weight is None else weight, where) for a, b, weight, where in edges], {})


def _counts(edges: Sequence[_Edge]) -> bool:
    """Whether the first line says how many nodes and edges there are."""
    if len(edges) < 2 or edges[0][1:3] != (str(len(edges) - 1), None) or None in [edge[2] for edge in edges[1:]]:
        return False
    nodes = edges[0][0]
    return nodes.isdecimal() and len(nodes) < 9 and int(nodes) >= len({name for e in edges[1:] for name in e[:2]})


def _of_document(path: Path, document: Mapping[str, Any]) -> Graph:
    links = document.get("links", document.get("edges"))
    nodes = document.get("nodes", [])
    if not isinstance(links, list) or not isinstance(nodes, list):
        raise InputError(f"{path}: has no lists of 'nodes' and of 'links' or 'edges': write networkx.node_link_data")
    edges: list[_Edge] = []
    for number, link in enumerate(links):
        where = f"{path}: link {number}"
        if not isinstance(link, dict) or not {"source", "target"} <= link.keys():
            raise InputError(f"{where} has no source and target: write networkx.node_link_data")
        edges.append((str(link["source"]), str(link["target"]), link.get("weight", 1.0), where))
    if not all(isinstance(node, dict) and "id" in node for node in nodes):
        raise InputError(f"{path}: a node has no id: write networkx.node_link_data")
    fields = {str(node["id"]): node["field"] for node in nodes if "field" in node}
    return _graph(path, [str(node["id"]) for node in nodes], edges, fields)


def _of_graphml(path: Path, text: str) -> Graph:
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError(f"{path}: not valid GraphML ({error}): correct the file") from error
    names = {key.get("attr.name"): key.get("id") for key in root.iter(f"{_GRAPHML}key")}

    def value(element: Any, name: str) -> str | None:
        found = [d.text for d in element.iter(f"{_GRAPHML}data") if name in names and d.get("key") == names[name]]
        return found[0] if found else None

    nodes = list(root.iter(f"{_GRAPHML}node"))
    edges: list[_Edge] = [
        (str(edge.get("source")), str(edge.get("target")), value(edge, "weight") or 1.0, f"{path}: edge {number}")
        for number, edge in enumerate(root.iter(f"{_GRAPHML}edge"))
    ]
    fields = {str(node.get("id")): own for node in nodes if (own := value(node, "field")) is not None}
    return _graph(path, [str(node.get("id")) for node in nodes], edges, fields)


def _graph(path: Path, nodes: Sequence[str], edges: Sequence[_Edge], fields: Mapping[str, Any]) -> Graph:
    names = list(dict.fromkeys([*nodes, *(name for edge in edges for name in edge[:2])]))
    if all(name.isdecimal() and len(name) < 19 for name in names):
        names.sort(key=int)
    if not edges:
        raise InputError(f"{path}: has no edges: nothing is to be cut: give {_KINDS}")
    if len(names) > MAX_NODES:
        raise InputError(f"{path}: has {len(names):,} nodes: Qompass takes up to {MAX_NODES:,}")
    place = {name: number for number, name in enumerate(names)}
    found: dict[tuple[int, int], float] = {}
    for first, second, weight, where in edges:
        if first == second:
            raise InputError(f"{where}: an edge joins node '{first:.40}' to itself: remove it")
        key = (min(place[first], place[second]), max(place[first], place[second]))
        if key in found:
            raise InputError(f"{where}: the edge '{first:.40}' to '{second:.40}' is given twice: add the weights up")
        found[key] = _number(weight, where, "weight")
    values = tuple(_number(fields.get(name, 0.0), f"{path}: node '{name:.40}'", "field") for name in names)
    return Graph(tuple(names), tuple(found), tuple(found.values()), values)


def _number(value: Any, where: str, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not abs(number) <= 1e12:
        raise InputError(f"{where}: the {what} '{value!s:.40}' is not a number: correct it")
    return number
