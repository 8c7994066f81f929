"""Strict schemas of every kind that the manifests have: a field that is not known fails.

Argo's kinds by the models of hera, the core's by those of the Kubernetes client, Kueue's by kueue.schema.yaml beside
this. Where ``QOMPASS_CRDS`` names a folder with the CustomResourceDefinitions of Argo and Kueue, by those, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

KUEUE = yaml.safe_load(Path(__file__).with_name("kueue.schema.yaml").read_text())
_PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str, "object": object}


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object, a line each."""
    group, _, version = str(document["apiVersion"]).rpartition("/")
    if group == "argoproj.io":
        return _argo(document)
    if group == "kueue.x-k8s.io":
        return [error.message for error in jsonschema.Draft202012Validator(KUEUE).iter_errors(document)]
    return list(core_problems(document, _class_of(group, version, document["kind"]), document["kind"]))


def _argo(document: Mapping[str, Any]) -> list[str]:
    import pydantic
    from hera.workflows import models

    try:
        getattr(models, document["kind"]).model_validate(document, extra="forbid")
    except pydantic.ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return []


def _class_of(group: str, version: str, kind: str) -> str:
    prefixes = {"": "Core", "rbac.authorization.k8s.io": "Rbac", "resource.k8s.io": ""}
    names = [f"{version.capitalize()}{kind}", f"{prefixes.get(group, '')}{version.capitalize()}{kind}"]
    from kubernetes import client

    found = [name for name in names if hasattr(client, name)]
    assert found, f"{group}/{version} {kind} is not known to the Kubernetes client"
    return found[0]


def core_problems(value: Any, kind: str, where: str, *, partial: bool = False) -> Iterator[str]:
    """What is wrong with a value of a type of the Kubernetes client.

    Args:
        value: plain data.
        kind: name of the type, as the client writes it.
        where: it is.
        partial: whether it is a patch, in which nothing is required.
    """
    from kubernetes import client

    if match := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            yield f"{where}: is no list"
            return
        for number, entry in enumerate(value):
            yield from core_problems(entry, match[1], f"{where}[{number}]", partial=partial)
    elif match := re.fullmatch(r"dict\(str, (.*)\)", kind):
        if not isinstance(value, dict):
            yield f"{where}: is no mapping"
            return
        for name, entry in value.items():
            yield from core_problems(entry, match[1], f"{where}.{name}", partial=partial)
    elif kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{where}: {value!r} is no {kind}"
    else:
        model = getattr(client, kind)
        if not isinstance(value, dict):
            yield f"{where}: is no mapping"
            return
        types = {model.attribute_map[name]: own for name, own in model.openapi_types.items()}
        for name, entry in value.items():
            if name not in types:
                yield f"{where}: has no field {name}"
            else:
                yield from core_problems(entry, types[name], f"{where}.{name}", partial=partial)
        if not partial:
            yield from _lacking(model, value, where)


def _lacking(model: Any, value: Mapping[str, Any], where: str) -> Iterator[str]:
    """Required fields that are not there; the client's constructors refuse these alone."""
    given = {name: value[key] for name, key in model.attribute_map.items() if key in value}
    try:
        model(**given)
    except ValueError as error:
        yield f"{where}: {error}"


def definitions(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Strict JSON schemas of the CustomResourceDefinitions in a folder, by apiVersion and kind."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        for version in crd["spec"]["versions"]:
            key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
            found[key] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    closed = {
        name: {key: _strict(entry) for key, entry in value.items()} if name == "properties"
        else _strict(value) if name in ("items", "additionalProperties") and isinstance(value, dict)
        else value
        for name, value in schema.items()
    }  # fmt: skip
    if "properties" in closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed = {"type": ["integer", "string"]}
    return closed
