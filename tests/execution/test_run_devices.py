"""Which devices a run has: what its resources file says, and what is told where a QPU says otherwise."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from tasks.execution.run_devices import run_devices


@pytest.mark.parametrize("qubits", [27, 700])
def test_a_qpu_that_has_other_qubits_than_the_file_says_is_told(tmp_path, monkeypatch, caplog, qubits):
    (tmp_path / "project.xml").write_text(
        "<Project><MasterNode><Processor Name='CPU'><ComputingUnits>1</ComputingUnits></Processor>"
        "<Processor Name='QPU_A'><ComputingUnits>1</ComputingUnits><Type>OTHER</Type><ProcessorProperty>"
        f"<Key>qompass</Key><Value>qubits={qubits}</Value></ProcessorProperty></Processor></MasterNode></Project>"
    )
    (tmp_path / "resources.xml").write_text("<ResourcesList/>")
    monkeypatch.setattr("tasks.execution.run_devices.open_leases", lambda: None)
    monkeypatch.setattr("tasks.execution.qpu.describe_qpu", lambda device: replace(device, qubits=27))
    with caplog.at_level(logging.WARNING):
        _, qpu = run_devices(tmp_path)
    assert qpu.qubits == 27
    told = ["QPU_A has 27 qubits, as its target says, not the 700 of the resources file"]
    assert caplog.messages == (told if qubits == 700 else [])
