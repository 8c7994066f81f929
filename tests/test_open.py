"""Where the project grows it is open: each addition is made in a copy of the checkout, and whole commands run with it.

A test names the files that it adds and the lines that it changes, and holds at its end that nothing else differs.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm3
from qiskit.quantum_info import SparsePauliOp, Statevector

from tests.conftest import ROOT

PARTS = ("apps", "tasks", "scheduler_policies", "resources_xml")


COMMANDS = """
import io, json, sys
from contextlib import redirect_stdout
from apps.cli.main import main

documents = []
for words in json.loads(sys.argv[1]):
    run = documents[-1].get("run") if documents else None
    with redirect_stdout(io.StringIO()) as said:
        status = main([run if word == "{run}" else word for word in words] + ["--json"])
    if status:
        sys.exit(status)
    documents.append(json.loads(said.getvalue()))
print(json.dumps(documents))
"""


class Checkout:
    """A copy of the program, what was written into it, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        for part in PARTS:
            shutil.copytree(ROOT / part, self.folder / part)
        self.environ = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1", "HOME": str(folder)}

    def add(self, where: str, text: str) -> None:
        """A new file."""
        assert not (self.folder / where).exists()
        (self.folder / where).write_text(text)

    def register(self, where: str, *lines: tuple[str, str]) -> None:
        """Change lines of a file."""
        path = self.folder / where
        text = path.read_text()
        for old, new in lines:
            assert text.count(old) == 1, f"{where} has {old!r} {text.count(old)} times"
            text = text.replace(old, new)
        path.write_text(text)

    def differs(self) -> set[str]:
        """Files that the checkout does not have, or has otherwise."""
        mine = [p for p in self.folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        names = [str(path.relative_to(self.folder)) for path in mine]
        return {
            name
            for name in names
            if not (ROOT / name).is_file() or not filecmp.cmp(ROOT / name, self.folder / name, shallow=False)
        }

    def python(self, code: str, *arguments: str) -> str:
        """What a program prints that can import this checkout only."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder.parent, env=self.environ, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def qompass(self, *arguments: object) -> dict:
        """The JSON document of a command."""
        (document,) = self.each(arguments)
        return document

    def each(self, *commands: Sequence[object]) -> list[dict]:
        """The JSON documents of commands that one process executes; ``{run}`` is the run of the one before."""
        return json.loads(self.python(COMMANDS, json.dumps([list(map(str, own)) for own in commands])))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def chain(path: Path, qubits: int) -> QuantumCircuit:
    """A circuit whose halves one CZ and one wire join, in a file; its instructions are numbered as it is written."""
    rng = np.random.default_rng(qubits)
    circuit = QuantumCircuit(qubits)
    for _ in range(2):
        for qubit in range(qubits):
            circuit.u(*rng.uniform(0, np.pi, 3), qubit)
        for qubit in range(qubits - 1):
            circuit.cz(qubit, qubit + 1)
    path.write_text(qasm3.dumps(circuit))
    return circuit


def dense(path: Path, half: int) -> None:
    """A circuit of two dense halves that one CZ joins, in a file: long enough to be looked for in a cache."""
    rng = np.random.default_rng(half)
    circuit = QuantumCircuit(2 * half)
    for layer in range(16):
        for qubit in range(2 * half):
            circuit.u(*rng.uniform(0, np.pi, 3), qubit)
        for first in (0, half):
            for one, other in rng.permutation(half).reshape(-1, 2) + first:
                circuit.cz(int(one), int(other))
        if layer == 8:
            circuit.cz(half - 1, half)
    path.write_text(qasm3.dumps(circuit))


def crossing(circuit: QuantumCircuit, left: int) -> list[int]:
    """The gates between qubit ``left`` and the next one."""
    pair = [circuit.qubits[left], circuit.qubits[left + 1]]
    return [i for i, item in enumerate(circuit.data) if list(item.qubits) == pair]


def z_of(circuit: QuantumCircuit, *qubits: int) -> float:
    operator = SparsePauliOp.from_sparse_list([("Z" * len(qubits), list(qubits), 1.0)], circuit.num_qubits)
    return float(Statevector(circuit).expectation_value(operator).real)


def resources(folder: Path, *processors: tuple[str, int, str, str]) -> Path:
    """A pair of files for one machine: (name, units, type, property) of its processors."""
    (folder / "resources").mkdir()
    (folder / "resources" / "resources.xml").write_text("<ResourcesList/>")
    texts = (
        f'<Processor Name="{name}"><ComputingUnits>{units}</ComputingUnits><Type>{kind}</Type>'
        f"<ProcessorProperty><Key>qompass</Key><Value>{said}</Value></ProcessorProperty></Processor>"
        for name, units, kind, said in processors
    )
    project = f"<Project><MasterNode>{''.join(texts)}</MasterNode></Project>"
    (folder / "resources" / "project.xml").write_text(project)
    return folder / "resources"


# Three turns about Z by 0, 120 and 240 degrees and a measurement, in place of the quarter turns of the kind there is.
TRINE = '''"""A severed one-angle gate whose settings turn by thirds of a circle."""

from math import pi

from qiskit.circuit.library import RZGate

from tasks.cutting.kinds.kind import GateKind
from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.setting import GATES, Setting

GATES |= {"third": RZGate(2 * pi / 3), "two thirds": RZGate(4 * pi / 3)}


class TrineEnd(GateEnd):
    name = "trine_gate"

    def settings(self, scheme):
        return Setting("0"), Setting("1/3", ("third",)), Setting("2/3", ("two thirds",)), Setting("M", (), True)


TRINE = GateKind("trine", (TrineEnd(2), TrineEnd(2)))
'''

# Four states at the corners of a tetrahedron instead of |0>, |1>, |+>, |+i>: a symmetric set costs less variance.
TETRAHEDRON = '''"""A severed wire whose downstream end is prepared in the four corners of a tetrahedron."""

from math import acos, pi

from qiskit.circuit.library import RYGate, RZGate

from tasks.cutting.kinds.setting import GATES, Setting
from tasks.cutting.kinds.wire import WireIn, WireKind, WireOut

GATES |= {"tilt": RYGate(acos(-1 / 3)), "third": RZGate(2 * pi / 3), "two thirds": RZGate(4 * pi / 3)}


class Corners(WireIn):
    name = "corners"

    def settings(self, scheme):
        turned = [("tilt",), ("tilt", "third"), ("tilt", "two thirds")]
        return Setting("0"), *(Setting(str(k), gates) for k, gates in enumerate(turned, 1))


TETRAHEDRON = WireKind("tetrahedron", (WireOut(), Corners()))
'''
REGISTRY = "tasks/cutting/kinds/registry.py"
WITH_CACHE = """
import json, sys
from tasks.cutting import make_plan, GateCut, WireCut
from tasks.execution.cache.payoff import Payoff
from tasks.cutting.cuts import cuts_from
from tasks.execution.cache.keys import Target
from tasks.execution.cache.fragment_key import fragment_key
from tasks.execution.jobs import exact_jobs, sampled_jobs, uniform_shots
from tasks.execution.on_device import recalled
from tasks.inputs.validation import read_problem
from pathlib import Path

problem = read_problem(Path(sys.argv[1]), ["Z0 Z3"], None)
Payoff.looks = lambda *asked: True  # however small these are
plans = [make_plan(problem, cuts=cuts_from(json.loads(text)), shots=1000) for text in sys.argv[2:4]]
found = []
for plan in plans:
    for job in (*exact_jobs(plan), *sampled_jobs(plan, uniform_shots(plan, 1000), 3)):
        twice = [recalled(job, "cpu", "CPU", sys.argv[4]) for _ in range(2)]
        same = all((a == b).all() for a, b in zip(twice[0].arrays.values(), twice[1].arrays.values(), strict=True))
        found.append([*(result.origin.get("cache", "run") for result in twice), same])
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "name, leg, text, constant",
    [("trine", "trine gate", TRINE, "TRINE"), ("tetrahedron", "corners", TETRAHEDRON, "TETRAHEDRON")],
    ids=["gate", "wire"],
)
def test_a_new_kind_of_cut_is_one_file_and_its_line(checkout, tmp_path, name, leg, text, constant):
    """Planned, run exactly and with shots, in one process and in many, cached, recorded and resumed."""
    checkout.add(f"tasks/cutting/kinds/{name}.py", text)
    checkout.register(
        REGISTRY,
        ("from tasks.cutting.kinds.kind import CutKind\n",
         f"from tasks.cutting.kinds.kind import CutKind\nfrom tasks.cutting.kinds.{name} import {constant}\n"),
        ("(PAULI, *MEASURED, *HADAMARD, *COPY)", f"(PAULI, *MEASURED, *HADAMARD, *COPY, {constant})"),
    )  # fmt: skip
    circuit = chain(tmp_path / "chain.qasm", 6)
    first, second = crossing(circuit, 2)
    places = [{"instruction": first}, {"instruction": second}]
    section = "gates"
    if name == "tetrahedron":
        section, places = "wires", [{"instruction": first, "qubit": 3}, {"instruction": second, "qubit": 3}]
    cuts = {section: [place | {"kind": name} for place in places]}
    (tmp_path / "cuts.json").write_text(json.dumps(cuts))
    arguments = ["run", tmp_path / "chain.qasm", "--observable", "Z0 Z3", "--cuts", tmp_path / "cuts.json"]
    arguments += ["--out", tmp_path / "runs", "--seed", 7]

    sampled = [*arguments, "--cache", "off", "--shots"]
    exact, shots, again, more = checkout.each(
        [*arguments, "--cache", "off"], [*sampled, 300_000], ["reconstruct", "{run}"], [*sampled, 30_000_000]
    )
    (found,) = exact["estimates"]
    assert found["value"] == pytest.approx(z_of(circuit, 0, 3), abs=1e-9)
    assert leg in {end["kind"] for fragment in exact["plan"]["fragments"] for end in fragment["legs"]}
    assert exact["plan"]["cuts"][section] == cuts[section]

    (here,) = shots["estimates"]
    assert abs(here["value"] - z_of(circuit, 0, 3)) < 5 * here["std_error"] < 0.5, f"{here}, seed 7"
    (many,) = more["estimates"]
    assert abs(many["value"] - z_of(circuit, 0, 3)) < 5 * many["std_error"] < 0.05, f"{many}, seed 7"
    assert again["estimates"] == [here]

    both = [json.dumps({"gates": [], "wires": [], section: own}) for own in (cuts[section], places)]
    answers = json.loads(checkout.python(WITH_CACHE, str(tmp_path / "chain.qasm"), *both, str(tmp_path / "kept")))
    assert len(answers) == 8 and all(answer[1:] == ["hit", True] for answer in answers)
    assert checkout.differs() == {f"tasks/cutting/kinds/{name}.py", REGISTRY}


# A service with an interface of its own would have its own QRMI type; this one reads and writes what the emulator does,
# and shares no code with the vendors there are.
ACME = '''"""Acme's cloud: a line of equal qubits whose gates are said to be perfect."""

import base64
import io
import json
import zlib

import numpy as np
from qiskit import qasm3
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import CXGate, RZGate, SXGate, XGate
from qiskit.transpiler import Target

from scheduler_policies.device import DeviceLimits, GateRate
from tasks.execution.qpu.target import QpuTarget
from tasks.execution.qpu.vendors.vendor import Vendor


class AcmeCloud(Vendor):
    def read_target(self, resource, raw):
        size = raw["configuration"]["n_qubits"]
        pairs = [tuple(pair) for pair in raw["configuration"]["coupling_map"]]
        alone = [(qubit,) for qubit in range(size)]
        target, rates = Target(num_qubits=size), []
        for gate, places in ((RZGate(Parameter("t")), alone), (SXGate(), alone), (XGate(), alone), (CXGate(), pairs)):
            target.add_instruction(gate, dict.fromkeys(places))
            rates += [GateRate(gate.name, place, 0.0, 1e-8) for place in places]
        target.add_instruction(Measure(), dict.fromkeys(alone))
        return QpuTarget(resource, target, "for ever", 0.0, tuple(rates), ((0.0, 0.0),) * size, 1e-6,
                         DeviceLimits(False, False, 100_000, 100), tuple(f"${q}" for q in range(size)))

    def write_job(self, target, programs, shots, tag):
        texts = [qasm3.dumps(program.circuit, disable_constants=True, allow_aliasing=True) for program in programs]
        pubs = [[text, None, count] for text, count in zip(texts, shots, strict=True)]
        return "QiskitPrimitive", {"input": json.dumps({"pubs": pubs, "version": 2, "support_qiskit": True}),
                                   "program_id": "sampler"}

    def read_bits(self, raw, programs):
        found = []
        for pub in raw["__value__"]["pub_results"]:
            text = pub["__value__"]["data"]["__value__"]["fields"]["c"]["__value__"]["array"]["__value__"]
            array = np.load(io.BytesIO(zlib.decompress(base64.b64decode(text))), allow_pickle=False)
            found.append(np.ascontiguousarray(array[:, ::-1]))
        return found
'''


@pytest.mark.uses("QPU emulator")
def test_a_new_vendor_of_qpus_is_one_file_and_its_line(checkout, tmp_path):
    pytest.importorskip("qrmi")
    from launch.emulator.options import DeviceOptions
    from launch.emulator.server import Emulator
    from launch.emulator.services import environment

    vendors = "tasks/execution/qpu/vendors/"
    checkout.add(f"{vendors}acme.py", ACME)
    checkout.register(
        f"{vendors}table.py",
        ("from tasks.execution.qpu.vendors.ibm import",
         "from tasks.execution.qpu.vendors.acme import AcmeCloud\nfrom tasks.execution.qpu.vendors.ibm import"),
        ('    "iqm-server":', '    "acme-cloud": AcmeCloud("IBMQuantumComputeService"),\n    "iqm-server":'),
    )  # fmt: skip
    device = DeviceOptions("QPU_A", noise=0.0, readout=0.0)
    token = "token-of-acme"
    emulator = Emulator([device], token)
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    try:
        entry = {
            "name": "QPU_A",
            "type": "acme-cloud",
            "environment": environment(device, emulator.url, token),
        }
        (tmp_path / "qrmi_config.json").write_text(json.dumps({"resources": [entry]}))
        (tmp_path / "qrmi_config.json").chmod(0o600)
        checkout.environ |= {
            "QOMPASS_QRMI_CONFIG": str(tmp_path / "qrmi_config.json"), "QOMPASS_LEASES": str(tmp_path / "leases"),
            "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }  # fmt: skip
        qpu = resources(tmp_path, ("Clients", 2, "CPU", "clients"), ("QPU_A", 1, "OTHER", "qubits=7"))
        circuit = chain(tmp_path / "chain.qasm", 6)
        done = checkout.qompass(
            "run", tmp_path / "chain.qasm", "--observable", "Z0 Z3", "--max-qubits", 4, "--shots", 20_000,
            "--resources", qpu, "--out", tmp_path / "runs", "--seed", 5,
        )  # fmt: skip
        (found,) = done["estimates"]
        assert abs(found["value"] - z_of(circuit, 0, 3)) < 5 * found["std_error"] < 0.5, f"{found}, seed 5"
        record = json.loads((tmp_path / done["run"] / "record.json").read_text())
        assert {result["device"] for result in record["results"].values()} == {"QPU_A"}
        assert emulator.devices["QPU_A"].received > 0
    finally:
        emulator.shutdown()
        emulator.server_close()
    assert checkout.differs() == {f"{vendors}acme.py", f"{vendors}table.py"}


POLICY = '''"""The policy ``last_listed``: the device that is listed last among those that fit."""

from scheduler_policies.rules import place_by_rule


def last_listed(works, pool, goal, /):
    return place_by_rule(works, pool, lambda options, loads: max(options))
'''


def test_a_new_policy_is_one_file(checkout, tmp_path):
    checkout.add("scheduler_policies/policies/last_listed.py", POLICY)
    chain(tmp_path / "chain.qasm", 6)
    two = resources(tmp_path, ("First", 1, "CPU", ""), ("Last", 1, "CPU", ""))
    used, policies = {}, ("availability", "last_listed")
    command = [
        "run", tmp_path / "chain.qasm", "--observable", "Z0 Z3", "--max-qubits", 4, "--out", tmp_path / "runs",
        "--resources", two, "--cache", "off", "--policy",
    ]  # fmt: skip
    for policy, done in zip(policies, checkout.each(*([*command, own] for own in policies)), strict=True):
        record = json.loads((tmp_path / done["run"] / "record.json").read_text())
        used[policy] = {result["device"] for result in record["results"].values()}
    assert used["last_listed"] == {"Last"} and "First" in used["availability"]
    assert checkout.differs() == {"scheduler_policies/policies/last_listed.py"}


STORE = '''"""One file an entry: ``shelf:///folder``."""

from pathlib import Path
from urllib.parse import urlsplit


class ShelfStore:
    def __init__(self, folder):
        self.notes, self.folder = [], folder
        folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def open_at(cls, place, max_bytes):
        return cls(Path(urlsplit(place).path))

    def get(self, key, *, fresh=False):
        path = self.folder / key.hex()
        return path.read_bytes() if path.exists() else None

    def put(self, key, parts, expires):
        (self.folder / key.hex()).write_bytes(b"".join(parts))

    def delete(self, key):
        (self.folder / key.hex()).unlink(missing_ok=True)

    def claim(self, key, token, lease):
        return None

    def renew(self, keys, token, lease):
        pass

    def release(self, key, token):
        pass

    def keys(self):
        return iter([bytes.fromhex(path.name) for path in self.folder.iterdir()])

    def size(self):
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def describe(self):
        return f"shelf {self.folder}"

    def close(self):
        pass
'''


def test_a_new_store_is_one_file(checkout, tmp_path):
    checkout.add("tasks/execution/cache/stores/shelf_store.py", STORE)
    dense(tmp_path / "dense.qasm", 16)
    answers, seen, store = [], [], ["--cache", f"shelf://{tmp_path / 'shelf'}"]
    command = [
        "run", tmp_path / "dense.qasm", "--observable", "Z0 Z9 Z17", "--max-qubits", 16, "--out", tmp_path / "runs",
        *store,
    ]  # fmt: skip
    *runs, stats = checkout.each(command, command, ["cache", "stats", *store])
    for done in runs:
        record = json.loads((tmp_path / done["run"] / "record.json").read_text())
        answers.append(done["estimates"])
        seen.append([result.get("cache") for result in record["results"].values()])
    assert answers[0] == answers[1] and set(seen[0]) == {None}
    found = seen[1].count("hit")  # what is computed sooner than it is found is not kept
    assert found and stats["entries"] == found
    assert checkout.differs() == {"tasks/execution/cache/stores/shelf_store.py"}


OBJECTIVE = '''"""Fewest cuts, whatever they cost."""

from tasks.cutting.objectives.objective import Objective


class FewestCuts(Objective):
    name, wire = "fewest", 1.0

    def gate(self, form):
        return 1.0

    def score(self, candidate, shots):
        return sum(len(fragment.cuts) for fragment in candidate.fragments) / 2
'''
PLANS = """
import json, sys
from pathlib import Path
from tasks.cutting import make_plan
from tasks.inputs.validation import read_problem

problem = read_problem(Path(sys.argv[1]), ["Y0 Y3 Y5"], None)
print(json.dumps([len(make_plan(problem, max_qubits=4, shots=10**6, objective=aim).cuts) for aim in sys.argv[2:]]))
"""


def test_a_new_objective_of_the_planner_is_one_file(checkout, tmp_path):
    """Two weak gates or one strong one part the circuit: by overhead the two are cut, by number the one."""
    checkout.add("tasks/cutting/objectives/fewest.py", OBJECTIVE)
    circuit = QuantumCircuit(6)
    circuit.h(range(6))
    for pair in ((0, 1), (1, 2), (4, 5)):
        for _ in range(3):
            circuit.cx(*pair)
            circuit.ry(0.3, pair[1])
    circuit.iswap(2, 3)
    for q in (4, 5):
        circuit.rzz(0.05, 3, q)
        circuit.ry(0.3, [3, q])
    (tmp_path / "two.qasm").write_text(qasm3.dumps(circuit))
    plain, fewest = json.loads(checkout.python(PLANS, str(tmp_path / "two.qasm"), "overhead", "fewest"))
    assert (plain, fewest) == (2, 1)
    assert checkout.differs() == {"tasks/cutting/objectives/fewest.py"}


APP = '''"""The energy of a ring of spins, cut and run, as one number with its error."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runcompss starts this file, not the package

from qiskit import QuantumCircuit

from tasks.workflow import estimate

if __name__ == "__main__":
    spins = int(sys.argv[1])
    circuit = QuantumCircuit(spins)
    circuit.h(range(spins))
    for spin in range(spins):
        circuit.rzz(0.4, spin, (spin + 1) % spins)
    circuit.rx(0.7, range(spins))
    bonds = {"I" * i + "ZZ" + "I" * (spins - 2 - i): 1.0 for i in range(spins - 1)}
    (energy,) = estimate(circuit, bonds, max_qubits=spins // 2)
    print(json.dumps([energy.value, energy.std_error]))
'''


def test_a_new_app_is_one_file(checkout, tmp_path):
    checkout.add("apps/ring.py", APP)
    done = subprocess.run(
        [sys.executable, str(checkout.folder / "apps" / "ring.py"), "8"],
        cwd=tmp_path, env=checkout.environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value, error = json.loads(done.stdout)
    circuit = QuantumCircuit(8)
    circuit.h(range(8))
    for spin in range(8):
        circuit.rzz(0.4, spin, (spin + 1) % 8)
    circuit.rx(0.7, range(8))
    assert value == pytest.approx(sum(z_of(circuit, i, i + 1) for i in range(7)), abs=1e-9) and error == 0
    assert checkout.differs() == {"apps/ring.py"}
