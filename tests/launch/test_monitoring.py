"""Metrics of a run: what a real Prometheus gets, what the rules say of it, and that nobody who watches stops a run."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")

from apps.metrics import registry_of, serve
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "launch" / "monitoring"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
EVIL = 'a "name\\ with\nall'


@pytest.fixture
def watched(tmp_path):
    """A run of two devices, one of them a QPU, in its second round."""
    with RunDirectory.create(tmp_path / "runs", {}, make_problem(QuantumCircuit(2), "Z0")) as own:
        own.update(engine={"name": "embedded", "version": "1"},
                   devices={"cpu": {"kind": "CPU", "units": 2}, "QPU_A": {"kind": "QPU", "units": 1}})  # fmt: skip
        own.event("stage", "", stage="execute", total=100)
        now = time.time()
        for number, device, kind in ((0, "cpu", "CPU"), (1, "QPU_A", "QPU"), (2, "QPU_A", "QPU"), (3, "cpu", "CPU")):
            own.event("submit", "", task=number, attempt=number // 2, device=device, kind=kind, predicted=1.0,
                      pieces=[[0, 0, 10 * number, 10, 1000]])  # fmt: skip
        for number, device, error in ((0, "cpu", ""), (1, "QPU_A", ""), (2, "QPU_A", "its process was ended")):
            own.event("task", "", task=number, work="run_jobs", attempt=number // 2, device=device, node="n", began=now,
                      seconds=2.0, failure="killed" if error else "", error=error, waited=0.5, cached=1, bytes=64,
                      done=[] if error else [[0, 0, 10 * number, 10, 1000]])  # fmt: skip
        own.event("task", "", work="build_tensor", device="CPU", node="n", began=now, seconds=0.25, attempt=0,
                  failure="", fragment=0)  # fmt: skip
        own.event("devices", "", devices={"QPU_A": {"queue": 3, "wait": 20.0, "drift": 0.25, "calibration": "x",
                                                    "calibration_age": 60.0, "up": True}})  # fmt: skip
        own.event("move", "", piece=[0, 0, 0, 1, 10], source="QPU_A", target="cpu", why="")
        own.event("estimates", "", round=1, estimates=[{"observable": EVIL, "value": 0.5, "std_error": 0.01}])
        yield own


def _sample(run: Path, name: str, **labels: str) -> float | None:
    return registry_of(run).get_sample_value(name, labels)


def test_the_metrics_are_what_the_log_says(watched):
    def sample(name, **labels):
        return _sample(watched.path, f"qompass_{name}", **labels)

    ended = {"engine": "embedded", "stage": "execute"}
    assert sample("tasks_total", device="QPU_A", state="done", **ended) == 1
    assert sample("tasks_total", device="QPU_A", state="failed", **ended) == 1
    assert sample("tasks_total", device="", state="done", engine="embedded", stage="build_tensor") == 1
    assert sample("tasks_running", device="cpu") == 1 and sample("tasks_running", device="QPU_A") == 0
    assert sample("device_units", device="cpu", kind="CPU") == 2
    assert sample("latency_seconds_total", device="QPU_A", part="execution") == 3.0
    assert sample("latency_seconds_total", device="QPU_A", part="wait") == pytest.approx(1.0, abs=0.5)
    assert (sample("shots_total", device="cpu"), sample("retries_total", device="QPU_A")) == (1000, 1)
    assert (sample("moves_total"), sample("cache_hits_total", device="cpu")) == (1, 1)
    assert (sample("qpu_drift", device="QPU_A"), sample("qpu_up", device="QPU_A")) == (0.25, 1)
    assert sample("estimate_std_error", observable=EVIL) == 0.01
    assert sample("run_status", status="running") == 1 and sample("run_status", status="done") == 0
    assert sample("stage_steps", stage="execute") == 20


def test_names_and_labels_are_as_prometheus_asks(watched):
    from prometheus_client import generate_latest

    text = generate_latest(registry_of(watched.path)).decode()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert name.startswith("qompass_") and (kind != "counter" or name.endswith("_total")), line
    if PROMTOOL:
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_number_of_series_is_bounded(tmp_path):
    with RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0")) as own:
        many = [{"observable": f"Z{i}" * 100, "value": 0.0, "std_error": 1.0} for i in range(5000)]
        own.event("estimates", "", round=1, estimates=many)
        series = [s for metric in registry_of(own.path).collect() for s in metric.samples]
        assert len(series) < 200 and max(len(value) for s in series for value in s.labels.values()) <= 200


@pytest.mark.uses("Prometheus")
def test_rules_and_alerts_hold_their_own_tests():
    for arguments in (["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"],
                      ["test", "rules", "rules_test.yml"]):  # fmt: skip
        done = subprocess.run([str(PROMTOOL), *arguments], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = re.findall(r"- alert: (\w+)", (MONITORING / "rules.yml").read_text())
    tested = set(re.findall(r"alertname: (\w+)", (MONITORING / "rules_test.yml").read_text()))
    assert len(alerts) == 5 and set(alerts) == tested


@pytest.mark.uses("Prometheus")
def test_a_prometheus_gets_data_for_every_query_of_every_panel(watched, tmp_path):
    server, port = serve(watched.path, 0), _free_port()
    config = (MONITORING / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:9464", f"127.0.0.1:{server.server_port}").replace(": 5s", ": 1s")
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(MONITORING / "rules.yml", tmp_path)
    where = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'db'}"]
    command = [str(PROMETHEUS), *where, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    prometheus = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        queries = {"qompass:stage_progress:ratio", "qompass:device_utilisation:ratio"}
        for dashboard in (MONITORING / "dashboards").glob("*.json"):
            for panel in json.loads(dashboard.read_text())["panels"]:
                queries |= {target["expr"].replace("$instance", ".*") for target in panel["targets"]}
        assert len(queries) > 20
        empty, end = queries, time.monotonic() + 120
        while empty and time.monotonic() < end:
            assert prometheus.poll() is None, prometheus.stderr and prometheus.stderr.read()
            time.sleep(0.5)
            empty = {query for query in empty if not _answer(port, query)}
        assert not empty
        (value,) = _answer(port, "qompass_estimate_std_error")
        assert value["metric"]["observable"] == EVIL and float(value["value"][1]) == 0.01
    finally:
        prometheus.terminate()
        prometheus.wait(30)
        server.shutdown()


def _answer(port: int, query: str) -> list[dict]:
    address = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return json.load(response)["data"]["result"]
    except OSError:  # not up yet
        return []


def _free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def _run(tmp_path, *more):
    circuit = ROOT / "apps" / "circuits" / "ghz12.qasm"
    command = [sys.executable, "-m", "apps.cli", "run", str(circuit), "--observable", "Z0", "--cache", "off", *more]
    return subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_port_in_use_and_a_gateway_that_is_down_stop_no_run(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = _run(tmp_path, "--metrics", str(port), "--push-gateway", f"127.0.0.1:{_free_port()}")
    assert done.returncode == 0 and "Z0" in done.stdout
    assert f"cannot be served on port {port}" in done.stderr and "took no metrics" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gateway_gets_what_the_run_ended_with(tmp_path):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    got = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self):
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    gateway = HTTPServer(("127.0.0.1", 0), Gateway)
    Thread(target=gateway.serve_forever, daemon=True).start()
    done = _run(tmp_path, "--push-gateway", f"127.0.0.1:{gateway.server_port}")
    gateway.shutdown()
    gateway.server_close()
    assert done.returncode == 0, done.stderr
    ((path, text),) = got
    (run,) = tmp_path.iterdir()
    assert path == f"/metrics/job/qompass/run/{run.name}" and 'qompass_run_status{status="done"} 1.0' in text


@pytest.mark.parametrize("port", ["-1", "70000", "x"])
def test_what_is_no_port_is_refused(tmp_path, port):
    done = _run(tmp_path, "--metrics", port)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
