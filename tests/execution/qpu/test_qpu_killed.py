"""A task on a QPU that is killed right after it measured the readout: what it measured and took is paid once."""

import json
import re

import pytest

from tests.execution.qpu.test_qpu_run import only_qpus, qpus

__all__ = ["qpus"]

EACH, PRICE, JOB = 8192, 1e-3, 0.3  # shots of a readout circuit, what a shot costs, and a job
DIES_ONCE = """
import os, signal
from tasks.execution.mitigation import extrapolation

def learn_and_die(*asked, learn=extrapolation.learn):
    learn(*asked)
    try:
        os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

extrapolation.learn = learn_and_die
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cache", ["off", pytest.param("kept", marks=pytest.mark.slow)])
def test_what_a_killed_task_measured_is_neither_paid_again_nor_forgotten(qpus, tmp_path, cache):
    emulator, run = qpus
    mark = tmp_path / "killed"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DIES_ONCE.format(mark=str(mark)))
    run.environ["PYTHONPATH"] = f"{tmp_path / 'site'}:{run.environ['PYTHONPATH']}"
    resources = only_qpus(tmp_path, "QPU_A", words=f"qubits=7 price_per_shot={PRICE} price_per_job={JOB}")
    asked = ["--resources", str(resources), "--mitigation", "readout", "--shots", "20000"]
    done, (folder,) = run(*asked, "--cache", "off" if cache == "off" else str(tmp_path / cache))
    assert done.returncode == 0, done.stderr
    assert mark.exists() and "SIGKILL" in done.stderr, "nothing was killed"
    work = [shots for job in emulator.devices["QPU_A"].jobs.values() for _, shots in job.work]
    record = json.loads((folder / "record.json").read_text())
    assert work.count(EACH) == 2, "the readout is measured once"
    found = r"(\d+) of \1 circuits are from the cache" if cache == "kept" else "was found again and is not paid twice"
    assert any(re.search(found, note) for note in record["notes"]), "and each circuit"
    shots = sum(result["shots"] for result in record["results"].values() if result["device"] == "QPU_A")
    assert sum(work) - 2 * EACH <= shots, "variants that measure nothing take none"
    assert record["readout_price"] == pytest.approx(2 * EACH * PRICE)
    bill = JOB * len(emulator.devices["QPU_A"].jobs) + PRICE * sum(work)
    assert bill <= record["price"] * (1 + 1e-9) < 1.001 * bill
