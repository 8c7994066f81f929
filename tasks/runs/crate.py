"""A run's folder as an RO-Crate: what was computed from what, by which software, in which steps.

Follows the Provenance Run Crate profile 0.5 (https://w3id.org/ro/wfrun/provenance/0.5), as COMPSs 3.4 writes it. Plain
JSON-LD, made without a library: it is written at the end of every run, and reading one in would take longer than that.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import mimetypes
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.runs.trace import TaskRow

CRATE_NAME = "ro-crate-metadata.json"
WORKFLOW_NAME = "workflow.py"
CRATE_VARIABLE = "QOMPASS_CRATE"
"""``off`` where somebody else describes the run: COMPSs, with ``-p``."""
AUTHORS_VARIABLE = "QOMPASS_AUTHORS"
"""Names the file that says who ran it: {"authors": [{"name", "orcid", "affiliation"}], "license": URL}."""

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
# What the second of the profiles' contexts says of the one term of it that is used here.
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
_LICENSE = "https://spdx.org/licenses/Apache-2.0"
_STEPS = {
    "cut": "finds cuts and splits the circuit into fragments",
    "execute": "runs variants, or whole fragments, on devices",
    "tensor": "builds the tensor of a fragment from its results",
    "allocate": "decides which variants get further shots",
    "reconstruct": "contracts the tensors to values and standard errors",
}
_STATUS = {"done": "CompletedActionStatus", "failed": "FailedActionStatus", "interrupted": "FailedActionStatus"}
_OMITTED = frozenset({CRATE_NAME, "lock"})

Entity = dict[str, Any]


def crate_document(run: Path, record: Mapping[str, Any], rows: Sequence[TaskRow]) -> dict[str, Any]:
    """The content of ``ro-crate-metadata.json`` for a run that has ended.

    Args:
        run: its folder; what lies in it is listed.
        record: its record.
        rows: of its trace.
    """
    began, ended = str(record["created"]), str(record.get("updated") or record["created"])
    people, license_ = _authors()
    files = list(_files(run))
    inputs, made = _inputs(record), _parameters(record)
    outputs = [file for file in files if file["@id"] not in record["inputs"]["stored"] and file["@id"] != WORKFLOW_NAME]
    results = _estimates(record)
    steps = [stage for stage in _STEPS if any(row.stage == stage for row in rows)]
    actions = _actions(record, rows, steps)
    agent = [_ref(person) for person in people if person["@type"] == "Person"]
    status = f"http://schema.org/{_STATUS.get(record['status'], 'ActiveActionStatus')}"
    own: Entity = {
        "@id": f"#run-{record['run']}",
        "@type": "CreateAction",
        "name": f"Qompass run {record['run']}",
        "instrument": {"@id": WORKFLOW_NAME},
        "startTime": began,
        "endTime": ended,
        "actionStatus": {"@id": status},
        "object": [_ref(entity) for entity in (*inputs, *made)],
        "result": [_ref(entity) for entity in (*outputs, *results)],
    }
    if record.get("error"):
        own["error"] = record["error"]
    if agent:
        own["agent"] = agent[0]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Qompass run {record['run']}",
        "description": f"Expectation values of a circuit by circuit cutting; the run is {record['status']}.",
        "datePublished": ended,
        "license": {"@id": license_},
        "conformsTo": [{"@id": profile} for profile in _PROFILES],
        "hasPart": [_ref(file) for file in files],
        "mainEntity": {"@id": WORKFLOW_NAME},
        "mentions": [_ref(own)],
        **({"author": agent} if agent else {}),
    }
    descriptor: Entity = {
        "@id": CRATE_NAME,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": [{"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": list(_PROFILES)[-1]}],
    }
    graph = [
        descriptor, root, *files, *_workflow(files, steps), *_software(record), *people, own, *inputs, *made, *results,
        *actions, *_organised(record, steps, actions), *_descriptions(license_),
    ]  # fmt: skip
    return {"@context": _CONTEXT, "@graph": list({str(entity["@id"]): entity for entity in graph}.values())}


def _ref(entity: Mapping[str, Any]) -> Entity:
    return {"@id": entity["@id"]}


def _files(run: Path) -> Iterable[Entity]:
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if name in _OMITTED or any(part.startswith(".") for part in path.relative_to(run).parts):
            continue
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                entity: Entity = {"@id": name, "@type": "File", "name": name, "contentSize": str(path.stat().st_size)}
                kind = {".qpy": "application/x-qpy", ".npz": "application/zip", ".jsonl": "application/jsonl"}
                entity["encodingFormat"] = kind.get(path.suffix) or mimetypes.guess_type(name)[0] or "text/plain"
                yield entity


def _workflow(files: list[Entity], steps: Sequence[str]) -> list[Entity]:
    """The main workflow, the tools its steps use, and how they follow one another."""
    files[:] = [file for file in files if file["@id"] != WORKFLOW_NAME]
    workflow: Entity = {
        "@id": WORKFLOW_NAME,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "Qompass: cut, execute, reconstruct",
        "encodingFormat": "text/x-python",
        "programmingLanguage": {"@id": "https://www.python.org/"},
        "hasPart": [{"@id": f"#tool-{stage}"} for stage in steps],
        "step": [{"@id": f"#step-{stage}"} for stage in steps],
    }
    tools = [
        {"@id": f"#tool-{stage}", "@type": "SoftwareApplication", "name": f"task {stage}", "description": _STEPS[stage]}
        for stage in steps
    ]
    how = [
        {
            "@id": f"#step-{stage}",
            "@type": "HowToStep",
            "position": str(number),
            "workExample": {"@id": f"#tool-{stage}"},
        }
        for number, stage in enumerate(steps)
    ]
    address = "https://www.python.org/"
    python: Entity = {"@id": address, "@type": "ComputerLanguage", "name": "Python", "url": address}
    return [workflow, *tools, *how, python]


def _actions(record: Mapping[str, Any], rows: Sequence[TaskRow], steps: Sequence[str]) -> list[Entity]:
    """What each step did, one action a step and device: a run may have a hundred thousand tasks; trace.csv has them."""
    began = datetime.datetime.fromisoformat(record["created"])
    found = []
    for stage in steps:
        own: dict[str, list[TaskRow]] = {}
        for row in rows:
            if row.stage == stage and row.started is not None and row.ended is not None:
                own.setdefault(row.device or "application", []).append(row)
        for device, its in sorted(own.items()):
            first, last = min(row.started or 0.0 for row in its), max(row.ended or 0.0 for row in its)
            failed = sum(bool(row.failure or row.error) for row in its)
            told = f"{len(its)} tasks on {device}, {sum(row.seconds or 0.0 for row in its):.3f} s of work"
            found.append(
                {
                    "@id": f"#action-{stage}-{_identifier(device)}",
                    "@type": "CreateAction",
                    "name": f"{stage} on {device}",
                    "description": told + (f", {failed} failed" if failed else ""),
                    "instrument": {"@id": f"#tool-{stage}"},
                    "startTime": (began + datetime.timedelta(seconds=first)).isoformat(timespec="milliseconds"),
                    "endTime": (began + datetime.timedelta(seconds=last)).isoformat(timespec="milliseconds"),
                    "object": [{"@id": name} for name in record["inputs"]["stored"]],
                    "result": [{"@id": "record.json"}],
                }
            )
    return found


def _organised(record: Mapping[str, Any], steps: Sequence[str], actions: Sequence[Entity]) -> list[Entity]:
    """How the engine ran the steps."""
    engine = record.get("engine") or {"name": "none", "version": ""}
    controls: list[Entity] = []
    for stage in steps:
        did = [_ref(action) for action in actions if action["instrument"]["@id"] == f"#tool-{stage}"]
        if did:
            control = {"@id": f"#control-{stage}", "@type": "ControlAction", "name": f"orchestrates {stage}"}
            controls.append({**control, "instrument": {"@id": f"#step-{stage}"}, "object": did})
    organise: Entity = {
        "@id": "#organise",
        "@type": "OrganizeAction",
        "name": f"run of the {engine['name']} engine",
        "instrument": {"@id": "#engine"},
        "object": [_ref(control) for control in controls],
        "result": {"@id": f"#run-{record['run']}"},
        "startTime": record["created"],
    }
    software: Entity = {"@id": "#engine", "@type": "SoftwareApplication", "name": f"{engine['name']} engine"}
    software["softwareVersion"] = str(engine["version"])
    return [*controls, *([organise, software] if controls else [])]


def _inputs(record: Mapping[str, Any]) -> list[Entity]:
    given = {name: own for name, own in record["inputs"].items() if name != "stored" and "path" in own}
    stored = [{"@id": name, "@type": "File", "name": name, "sha256": digest,
               "encodingFormat": "application/x-qpy" if name.endswith("qpy") else "application/zip"}
              for name, digest in record["inputs"]["stored"].items()]  # fmt: skip
    files = [
        {"@id": f"#input-{name}", "@type": "PropertyValue", "name": name, "value": Path(own["path"]).name,
         "identifier": f"sha256:{own['sha256']}"}
        for name, own in given.items()
    ]  # fmt: skip
    return [*stored, *files]


def _parameters(record: Mapping[str, Any]) -> list[Entity]:
    options = record.get("options") or {}
    given = {name: value for name, value in options.items() if value is not None and name not in ("cuts", "cache")}
    return [
        {"@id": f"#parameter-{name}", "@type": "PropertyValue", "name": name, "value": str(value)}
        for name, value in sorted(given.items())
    ]


def _estimates(record: Mapping[str, Any]) -> list[Entity]:
    return [
        {
            "@id": f"#estimate-{number}",
            "@type": "PropertyValue",
            "name": own["observable"],
            "value": repr(own["value"]),
            "description": f"standard error {own['std_error']!r}",
        }
        for number, own in enumerate((record.get("estimates") or ())[:1000])
    ]


def _software(record: Mapping[str, Any]) -> list[Entity]:
    return [
        {"@id": f"#software-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for name, version in sorted((record.get("versions") or {}).items())
    ]


def _descriptions(license_: str) -> list[Entity]:
    profiles: list[Entity] = [
        {"@id": url, "@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]}
        for url, name in _PROFILES.items()
    ]
    return [*profiles, {"@id": license_, "@type": "CreativeWork", "name": license_.rpartition("/")[2]}]


def _authors() -> tuple[list[Entity], str]:
    """Who ran it, with the places where they work, and the licence; both from a file of theirs."""
    path = os.environ.get(AUTHORS_VARIABLE)
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    try:
        document = json.loads(Path(path or os.path.join(home, "qompass", "authors.json")).read_text())
        found: list[Entity] = []
        for number, own in enumerate(document["authors"]):
            person: Entity = {
                "@id": own.get("orcid") or f"#author-{number}",
                "@type": "Person",
                "name": str(own["name"]),
            }
            if own.get("affiliation"):
                place = {"@id": f"#organisation-{number}", "@type": "Organization", "name": str(own["affiliation"])}
                person["affiliation"] = _ref(place)
                found.append(place)
            found.append(person)
        return found, str(document.get("license") or _LICENSE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or not in this form: nobody is named
        return [], _LICENSE


def _identifier(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)
