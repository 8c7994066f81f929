"""A vendor is one file and its registration; the third one, a system on a site's own premises, goes the whole cycle."""

import ast
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.execution.qpu import Fault, QpuError
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.vendors import VENDORS, vendor_of
from tests.execution.qpu.circuits import distance, frequencies, ghz, ideal, midway, run_variants
from tests.execution.qpu.conftest import until
from tests.execution.qpu.test_qpu_recovery import client, kill, started

__all__ = ["client"]  # a fixture
ROOT = Path(__file__).resolve().parents[3]
FOLDER = "tasks/execution/qpu/vendors/"


def vendor_words():
    """What only a vendor's own file may say: its types, and the name of its file and class."""
    own = {Path(type(vendor).read_target.__code__.co_filename).stem for vendor in VENDORS.values()}
    return {*VENDORS, *own, *(type(vendor).__name__ for vendor in VENDORS.values())}


def code_words(path):
    """Names and texts of a program, without its comments and docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docs:
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")


def test_no_file_but_a_vendors_own_and_the_table_knows_it():
    """So a new vendor touches one file and adds a line to one other."""
    words = vendor_words()
    assert {"iqm", "ibm", "iqm-server", "ibm-quantum-system"} <= words
    for top in ("tasks", "apps", "scheduler_policies", "resources_xml"):
        for path in sorted((ROOT / top).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            if where.startswith(FOLDER):
                continue
            if any(word in path.read_text() for word in words):  # to parse all takes seconds
                assert not words & set(code_words(path)), f"{where} knows a vendor"


def test_the_third_vendor_is_one_short_file_and_a_line():
    named = [
        path.name
        for path in sorted((ROOT / FOLDER).glob("*.py"))
        if {"IbmSystem", "ibm-quantum-system"} & set(code_words(path))
    ]
    assert named == ["table.py"]  # and its own, where the name is that of a class statement
    assert len((ROOT / FOLDER / "ibm_system.py").read_text().splitlines()) < 40


def test_an_unknown_type_is_told_with_those_there_are():
    with pytest.raises(QpuError, match=r"'abacus'; Qompass runs on .*ibm-quantum-system.*iqm-server") as caught:
        vendor_of("abacus", "QPU_A")
    assert caught.value.fault is Fault.CONFIGURATION


def test_counts_from_the_system_follow_the_ideal_distribution(service, options):
    running = service("system", noise=0.0)
    circuits = [ghz(3), midway()]
    run = run_variants(running.resource(), circuits, [4000, 3000], options)
    assert [counts.shots for counts in run.counts] == [4000, 3000] and running.received() == 1
    for circuit, counts in zip(circuits, run.counts, strict=True):
        assert distance(frequencies(counts), ideal(circuit)) < 0.05
    assert "session" not in running.emulator.requests


@pytest.mark.parametrize("step", ["job_get", "result", "configuration"])
@pytest.mark.parametrize("how", ["500", "reset", "truncate", "garbage"])
def test_a_system_down_for_a_moment_costs_no_shot_twice(service, options, step, how):
    running = service("system")
    running.fault(f"{step}:{how}")
    run = run_variants(running.resource(), [ghz(2)], [50], replace(options, patience=5.0))
    assert not run.failures and run.counts[0].shots == 50 and running.received() == 1


def test_a_job_the_system_refuses_is_not_sent_again(service, options):
    running = service("system")
    device = running.emulator.devices["QPU_A"]
    device.options = replace(device.options, shots=10)  # the calibration says 100000
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.failures[0].fault is Fault.REJECTED and running.received() == 0
    assert "10 shots" in str(run.failures[0])


def test_a_job_that_fails_says_why_from_the_systems_log(service, options):
    running = service("system")
    running.fault("job:fail")
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.failures[0].fault is Fault.FAILED and "control electronics" in str(run.failures[0])


def test_a_wrong_key_is_told_at_once(service, options):
    running = service("system")
    begun = time.monotonic()
    with pytest.raises(QpuError, match="API key could not be found") as caught:
        run_variants(running.resource(token="wrong"), [ghz(2)], [50], options)
    assert caught.value.fault is Fault.AUTHENTICATION and running.received() == 0
    assert time.monotonic() - begun < 10


def test_a_job_that_runs_too_long_is_cancelled(service, options):
    running = service("system", queue=3600.0)
    run = run_variants(running.resource(), [ghz(2)], [50], replace(options, time_limit=3.0))
    assert run.failures[0].fault is Fault.TIME_LIMIT
    assert running.received() == 1 and not [job for job in running.jobs() if not job.stop.is_set()]
    assert not list(options.journal.glob("*.json"))


def test_a_system_keeps_no_job_longer_than_the_run_may_take(service):
    variables = service("system").resource().environment
    assert vendor_of("ibm-quantum-system").bounded(variables, 180)["QRMI_JOB_TIMEOUT_SECONDS"] == "180"
    assert vendor_of("ibm-quantum-system").bounded(variables, 10**6)["QRMI_JOB_TIMEOUT_SECONDS"] == "3600"


def test_a_lost_client_of_the_system_is_paid_once(service, options, client):
    running = service("system", queue=2.0)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process, with_worker=True)
    run = run_variants(running.resource(), [ghz(2)], [50], options)
    assert run.counts[0].shots == 50 and run.jobs[0].recovered and running.received() == 1


def test_what_a_dead_run_has_paid_for_at_the_system_is_not_deleted_by_another(service, options, client):
    """Its client deletes a job that it stops."""
    running = service("system", queue=0.5)
    process = client(running.resource(), options)
    until(lambda: started(options))
    kill(process, with_worker=True)
    until(lambda: running.jobs()[0].status == "completed")
    run_variants(running.resource(), [ghz(2, 1.5)], [50], replace(options, run="run-2"))
    resumed = run_variants(running.resource(), [ghz(2)], [50], replace(options, run="run-1"))
    assert resumed.jobs[0].recovered and running.received() == 2


def test_the_state_of_the_system_is_read(service):
    running = service("system")
    with QpuClient(running.resource()) as one:
        status = one.status()
    assert status["status"] == "online" and json.dumps(status)
