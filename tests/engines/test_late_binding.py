"""CPU and GPU as alternatives of one task: the COMPSs runtime chooses, and a GPU that fails costs a retry elsewhere."""

from __future__ import annotations

import json

import pytest
from qiskit_aer import AerSimulator

from tests.engines.launching import ROOT, needs_runcompss, on_compss

pytestmark = [needs_runcompss, pytest.mark.xdist_group("runcompss")]


def test_compss_binds_simulators_late_and_a_failing_gpu_costs_a_retry(tmp_path):
    done = on_compss(
        tmp_path, "--resources", ROOT / "resources_xml/local_gpu", ROOT / "apps/expectation.py",
        ROOT / "apps/circuits/ghz12.qasm", "--observable", "Z0 Z11", "--max-qubits", 6, "--policy", "availability",
        "--cache", "off", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["estimates"][0]["value"] == pytest.approx(1.0, abs=1e-9)
    (record,) = (tmp_path / "runs").glob("*/record.json")
    used = {result["device"] for result in json.loads(record.read_text())["results"].values()}
    assert used <= {"CPU", "GPU"} and used
    if "GPU" not in AerSimulator().available_devices():
        assert used == {"CPU"}, "without a GPU build of Aer the GPU's alternative fails and the CPU does the work"
