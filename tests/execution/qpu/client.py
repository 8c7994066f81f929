"""Clients of a QPU in processes of their own, forked from one that has imported what they need."""

import multiprocessing
import os
import time

from tasks.execution.qpu import QpuOptions
from tests.execution.qpu.circuits import ghz, run_variants

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.execution.qpu.client"])


def run_client(resource, journal, run, angles, environ, returned):
    """Run ``ghz(2)`` of some angles, say so, and live on."""
    os.environ.update(environ)
    run_variants(resource, [ghz(2, a) for a in angles], [50] * len(angles), QpuOptions(journal=journal, run=run))
    returned.set()
    time.sleep(600)
