"""Tokens: where they may come from, and that they go nowhere."""

import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from launch.emulator.ibm import CRN
from launch.emulator.options import DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tasks.execution.qpu import Fault, QpuError, QpuResource, qpu_resource, qpu_resources
from tests.execution.qpu.circuits import ghz, run_variants

MARK = "MARKED-SECRET-f00dfeed"
ROOT = Path(__file__).resolve().parents[3]


def config(path, mode=0o600, text=None):
    path.write_text(
        text
        or '{"resources": [{"name": "QPU_A", "type": "iqm-server", "environment": '
        f'{{"QRMI_IQM_ISA_ENDPOINT": "http://127.0.0.1:1", "QRMI_IQM_ISA_TOKEN": "{MARK}"}}}}]}}'
    )
    path.chmod(mode)
    return {"QOMPASS_QRMI_CONFIG": str(path)}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    with pytest.raises(QpuError, match="chmod 600") as caught:
        qpu_resources(config(tmp_path / "qrmi_config.json", mode))
    assert caught.value.fault is Fault.SECRET
    assert MARK not in str(caught.value)


def test_a_file_of_another_format_is_told_without_being_quoted(tmp_path):
    for text in (f'{{"resources": "{MARK}"}}', f"not json {MARK}", f'[{{"name": "{MARK}"}}]'):
        with pytest.raises(QpuError) as caught:
            qpu_resources(config(tmp_path / "c.json", text=text))
        assert MARK not in "".join(traceback.format_exception(caught.value))


def test_variables_win_over_the_file_and_both_spellings_of_the_lists_are_read(tmp_path):
    environ = config(tmp_path / "c.json")
    assert qpu_resources(environ)["QPU_A"].environment["QRMI_IQM_ISA_TOKEN"] == MARK
    for prefix in ("QRMI", "SLURM"):
        lists = {f"{prefix}_JOB_QPU_RESOURCES": "QPU_A", f"{prefix}_JOB_QPU_TYPES": "iqm-server"}
        found = qpu_resources({**environ, **lists, "QPU_A_QRMI_IQM_ISA_TOKEN": "other"})
        assert found["QPU_A"].environment["QRMI_IQM_ISA_TOKEN"] == "other"
        assert found["QPU_A"].environment["QRMI_IQM_ISA_ENDPOINT"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("environ", "match"),
    [
        ({"QRMI_JOB_QPU_RESOURCES": "A,B", "QRMI_JOB_QPU_TYPES": "iqm-server"}, "2 QPUs and QRMI_JOB_QPU_TYPES 1"),
        ({"QRMI_JOB_QPU_RESOURCES": "A", "QRMI_JOB_QPU_TYPES": "iqm-server"}, "nothing says how to reach it"),
        ({"QRMI_JOB_QPU_RESOURCES": "A", "QRMI_JOB_QPU_TYPES": "toaster"}, "Qompass runs on"),
        ({"QOMPASS_QRMI_CONFIG": "/nonexistent/qrmi_config.json"}, "cannot read"),
    ],
)
def test_what_is_missing_is_named(environ, match):
    with pytest.raises(QpuError, match=match):
        qpu_resources(environ)


def test_an_unknown_name_is_told_with_those_there_are(tmp_path):
    with pytest.raises(QpuError, match="there are: QPU_A"):
        qpu_resource("QPU_Z", config(tmp_path / "c.json"))


def test_a_resource_does_not_show_its_token(tmp_path):
    resource = qpu_resources(config(tmp_path / "c.json"))["QPU_A"]
    assert MARK not in repr(resource) and MARK not in str(vars(resource)["name"])


@pytest.mark.parametrize("kind", ["ibm-quantum-compute-service", "ibm-quantum-system", "iqm-server"])
def test_a_marked_token_is_in_nothing_that_a_full_job_writes(tmp_path, options, caplog, capfd, kind):
    device = DeviceOptions("QPU_A", kind)
    emulator = Emulator([device], MARK)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    said = []
    try:
        with caplog.at_level(logging.DEBUG):
            resource = QpuResource("QPU_A", kind, environment(device, emulator.url, MARK))
            said.append(repr(run_variants(resource, [ghz(2), ghz(3)], [50, 60], options)))
            # And what is said when things go wrong: a service that sends the token back in its errors.
            echo = {name: CRN + MARK if "CRN" in name else value for name, value in resource.environment.items()}
            for step in ("job_get", "result"):
                for how in ("401", "404", "garbage", "truncate"):
                    emulator.command("fault", {"step": step, "kind": how})
                    said.append(_saying(lambda: run_variants(resource, [ghz(2)], [70], options)))
            said.append(_saying(lambda: run_variants(QpuResource("QPU_A", kind, echo), [ghz(2)], [50], options)))
            said.append(str(emulator.state()))
    finally:
        emulator.shutdown()
        emulator.server_close()
    said += [record.getMessage() + str(record.exc_info) for record in caplog.records]
    said += list(capfd.readouterr())
    said += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("QPU_A" in text for text in said)
    assert not [text[:200] for text in said if MARK in text]


def _saying(call):
    try:
        run = call()
    except QpuError as error:
        return "".join(traceback.format_exception(error))
    return repr(run) + str([str(error) for error in run.failures.values()])


def test_a_token_from_a_file_is_in_no_process_list(tmp_path, options):
    device = DeviceOptions("QPU_A", "ibm-quantum-compute-service", queue=1.0)
    emulator = Emulator([device], MARK)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    path = tmp_path / "qrmi_config.json"
    entry = {"name": "QPU_A", "type": device.kind, "environment": environment(device, emulator.url, MARK)}
    config(path, text=json.dumps({"resources": [entry]}))
    program = (
        "from tasks.execution.qpu import *; from tests.execution.qpu.circuits import ghz, run_variants\n"
        "from pathlib import Path\n"
        f"r = run_variants(qpu_resource('QPU_A'), [ghz(2)], [50], QpuOptions(journal=Path({str(options.journal)!r})))\n"
        "print(r)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "QOMPASS_QRMI_CONFIG": str(path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    seen, own = set(), os.getpid()
    try:
        while process.poll() is None:
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    if int(folder.name) != own:
                        try:
                            seen.add((folder / name).read_bytes())
                        except OSError:
                            continue
        written = process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        emulator.shutdown()
        emulator.server_close()
    assert "shots" in written and MARK not in written
    assert any(b"qrmi_worker.py" in text for text in seen)
    assert not [text[:80] for text in seen if MARK.encode() in text]
