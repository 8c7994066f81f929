"""Each optimiser beside an independent form of it, and the loop around them: journal, effort, resumption."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.optimize import minimize

from apps.variational.ansatz import qaoa, ry
from apps.variational.effort import Effort, levels_between
from apps.variational.energies import Hamiltonian, transverse_ising
from apps.variational.loop import JournalledObjective, LoopError
from apps.variational.measure import Measure, Measured, kernel_of
from apps.variational.optimisers import OPTIMISERS
from apps.variational.search import Search
from apps.variational.spsa import natural_walk, walk
from tasks.options import Options
from tasks.runs import RunRecordError
from tasks.runs.journal import JOURNAL_NAME, RunJournal, read_journal

LOWEST = np.array([0.3, -0.2, 0.5])


class Bowl:
    """Cosines as energies have them, coupled; states that overlap as exp(-|x - y|^2 / 4)."""

    def values(self, points):
        away = points - LOWEST
        return 4 - np.cos(away).sum(axis=1) - 0.5 * np.cos(away[:, 0] - away[:, 1])

    def slopes(self, point):
        away = point - LOWEST
        coupling = 0.5 * np.sin(away[0] - away[1]) * np.array([1, -1, 0])
        return float(self.values(point[None])[0]), np.sin(away) + coupling

    def overlaps(self, point, others):
        return np.exp(-np.sum((others - point) ** 2, axis=1) / 4)


def search(**changed) -> Search:
    given = {"start": np.zeros(3), "bounds": np.array([[-1.0, 1.0]] * 3), "iterations": 300, "tolerance": 1e-9,
             "population": 20, "seed": 4}  # fmt: skip
    return Search(**{**given, **changed})


NEAR = {"cobyla": 1e-3, "lbfgsb": 1e-6, "spsa": 0.05, "qnspsa": 0.05, "de": 1e-3}


@pytest.mark.parametrize(("name", "within"), NEAR.items())
def test_an_optimiser_finds_the_bottom_of_a_bowl(name, within):
    found = OPTIMISERS[name].run(Bowl(), search())
    assert found.parameters == pytest.approx(LOWEST, abs=within)
    assert found.why and "\n" not in found.why


def test_spsa_takes_the_steps_of_qiskit_algorithms():
    algorithms = pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.optimizers import SPSA

    algorithms.utils.algorithm_globals.random_seed = 11
    rates, distances = 0.1 / np.arange(1, 31) ** 0.6, 0.2 / np.arange(1, 31) ** 0.1
    visited: list[np.ndarray] = []
    SPSA(30, learning_rate=rates, perturbation=distances, callback=lambda *a: visited.append(a[1])).minimize(
        lambda x: Bowl().values(np.atleast_2d(x))[0], np.zeros(3)
    )
    met: list[np.ndarray] = []
    walk(Bowl(), np.zeros(3), rates, distances, np.random.default_rng(11), met.append)
    assert np.array(met) == pytest.approx(np.array(visited), abs=1e-12)


def test_qnspsa_takes_the_steps_of_qiskit_algorithms():
    algorithms = pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.optimizers import QNSPSA

    algorithms.utils.algorithm_globals.random_seed = 12
    visited = []
    QNSPSA(
        lambda x, y: Bowl().overlaps(np.asarray(x), np.atleast_2d(y))[0], 12, blocking=False, learning_rate=0.05,
        perturbation=0.1, callback=lambda *a: visited.append(a[1]),
    ).minimize(lambda x: Bowl().values(np.atleast_2d(x))[0], np.zeros(3))  # fmt: skip
    met: list[np.ndarray] = []
    natural_walk(Bowl(), np.zeros(3), np.full(12, 0.05), np.full(12, 0.1), np.random.default_rng(12), met.append)
    assert np.array(met) == pytest.approx(np.array(visited), abs=1e-9)


def test_overlaps_on_fragments_are_those_of_whole_states():
    made = ry(Hamiltonian("", SparsePauliOp("Z" * 6)), 2, 3)
    values = np.random.default_rng(7).uniform(-1, 1, (4, len(made.start)))
    states = [Statevector(made.circuit.assign_parameters(own)).data for own in values]
    measure = Measure(made, SparsePauliOp("Z" * 6), Options(max_qubits=4, cache="off"))
    found = measure.overlaps(values[0], values[1:]).values
    assert found == pytest.approx([abs(np.vdot(states[0], other)) ** 2 for other in states[1:]], abs=1e-12)


def test_the_kernels_parameters_are_in_the_order_said():
    made = ry(Hamiltonian("", SparsePauliOp("ZZ")), 6, 3)  # fourteen: a[10] must not come before a[2]
    drawer = kernel_of(made.circuit, Options(cache="off"))
    names = [parameter.name for parameter in drawer.circuit.parameters]
    assert names == [f"{letter}[{number}]" for letter in "ab" for number in range(14)]


@pytest.mark.parametrize(
    "name, shots",
    [(name, None) for name in ("cobyla", "lbfgsb", "spsa", "qnspsa", "de")]
    + [("cobyla", 3000), ("qnspsa", 3000)]
    + [pytest.param(name, 3000, marks=pytest.mark.slow) for name in ("lbfgsb", "spsa", "de")],
)
def test_a_loop_that_is_cut_off_anywhere_goes_on_along_the_same_path(name, shots, tmp_path):
    hamiltonian = Hamiltonian("", transverse_ising(1, 5, 0.7))
    ansatz = ry(hamiltonian, 1, 1)
    options = Options(max_qubits=3, shots=shots, seed=5, cache="off")
    how = search(start=ansatz.start, bounds=ansatz.bounds, iterations=5, population=6)

    def run(folder, stop=None, head="x"):
        folder.mkdir(exist_ok=True)
        measure = Measure(ansatz, hamiltonian.operator, options, 8 * (shots or 0))
        journal = RunJournal(folder, head)

        def told(state):
            if state.evaluations == stop and state.evaluations > state.replayed:
                raise KeyboardInterrupt

        objective = JournalledObjective(measure, journal, Effort(measure.levels, 1), told)
        try:
            found = OPTIMISERS[name].run(objective, how)
            return objective.final(found.parameters), objective.state
        finally:
            journal.close()

    whole, state = run(tmp_path / "whole")
    for stop in (1, state.evaluations // 2, state.evaluations):
        folder = tmp_path / f"cut{stop}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, stop)
        with open(folder / JOURNAL_NAME, "ab") as file:
            file.write(b"half a li")
        again, resumed = run(folder)
        assert path(folder) == path(tmp_path / "whole")
        assert again.values.tolist() == whole.values.tolist() and resumed.replayed >= stop
    if shots and name == "spsa":
        assert state.levels[-1] > 0  # the effort rose, and did so again


def path(folder):
    """All but the shots taken: counts that are kept in memory, and taken again after a crash, are the same counts."""
    return [{name: value for name, value in entry.items() if name != "shots"} for entry in read_journal(folder)]


def test_a_journal_of_other_settings_or_of_another_version_is_refused(tmp_path):
    RunJournal(tmp_path, "mine").close()
    with pytest.raises(RunRecordError, match="other settings"):
        RunJournal(tmp_path, "yours")
    text = (tmp_path / JOURNAL_NAME).read_text()
    later = text.partition(" ")[2].replace('"format":1', '"format":99').rstrip("\n")
    seal = hashlib.sha256(f" {later}".encode()).hexdigest()[:32]
    (tmp_path / JOURNAL_NAME).write_text(f"{seal} {later}\n")
    with pytest.raises(RunRecordError, match="another version"):
        RunJournal(tmp_path, "mine")


@pytest.mark.parametrize("damage", ["change", "swap", "remove"])
def test_a_damaged_journal_is_believed_up_to_the_damage(damage, tmp_path, caplog):
    journal = RunJournal(tmp_path, "")
    for number in range(5):
        journal.append({"value": number / 3})
    journal.close()
    lines = (tmp_path / JOURNAL_NAME).read_bytes().splitlines(keepends=True)
    if damage == "change":
        lines[3] = lines[3].replace(b"0.66", b"0.67")
    elif damage == "swap":
        lines[3], lines[4] = lines[4], lines[3]
    else:
        del lines[3]
    (tmp_path / JOURNAL_NAME).write_bytes(b"".join(lines))
    assert [entry["value"] for entry in read_journal(tmp_path)] == [0, 1 / 3]
    assert "damaged after 2 evaluations" in caplog.text
    again = RunJournal(tmp_path, "")
    again.append({"value": 7})
    again.close()
    assert [entry["value"] for entry in read_journal(tmp_path)] == [0, 1 / 3, 7]


def test_a_journal_whose_first_line_is_damaged_has_no_evaluations(tmp_path, caplog):
    (tmp_path / JOURNAL_NAME).write_text("x\n")
    assert read_journal(tmp_path) == []
    assert "damaged after 0 evaluations" in caplog.text


class Scripted(Measure):
    """Energies that are given."""

    def __init__(self, energies):
        self.levels, self.paid, self._energies = 0, 0.0, iter(energies)

    def values(self, points, level, allowed=None):
        return Measured(np.array([next(self._energies) for _ in points]), np.zeros(len(points)))


def test_parameters_that_are_no_numbers_end_the_loop_with_what_it_has(tmp_path):
    journal = RunJournal(tmp_path, "")
    objective = JournalledObjective(Scripted([3.0, 2.0]), journal, Effort(0, 1), lambda state: None)
    objective.values(np.zeros((2, 1)))
    with pytest.raises(LoopError, match="no numbers after 1 evaluations; the lowest energy so far is 2"):
        objective.values(np.array([[np.nan]]))
    assert len(read_journal(tmp_path)) == 1
    journal.close()


def test_an_energy_that_is_no_number_ends_the_loop(tmp_path):
    journal = RunJournal(tmp_path, "")
    with pytest.raises(LoopError, match="energy that is no number"):
        JournalledObjective(Scripted([np.nan]), journal, Effort(0, 1), lambda state: None).values(np.zeros((1, 1)))
    journal.close()


def test_a_journal_that_answers_another_question_is_refused(tmp_path):
    journal = RunJournal(tmp_path, "")
    JournalledObjective(Scripted([1.0]), journal, Effort(0, 1), lambda state: None).values(np.zeros((1, 1)))
    with pytest.raises(RunRecordError, match="line 2 answers another question"):
        JournalledObjective(Scripted([]), journal, Effort(0, 1), lambda state: None).values(np.ones((1, 1)))
    journal.close()


def test_shots_grow_when_noise_hides_the_gain_and_not_before():
    effort = Effort(3, 4)
    for number in range(8):
        effort.follow(-1.0 * number, 0.1)  # gains of many errors
    assert effort.level == 0
    for _ in range(8):
        effort.follow(-7.0, 0.1)
    assert effort.level == 1
    for _ in range(100):
        effort.follow(-7.0, 0.1)
    assert effort.level == 3
    assert [levels_between(1000, most) for most in (1000, 1001, 2000, 16000)] == [0, 1, 1, 4]


def test_more_shots_are_taken_at_each_level_and_none_twice():
    hamiltonian = Hamiltonian("", transverse_ising(1, 4, 0.7))
    ansatz = ry(hamiltonian, 1, 1)
    measure = Measure(ansatz, hamiltonian.operator, Options(max_qubits=2, shots=4000, cache="off"), 16000)
    taken = [measure.values(ansatz.start[None], level) for level in range(3)]
    assert measure.levels == 2
    assert [one.shots for one in taken] == pytest.approx([4000, 8000, 16000], rel=0.1)
    assert taken[2].errors[0] < 0.7 * taken[0].errors[0]
    final = measure.final(ansatz.start)
    assert final.values[0] != taken[2].values[0] and final.shots == taken[2].shots
    truth = Statevector(ansatz.circuit.assign_parameters(ansatz.start)).expectation_value(hamiltonian.operator).real
    for one in (*taken, final):
        assert abs(one.values[0] - truth) < 5 * one.errors[0]


def test_the_optimum_on_fragments_is_the_one_of_the_whole_circuit():
    hamiltonian = Hamiltonian("", SparsePauliOp.from_sparse_list([("ZZ", [q, (q + 1) % 8], 0.5) for q in range(8)], 8))
    made = qaoa(hamiltonian, 2, 0)

    def energy(values):
        return Statevector(made.circuit.assign_parameters(values)).expectation_value(hamiltonian.operator).real

    whole = minimize(energy, made.start, method="L-BFGS-B")

    class OnFragments:
        def __init__(self):
            self.measure = Measure(made, hamiltonian.operator, Options(max_qubits=5, cache="off"))

        def slopes(self, point):
            found = self.measure.slopes(point, 0)
            return float(found.values[0]), found.slopes

    how = search(start=made.start, bounds=made.bounds, tolerance=1e-8)
    found = OPTIMISERS["lbfgsb"].run(OnFragments(), how)
    assert energy(found.parameters) == pytest.approx(whole.fun, abs=1e-6)
    # A ring of 8, p = 2: 5/6 of the edges are cut (Farhi et al., arXiv:1411.4028, section IV).
    assert energy(found.parameters) == pytest.approx(4 - 8 * 5 / 6, abs=1e-5)
