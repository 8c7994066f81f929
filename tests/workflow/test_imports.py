"""What a run of small fragments does not need is not imported: it would take longer than the run."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.test_architecture import ROOT

HEAVY = (
    "qiskit_aer",
    "scipy.optimize",
    "asyncio",
    "ssl",
    "distributed",
    "matplotlib",
    "mpi4py",
    "qrmi",
    "qiskit_ibm_runtime",
)
CODE = f"""
import json, sys
from qiskit import QuantumCircuit
from tasks import workflow
circuit = QuantumCircuit(4)
circuit.h(0)
for qubit in range(3):
    circuit.cx(qubit, qubit + 1)
found = [workflow.estimate(circuit, "Z0 Z3", max_qubits=3, shots=shots)[0].value for shots in (None, 10_000)]
print(json.dumps([found, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_a_run_of_small_fragments_imports_no_simulator_scheduler_or_optimiser():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    values, imported = json.loads(done.stdout)
    assert abs(values[0] - 1) < 1e-9 and abs(values[1] - 1) < 0.2
    assert not imported
