"""A backend that answers as a QPU's service does: jobs that wait, that run, and what they give."""

import base64
import io
import json
import threading

import pytest
from qiskit import QuantumCircuit, qpy

from tasks.execution.backends import NamedSampler
from tasks.execution.qpu.served import Served


def test_a_job_that_waits_can_be_stopped_and_one_that_runs_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, begun, let_go = NamedSampler("aer"), threading.Event(), threading.Event()
    run = sampler.run

    def held(*given):
        begun.set()
        assert let_go.wait(60)
        return run(*given)

    monkeypatch.setattr(sampler, "run", held)
    served = Served(sampler)

    def ask(verb, *arguments):
        return json.loads(served.answer(json.dumps({"verb": verb, "arguments": arguments})))["value"]

    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    written = io.BytesIO()
    qpy.dump(circuit, written)
    job = {"qpy": base64.b64encode(written.getvalue()).decode(), "shots": [10], "tag": "one"}
    first = ask("task_start", "qpy", job)
    assert begun.wait(60)
    second = ask("task_start", "qpy", job)
    for name in (first, second):
        ask("task_stop", name)
    assert [ask("task_status", name) for name in (first, second)] == ["Running", "Cancelled"]
    let_go.set()
    served.close()
    assert ask("task_status", first) == "Completed"
    assert [base64.b64decode(bits) for bits in json.loads(ask("task_result", first))] == [b"\1" * 10]
