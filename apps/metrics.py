"""A run's metrics for Prometheus, made from its log when they are asked for: the run itself does nothing for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.extras import INSTALL_EXTRAS
from tasks.errors import QompassError
from tasks.runs import RunRecordError, read_record
from tasks.runs.live import LiveRun

if TYPE_CHECKING:
    from prometheus_client import Metric

MOST_OBSERVABLES = 20
"""Estimates that have metrics; every one is a time series."""

_Rows = Sequence[tuple[tuple[str, ...], float]]  # values of the labels, number
_STATUSES = ("running", "done", "failed", "interrupted")


class RunCollector:
    """What a run's folder says, as metrics; read at each scrape."""

    def __init__(self, run: Path) -> None:
        self._path = run
        self._live = LiveRun(run)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        live = self._live
        live.read()
        try:
            record: Any = read_record(self._path)
        except RunRecordError:  # being written, or gone
            record = {"status": live.status, "run": self._path.name}
        engine = record.get("engine") or {}
        name = str(engine.get("name", ""))
        yield InfoMetricFamily("qompass_run", "The run that is watched.", value={
            "run": str(record["run"]), "engine": name, "engine_version": str(engine.get("version", "")),
            "version": str((record.get("versions") or {}).get("qompass", "")),
        })  # fmt: skip

        def counter(metric: str, text: str, labels: tuple[str, ...], rows: _Rows) -> Metric:
            family = CounterMetricFamily(f"qompass_{metric}", text, labels=labels)
            for values, number in rows:
                family.add_metric(values, number)
            return family

        def gauge(metric: str, text: str, labels: tuple[str, ...], rows: _Rows) -> Metric:
            family = GaugeMetricFamily(f"qompass_{metric}", text, labels=labels)
            for values, number in rows:
                family.add_metric(values, number)
            return family

        devices = sorted(live.devices.items())
        known = record.get("devices") or {}
        ended = [(("execute", device, name, state), float(number)) for device, own in devices
                 for state, number in (("done", own.done), ("failed", own.failed))]  # fmt: skip
        ended += [((work, "", name, state), float(number)) for work, own in sorted(live.others.items())
                  for state, number in (("done", own[0]), ("failed", own[1]))]  # fmt: skip
        yield counter("tasks", "Tasks that have ended.", ("stage", "device", "engine", "state"), ended)
        yield gauge("tasks_running", "Tasks submitted and not ended.", ("device",),
                    [((device,), float(len(own.running))) for device, own in devices])  # fmt: skip
        units = [((device, str(own["kind"])), float(own["units"])) for device, own in known.items()]
        yield gauge("device_units", "Units of the device.", ("device", "kind"), units)
        yield counter("device_busy_seconds", "Seconds of work, over all units.", ("device",),
                      [((device,), own.seconds) for device, own in devices])  # fmt: skip
        yield counter("latency_seconds", "Seconds of tasks: waiting, executing, until the application knew.",
                      ("device", "part"), [((device, part), seconds) for device, own in devices for part, seconds in
                      (("wait", own.waited), ("execution", own.seconds), ("transfer", own.transferred))])  # fmt: skip
        totals: tuple[tuple[str, str, _Rows], ...] = (
            ("shots", "Shots taken.", [((device,), float(own.shots)) for device, own in devices]),
            ("retries", "Tasks tried again.", [((device,), float(own.retries)) for device, own in devices]),
            ("cache_hits", "Pieces that the cache had.", [((device,), float(own.cached)) for device, own in devices]),
            ("result_bytes", "Bytes of results.", [((device,), float(own.bytes)) for device, own in devices]),
        )
        for metric, text, values in totals:
            yield counter(metric, text, ("device",), values)
        yield counter("moves", "Pieces of work that went to another device.", (), [((), float(live.counts["move"]))])
        seen = [(device, own.state) for device, own in devices if own.state]
        for metric, text, field in (
            ("qpu_up", "Whether the QPU answered when it was last asked.", "up"),
            ("qpu_queue_length", "Jobs of others ahead.", "queue"),
            ("qpu_expected_wait_seconds", "Seconds that a job submitted now would wait.", "wait"),
            ("qpu_drift", "Error rates now over those calibrated, minus one.", "drift"),
            ("qpu_calibration_age_seconds", "Seconds since the calibration.", "calibration_age"),
        ):
            yield gauge(metric, text, ("device",), [((device,), float(state[field])) for device, state in seen])
        yield gauge("stage_steps", "Steps of a stage that are done.", ("stage",),
                    [((stage.name,), float(stage.steps)) for stage in live.stages])  # fmt: skip
        yield gauge("stage_total_steps", "Steps of a stage.", ("stage",),
                    [((stage.name,), float(stage.total)) for stage in live.stages])  # fmt: skip
        latest = live.estimates[-1][1][:MOST_OBSERVABLES] if live.estimates else []
        named = {own["observable"][:80]: own for own in latest}  # Prometheus refuses the same labels twice
        yield gauge("estimate", "Value of an observable so far.", ("observable",),
                    [((name,), float(own["value"])) for name, own in named.items()])  # fmt: skip
        yield gauge("estimate_std_error", "Its standard error.", ("observable",),
                    [((name,), float(own["std_error"])) for name, own in named.items()])  # fmt: skip
        yield gauge("run_status", "1 for the status that the run has.", ("status",),
                    [((status,), float(status == record["status"])) for status in _STATUSES])  # fmt: skip
        yield gauge("run_last_event_timestamp_seconds", "When the run last logged something.", (),
                    [] if live.latest is None else [((), live.latest)])  # fmt: skip
        free = shutil.disk_usage(self._path).free if self._path.exists() else 0
        yield gauge("disk_free_bytes", "Room on the disk that holds the run's folder.", (), [((), float(free))])


def registry_of(run: Path) -> Any:
    """A registry of prometheus-client that holds the metrics of a run and nothing else.

    Raises:
        QompassError: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        raise QompassError(f"metrics need prometheus-client: {INSTALL_EXTRAS} (the extra `metrics`)") from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(run))
    return registry


def serve(run: Path, port: int) -> Any:
    """Serve a run's metrics on the loopback interface until this process ends, or ``shutdown()`` of what is returned.

    Raises:
        QompassError: the port is in use, or prometheus-client is not installed.
    """
    registry = registry_of(run)
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise QompassError(f"metrics cannot be served on port {port}: {error.strerror}: name another one") from error
    return server


def push(run: Path, gateway: str) -> None:
    """Push a run's metrics to a Prometheus push gateway, as batch jobs do when they end.

    Raises:
        QompassError: the gateway does not answer, or prometheus-client is not installed.
    """
    registry = registry_of(run)
    from prometheus_client import push_to_gateway

    try:
        push_to_gateway(gateway, job="qompass", registry=registry, grouping_key={"run": run.name}, timeout=5)
    except (OSError, ValueError) as error:
        raise QompassError(f"the push gateway {gateway} took no metrics: {error}") from error
