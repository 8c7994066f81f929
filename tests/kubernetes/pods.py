"""Pods as processes of this machine: volumes are folders, artifacts are in an S3 store, quotas are those of Kueue.

Where root may, a container is one (container.py): its own paths, a read-only root, the user and group of the manifest.
Elsewhere its paths are replaced by those of its volumes' folders. The names of Services are replaced by addresses; the
process gets the container's environment and that of the image, nothing of ours.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.kubernetes.composed import ROOT
from tests.kubernetes.container import contained, hand_over, why_no_container

QUEUE = "kueue.x-k8s.io/queue-name"
_IMAGE = {"HYDRA_LAUNCHER": "fork", "PATH": "/usr/local/bin:/usr/bin:/bin"}
_UNPACKED: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python from 3.10.12, 3.11.4
_SUFFIXES = {"m": 1e-3, "": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str | int) -> float:
    """The number that a quantity of Kubernetes says."""
    match = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text))
    assert match, text
    return float(match[1]) * _SUFFIXES[match[2]]


@dataclass
class Pod:
    """A pod that ran or runs.

    Attributes:
        template: its name.
        arguments: the values of the template's inputs.
        folder: of what is its own.
        requests: of its main container.
        mounts: path in the container -> folder here.
        command: its words, and the values of its environment.
    """

    template: str
    arguments: Mapping[str, str]
    folder: Path
    requests: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, Path] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    lost: bool = False
    exit_code: int | None = None

    def kill(self) -> None:
        """The container's processes are killed, as for memory: exit status 137."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)

    def lose(self) -> None:
        """The node is lost, with everything on it."""
        assert self.process is not None
        self.lost = True
        for process in psutil.Process(self.process.pid).children(recursive=True):
            process.kill()
        self.kill()

    @property
    def said(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text()

    def here(self, text: str) -> str:
        """A text with the container's paths replaced by ours."""
        paths = "|".join(map(re.escape, sorted(self.mounts, key=len, reverse=True)))
        return re.sub(rf"(?<![\w/.-])({paths})(?![\w.-])", lambda match: str(self.mounts[match[1]]), text)


class Quotas:
    """The nominal quotas of a ClusterQueue: a pod waits until its requests fit."""

    def __init__(self, cluster_queue: Mapping[str, Any]) -> None:
        self._left: dict[str, float] = {}
        for group in cluster_queue["spec"]["resourceGroups"]:
            for flavor in group["flavors"]:
                for resource in flavor["resources"]:
                    name = resource["name"]
                    self._left[name] = self._left.get(name, 0.0) + quantity(resource["nominalQuota"])
        self._all = dict(self._left)
        self._changed = threading.Condition()

    def take(self, requests: Mapping[str, float]) -> None:
        """Wait until there is room, and take it."""
        for name, number in requests.items():
            assert number <= self._all.get(name, 0.0), f"never admitted: {name} {number} of {self._all.get(name)}"
        with self._changed:
            self._changed.wait_for(lambda: all(n <= self._left[name] for name, n in requests.items()))
            for name, number in requests.items():
                self._left[name] -= number

    def give_back(self, requests: Mapping[str, float]) -> None:
        """The pod has ended."""
        with self._changed:
            for name, number in requests.items():
                self._left[name] += number
            self._changed.notify_all()


class Node:
    """Runs pods.

    Args:
        objects: what is in the cluster.
        folder: for volumes.
        secrets: name -> file -> content.
        addresses: name of a Service with its port -> where it is.
        store: an S3 client and its bucket; None where there is no artifact.
        started: told of every pod whose process has just been started.
    """

    def __init__(
        self,
        objects: list[dict[str, Any]],
        folder: Path,
        *,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        addresses: Mapping[str, str] | None = None,
        store: tuple[Any, str] | None = None,
        started: Callable[[Pod], None] = lambda pod: None,
    ) -> None:
        self._objects, self._folder, self._store, self._started = objects, folder, store, started
        self._secrets, self._addresses = secrets or {}, addresses or {}
        (queue,) = [o for o in objects if o["kind"] == "ClusterQueue"]
        self._quotas = Quotas(queue)
        self._queues = {o["metadata"]["name"] for o in objects if o["kind"] == "LocalQueue"}
        self.pods: list[Pod] = []

    def run(
        self, spec: Mapping[str, Any], template: Mapping[str, Any], arguments: Mapping[str, str]
    ) -> tuple[str, Pod]:
        """Run the pod of a template, all of whose tags are filled; its phase, and the pod."""
        assert template["metadata"]["labels"][QUEUE] in self._queues, "Kueue knows nothing of this pod"
        pod = Pod(template["name"], arguments, self._folder / "pods" / f"{len(self.pods)}-{template['name']}")
        self.pods.append(pod)
        pod.folder.mkdir(parents=True)
        container = _patched(template["container"], spec.get("podSpecPatch"), template.get("podSpecPatch"))
        pod.requests = container["resources"]["requests"]
        requests = {name: quantity(text) for name, text in pod.requests.items()}
        self._quotas.take(requests)
        try:
            self._mount(pod, spec, container)
            for artifact in template.get("inputs", {}).get("artifacts", ()):
                self._load(pod, artifact, spec["securityContext"]["runAsUser"])
            return self._phase(pod, spec["securityContext"], container, template), pod
        finally:
            self._quotas.give_back(requests)

    def _phase(
        self, pod: Pod, context: Mapping[str, Any], container: Mapping[str, Any], template: Mapping[str, Any]
    ) -> str:
        command = [*container["command"], *container["args"]]
        environment = dict(_IMAGE)
        for variable in container["env"]:
            environment[variable["name"]] = variable["value"]
            for service, address in self._addresses.items():
                environment[variable["name"]] = environment[variable["name"]].replace(service, address)
        pod.command = [*command, *environment.values()]
        if why_no_container():
            environment = {name: pod.here(value) for name, value in {**environment, "TMPDIR": "/tmp"}.items()}
            command = [sys.executable if word == "python3" else pod.here(word) for word in command]
        else:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            root = pod.folder / "root"
            root.mkdir()
            user, group = context["runAsUser"], context["fsGroup"]
            command = contained(command, environment, pod.mounts, root, user, group)
            environment = {"PATH": os.environ["PATH"]}
        with open(pod.folder / "log", "wb") as log:
            pod.process = subprocess.Popen(
                command, env=environment, cwd=pod.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            self._started(pod)
            try:
                status = pod.process.wait(float(template["activeDeadlineSeconds"]))
            except subprocess.TimeoutExpired:  # the kubelet ends it, at last by SIGKILL
                pod.kill()
                status = pod.process.wait()
        pod.exit_code = 128 - status if status < 0 else status
        if pod.lost:
            return "Error"
        if status:
            return "Failed"
        for artifact in template.get("outputs", {}).get("artifacts", ()):
            self._save(pod, artifact)
        return "Succeeded"

    def _mount(self, pod: Pod, spec: Mapping[str, Any], container: Mapping[str, Any]) -> None:
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        pod.mounts["/opt/qompass"] = ROOT
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            folder = pod.folder / "volumes" / mount["name"]
            if claim := volume.get("persistentVolumeClaim"):
                folder = self._folder / "claims" / claim["claimName"]
            folder.mkdir(parents=True, exist_ok=True)
            if not why_no_container():
                hand_over(folder, spec["securityContext"]["fsGroup"], 0o2777 if "emptyDir" in volume else 0o2775)
            pod.mounts[mount["mountPath"]] = folder
            if wanted := volume.get("configMap"):
                found = [
                    o for o in self._objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == wanted["name"]
                ]
                assert found or wanted.get("optional"), wanted
                for name, text in (found[0]["data"] if found else {}).items():
                    (folder / name).write_text(text)
            if secret := volume.get("secret"):
                assert secret["secretName"] in self._secrets or secret.get("optional"), secret
                for name, text in self._secrets.get(secret["secretName"], {}).items():
                    (folder / name).write_text(text)
                    # the kubelet lets the pod's group read what is mounted
                    mode = secret["defaultMode"] | (0o040 if spec["securityContext"]["fsGroup"] else 0)
                    if why_no_container():
                        (folder / name).chmod(mode)
                    else:
                        hand_over(folder / name, spec["securityContext"]["fsGroup"], mode)

    def _load(self, pod: Pod, artifact: Mapping[str, Any], user: int) -> None:
        """An input artifact: a packed one is unpacked at its path, a key that is a prefix is a folder."""
        assert self._store is not None
        client, bucket = self._store
        key, path = artifact["s3"]["key"], Path(pod.here(artifact["path"]))
        found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1000).get("Contents", [])
        if not found:
            assert artifact.get("optional"), f"there is no {key}"
            return
        for entry in found:
            content = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            if artifact.get("archive") == {"none": {}}:
                file = path / entry["Key"].removeprefix(key) if entry["Key"] != key else path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            else:
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    archive.extractall(pod.folder / "unpacked", **_UNPACKED)
                (unpacked,) = (pod.folder / "unpacked").iterdir()
                shutil.move(unpacked, path)
        if not why_no_container():  # Argo's own container is the same user
            for one in [path, *path.rglob("*")]:
                os.chown(one, user, user, follow_symlinks=False)

    def _save(self, pod: Pod, artifact: Mapping[str, Any]) -> None:
        """An output artifact: packed, or with `archive: {none: {}}` as it is, file by file."""
        assert self._store is not None
        client, bucket = self._store
        key, path = artifact["s3"]["key"], Path(pod.here(artifact["path"]))
        if artifact.get("archive") == {"none": {}}:
            for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
                own = key if path.is_file() else f"{key.rstrip('/')}/{file.relative_to(path)}"
                client.put_object(Bucket=bucket, Key=own, Body=file.read_bytes())
        else:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as archive:
                archive.add(path, path.name)
            client.put_object(Bucket=bucket, Key=key, Body=packed.getvalue())


def _patched(container: Mapping[str, Any], *patches: str | None) -> dict[str, Any]:
    """The main container with the workflow's and the template's patches, which change nothing but its resources."""
    resources = {name: dict(values) for name, values in container["resources"].items()}
    for patch in filter(None, patches):
        for own in yaml.safe_load(patch).get("containers", ()):
            if own["name"] == "main":
                assert set(own) == {"name", "resources"}, own
                for name, values in own["resources"].items():
                    resources.setdefault(name, {}).update(values)
    return {**container, "resources": resources}
