"""Every row of the fault table, against the emulator, through the unmodified client; with the jobs that reached it."""

import threading
import time
from dataclasses import replace

import pytest

from tasks.execution.qpu import Fault, QpuError, QpuResource
from tasks.execution.qpu.job import QpuJob
from tests.execution.qpu.circuits import ghz, run_variants

KINDS = ["ibm", "iqm"]


def attempt(resource, options, circuits=None, shots=50):
    """The run, or the error if nothing could be run; and the first failure's kind."""
    circuits = circuits or [ghz(2)]
    try:
        run = run_variants(resource, circuits, [shots] * len(circuits), options)
    except QpuError as error:
        return None, error.fault
    return run, next((error.fault for error in run.failures.values()), None)


def left_behind(options):
    return sorted(path.name for path in options.journal.glob("*")) if options.journal.exists() else []


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_token_is_told_at_once_and_nothing_is_submitted(service, options, kind):
    running = service(kind)
    begun = time.monotonic()
    _, fault = attempt(running.resource(token="wrong"), options)
    assert fault is Fault.AUTHENTICATION and not fault.again
    assert time.monotonic() - begun < options.patience
    assert running.received() == 0


def test_an_access_token_that_ended_early_is_renewed(service, options):
    running = service("ibm", queue=0.3)
    timer = threading.Timer(0.6, running.emulator.expire_tokens)
    timer.start()
    run, fault = attempt(running.resource(), options, [ghz(2, 0.3 * k) for k in range(3)])
    timer.join()
    assert fault is None and run.counts[0].shots == 50
    assert running.emulator.requests["token"] >= 1 and running.received() == 1


def test_an_identity_service_that_is_down_is_not_a_wrong_token(service, options):
    running = service("ibm")
    running.fault("token:500x1000")
    _, fault = attempt(running.resource(), options)
    assert fault is Fault.UNAVAILABLE and fault.again
    assert running.received() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_resource_is_told(service, options, kind):
    running = service(kind)
    known = running.resource()
    _, fault = attempt(QpuResource("NO_SUCH", known.type, known.environment), options)
    assert fault is Fault.CONFIGURATION and not fault.again
    assert running.received() == 0


@pytest.mark.parametrize(("kind", "gate"), [("ibm", "sx"), ("ibm", "cx"), ("iqm", "prx"), ("iqm", "cz")])
def test_a_target_that_lacks_a_basis_gate_is_unfit(service, options, kind, gate):
    running = service(kind, lacks=gate)
    _, fault = attempt(running.resource(), options)
    assert fault is Fault.UNFIT
    assert running.received() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_qubits_are_told_before_submission(service, options, kind):
    running = service(kind)
    _, fault = attempt(running.resource(), options, [ghz(8)])
    assert fault is Fault.UNFIT
    assert running.received() == 0


def test_a_job_the_service_refuses_is_not_sent_again(service, options):
    running = service("ibm")
    # The calibration says 100000 shots; the service has changed its mind.
    device = running.emulator.devices["QPU_A"]
    device.options = replace(device.options, shots=10)
    run, fault = attempt(running.resource(), options)
    assert fault is Fault.REJECTED and not fault.again
    assert running.emulator.requests["job_create"] == 1 and running.received() == 0
    assert "10 shots" in str(run.failures[0])
    assert not running.open_sessions() and not left_behind(options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_fails_leaves_the_others_alone(service, options, kind):
    running = service(kind, circuits=1)  # IQM: as many shots in all circuits of a job
    running.fault("job:fail")
    run = run_variants(running.resource(), [ghz(2), ghz(2, 1.0)], [50, 60], options)
    assert run.failures[0].fault is Fault.FAILED and run.counts[0] is None
    assert run.counts[1].shots == 60 and set(run.failures) == {0}
    assert running.received() == 2 and not running.open_sessions() and run.failures[0].fault.again


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_job_is_told(service, options, kind):
    running = service(kind)
    running.fault("job:lose")
    _, fault = attempt(running.resource(), options)
    assert fault is Fault.LOST and fault.again
    assert running.received() == 1
    assert not running.open_sessions() and not left_behind(options)


# Where the service is down for good, what the run ends with; where it is down for a moment, nothing is noticed.
STEPS = {
    "ibm": ["configuration", "properties", "session", "job_create", "job_get", "result"],
    "iqm": ["configuration", "properties", "job_create", "job_get", "result"],
}


HOW = ["500", "reset", "truncate", "garbage"]
READS = {"configuration", "properties", "job_get"}  # which may be asked again whatever became of the answer


@pytest.mark.parametrize(
    ("kind", "step", "how"),
    [
        pytest.param(kind, step, how, marks=[pytest.mark.slow] * (step in READS and how in HOW[1:3]))
        for kind in KINDS
        for step in STEPS[kind]
        for how in HOW
    ],
)
def test_a_service_down_for_a_moment_costs_no_shot_twice(service, options, kind, step, how):
    running = service(kind)
    running.fault(f"{step}:{how}")
    run, fault = attempt(running.resource(), options)
    answer_lost = step == "job_create" and how in {"truncate", "garbage"}
    if kind == "iqm" and step == "job_create":
        # No session and no way to ask: the job may run, so it is not sent a second time.
        assert fault is Fault.LOST
        assert running.received() == answer_lost and not left_behind(options)
    else:
        assert fault is None and run.counts[0].shots == 50
        # The first job may be done before its session is closed.
        assert running.received() == 1 + answer_lost
    if (kind, step, how) in {("ibm", "session", "truncate"), ("ibm", "session", "garbage")}:
        # Opened, but nobody was told its id: it ends by itself, soon after the time limit.
        assert [session["max_ttl"] for session in running.open_sessions()] == [60 + 120]
    else:
        assert not running.open_sessions()


@pytest.mark.parametrize(("kind", "step"), [(kind, step) for kind in KINDS for step in STEPS[kind]])
def test_a_service_down_for_good_ends_within_patience_and_holds_nothing(service, options, kind, step):
    running = service(kind)
    options = replace(options, patience=1.0)
    running.fault(f"{step}:500x100000")
    begun = time.monotonic()
    run, fault = attempt(running.resource(), options)
    if (kind, step) == ("ibm", "properties"):
        assert fault is None and run.counts[0] is not None  # a calibration without error rates can still be run on
        assert running.received() == 1
        return
    assert running.received() == (step in {"job_get", "result"})
    assert fault in {Fault.UNAVAILABLE, Fault.LOST} and fault.again
    assert time.monotonic() - begun < 20
    assert not running.open_sessions()


@pytest.mark.parametrize("kind", KINDS)
def test_no_service_at_all(service, options, kind):
    running = service(kind)
    resource = running.resource()
    nowhere = "http://127.0.0.1:9"
    moved = {key: value.replace(running.emulator.url, nowhere) for key, value in resource.environment.items()}
    _, fault = attempt(replace(resource, environment=moved), replace(options, patience=0.5))
    assert fault is Fault.UNAVAILABLE


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_answers_after_an_hour_meets_the_time_limit(service, options, kind):
    running = service(kind)
    running.fault("job_get:hang")
    begun = time.monotonic()
    _, fault = attempt(running.resource(), replace(options, time_limit=3.0))
    assert fault is Fault.TIME_LIMIT
    assert time.monotonic() - begun < 15
    assert running.received() == 1
    assert not running.open_sessions()


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_longer_than_the_time_limit_is_left(service, options, kind):
    running = service(kind, queue=3600.0, hold=1.0)
    _, fault = attempt(running.resource(), replace(options, time_limit=3.0))
    assert fault is Fault.TIME_LIMIT
    assert [job.status for job in running.jobs()] == ["cancelled"]
    assert not running.open_sessions() and not left_behind(options)


def test_a_slow_service_is_waited_for(service, options):
    running = service("ibm")
    running.fault("any:slow=0.3x20")
    run, fault = attempt(running.resource(), options)
    assert fault is None and run.counts[0].shots == 50 and running.received() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_that_changes_mid_run_is_noticed_and_followed(service, options, kind):
    running = service(kind, circuits=2)
    running.fault("job:calibrate")
    circuits = [ghz(2, 0.1 * k) for k in range(8)]
    shots = [50] * 8 if kind == "ibm" else [50, 50, 80, 80, 120, 120, 190, 190]
    run = run_variants(running.resource(), circuits, shots, options)
    assert not run.failures
    first = run.jobs[0]
    assert first.epoch != first.epoch_after
    assert running.received() == len(run.jobs) == 4
    # The jobs after those already in the queue are written for the new calibration.
    assert run.jobs[-1].epoch == first.epoch_after
    assert any("recalibrated" in note for note in run.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_all_zeros_are_implausible_on_a_device_with_readout_errors(service, options, kind):
    running = service(kind)
    running.fault("job:zeros")
    _, fault = attempt(running.resource(), options, shots=4000)
    assert fault is Fault.IMPLAUSIBLE and fault.again
    assert running.received() == 1 and not left_behind(options)


def test_a_drop_out_is_survived_within_patience(service, options):
    running = service("ibm", up=1.0, down=1.0)
    run, fault = attempt(running.resource(), replace(options, patience=5.0), [ghz(2, 0.1 * k) for k in range(3)])
    assert fault is None and run.counts[0].shots == 50 and running.received() == 1


def test_a_working_folder_that_is_gone_is_no_obstacle(service, options, tmp_path, monkeypatch):
    """COMPSs removes the folder of a task when it ends, and the process that did the work goes on to the next."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_variants(service("ibm").resource(), [ghz(2)], [50], options).counts[0].shots == 50


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["500", "garbage", "unreadable"])
def test_a_result_that_cannot_be_had_is_asked_for_again_and_not_paid_again(service, options, monkeypatch, kind, how):
    """For longer than one patience: the next try, in this process or another, gets the result of the same job."""
    running = service(kind)
    options = replace(options, patience=0.5)
    spoilt = {"ibm": "encode_results", "iqm": "_measurements"}[kind]
    module = f"launch.emulator.{kind}.{spoilt}"
    if how == "unreadable":  # whole, and JSON, and not what was asked for
        monkeypatch.setattr(module, lambda job: "{}" if kind == "ibm" else [{}])
    else:
        running.fault(f"result:{how}x100000")
    _, fault = attempt(running.resource(), options)
    assert fault is (Fault.UNAVAILABLE if how == "500" else Fault.GARBLED) and fault.again
    assert not running.open_sessions() and len(left_behind(options)) == 1
    monkeypatch.undo()
    running.emulator.faults.clear()
    run, fault = attempt(running.resource(), options)
    assert fault is None and run.counts[0].shots == 50 and run.jobs[0].recovered
    assert running.received() == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", ["interrupt", "defect"])
def test_nothing_is_held_when_something_unforeseen_ends_the_run(service, options, monkeypatch, kind, broken):
    running = service(kind, queue=30.0, hold=0.2)
    error = KeyboardInterrupt if broken == "interrupt" else ZeroDivisionError

    def look(*_):
        assert running.received() == 1
        raise error

    monkeypatch.setattr(QpuJob, "look", look)
    with pytest.raises(error):
        run_variants(running.resource(), [ghz(2)], [50], options)
    assert not running.open_sessions()
    assert [job.status for job in running.jobs()] == ["cancelled" if kind == "ibm" else "queued"]
    assert len(left_behind(options)) == 1  # the next start finds it
