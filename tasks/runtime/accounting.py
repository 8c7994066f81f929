"""Accounts that a cluster's scheduler keeps: whose tasks took which units for how long, and whose turn it is.

Runs share a cluster by *virtual time*: the tasks of a run are numbered as it submits them, and of all that wait the one
with the lowest number is executed first, so that runs take turns task by task. A run that comes later begins at the
number at which the others are, else it would be alone until it has caught up with them.
"""

from __future__ import annotations

from typing import Any

NAME = "qompass-accounts"
_SEPARATOR = "--"
_CLIENT = "."


def client_of(run: str, number: str) -> str:
    """What a scheduler knows a run's process by: several may have worked on one run."""
    return f"{run}{_CLIENT}{number}" if run else number


def key_of(task: str, run: str, number: int) -> str:
    """The key of a run's task on a scheduler that it shares."""
    return f"{task}{_SEPARATOR}{run}{_SEPARATOR}{number}"


def run_of(key: Any) -> str:
    """The run whose task has this key, "" for what is none of ours."""
    parts = str(key).split(_SEPARATOR)
    return parts[1] if len(parts) == 3 else ""


def accounts_of(dask_scheduler: Any) -> dict[str, Any]:
    """The accounts as JSON values; run on the scheduler."""
    accounts = dask_scheduler.plugins[NAME]
    accounts.count_units()
    waiting: dict[str, int] = {}
    present = {run_of_client(client) for client in dask_scheduler.clients}
    for task in dask_scheduler.tasks.values():
        if task.resource_restrictions and task.state in ("waiting", "no-worker", "processing", "queued"):
            waiting[run_of(task.key)] = waiting.get(run_of(task.key), 0) + 1
    nodes = [
        {
            "name": worker.address,
            "units": {name: int(count) for name, count in worker.resources.items()},
            "busy": len(worker.executing),
        }
        for worker in dask_scheduler.workers.values()
    ]
    names = sorted((present | waiting.keys() | accounts.runs.keys()) - {""})
    runs = [
        {
            "run": name.rpartition(_CLIENT)[0] or name,
            "here": name in present,
            "tasks": int(accounts.runs.get(name, {}).get("tasks", 0)),
            "waiting": waiting.get(name, 0),
            "busy_s": round(accounts.runs.get(name, {}).get("busy_s", 0.0), 3),
        }
        for name in names
    ]
    devices: dict[str, dict[str, Any]] = {}
    for name, seconds in accounts.unit_seconds.items():
        units = sum(int(worker.resources.get(name, 0)) for worker in dask_scheduler.workers.values())
        share = min(1.0, accounts.busy.get(name, 0.0) / seconds) if seconds else 0.0
        devices[name] = {"units": units, "busy_share": round(share, 4)}
    return {"nodes": nodes, "runs": runs, "devices": devices}


def virtual_time(dask_scheduler: Any) -> int:
    """The lowest number of the tasks that wait or are executed; run on the scheduler."""
    return min(
        (
            int(task.priority[0])
            for task in dask_scheduler.tasks.values()
            if task.priority and task.resource_restrictions and task.state in ("no-worker", "processing", "queued")
        ),
        default=0,
    )


def run_of_client(client: str) -> str:
    """The run that a client of the scheduler belongs to, by the name that dask gives the client; "" for others."""
    parts = client.split(_SEPARATOR)  # Client-run--<run>---<dask's own number of it>
    return parts[1] if parts[0].endswith("-run") else ""
