"""``qompass cluster scheduler|worker``: the processes behind ``run --scheduler``, one on each node."""

from __future__ import annotations

import argparse

from apps.cli.terminal import say
from tasks.runtime.cluster_folder import default_cluster_folder
from tasks.runtime.dask_cluster import serve_scheduler, serve_worker
from tasks.runtime.machine import usable_cores


def cluster(arguments: argparse.Namespace) -> int:
    """Be a member of a cluster until a signal ends it."""
    folder = (arguments.folder or default_cluster_folder()).absolute()
    if arguments.member == "scheduler":
        serve_scheduler(folder, host=arguments.host, port=arguments.port, told=say)
    else:
        serve_worker(str(folder), arguments.units or {"CPU": usable_cores()}, host=arguments.host, told=say)
    return 0
