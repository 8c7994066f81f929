"""launch/kubernetes: every object keeps its schema strictly, may do little, and refers to what is there."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jsonschema
import pytest
import yaml

from launch.kubernetes import step, units
from launch.kubernetes.devices import read_site_devices
from launch.kubernetes.emulator_secret import emulator_secrets
from tests.kubernetes.composed import KUBERNETES, OVERLAYS, ROOT, composed, one
from tests.kubernetes.expressions import evaluated
from tests.kubernetes.pods import QUEUE
from tests.kubernetes.schemas import core_problems, definitions, problems

pytestmark = pytest.mark.uses("kustomize")

FILES = {path.name: path for path in (KUBERNETES / "run.yaml", KUBERNETES / "examples/dra.yaml")}
# Made by the six commands of launch/kubernetes/README.md, or optional.
FROM_OUTSIDE = {"Secret": {"qompass-qrmi", "qompass-emulator", "qompass-s3"}, "ConfigMap": {"qompass-problem"}}
WITH_TOKENS = {"plan", "execute-qpu", "reconstruct", "release"}
DIGEST = re.compile(r"[\w./-]+@sha256:[0-9a-f]{64}")


def objects_of(name):
    return list(yaml.safe_load_all(FILES[name].read_text())) if name in FILES else composed(name)


def workflow_of(objects):
    return one(objects, "WorkflowTemplate", "qompass")["spec"]


def pods_of(objects):
    """(name, pod spec, labels) of everything that becomes a pod."""
    for document in objects:
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], spec, document["metadata"].get("labels", {})
        elif document["kind"] in ("Deployment", "DaemonSet"):
            yield document["metadata"]["name"], spec["template"]["spec"], spec["template"]["metadata"]["labels"]
        elif document["kind"] == "WorkflowTemplate":
            for template in spec["templates"]:
                if "container" in template:
                    own = {
                        "containers": [{"name": "main", **template["container"]}],
                        "automountServiceAccountToken": None,
                    }
                    yield template["name"], {**spec, **own}, template["metadata"]["labels"]


@pytest.mark.parametrize("name", [*OVERLAYS, *FILES])
def test_every_object_keeps_its_schema(name):
    pytest.importorskip("hera.workflows", reason="hera is not installed")
    pytest.importorskip("kubernetes.client", reason="the Kubernetes client is not installed")
    for document in objects_of(name):
        assert not problems(document), document["metadata"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_patch_of_a_pod_keeps_the_schema_of_one(name):
    pytest.importorskip("kubernetes.client", reason="the Kubernetes client is not installed")
    spec = workflow_of(composed(name))
    patches = [one["podSpecPatch"] for one in (spec, *spec["templates"]) if "podSpecPatch" in one]
    assert len(patches) == 4
    for own in (yaml.safe_load(spec["podSpecPatch"])[kind] for kind in ("initContainers", "containers")):
        (container,) = own  # Argo's own: `init` and `wait`; user, group and seccomp are those of the pod
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}
    for patch in map(yaml.safe_load, patches):
        assert not list(core_problems(patch, "V1PodSpec", "podSpecPatch", partial=True))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("WorkflowTemplate", ["spec", "templates", 2, "container"]), ("WorkflowTemplate", ["spec", "templates", 2]),
        ("WorkflowTemplate", ["spec", "templates", 2, "retryStrategy", "backoff"]), ("ClusterQueue", ["spec"]),
        ("WorkflowTemplate", ["spec", "templates", 1, "dag", "tasks", 0]), ("LocalQueue", ["spec"]),
        ("ClusterQueue", ["spec", "resourceGroups", 0, "flavors", 0, "resources", 0]), ("ResourceFlavor", []),
        ("Deployment", ["spec", "template", "spec", "containers", 0, "securityContext"]), ("Namespace", ["metadata"]),
        ("DaemonSet", ["spec", "template", "spec"]), ("PersistentVolumeClaim", ["spec"]), ("NetworkPolicy", ["spec"]),
        ("Role", ["rules", 0]), ("Service", ["spec", "ports", 0]),
    ],
)  # fmt: skip
def test_a_field_that_is_not_known_fails(kind, path):
    pytest.importorskip("hera.workflows", reason="hera is not installed")
    pytest.importorskip("kubernetes.client", reason="the Kubernetes client is not installed")
    document = copy.deepcopy(next(o for o in composed("minimal") if o["kind"] == kind))
    inner = document
    for part in path:
        inner = inner[part]
    inner["unknown"] = "x"
    assert "unknown" in " ".join(problems(document))


def test_a_field_that_is_lacking_or_of_another_type_fails():
    pytest.importorskip("kubernetes.client", reason="the Kubernetes client is not installed")
    objects = copy.deepcopy(composed("minimal"))
    role, queue = one(objects, "Role", "qompass-executor"), one(objects, "LocalQueue", "qompass")
    del role["rules"][0]["verbs"], queue["spec"]["clusterQueue"]
    assert problems(role) and problems(queue)
    deployment = one(objects, "Deployment", "qompass-leases")
    deployment["spec"]["replicas"] = "1"
    assert problems(deployment) == ["Deployment.spec.replicas: '1' is no int"]


@pytest.mark.skipif(
    "QOMPASS_CRDS" not in os.environ, reason="QOMPASS_CRDS names no folder with CustomResourceDefinitions"
)
@pytest.mark.parametrize("name", [*OVERLAYS, "run.yaml"])
def test_every_object_keeps_the_definitions_of_argo_and_kueue(name):
    known = definitions(Path(os.environ["QOMPASS_CRDS"]))
    checked = 0
    for document in objects_of(name):
        schema = known.get((document["apiVersion"], document["kind"]))
        if schema:
            checked += 1
            assert not [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    assert checked >= (1 if name == "run.yaml" else 5)


@pytest.mark.slow  # of test_every_container_may_do_as_little_as_it_can, by somebody else's rules
@pytest.mark.skipif(shutil.which("checkov") is None, reason="checkov is not on the PATH")
def test_checkov_finds_nothing(tmp_path):
    ends = {f"checkov.io/skip{number}": f"CKV_K8S_{number}=it ends" for number in (8, 9)}
    for name in OVERLAYS:
        objects = composed(name)
        steps = {template["name"] for template in workflow_of(objects)["templates"]}
        for pod, spec, labels in pods_of(objects):  # it does not look into workflows
            if pod in steps:
                own = {key: spec[key] for key in ("containers", "volumes", "securityContext", "serviceAccountName")}
                metadata = {"name": pod, "namespace": "qompass", "labels": labels, "annotations": ends}
                own |= {"automountServiceAccountToken": False, "restartPolicy": "Never"}
                objects = [*objects, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": own}]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
    shutil.copy(FILES["dra.yaml"], tmp_path)
    command = ["checkov", "-d", str(tmp_path), "--framework", "kubernetes", "--quiet", "--compact", "--skip-download"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [*OVERLAYS, "dra.yaml"])
def test_every_container_may_do_as_little_as_it_can(name):
    found = list(pods_of(objects_of(name)))
    assert found
    for pod, spec, _ in found:
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] >= 10000, pod
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), pod
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
            }, pod  # fmt: skip
            assert DIGEST.fullmatch(container["image"]), pod
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), pod
            assert not any("hostPath" in volume for volume in spec.get("volumes", ())), pod


@pytest.mark.parametrize("name", OVERLAYS)
def test_tokens_are_files_of_the_steps_that_need_them_and_nothing_else(name):
    objects = composed(name)
    for pod, spec, _ in pods_of(objects):
        secrets = {v["name"]: v["secret"] for v in spec.get("volumes", ()) if "secret" in v}
        assert all(secret["defaultMode"] == 0o400 for secret in secrets.values()), pod
        for container in spec["containers"]:
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())} & set(secrets)
            expected = {"tokens"} if pod in WITH_TOKENS else {"token"} if pod == "qompass-emulator" else set()
            assert mounted == expected, pod
            for variable in container.get("env", ()):
                assert "secretKeyRef" not in variable.get("valueFrom", {}), pod
            assert "envFrom" not in container, pod
    spec = workflow_of(objects)
    assert spec["automountServiceAccountToken"] is False and spec["serviceAccountName"] == "qompass"
    rules = {o["metadata"]["name"]: o["rules"] for o in objects if o["kind"] in ("Role", "ClusterRole")}
    assert rules.pop("qompass-executor") == [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    ]
    assert all(
        rule == [{"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]}] for rule in rules.values()
    )
    assert [pod for pod, own, _ in pods_of(objects) if own.get("automountServiceAccountToken")] in (
        [],
        ["qompass-units"],
    )


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("storage", ["volume", "s3"])
def test_what_is_referred_to_is_there_whichever_way_files_are_kept(name, storage, tmp_path):
    """An overlay as it is, and with the other storage in its list, with the same file of the site."""
    overlay = KUBERNETES / "overlays" / name
    text = (overlay / "kustomization.yaml").read_text()
    up = os.path.relpath(KUBERNETES, tmp_path.resolve())
    text = text.replace("../..", up).replace("components/s3,", "X,").replace("components/volume,", "X,")
    (tmp_path / "kustomization.yaml").write_text(text.replace("X,", f"components/{storage},"))
    shutil.copy(overlay / "site.yaml", tmp_path)
    objects = composed(tmp_path)
    assert ("artifactRepositoryRef" in workflow_of(objects)) == (storage == "s3")
    there = {
        kind: {o["metadata"]["name"] for o in objects if o["kind"] == kind} for kind in {o["kind"] for o in objects}
    }
    for kind, names in FROM_OUTSIDE.items():
        there[kind] = there.get(kind, set()) | names
    for pod, spec, _ in pods_of(objects):
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes), pod
        for volume in volumes.values():
            assert "secret" not in volume or volume["secret"]["secretName"] in there["Secret"]
            assert "configMap" not in volume or volume["configMap"]["name"] in there["ConfigMap"]
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in there["PersistentVolumeClaim"]
        assert spec["serviceAccountName"] in there["ServiceAccount"], pod
    if reference := workflow_of(objects).get("artifactRepositoryRef"):
        repository = yaml.safe_load(one(objects, "ConfigMap", reference["configMap"])["data"][reference["key"]])
        models = pytest.importorskip("hera.workflows.models", reason="hera is not installed")
        models.ArtifactRepository.model_validate(repository, extra="forbid")
        assert repository["s3"]["accessKeySecret"]["name"] in there["Secret"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_kueue_has_a_quota_for_every_device_and_every_pod_of_the_workflow_is_in_its_queue(name, tmp_path):
    objects = composed(name)
    queue = one(objects, "ClusterQueue", "qompass")
    (local,) = [o for o in objects if o["kind"] == "LocalQueue"]
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    assert [o["metadata"]["name"] for o in objects if o["kind"] == "Cohort"] == (
        [] if name == "minimal" else [queue["spec"]["cohortName"]]
    )
    spec = workflow_of(objects)
    for template in spec["templates"]:
        assert ("container" in template) == (template.get("metadata", {}).get("labels") == {QUEUE: "qompass"})
        assert ("container" in template) == ("activeDeadlineSeconds" in template) == ("retryStrategy" in template)
    flavors = {o["metadata"]["name"] for o in objects if o["kind"] == "ResourceFlavor"}
    quotas = {}
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            assert flavor["name"] in flavors
            assert [one["name"] for one in flavor["resources"]] == group["coveredResources"]
            for one_ in flavor["resources"]:
                assert "cohortName" in queue["spec"] or not {"borrowingLimit", "lendingLimit"} & set(one_)
                quotas[one_["name"]] = quotas.get(one_["name"], 0) + (
                    int(one_["nominalQuota"]) if one_["nominalQuota"].isdigit() else 0
                )
    (tmp_path / "devices").write_text(one(objects, "ConfigMap", "qompass-devices")["data"]["devices"])
    devices = read_site_devices(tmp_path / "devices")
    assert devices.cpu <= quotas["cpu"] and devices.gpu <= quotas.get("nvidia.com/gpu", 0)
    assert {f"qompass.org/{qpu['name']}" for qpu in devices.qpus} == {n for n in quotas if n.startswith("qompass.org/")}


@pytest.mark.parametrize(
    ("status", "exit_code", "again"),
    [("Failed", 1, False), ("Failed", 2, False), ("Failed", 75, True), ("Failed", 130, True), ("Failed", 137, True),
     ("Failed", 143, True), ("Failed", -1, True), ("Failed", 64, False), ("Error", -1, True)],
)  # fmt: skip
def test_what_is_tried_again_is_decided_by_the_reason(status, exit_code, again):
    for template in workflow_of(composed("qpu"))["templates"]:
        if "container" in template:
            last = {"status": status, "exitCode": str(exit_code)}
            assert evaluated(template["retryStrategy"]["expression"], {"lastRetry": last}) is again


def test_a_large_contraction_gets_the_ranks_of_the_site(tmp_path):
    for flops, ranks in ((1e9, "1"), (1e11, "16")):
        step.tell(tmp_path, {"next": "reconstruct", "network_flops": flops}, 0, 16)
        assert (tmp_path / "ranks").read_text() == ranks
    template = next(t for t in workflow_of(composed("qpu"))["templates"] if t["name"] == "reconstruct")
    assert {"name": "QOMPASS_RANKS", "value": "{{inputs.parameters.ranks}}"} in template["container"]["env"]
    assert '"{{inputs.parameters.ranks}}"' in template["podSpecPatch"]


def test_a_lease_server_that_is_away_is_no_fault_of_the_run(tmp_path, monkeypatch, capsys):
    config = tmp_path / "qrmi_config.json"
    config.write_text('{"resources": []}')
    config.chmod(0o440)  # as it is mounted
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    monkeypatch.setenv("QOMPASS_QRMI_CONFIG", str(config))
    monkeypatch.setenv("QOMPASS_LEASES", "redis://127.0.0.1:1/0")
    for variable in ("QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr("sys.argv", ["step.py", "plan", str(tmp_path / "run")])
    assert step.main() == step.TRY_AGAIN
    assert "cannot be used" in capsys.readouterr().err
    assert (tmp_path / "private/qrmi_config.json").stat().st_mode & 0o777 == 0o600


def test_units_of_qpus_are_said_to_the_node_by_a_patch_of_its_capacity(tmp_path):
    heard = []

    class Server(BaseHTTPRequestHandler):
        def do_PATCH(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, self.headers["Content-Type"], self.headers["Authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    (tmp_path / "token").write_text("a-token\n")
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        units.say_units(f"http://127.0.0.1:{server.server_port}", "node-1", {"QPU_A": 1, "ibm_x": 2}, tmp_path)
        thread.join(30)
    patch = [
        {"op": "add", "path": "/status/capacity/qompass.org~1QPU_A", "value": "1"},
        {"op": "add", "path": "/status/capacity/qompass.org~1ibm_x", "value": "2"},
    ]
    assert heard == [("/api/v1/nodes/node-1/status", "application/json-patch+json", "Bearer a-token", patch)]


@pytest.mark.parametrize("line", ["cpu", "cpu two", "qpu QPU-A 27 1 x", "qpu QPU_A 27", "tpu 1"])
def test_a_line_of_devices_that_cannot_be_read_is_named(tmp_path, line):
    (tmp_path / "devices").write_text(f"# ours\n{line}\n")
    with pytest.raises(ValueError, match=f"line 2: '{line}'"):
        read_site_devices(tmp_path / "devices")


def test_the_emulated_qpu_is_called_the_same_everywhere():
    pytest.importorskip("kubernetes.client", reason="the Kubernetes client is not installed")
    objects = composed("minimal")
    token, config = emulator_secrets("a-token")
    assert not problems(token) and not problems(config)
    entry = json.loads(config["stringData"]["qrmi_config.json"])["resources"][0]
    service = one(objects, "Service", "qompass-emulator")
    (container,) = one(objects, "Deployment", "qompass-emulator")["spec"]["template"]["spec"]["containers"]
    assert any(
        f"http://qompass-emulator:{service['spec']['ports'][0]['port']}/" in v for v in entry["environment"].values()
    )
    assert container["args"][-1].startswith(f"{entry['name']}:") and f"qpu {entry['name']} " in str(objects)


def test_commands_are_files_of_this_checkout():
    told = (KUBERNETES / "README.md").read_text()
    assert all(name in told for name in FROM_OUTSIDE["Secret"] - {"qompass-emulator"} | FROM_OUTSIDE["ConfigMap"])
    for name in OVERLAYS:
        for _, spec, _ in pods_of(composed(name)):
            for container in spec["containers"]:
                for word in container.get("command", ()):
                    if word.startswith("/opt/qompass/"):
                        assert (ROOT / word.removeprefix("/opt/qompass/")).exists(), word
