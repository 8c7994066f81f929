"""A run is checked another way: what is right agrees, and of a forged one it is said which fragment is wrong."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from apps.cli.main import main
from apps.cli.run import options_document
from tasks.check import check
from tasks.cutting import GateCut, WireCut
from tasks.execution.packed_counts import pack_counts, unpack_counts
from tasks.options import Options
from tasks.runs import RunDirectory, RunRecordError
from tasks.workflow import run
from tests.oracles import brickwork, random_problem


def problem_and_cuts(seed):
    """Six qubits with a gate and a wire severed."""
    rng = np.random.default_rng([31, seed])
    circuit = brickwork(6, 2, rng)
    two = [i for i, item in enumerate(circuit.data) if {circuit.find_bit(q).index for q in item.qubits} == {2, 3}]
    last = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2][-1]
    wire = circuit.find_bit(circuit.data[last].qubits[0]).index
    return random_problem(circuit, rng), (*(GateCut(i) for i in two), WireCut(last, wire))


def made(folder, seed=0, shots=None):
    problem, cuts = problem_and_cuts(seed)
    options = Options(cuts=cuts, shots=shots, seed=seed, cache="off")
    fields = {"options": options_document(options), "seed": seed, "shots": shots, "memory": None}
    with RunDirectory.create(folder, fields, problem) as directory:
        run(problem, options, directory)
    return problem, options, directory.path


def forged(path, fragment, change):
    """Another value in a result of a fragment, with checksums that fit: the run itself believes it."""
    with RunDirectory.open(path) as directory:
        key, stored = next((k, s) for k, s in directory.results.stored() if k.startswith(f"fragment-{fragment}-"))
        stored.meta.pop("sha256")
        directory.results.store(key, change(stored.arrays), stored.meta)
        directory.update()


@pytest.mark.parametrize("shots", [None, 20_000, 400_000])
def test_what_is_right_agrees(tmp_path, shots):
    problem, options, path = made(tmp_path, 1, shots)
    with RunDirectory.open(path) as directory:
        found = check(problem, options, directory)
    assert len(found) > 1 and [entry.fragment for entry in found] == list(range(len(found)))
    for entry in found:
        assert entry.agrees and entry.devices == ("cpu",), entry
        assert entry.made == ("sampled" if shots else "exact")


def test_what_is_right_agrees_whatever_the_seed(tmp_path):
    chances = []
    for seed in range(6):
        problem, options, path = made(tmp_path, seed, 10_000 * (1 + seed))
        with RunDirectory.open(path) as directory:
            found = check(problem, options, directory)
        assert all(entry.agrees for entry in found), f"seed {seed}: {found}"
        chances += [float(entry.detail.partition("chance of ")[2].split(",")[0]) for entry in found]
    assert min(chances) > 1e-4, f"seeds 0 to 5: {sorted(chances)[:3]}"


def test_a_forged_tensor_is_found(tmp_path):
    problem, options, path = made(tmp_path, 2)

    def change(arrays):
        values = arrays["values"].copy()
        values.flat[3] += 1e-6
        return {"values": values}

    forged(path, 1, change)
    with RunDirectory.open(path) as directory:
        found = check(problem, options, directory)
    assert [entry.fragment for entry in found if not entry.agrees] == [1]
    assert "off by 1e-06" in found[1].detail


@pytest.mark.parametrize("part", [4, 2])
def test_forged_counts_are_found(tmp_path, part):
    """A quarter, or half, of what one variant saw most given to another of its outcomes."""
    problem, options, path = made(tmp_path, 3, 400_000)

    def change(arrays):
        counts = unpack_counts(arrays)
        largest = max(range(len(counts)), key=lambda i: counts[i].shots * (len(counts[i].counts) > 1))
        own = counts[largest].counts
        most = int(own.argmax())
        moved = own[most] // part
        own[most] -= moved
        own[most - 1] += moved
        return pack_counts(counts)

    forged(path, 0, change)
    with RunDirectory.open(path) as directory:
        found = check(problem, options, directory)
        noisy = check(problem, options, directory, noisy=["cpu"])
    assert [entry.fragment for entry in found if entry.agrees is False] == [0], found
    assert {entry.agrees for entry in noisy} == {None} and "total variation distance" in noisy[0].detail


def test_what_is_missing_is_not_judged(tmp_path):
    problem, options, path = made(tmp_path, 4)
    min((path / "fragments").iterdir()).unlink()
    with RunDirectory.open(path) as directory:
        assert sorted((entry.agrees for entry in check(problem, options, directory)), key=str)[-1] is True
        assert [entry.made for entry in check(problem, options, directory)].count("") == 1


def test_a_run_without_a_plan_has_nothing_to_check(tmp_path):
    problem, options = problem_and_cuts(0)[0], Options()
    with RunDirectory.create(tmp_path, {}, problem) as directory, pytest.raises(RunRecordError, match="no plan yet"):
        check(problem, options, directory)


def test_the_command_says_which_and_ends_with_2(tmp_path, capsys):
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    _, _, path = made(tmp_path, 5)
    assert main(["check", str(path)]) == 0
    assert "agrees" in capsys.readouterr().out
    forged(path, 0, lambda arrays: {"values": -arrays["values"]})
    assert main(["check", str(path), "--json"]) == 2
    said = capsys.readouterr()
    assert [entry["agrees"] for entry in json.loads(said.out)["fragments"]].count(False) == 1
    assert said.err.startswith("qompass: fragment 0 disagrees: off by") and said.err.count("\n") == 1
    for number, handler in kept.items():
        signal.signal(number, handler)
