"""A run's folder is a Provenance Run Crate: judged by the validator of the people who wrote the profile, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import requests
from qiskit import QuantumCircuit, qasm2

from apps.cli.main import main
from tasks.runs import read_record
from tasks.runs.crate import AUTHORS_VARIABLE, CRATE_NAME

rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
services = pytest.importorskip("rocrate_validator.services", reason="roc-validator is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crate")
    circuit = QuantumCircuit(6)
    for qubit in range(6):
        circuit.ry(0.3 + qubit, qubit)
    for qubit in range(5):
        circuit.rzz(0.7, qubit, qubit + 1)
    (folder / "six.qasm").write_text(qasm2.dumps(circuit))
    person = {"name": "Ada Example", "orcid": "https://orcid.org/0000-0000-0000-0000", "affiliation": "Example Lab"}
    authors = {"authors": [person], "license": "https://spdx.org/licenses/CC-BY-4.0"}
    (folder / "authors.json").write_text(json.dumps(authors))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(AUTHORS_VARIABLE, str(folder / "authors.json"))
        command = ["run", str(folder / "six.qasm"), "--observable", "Z0 Z5", "--max-qubits", "3", "--shots", "20000"]
        assert main([*command, "--cache", "off", "--out", str(folder / "runs")]) == 0
    (path,) = (folder / "runs").iterdir()
    return path


def _issues(run: Path, patch: pytest.MonkeyPatch) -> list[str]:
    from rocrate_validator.models import Severity
    from rocrate_validator.utils import document_loader, http

    # The package ships a later context, in which Bioschemas' terms have moved; with them put back it serves as 1.1's.
    content = (Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text()
    response = requests.Response()
    response.status_code, response._content = 200, content.replace("bioschemas.org/terms/", "bioschemas.org/").encode()
    response.headers["Content-Type"] = "application/ld+json"
    patch.setattr(http.HttpRequester, "get", lambda self, *url, **more: response, raising=False)
    patch.setattr(document_loader, "_fetch_json_ld", lambda url: response.json())  # nothing is fetched
    settings = services.ValidationSettings(
        rocrate_uri=str(run), profile_identifier="provenance-run-crate", requirement_severity=Severity.REQUIRED,
        offline=True, skip_availability_check=True,
    )  # fmt: skip
    return [f"{issue.check.identifier} {issue.message}" for issue in services.validate(settings).get_issues()]


def test_the_validator_finds_nothing_to_say(run, monkeypatch):
    assert _issues(run, monkeypatch) == []


def test_the_validator_is_not_blind(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "run")
    crate = tmp_path / "run" / CRATE_NAME
    document = json.loads(crate.read_text())
    document["@graph"] = [entity for entity in document["@graph"] if entity["@type"] != "OrganizeAction"]
    for entity in document["@graph"]:
        entity.pop("mainEntity", None)
    crate.write_text(json.dumps(document))
    assert _issues(tmp_path / "run", monkeypatch)


def test_inputs_outputs_software_and_people_are_in_it(run):
    crate, record = rocrate.ROCrate(str(run)), read_record(run)
    action = next(e for e in crate.get_entities() if e.type == "CreateAction" and e.id.startswith("#run-"))
    assert {file.id for file in action["object"]} >= set(record["inputs"]["stored"]) | {"#parameter-seed"}
    assert {"record.json", "trace.csv"} <= {file.id for file in action["result"]}
    for name, digest in record["inputs"]["stored"].items():
        assert crate.dereference(name)["sha256"] == digest
    value = crate.dereference("#estimate-0")
    assert float(value["value"]) == record["estimates"][0]["value"]
    assert repr(record["estimates"][0]["std_error"]) in value["description"]
    assert crate.dereference("#software-qiskit")["softwareVersion"] == record["versions"]["qiskit"]
    assert (
        action["agent"]["name"] == "Ada Example"
        and crate.root_dataset["license"].id == "https://spdx.org/licenses/CC-BY-4.0"
    )
    assert action["agent"]["affiliation"]["name"] == "Example Lab"
    named = {str(entity.id) for entity in crate.data_entities}
    present = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()} - {"lock", CRATE_NAME}
    assert named >= present


def test_a_file_of_authors_that_is_none_changes_nothing_else(run, tmp_path, monkeypatch):
    for content in ("", "[]", '{"authors": 5}', '{"authors": [{}]}'):
        (tmp_path / "authors.json").write_text(content)
        monkeypatch.setenv(AUTHORS_VARIABLE, str(tmp_path / "authors.json"))
        out = tmp_path / f"out{len(content)}"
        command = ["run", str(run.parents[1] / "six.qasm"), "--observable", "Z0", "--max-qubits", "3", "--cache", "off"]
        assert main([*command, "--out", str(out)]) == 0
        (made,) = out.iterdir()
        assert '"Person"' not in (made / CRATE_NAME).read_text()
