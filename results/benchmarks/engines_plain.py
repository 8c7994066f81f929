"""The tasks of engines_work.py as a PyCOMPSs program without Qompass has them; importable by COMPSs' workers alone."""

from __future__ import annotations

import time

from pycompss.api.api import compss_wait_on
from pycompss.api.constraint import constraint
from pycompss.api.task import task

wait_on = compss_wait_on


@constraint(computing_units="1")
@task(returns=1)
def load(seconds):
    """Import what tasks on circuits import, and keep the unit for so long, so that another one does it too."""
    import qiskit_aer
    import scipy.optimize

    time.sleep(seconds)
    return len(qiskit_aer.__version__) + len(scipy.optimize.__all__)


@constraint(computing_units="1")
@task(returns=1)
def empty(value):
    """Nothing."""
    return value


@constraint(computing_units="1")
@task(returns=1)
def variants(seconds):
    """Variants that take so long each."""
    for each in seconds:
        time.sleep(each)
    return len(seconds)
