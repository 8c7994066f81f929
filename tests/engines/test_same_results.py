"""Both engines give the same: the truth suite bit for bit, and the same JSON from the same command line.

By default a fifth of the suite; the slow form takes all of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engines.launching import ROOT, needs_runcompss, on_compss, run

SEED = 2024
PROGRAM = Path(__file__).with_name("run_truth.py")
# One worker of pytest-xdist for all that starts runcompss or many processes: they would only slow each other.
pytestmark = pytest.mark.xdist_group("runcompss")


# How many cases there is one of in the default form and in the slow one, and how many cases that must be at least.
SHARES = [pytest.param((5, 15), id="a fifth"), pytest.param((1, 70), id="all", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=SHARES)
def embedded(request, tmp_path_factory):
    one_of, least = request.param
    done = run(tmp_path_factory.mktemp("embedded"), sys.executable, PROGRAM, SEED, one_of, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found["cases"]) >= least
    return one_of, found


def test_the_embedded_engine_gives_the_truth(embedded):
    check_truth(embedded[1], "embedded")


@needs_runcompss
def test_compss_gives_the_values_of_the_embedded_engine_bit_for_bit(tmp_path, embedded):
    one_of, found = embedded
    compss = on_compss(tmp_path, PROGRAM, SEED, one_of, timeout=1500)
    assert compss.returncode == 0, compss.stderr[-2000:]
    check_truth(json.loads(compss.stdout), "compss")
    assert json.loads(compss.stdout)["cases"] == found["cases"], f"seed {SEED}"


def check_truth(found, engine):
    assert found["engine"] == engine
    for name, case in found["cases"].items():
        values, errors = ([float.fromhex(text) for text in case[key]] for key in ("values", "errors"))
        message = f"{name}, seed {SEED}"
        if name.startswith("sampled"):
            assert np.all(np.abs(np.subtract(values, case["uncut"])) < 5 * np.array(errors)), message
        else:
            assert not any(errors), message
            np.testing.assert_allclose(values, case["uncut"], atol=1e-9, err_msg=message)


@needs_runcompss
def test_the_same_command_line_gives_the_same_json(tmp_path):
    circuit = ROOT / "apps/circuits/qaoa40.qasm"
    arguments = [circuit, "--observable", "Z0 Z1", "--observable", "0.5*Z3 Z20 + X1 X39", "--max-qubits", "6", "--json"]
    embedded = run(tmp_path, sys.executable, "-m", "apps.cli", "run", *arguments)
    compss = on_compss(tmp_path, ROOT / "apps/expectation.py", *arguments)
    assert (embedded.returncode, compss.returncode) == (0, 0), compss.stderr[-2000:]
    first, second = json.loads(embedded.stdout), json.loads(compss.stdout)
    assert (first["engine"]["name"], second["engine"]["name"]) == ("embedded", "compss")
    for found in (first, second):
        del found["plan"]["predicted"]["seconds"]  # planning's are measured
    for name in ("estimates", "plan", "seed", "shots", "notes"):
        assert first[name] == second[name], name
