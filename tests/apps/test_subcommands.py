"""Sampling, the cache's upkeep and the last stage alone, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, qasm2
from qiskit.quantum_info import Statevector

from apps.cli.main import main
from tasks.execution.cache.stores.registry import open_store

ROOT = Path(__file__).resolve().parents[2]
GHZ = str(ROOT / "apps" / "circuits" / "ghz12.qasm")
pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def circuit(tmp_path: Path) -> QuantumCircuit:
    """Eight qubits that cannot be told apart from their neighbours' by any symmetry; in circuit.qasm too."""
    angles = np.random.default_rng(8).uniform(-np.pi, np.pi, size=(2, 8))
    circuit = QuantumCircuit(8)
    for layer in angles:
        for qubit, angle in enumerate(layer):
            circuit.ry(angle, qubit)
        for qubit in range(7):
            circuit.rzz(0.3 + 0.1 * qubit, qubit, qubit + 1)
            circuit.rx(0.2, qubit)
    (tmp_path / "circuit.qasm").write_text(qasm2.dumps(circuit))
    return circuit


def test_likely_strings_have_the_uncut_circuits_probabilities(
    circuit: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "circuit.qasm", "--max-qubits", "4", "--top", "10", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["plan"]["fragments"]) > 1
    truth = Statevector(circuit).probabilities_dict()
    best = sorted(truth, key=lambda bits: -truth[bits])[:10]
    assert [entry["bits"] for entry in document["likely"]] == best
    for entry in document["likely"]:
        assert entry["probability"] == pytest.approx(truth[entry["bits"]], abs=1e-9) and entry["std_error"] == 0


def test_drawn_strings_follow_the_uncut_circuits_distribution(
    circuit: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    shots = 20_000
    assert main(["sample", "circuit.qasm", "--max-qubits", "4", "--shots", str(shots), "--seed", "3", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    truth = Statevector(circuit).probabilities_dict()
    assert sum(counts.values()) == shots
    # Pearson's statistic over cells of at least 10 expected counts: its mean is the number of cells less one.
    cells = [(counts.get(bits, 0), shots * p) for bits, p in truth.items() if shots * p >= 10]
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    assert statistic < len(cells) + 5 * np.sqrt(2 * len(cells)), "seed 3"


@pytest.fixture
def measured(tmp_path: Path, circuit: QuantumCircuit) -> dict[str, float]:
    """The same circuit with five of its qubits measured, one of them twice; what Qiskit says of the strings."""
    a, b = ClassicalRegister(4, "a"), ClassicalRegister(3, "b")
    reads = [(6, a[0]), (0, a[2]), (3, a[3]), (7, b[0]), (2, b[2]), (6, b[1])]
    read = circuit.copy()
    read.add_register(a, b)
    for qubit, bit in reads:
        read.measure(qubit, bit)
    (tmp_path / "measured.qasm").write_text(qasm2.dumps(read))
    truth: dict[str, float] = {}
    for bits, probability in Statevector(circuit).probabilities_dict().items():
        values = ["0"] * 7
        for qubit, bit in reads:
            values[read.find_bit(bit).index] = bits[::-1][qubit]
        text = "".join(values)[::-1]
        text = f"{text[:3]} {text[3:]}"
        truth[text] = truth.get(text, 0.0) + probability
    return truth


def test_strings_are_those_of_the_circuits_own_measurements(
    measured: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    shots = 20_000
    command = ["sample", "measured.qasm", "--max-qubits", "4", "--json"]
    assert main([*command, "--shots", str(shots), "--seed", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["measured"] == [6, None, 0, 3, 7, 6, 2] and "1 of them" in document["notes"][0]
    counts = document["counts"]
    cells = [(counts.get(bits, 0), shots * p) for bits, p in measured.items() if shots * p >= 10]
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    assert set(counts) <= set(measured) and sum(counts.values()) == shots
    assert statistic < len(cells) + 5 * np.sqrt(2 * len(cells)), "seed 3"

    best = sorted(measured, key=lambda bits: -measured[bits])[:6]
    assert main([*command, "--top", "6"]) == 0
    likely = json.loads(capsys.readouterr().out)["likely"]
    assert [entry["bits"] for entry in likely] == best
    assert [entry["probability"] for entry in likely] == pytest.approx([measured[bits] for bits in best], abs=1e-9)

    assert main([*command, "--top", "6", "--fragment-shots", "2000000"]) == 0
    for entry in json.loads(capsys.readouterr().out)["likely"]:
        assert abs(entry["probability"] - measured[entry["bits"]]) < 5 * entry["std_error"] < 0.05

    assert main([*command, "--vector", "all.npz"]) == 0
    whole = np.load("all.npz")["nearest"]
    wanted = {int(bits.replace(" ", ""), 2): probability for bits, probability in measured.items()}
    assert whole == pytest.approx([wanted.get(index, 0.0) for index in range(2**7)], abs=1e-9)


def test_without_measurements_all_qubits_are_read_and_that_is_said(
    circuit: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "circuit.qasm", "--max-qubits", "4", "--shots", "5"]) == 0
    assert "all its qubits are measured instead" in capsys.readouterr().err


def test_a_wide_circuit_is_sampled_without_building_its_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    circuit = str(ROOT / "apps" / "circuits" / "vqe40.qasm")
    assert main(["sample", circuit, "--max-qubits", "12", "--shots", "50", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert sum(counts.values()) == 50 and {len(bits) for bits in counts} == {40}


def test_the_last_stage_alone_gives_the_same_and_runs_no_fragment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--observable", "Z0 Z11", "--max-qubits", "6", "--shots", "5000", "--cache", "off"]
    assert main(["run", GHZ, *wanted, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / first["run"] / "fragments").iterdir()}
    assert main(["reconstruct", first["run"], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["estimates"] == first["estimates"]
    assert again["timings"]["reconstruct"] > first["timings"]["reconstruct"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / first["run"] / "fragments").iterdir()} == stored


def test_the_cache_is_counted_checked_pruned_and_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def act(*arguments: str) -> tuple[int, dict[str, object]]:
        status = main(["cache", *arguments, "--json"])
        return status, json.loads(capsys.readouterr().out)

    open_store("store").put(b"\x00" * 32, [b"not an entry"], 0.0)
    assert act("stats", "--cache", "store")[1]["unsound"] == 1
    status, found = act("verify", "--cache", "store")
    assert status == 2 and list(found["unsound"]) == ["00" * 32] and "not a cache entry" in found["unsound"]["00" * 32]
    assert act("export", "out.bin", "--cache", "store")[1]["written"] == 0  # what is unsound stays behind
    assert act("prune", "--cache", "store")[1]["removed"] == 1
    assert act("verify", "--cache", "store")[0] == 0
    assert act("import", "out.bin", "--cache", "other")[1] == {
        "schema": 1, "cache": "other", "stored": 0, "there_already": 0, "refused": 0
    }  # fmt: skip


def test_there_is_no_cache_until_something_made_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for where in ("missing", "empty"):
        for action in (["stats"], ["verify"], ["prune"], ["export", "out.bin"]):
            assert main(["cache", *action, "--cache", where]) == 2
            assert f"cache {where}: there is none yet" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir() if "." not in path.name) == ["empty"]
    assert main(["cache", "import", "out.bin", "--cache", "off"]) == 2
    assert "names no cache" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cache", "export"], "needs a FILE"),
        (["cache", "import", "none.bin"], "No such file or directory: name a readable cache export"),
        (["cache", "fly"], "invalid choice"),
        (["sample", "none.qasm"], "none.qasm"),
        (["sample", GHZ, "--top", "0"], "from 1 to"),
        (["reconstruct", "nothing"], "is not a run"),
    ],
)
def test_bad_input_is_one_line(capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    try:
        status = main(arguments)
    except SystemExit as leaving:  # argparse leaves by itself
        status = int(leaving.code or 0)
    out, err = capfd.readouterr()
    assert status == 2 and out == "" and err.count("\n") == 1 and expected in err


def test_likely_strings_of_sampled_fragments_have_error_bars_that_hold(
    circuit: QuantumCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", "circuit.qasm", "--max-qubits", "4", "--top", "12", "--fragment-shots", "2000000", "--json"]
    assert main(command) == 0
    likely = json.loads(capsys.readouterr().out)["likely"]
    truth = Statevector(circuit).probabilities_dict()
    pulls = [(entry["probability"] - truth[entry["bits"]]) / entry["std_error"] for entry in likely]
    assert all(0 < entry["std_error"] < 0.01 for entry in likely)
    assert max(map(abs, pulls)) < 4.5, f"seed 0: {pulls}"
    assert max(truth.values()) - truth[likely[0]["bits"]] < 5 * likely[0]["std_error"]


@pytest.mark.parametrize("shots", [None, "400000"])
def test_the_whole_vector_is_near_the_uncut_circuits(
    circuit: QuantumCircuit, capsys: pytest.CaptureFixture[str], shots: str | None
) -> None:
    command = ["sample", "circuit.qasm", "--max-qubits", "4", "--vector", "all.npz", "--json"]
    assert main([*command, *(["--fragment-shots", shots] if shots else [])]) == 0
    document = json.loads(capsys.readouterr().out)
    with np.load("all.npz", allow_pickle=False) as file:
        quasi, nearest = file["quasi"], file["nearest"]
    truth = Statevector(circuit).probabilities()
    assert nearest.min() >= 0 and nearest.sum() == pytest.approx(1)
    assert document["negativity"] == pytest.approx(-quasi[quasi < 0].sum(), abs=1e-12)
    if shots is None:
        np.testing.assert_allclose(quasi, truth, atol=1e-9)
        assert document["negativity"] < 1e-9
    else:
        assert document["negativity"] > 0
        assert 0.5 * np.abs(nearest - truth).sum() < 0.1, "total-variation distance, seed 0"


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("missing/all.npz", "there is no folder missing"),
        (".", "is a directory"),
        ("circuit.qasm", "arrays are written as .npz"),
    ],
)
def test_a_vector_that_cannot_be_written_is_refused_before_the_run(
    circuit: QuantumCircuit,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    why: str,
) -> None:
    monkeypatch.setattr("apps.cli.sample.run_sample", lambda *_: pytest.fail("it was run"))
    assert main(["sample", "circuit.qasm", "--max-qubits", "4", "--vector", where]) == 2
    assert f"--vector {where}: {why}" in capsys.readouterr().err


@pytest.mark.parametrize("how", [["--top", "3"], ["--vector", "all.npz"]])
def test_sampled_fragments_without_cuts_or_gates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: list[str]
) -> None:
    for name, gates in (("bell", "h q[0]; cx q[0],q[1];"), ("bare", "")):
        text = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; {gates}'
        (tmp_path / f"{name}.qasm").write_text(text)
        assert main(["sample", str(tmp_path / f"{name}.qasm"), *how, "--fragment-shots", "100", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        if "likely" in document:
            assert document["likely"][0]["bits"] in ("000", "011")


@pytest.mark.parametrize(("shots", "least"), [("1", "6, better 600"), ("11", "12, better 600"), ("12", "")])
def test_too_few_shots_of_fragments_are_refused_by_the_flag_that_gave_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shots: str, least: str
) -> None:
    text = "ry(0.3) q[0]; cx q[0],q[1]; rx(0.2) q[1]; cx q[1],q[2]; rx(0.1) q[2]; cx q[2],q[3];"
    (tmp_path / "line.qasm").write_text(f'OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; {text}')
    status = main(["sample", "line.qasm", "--max-qubits", "2", "--top", "2", "--fragment-shots", shots])
    said = capsys.readouterr().err
    assert status == (2 if least else 0)
    if least:
        assert f"--fragment-shots {shots}: " in said and f"give at least {least}" in said


@pytest.mark.parametrize(("target", "reached"), [("0.0001", False), ("0.5", True)])
def test_a_target_that_the_shots_do_not_reach_is_said(
    circuit: QuantumCircuit, capsys: pytest.CaptureFixture[str], target: str, reached: bool
) -> None:
    arguments = ["run", "circuit.qasm", "--observable", "X3", "--max-qubits", "4", "--shots", "20000", "--json"]
    assert main([*arguments, "--target-error", target]) == 0
    said = capsys.readouterr()
    missed = [note for note in json.loads(said.out)["notes"] if "was not reached" in note]
    assert bool(missed) != reached
    assert (f"--target-error {target} was not reached: the standard error of X3 is" in said.err) != reached
