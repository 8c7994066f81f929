"""What ``qompass plan`` says before a run: whether to cut, what to expect, and what an error would take."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm3

from apps.cli.flags import FIELDS, converter
from apps.cli.forecast_text import forecast_text, span_text
from apps.cli.main import main
from apps.cli.tables import plan_text
from scheduler_policies import Device, Kind
from scheduler_policies.device import Price, Speed
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import make_plan
from tasks.forecast import forecast, uncut
from tasks.inputs.validation import make_problem
from tasks.options import Options
from tests.oracles import brickwork


@pytest.fixture
def chain(tmp_path):
    circuit = QuantumCircuit(16)
    circuit.h(0)
    for q in range(15):
        circuit.cx(q, q + 1)
        circuit.ry(0.3, q)
    path = tmp_path / "chain.qasm"
    path.write_text(qasm3.dumps(circuit))
    return str(path)


def test_a_plan_says_whether_to_cut_what_to_expect_and_why_it_was_taken(chain, capsys):
    words = ["plan", chain, "--observable", "Z0 Z15", "--max-qubits", "6", "--shots", "100000", "--explain"]
    assert main([*words, "--plan-seconds", "0.01"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0].startswith("Uncut: a statevector ") and "a matrix product state at most" in lines[1]
    assert any("in pieces" in line and "uncut is quicker" in line for line in lines[2:5])
    assert max(map(len, lines)) < 120
    assert "taken: the least predicted error" in shown
    assert "Expect: standard error 0.0" in shown and "for an error of 0.01: " in shown and "chosen" in shown
    assert main([*words, "--plan-seconds", "0.02", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    predicted = document["plan"]["predicted"]
    assert set(predicted["seconds"]) == {"cut", "execute", "reconstruct", "total"}
    assert len(predicted["std_error"]) == 1 and 0 < predicted["std_error"][0] < 0.1
    assert predicted["std_error_is"] == "computed" and predicted["bytes"] > 0 and predicted["price"] == 0
    assert predicted["target"]["shots"] > 1000 and len(document["candidates"]) > 2
    taken, *rest = document["candidates"]
    assert taken["cuts"] == document["plan"]["cuts"]
    errors = [rival["predicted"]["std_error"][0] for rival in rest]
    assert errors == sorted(errors), "the best first"
    assert shown.index("taken: ") < shown.index("chosen")


def test_an_exact_plan_has_no_error_and_a_target_is_what_is_aimed_at(chain, capsys):
    assert main(["plan", chain, "--observable", "Z0 Z15", "--max-qubits", "6"]) == 0
    assert "Expect: exact values in " in capsys.readouterr().out
    assert main(["plan", chain, "--max-qubits", "6", "--target-error", "0.02", "--observable", "Z0", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)["plan"]["predicted"]
    assert predicted["std_error"] == [0.02] and predicted["target"]["std_error"] == 0.02
    assert main(["plan", chain, "--max-qubits", "6", "--target-error", "1e-99", "--plan-seconds", "0", "--json"]) == 0
    assert "Infinity" not in capsys.readouterr().out
    assert main(["plan", chain, "--max-qubits", "6", "--target-error", "1e-50", "--plan-seconds", "0"]) == 0
    assert "shots, and a run takes 1e+12 at most" in capsys.readouterr().out


def test_what_is_used_and_how_many_shots_there_may_be_is_told():
    problem = make_problem(brickwork(4, 2, np.random.default_rng(4)), ["Z0 Z3"])
    devices = [TYPICAL_CPU, Device("QPU_A", Kind.QPU, qubits=7)]
    exact = forecast(problem, make_plan(problem, max_qubits=3), Options(), devices)
    assert forecast_text(exact, problem.names).endswith(" on cpu"), "a QPU takes shots only"
    options = Options(shots=1000)
    known = forecast(problem, make_plan(problem, max_qubits=3, shots=1000), options, devices)
    told = [forecast_text(replace(known, shots_for=own), problem.names) for own in (9e9, 2e10)]
    assert [" --shots takes 1e+10 at most" in text for text in told] == [False, True]
    assert " at most" not in forecast_text(replace(known, shots_for=2e10), problem.names, target=True)


def test_whole_numbers_may_be_written_with_an_exponent():
    shots = converter(FIELDS["shots"])
    assert [shots(text) for text in ("1e6", "2.5E3", "1e+10", "7")] == [10**6, 2500, 10**10, 7]
    for text in ("1.2345e2", "1e-3", "1e11", "1e999", "1e99999999", "e6", "1.0", "inf"):
        with pytest.raises(ArgumentTypeError, match=f"'{text}' is not a whole number"):
            shots(text)


@pytest.mark.parametrize("more", [[], ["--shots", "100000"]])
def test_what_this_machine_cannot_run_is_planned_with_its_time_and_refused_when_run(chain, capsys, more):
    words = [chain, "--observable", "Z0 Z15", "--max-qubits", "6", "--memory", "1 kB", *more]
    assert main(["plan", *words]) == 0
    shown = capsys.readouterr().out
    assert "fragments of at most" in shown and "\nExpect: " in shown and " on " in shown.split("\nExpect: ")[1]
    assert "a run here would be refused: the plan needs" in shown and "raise --memory" in shown
    assert main(["run", *words]) == 2
    assert "the plan needs" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--shots", "100000"]])
def test_memory_that_the_contraction_does_not_fit_into_is_refused_by_plan_and_run_with_the_least_that_works(
    chain, capsys, more
):
    words = [chain, "--observable", "Z0 Z15", "--max-qubits", "8", "--plan-seconds", "0", *more]
    for command in ("plan", "run"):
        assert main([command, *words, "--memory", "50 MB"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "does not fit 25,000,000 bytes" in line and "Raise --memory" in line
    least = int(line.split("the least that works is ")[1].split()[0].replace(",", ""))
    for command in ("plan", "run"):
        assert main([command, *words, "--memory", f"{2 * least} B"]) == 0


def test_no_seconds_for_the_search_and_bad_ones(chain, capsys):
    assert main(["plan", chain, "--max-qubits", "6", "--plan-seconds", "0"]) == 0
    assert "fragments of at most" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["plan", chain, "--plan-seconds", "-1"])
    assert stopped.value.code == 2
    with pytest.raises(SystemExit):
        main(["plan", chain, "--minimise", "luck"])


def test_a_line_of_small_depth_is_a_product_state_and_a_dense_circuit_is_not():
    line, dense = QuantumCircuit(60), QuantumCircuit(60)
    line.h(range(60))
    for q in range(59):
        line.cz(q, q + 1)
    for _ in range(2):
        dense.h(range(60))
        for q in range(59):
            for p in range(q + 1, 60):
                dense.cz(q, p)
    assert uncut(make_problem(line, ["Z0"])).bond == 2 and uncut(make_problem(line, ["Z0"])).product_seconds < 0.1
    assert uncut(make_problem(dense, ["Z0"])).product_seconds > 1e9


def test_the_uncut_circuit_takes_longer_on_a_slower_machine():
    """With all amplitudes, as a product state (by its bonds alone, too), by Paulis and by light cones."""
    slow = Speed(**{name: 3 * value for name, value in vars(TYPICAL_CPU.speed).items()})
    line, dense = QuantumCircuit(30), QuantumCircuit(30)
    line.h(range(30))
    for q in range(29):
        line.cz(q, q + 1)
    for q in range(29):
        dense.h(range(30))
        for p in range(q + 1, 30):
            dense.cp(0.1, q, p)
    for circuit in (line, brickwork(30, 2, np.random.default_rng(3)), dense):
        problem = make_problem(circuit, ["Z3 Z4"])
        typical, slower = uncut(problem), uncut(problem, [replace(TYPICAL_CPU, speed=slow)])
        for way in ("statevector_seconds", "product_seconds", "pauli_seconds", "cone_seconds"):
            seconds = getattr(typical, way)
            assert getattr(slower, way) == (None if seconds is None else pytest.approx(3 * seconds)), way


def test_a_clifford_circuit_is_said_to_need_no_cut(tmp_path, capsys):
    circuit = QuantumCircuit(90)
    circuit.h(range(90))
    for q in range(90):
        for step in (7, 31):
            circuit.cz(q, (q + step) % 90)
    path = tmp_path / "graph.qasm"
    path.write_text(qasm3.dumps(circuit))
    cuts = tmp_path / "cuts.json"
    cuts.write_text(json.dumps({"gates": [90]}))
    assert main(["plan", str(path), "--observable", "X0 Z7 Z31 Z83 Z59", "--cuts", str(cuts)]) == 0
    lines = capsys.readouterr().out.splitlines()[:5]
    assert any("stabilisers (all gates are Clifford) " in line for line in lines)
    assert any("uncut is quicker" in line for line in lines)
    assert main(["plan", str(path), "--observable", "X0 Z7 Z31 Z83 Z59"]) == 0
    assert "without a cut" in "".join(capsys.readouterr().out.splitlines()[:5])


def test_spans_are_told_in_units_that_people_use():
    assert [span_text(s) for s in (0.0021, 3.4, 1e4, 1e9, 1e20)] == [
        "2.1 ms", "3.4 s", "2.78 hours", "31.7 years", "more than a million years",
    ]  # fmt: skip


def test_the_note_on_large_errors_follows_what_is_predicted(chain, capsys):
    """Cut ends alone let expect millions; the fragments' tensors tell the error, which note and forecast both say."""
    words = ["plan", chain, "--observable", "Z0 Z15", "--max-qubits", "2", "--shots", "800"]
    assert main([*words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    (error,) = plan["predicted"]["std_error"]
    notes = [note for note in plan["notes"] if "standard error" in note]
    assert len(notes) == (error > 0.5) and all(f"a standard error of {error:.2g} for 800 shots" in n for n in notes)
    assert main([*words, "--explain", "--minimise", "time"]) == 0
    assert "taken: the least predicted time" in capsys.readouterr().out


def test_a_plan_on_devices_that_all_take_shots_asks_for_shots_as_a_run_does(chain, capsys, monkeypatch):
    monkeypatch.setattr("apps.cli.plan.run_devices", lambda path: [Device("QPU_A", Kind.QPU, qubits=7)])
    assert main(["plan", chain, "--observable", "Z0"]) == 2
    assert "QPU_A takes shots: say how many (--shots)" in capsys.readouterr().err


def test_where_no_device_is_named_the_plan_is_that_of_the_simulator_of_last_resort(chain, capsys, tmp_path):
    clients = "<Property><Key>qompass</Key><Value>clients</Value></Property>".replace("Property", "ProcessorProperty")
    cpu = f"<ComputingUnits>1</ComputingUnits><Type>CPU</Type>{clients}"
    master = f"<MasterNode><Processor Name='Clients'>{cpu}</Processor></MasterNode>"
    (tmp_path / "project.xml").write_text(f"<Project>{master}</Project>")
    (tmp_path / "resources.xml").write_text("<ResourcesList/>")
    assert main(["plan", chain, "--observable", "Z0", "--resources", str(tmp_path)]) == 0
    assert "Expect: exact values in " in (shown := capsys.readouterr().out) and "on cpu-last-resort" in shown


def small_device(folder, memory):
    """A resources file of one CPU whose memory is so many bytes."""
    small = f"<ComputingUnits>1</ComputingUnits><Type>CPU</Type><InternalMemorySize>{memory / 1e9}</InternalMemorySize>"
    master = f"<MasterNode><Processor Name='SMALL'>{small}</Processor></MasterNode>"
    (folder / "project.xml").write_text(f"<Project>{master}</Project>")
    (folder / "resources.xml").write_text("<ResourcesList/>")
    return folder


@pytest.mark.parametrize(
    ("more", "memory", "most", "needed"), [([], 10_000, 9, 49_632), (["--shots", "1000"], 500, 4, 4096)]
)
def test_what_the_only_device_has_no_memory_for_is_cut_narrower_and_else_refused_by_plan_and_run(
    chain, capsys, tmp_path, more, memory, most, needed
):
    resources = str(small_device(tmp_path, memory))
    words = [chain, "--observable", "Z0 Z15", "--resources", resources, "--plan-seconds", "0", *more]
    assert main(["plan", *words, "--json"]) == 0
    widths = [fragment["width"] for fragment in json.loads(capsys.readouterr().out)["plan"]["fragments"]]
    assert max(widths) <= most, "16 bytes an amplitude"
    (cuts := tmp_path / "cuts.json").write_text(json.dumps({"gates": [15]}))
    for command in ("plan", "run"):
        assert main([command, *words, "--cuts", str(cuts)]) == 2
        said = capsys.readouterr()
        lack = f"fragment 0 (8 qubits) fits no device in use: SMALL has {memory} bytes of memory, {needed} needed"
        assert lack in said.err and len(said.err.splitlines()) == 1 and not said.out


def test_memory_that_holds_no_way_at_all_is_refused_by_plan_and_run_with_what_would_do(capsys, tmp_path):
    """A Clifford circuit of 30 qubits takes no amplitudes: its bytes are told, and with as many it runs."""
    circuit = QuantumCircuit(30)
    circuit.h(0)
    for q in range(29):
        circuit.cx(q, q + 1)
    (path := tmp_path / "ghz.qasm").write_text(qasm3.dumps(circuit))
    words = [str(path), "--observable", " ".join(f"Z{q}" for q in range(30)), "--plan-seconds", "0"]
    resources = ["--resources", str(small_device(tmp_path, 100))]
    for command in ("plan", "run"):
        assert main([command, *words, *resources]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert "SMALL has 100 bytes of memory" in said and "no plan that was found takes less" in said
    needed = int(said.split(" needed")[0].split()[-1])
    small_device(tmp_path, needed)
    assert main(["plan", *words, *resources]) == 0
    small_device(tmp_path, needed - 1)
    assert main(["plan", *words, *resources]) == 2


def test_where_plans_are_compared_by_price_their_prices_are_shown(tmp_path, capsys, monkeypatch):
    circuit = QuantumCircuit(4)
    for q in range(3):
        circuit.ry(0.3, q)
        circuit.cx(q, q + 1)
    (path := tmp_path / "line.qasm").write_text(qasm3.dumps(circuit))
    dear = replace(TYPICAL_CPU, price=Price(per_second=1000.0))
    monkeypatch.setattr("apps.cli.plan.run_devices", lambda path: [dear])
    words = ["plan", str(path), "--max-qubits", "2", "--shots", "1000", "--plan-seconds", "0"]
    assert main([*words, "--explain", "--minimise", "cost"]) == 0
    shown = capsys.readouterr().out
    header, _, *rows = shown[shown.index("taken: the least predicted price") :].splitlines()[1:]
    assert header.split()[-2:] == ["time", "price"]
    prices = [float(row.split()[-1]) for row in rows]
    assert min(prices) > 0 and rows[0].startswith("chosen") and prices[1:] == sorted(prices[1:])


def test_of_very_many_fragments_the_first_are_listed_and_what_no_float_holds_is_said():
    fragment = {"width": 1, "depth": 2, "two_qubit_gates": 0, "legs": [], "variants": 3, "exact_bytes": 16}
    document = {
        "cuts": {"gates": [], "wires": []}, "fragments": [fragment] * 50, "sampling_overhead": sys.float_info.max,
        "variants": 150, "predicted_bytes": 16, "notes": [],
    }  # fmt: skip
    lines = plan_text(document).splitlines()
    assert lines[-2].split()[0] == "39" and lines[-1] == "and 10 fragments more"
    assert lines[1].strip().startswith("sampling overhead above 1e308, ")
