"""The calibration of this machine: measured, kept, read again, and left alone where it is damaged or of another."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from dataclasses import replace

import numpy as np
import pytest

from apps.cli.main import main
from scheduler_policies import CPU_SPEED
from scheduler_policies.cost import exact_seconds, sampled_seconds
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting.seconds import cheaper_way
from tasks.cutting.sizes import acted_amplitudes, gram_passes, measured_qubits, simulated_legs
from tasks.errors import QompassError
from tasks.execution import calibration, calibration_file, gpu_crossover
from tasks.execution.calibration import calibrate, constants_name, refined
from tasks.execution.calibration_file import (
    Calibration,
    GpuCrossover,
    machine_name,
    read_calibration,
    write_calibration,
)
from tasks.execution.jobs import ExactJob
from tasks.execution.run_devices import run_devices
from tasks.execution.simulators import accelerator as gpus


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "qompass" / "calibration.json"


FOUND = Calibration(machine_name(), CPU_SPEED, 90.0)


def test_what_is_written_is_read_again_and_used(kept):
    assert read_calibration() is None and run_devices(None)[0].speed == CPU_SPEED
    faster = Calibration(FOUND.machine, type(CPU_SPEED)(**{**vars(CPU_SPEED), "gate": 1e-6}), 90.0)
    assert write_calibration(faster) == kept
    assert read_calibration() == faster and run_devices(None)[0].speed.gate == 1e-6


def test_a_process_reads_a_file_once_until_it_changes(kept, monkeypatch):
    reads = []
    asked = calibration_file.json.loads
    monkeypatch.setattr(calibration_file.json, "loads", lambda text: reads.append(text) or asked(text))
    write_calibration(FOUND)
    assert [run_devices(None)[0].speed for _ in range(3)] == 3 * [CPU_SPEED] and len(reads) == 1
    write_calibration(replace(FOUND, accuracy=80.0))
    assert read_calibration() == read_calibration() == replace(FOUND, accuracy=80.0) and len(reads) == 2
    kept.unlink()
    assert read_calibration() is None


@pytest.mark.parametrize(
    "change, why",
    [
        ("not json", "cannot be read"),
        ("[" * 10_000, "cannot be read"),
        ({"version": 99}, "of another version"),
        ({"machine": "abacus, 1 cores"}, r"of another machine \(abacus"),
        ({"speed": {"gate": "fast"}}, "damaged"),
        ({"speed": {"wings": 3}}, "damaged"),
        ({"speed": {}}, "damaged"),
        ({"speed": {**vars(CPU_SPEED), "gate": 0}}, "damaged"),
        ({"speed": {**vars(CPU_SPEED), "gate": 1e300}}, "damaged"),
        ({"speed": {**vars(CPU_SPEED), "gate": 10**400}}, "damaged"),
        ({"speed": {**vars(CPU_SPEED), "gate": float("nan")}}, "damaged"),
        ({"speed": {**vars(CPU_SPEED), "contraction": -1}}, "damaged"),
        ({"speed": {**vars(CPU_SPEED), "housekeeping": 0}}, "damaged"),
        ({"speed": None}, "damaged"),
        ({"gpu": {"gpu": "abacus", "amplitudes": -1, "flops": None}}, "damaged"),
        ({"gpu": {"wings": 3}}, "damaged"),
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


@pytest.mark.parametrize("make", [os.mkfifo, lambda kept: kept.symlink_to("/dev/zero")])
def test_what_would_never_end_is_not_read(kept, caplog, make):
    kept.parent.mkdir()
    make(kept)
    with caplog.at_level(logging.WARNING):
        assert run_devices(None)[0].speed == CPU_SPEED
    assert "cannot be read" in caplog.text


def test_where_nothing_can_be_written_nothing_is_measured(kept, monkeypatch, capsys):
    kept.mkdir(parents=True)
    monkeypatch.setattr("apps.cli.calibrate.measure", lambda: pytest.fail("measured"))
    assert main(["calibrate"]) == 2 and "calibration.json: cannot be written" in capsys.readouterr().err
    assert list(kept.parent.iterdir()) == [kept], "nothing is left behind"


def test_a_small_measurement_gives_constants_of_a_machine(monkeypatch):
    monkeypatch.setattr(calibration, "_SIZES", ((4, 1, 3), (6, 2, 4), (8, 0, 4)))
    monkeypatch.setattr(calibration, "_REPEATS", 1)
    found = calibrate()
    assert found.machine == machine_name() and 0 < found.accuracy <= 100
    assert all(value > 0 for name, value in vars(found.speed).items() if name != "layer")
    assert found.speed.contraction < 1e-6 and found.speed.housekeeping == 1, "whole runs tell the latter"


def test_a_machine_that_takes_what_the_model_says_has_the_constants_of_the_model(monkeypatch):
    """Of the model as runs are predicted with it; ten times the gates and a third of the shots of a usual machine."""
    speed = replace(CPU_SPEED, gate=10 * CPU_SPEED.gate, shot=CPU_SPEED.shot / 3, pair=5 * CPU_SPEED.pair)
    device = replace(TYPICAL_CPU, speed=speed)

    def seconds(_, work):
        if work.func is not calibration.run_job:
            return 1.0
        (job,) = work.args
        fragment = job.fragment
        branches, outputs = simulated_legs(fragment)
        states = fragment.num_qubits, 0, branches
        gates, acted = len(fragment.circuit.data), acted_amplitudes(fragment)
        if isinstance(job, ExactJob):
            sizes = outputs, fragment.num_factors, gates, gram_passes(fragment)
            return exact_seconds(device, *states, *sizes, acted=acted)
        sizes = len(job.variants), sum(job.shots), gates, measured_qubits(fragment)
        return sampled_seconds(device, *states, *sizes, acted=acted)

    monkeypatch.setattr(calibration, "_SIZES", ((4, 1, 3), (6, 2, 4), (7, 3, 3), (8, 0, 4), (9, 1, 6), (11, 2, 3)))
    monkeypatch.setattr(calibration._Clock, "seconds", seconds)
    found = calibrate()
    assert found.accuracy > 99.99
    for name in (
        "circuit",
        "gate",
        "amplitude_gate",
        "grams",
        "amplitude_pass",
        "pair",
        "entry",
        "draw",
        "place",
        "shot",
    ):
        assert getattr(found.speed, name) == pytest.approx(getattr(speed, name), rel=0.05), name


def test_from_where_on_a_gpu_is_quicker_is_measured_kept_and_used(kept, gpu, monkeypatch):
    monkeypatch.setattr(gpu_crossover, "_WIDTHS", (4, 6))
    monkeypatch.setattr(gpu_crossover, "_SIDES", (8, 16))
    gpu.name = "abacus, wires"
    monkeypatch.setattr(gpus, "_libraries", lambda broken: iter([gpu]))
    gpus._measured_crossover.cache_clear()
    found = gpu_crossover.gpu_crossover()
    assert found is not None and found.gpu == gpu.name and gpu.smallest == 1
    assert found.amplitudes in (None, 2.0**6, 2.0**8) and found.flops in (None, 2.0 * 8**3, 2.0 * 16**3)
    known = GpuCrossover(gpu.name, 5e5, None)
    write_calibration(replace(FOUND, gpu=known))
    assert read_calibration() == replace(FOUND, gpu=known)
    for name, amplitudes, flops in (("abacus, wires", 5e5, np.inf), ("abacus, wood", 1, 0)):
        gpus._measured_crossover.cache_clear()
        gpu.name, gpu.smallest, gpu.smallest_flops = name, 1, 0
        assert gpus.accelerator() is gpu and (gpu.smallest, gpu.smallest_flops) == (amplitudes, flops)
    gpus._measured_crossover.cache_clear()


def test_a_gpu_pays_from_the_size_from_which_it_is_never_slower():
    first = gpu_crossover._first_quicker
    assert first(iter([(1, 2, 1), (2, 1, 2), (4, 3, 2), (8, 5, 1)])) == 4
    assert first(iter([(1, 1, 2), (2, 1, 1)])) is None
    assert first(iter([(1, 2, 1), (2, 3, 1)])) == 1
    assert first(iter([(1, 9, 1), (2, 1, 3)])) == 1, "nothing larger follows what takes long"


def record_of(predicted, measured, **changed):
    """Of a run that tells how fast this machine is, but for what is changed."""
    known = {"seconds": {"execute": predicted}, "constants": constants_name(CPU_SPEED)}
    record = {
        "status": "done", "plan": {"predicted": known}, "timings": {"execute": measured},
        "devices": {"cpu": {"kind": "CPU", "units": 2}},
    }  # fmt: skip
    return record | changed


def test_runs_refine_the_constants_by_what_they_took(kept):
    runs = [record_of(0.2, 0.6), record_of(1.0, 2.0), record_of(3.0, 9.6)]
    never = [
        record_of(1.0, 50.0, cache={"store": "kept", "requests": 2, "executed": 1}),
        record_of(1.0, 50.0, status="failed"),
        record_of(1.0, 50.0, devices={"QPU_A": {"kind": "QPU", "units": 1}}),
        record_of(1.0, 50.0, plan={"predicted": {"seconds": {"execute": 1.0}, "constants": "of others"}}),
        record_of(1.0, 50.0, plan={}),
        record_of(1.0, 50.0, resumed="2026-01-01"),
    ]
    found, counted = refined([*never, *runs])
    assert counted == 3
    assert {name: value / 3.0 for name, value in vars(found.speed).items()} == pytest.approx(vars(CPU_SPEED))
    assert found.accuracy == pytest.approx(100 * 3.0 / 3.2)
    write_calibration(found)
    with pytest.raises(QompassError, match="none of the runs tells"):
        refined(runs)  # they were predicted with the constants before


def test_a_run_says_what_was_predicted_of_it_and_can_refine(kept, tmp_path):
    from tasks.inputs.validation import make_problem
    from tasks.options import options_of
    from tasks.runs import RunDirectory
    from tasks.workflow import run
    from tests.oracles import brickwork

    problem = make_problem(brickwork(6, 2, np.random.default_rng(1)), ["Z0 Z1", "X2"])
    for given in ({"max_qubits": 4}, {"max_qubits": 4, "shots": 10_000}):
        with RunDirectory.create(tmp_path / "runs", {"seed": 0}, problem) as directory:
            record = run(problem, options_of({**given, "cache": "off"}), directory).record
        predicted = record["plan"]["predicted"]
        assert predicted["seconds"].keys() == {"cut", "execute", "reconstruct", "total"}
        assert predicted["seconds"].keys() - {"total"} == record["timings"].keys()
        assert len(predicted["std_error"]) == 2 and predicted["bytes"] > 0 and predicted["price"] == 0
        assert ("shots" in given) == all(error > 0 for error in predicted["std_error"])
        assert refined([record])[1] == 1


def test_other_work_on_the_processor_is_noticed_and_not_measured():
    """The work waits for what another process would take; only its own time counts."""
    waiting, clock = threading.Event(), calibration._Clock()

    def work():
        sum(range(20_000))
        waiting.wait(0.02)

    assert clock.seconds(work) < 0.02 and clock.waited > calibration_file._MOST_WAITED


@pytest.mark.parametrize(
    "found, why",
    [
        (replace(FOUND, waited=0.6), "60 % of the time measured went to other work"),
        (replace(FOUND, accuracy=44.0), "44 %"),
    ],
)
def test_what_a_busy_machine_measured_is_said_and_not_used(kept, monkeypatch, capsys, found, why):
    monkeypatch.setattr("apps.cli.calibrate.measure", lambda: found)
    assert main(["calibrate"]) == 2 and not kept.exists()
    write_calibration(FOUND)
    assert main(["calibrate"]) == 2 and read_calibration() == FOUND
    first, second = [line for line in capsys.readouterr().err.splitlines() if "--force" in line]
    assert why in first and "nothing is written" in first and f"{kept} stays as it is" in second
    assert main(["calibrate", "--force"]) == 0 and read_calibration() == found


def test_what_is_measured_has_no_quicker_way_than_all_amplitudes():
    """Else the constants of amplitudes would be fitted to what takes none."""
    fragments = [fragment for plan in calibration._plans() for fragment in plan.fragments]
    assert len(fragments) == 23
    assert not [fragment for fragment in fragments if cheaper_way(fragment)]
