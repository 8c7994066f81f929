"""A call of ``estimate`` in a checkout from before the primitives: ``python primitives_before.py NUMBER CALLS``.

Run by the interpreter of that checkout, with its folder on ``PYTHONPATH``, on a problem of the benchmark of primitives;
prints the first value and the seconds of each later call as JSON. The parameters of the first are the benchmark's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure."""
    from tasks.cutting import GateCut
    from tasks.workflow import estimate

    sys.path.insert(0, str(Path(__file__).parent))
    from primitives_problems import ansatz, communities

    number, calls = map(int, sys.argv[1:])
    problem = [ansatz(2, 2), ansatz(2, 4), ansatz(4, 1), communities()][number]
    cuts, rng = tuple(GateCut(place) for place in problem.severed), np.random.default_rng(number)
    values, taken = [], []
    for _ in range(1 + calls):
        bound = problem.circuit.assign_parameters(rng.uniform(-2, 2, problem.circuit.num_parameters))
        began = time.perf_counter()
        values.append(estimate(bound, problem.observable, cuts=cuts, cache="off")[0].value)
        taken.append(time.perf_counter() - began)
    print(json.dumps({"value": values[0], "seconds": taken[1:]}))


if __name__ == "__main__":
    main()
