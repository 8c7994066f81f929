"""The calibration of this machine: measured, kept, read again, and left alone where it is damaged or of another."""

from __future__ import annotations

import json
import logging
import re

import pytest

from scheduler_policies import CPU_SPEED
from tasks.execution import calibration
from tasks.execution.calibration import Calibration, calibrate, machine_name, read_calibration, write_calibration
from tasks.execution.run_devices import run_devices


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "qompass" / "calibration.json"


FOUND = Calibration(machine_name(), CPU_SPEED, 2e9, 90.0)


def test_what_is_written_is_read_again_and_used(kept):
    assert read_calibration() is None and run_devices(None)[0].speed == CPU_SPEED
    faster = Calibration(FOUND.machine, type(CPU_SPEED)(**{**vars(CPU_SPEED), "gate": 1e-6}), 2e9, 90.0)
    assert write_calibration(faster) == kept
    assert read_calibration() == faster and run_devices(None)[0].speed.gate == 1e-6


@pytest.mark.parametrize(
    "change, why",
    [
        ("not json", "cannot be read"),
        ({"version": 99}, "of another version"),
        ({"machine": "abacus, 1 cores"}, r"of another machine \(abacus"),
        ({"speed": {"gate": "fast"}}, "damaged"),
        ({"speed": {"wings": 3}}, "damaged"),
        ({"contraction_flops": -1}, "damaged"),
        ({"speed": None}, "damaged"),
        ([1, 2], "of another version"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_and_typical_values_are_taken(kept, caplog, change, why):
    write_calibration(FOUND)
    changed = {**FOUND.document(), **change} if isinstance(change, dict) else change
    kept.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with caplog.at_level(logging.WARNING):
        assert run_devices(None)[0].speed == CPU_SPEED
    (record,) = caplog.records
    assert str(kept) in record.getMessage()
    assert re.search(why, record.getMessage())


def test_a_small_measurement_gives_constants_of_a_machine(monkeypatch):
    monkeypatch.setattr(calibration, "_SIZES", ((4, 1, 3), (6, 2, 4), (8, 0, 4)))
    monkeypatch.setattr(calibration, "_REPEATS", 1)
    found = calibrate()
    assert found.machine == machine_name() and 0 < found.accuracy <= 100
    assert all(value > 0 for name, value in vars(found.speed).items() if name != "layer")
    assert found.contraction_flops > 1e6
