"""``qompass devices``: what a run could use, and how it is doing right now."""

from __future__ import annotations

import argparse
import json
from typing import Any

from apps.cli.tables import table
from apps.cli.terminal import SCHEMA
from tasks.execution.run_devices import DeviceReport, report_devices


def devices(arguments: argparse.Namespace) -> int:
    """List the devices of the resources file, or of this machine, and every QPU that QRMI knows of."""
    reports = report_devices(arguments.resources)
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "devices": [device_document(report) for report in reports]}, indent=2))
        return 0
    shown = ("device", "kind", "units", "qubits", "state", "queue", "wait", "2q error", "readout error", "calibrated")
    print(table(shown, [_row(report) for report in reports]))
    for report in reports:
        if report.problem:
            print(f"{report.device.name}: {report.problem}")
    return 0


def device_document(report: DeviceReport) -> dict[str, Any]:
    """A device and its state as JSON values."""
    device, state = report.device, report.state
    return {
        "name": device.name,
        "kind": device.kind.value,
        "units": device.units,
        "free_units": state.free_units,
        "qubits": device.qubits,
        "status": report.status,
        "problem": report.problem,
        "queue_length": state.queue_length,
        "expected_wait_s": state.expected_wait,
        "basis_gates": list(device.basis_gates),
        "coupling": None if device.coupling is None else [list(pair) for pair in device.coupling],
        "gates": [vars(gate) for gate in device.gates],
        "readout_errors": list(device.readout_errors),
        "one_qubit_error": device.one_qubit_error,
        "two_qubit_error": device.two_qubit_error,
        "readout_error": device.readout_error,
        "calibration": {"epoch": state.calibration_epoch, "age_s": state.calibration_age, "drift": state.drift},
        "speed_s": vars(device.speed),
        "price": vars(device.price),
        "limits": vars(device.limits),
        "resource_type": device.resource_type,
        "processor": device.processor,
    }


def _row(report: DeviceReport) -> tuple[str, ...]:
    device, state = report.device, report.state
    if device.exact:
        return (device.name, device.kind.value, str(device.units), "any", report.status, "", "", "exact", "exact", "")
    known = bool(device.gates)
    return (
        device.name,
        device.kind.value,
        f"{state.free_units} of {device.units}",
        str(device.qubits),
        report.status,
        str(state.queue_length),
        f"{state.expected_wait:.0f} s",
        f"{device.two_qubit_error:.2%}" if known else "",
        f"{device.readout_error:.2%}" if known else "",
        _age(state.calibration_age) if state.calibration_epoch else "",
    )


def _age(seconds: float) -> str:
    for size, word in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word} ago"
    return f"{seconds:.0f} s ago"
