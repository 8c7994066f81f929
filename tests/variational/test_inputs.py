"""Graphs and operators from files become energies; what cannot be used is said in one line."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from scipy.linalg import expm
from scipy.sparse.linalg import eigsh

from apps.cli.optimise import read_start
from apps.variational.ansatz import of_hamiltonian, qaoa, ry
from apps.variational.energies import Hamiltonian, cut_weight, find_hamiltonian, shipped
from apps.variational.graphs import read_graph
from tasks.errors import InputError

PUBLISHED = {  # Hartree, with the nuclear repulsion
    "h2": -1.137306035753,  # 0.735 angstrom, Qiskit Nature's tutorials
    "h4": -2.16638745,  # 1 angstrom, OpenFermion's and ADAPT-VQE's (Grimsley et al., 2019) test value
    "lih": -7.8823622868,  # 1.5 angstrom, OpenFermion-PySCF as MindQuantum's tutorial of VQE prints it
}


@pytest.fixture
def graph() -> nx.Graph:
    made = nx.gnm_random_graph(7, 11, seed=5)
    rng = np.random.default_rng(5)
    for first, second in made.edges:
        made.edges[first, second]["weight"] = round(float(rng.uniform(-1, 2)), 3)
    return made


@pytest.mark.parametrize("form", ["edgelist", "weighted", "commas", "json", "links", "graphml"])
def test_a_graph_is_read_as_networkx_wrote_it(form, graph, tmp_path):
    path = tmp_path / f"graph.{form}"
    if form == "edgelist":
        nx.write_edgelist(graph, path)
    elif form == "graphml":
        nx.write_graphml(graph, path)
    elif form in ("json", "links"):
        path = tmp_path / "graph.json"
        path.write_text(json.dumps(nx.node_link_data(graph, edges="links" if form == "links" else "edges")))
    else:
        nx.write_weighted_edgelist(graph, path, delimiter=" " if form == "weighted" else ",")
    found = read_graph(path)
    wanted = {(min(a, b), max(a, b)): data["weight"] for a, b, data in graph.edges(data=True)}
    assert dict(zip(found.edges, found.weights, strict=True)) == wanted
    assert found.nodes == tuple(map(str, range(7)))


def test_the_energy_of_a_string_is_minus_the_weight_of_its_cut(graph, tmp_path):
    nx.write_weighted_edgelist(graph, tmp_path / "graph.txt")
    hamiltonian = find_hamiltonian(str(tmp_path / "graph.txt"))
    bits = np.array(list(product((0, 1), repeat=7)), dtype=np.uint8)
    cuts = [nx.cut_size(graph, np.flatnonzero(own).tolist(), weight="weight") for own in bits]
    assert cut_weight(hamiltonian, bits) == pytest.approx(-np.array(cuts), abs=1e-12)
    diagonal = np.real(np.diag(hamiltonian.operator.to_matrix()))
    assert cut_weight(hamiltonian, bits) == pytest.approx(diagonal[bits @ (1 << np.arange(7))], abs=1e-12)


def test_the_ising_energy_has_weights_and_fields(tmp_path):
    graph = nx.path_graph(3)
    nx.set_edge_attributes(graph, {(0, 1): 2.0, (1, 2): -0.5}, "weight")
    nx.set_node_attributes(graph, {1: 0.25}, "field")
    for name, text in (("g.json", json.dumps(nx.node_link_data(graph, edges="edges"))),
                       ("g.graphml", "\n".join(nx.generate_graphml(graph)))):  # fmt: skip
        (tmp_path / name).write_text(text)
        found = find_hamiltonian(str(tmp_path / name), "ising").operator
        assert found.equiv(SparsePauliOp(["IZZ", "ZZI", "IZI"], [2.0, -0.5, 0.25]))


def test_an_operator_is_read_as_qiskit_lists_it(tmp_path):
    operator = SparsePauliOp(["XYZ", "ZZI", "III"], [0.5, -1.25, 3.0])
    (tmp_path / "o.json").write_text(json.dumps([[label, value.real] for label, value in operator.to_list()]))
    assert find_hamiltonian(str(tmp_path / "o.json")).operator.equiv(operator)
    (tmp_path / "o.json").write_text(json.dumps([["X2 Y1 Z0", 0.5], ["Z1 Z2", -1.25], ["", 3]]))
    assert find_hamiltonian(str(tmp_path / "o.json")).operator.equiv(operator)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_energy_is_the_lowest_of_its_terms_and_the_published_one(name):
    hamiltonian = find_hamiltonian(name)
    matrix = hamiltonian.operator.to_matrix(sparse=True).tocsr()
    start = np.random.default_rng(1).normal(size=matrix.shape[0])
    lowest = float(eigsh(matrix, k=1, which="SA", v0=start)[0][0])
    assert lowest == pytest.approx(hamiltonian.exact, abs=1e-8)
    assert lowest == pytest.approx(PUBLISHED.get(name, lowest), abs=2e-8)
    if hamiltonian.occupied:  # Hartree and Fock's state has all electrons, and is a little above
        index = sum(1 << qubit for qubit in hamiltonian.occupied)
        assert 0 < float(np.real(matrix[index, index])) - lowest < 0.2


def test_qaoa_is_the_exponentials_that_it_says():
    hamiltonian = Hamiltonian("", SparsePauliOp(["ZZII", "IZZI", "IIZZ", "IIIZ", "IIII"], [0.7, -1.1, 0.4, 0.3, 2.0]))
    made = qaoa(hamiltonian, 2, 0)
    values = np.random.default_rng(2).uniform(0, 1, 4)
    named = dict(zip([p.name for p in made.circuit.parameters], values, strict=True))
    mixer = sum((Operator.from_label("I" * (3 - q) + "X" + "I" * q).data for q in range(4)), np.zeros((16, 16)))
    state = np.full(16, 0.25, dtype=complex)
    for layer in range(2):
        state = expm(-1j * named[f"gamma[{layer}]"] * hamiltonian.operator.to_matrix()) @ state
        state = expm(1j * named[f"beta[{layer}]"] * mixer) @ state
    found = Statevector(made.circuit.assign_parameters(values)).data
    assert abs(np.vdot(state, found)) == pytest.approx(1, abs=1e-12)


def test_the_hamiltonians_ansatz_is_the_exponentials_that_it_says():
    operator = SparsePauliOp(["IZZ", "ZZI", "XYI", "IXZ", "IIX", "YII"], [0.7, -1.1, 0.4, 0.6, 0.3, 2.0])
    made = of_hamiltonian(Hamiltonian("", operator), 1, 0)
    values = np.random.default_rng(3).uniform(-1, 1, len(made.start))
    order = ["YX", "ZX", "ZZ", "X", "Y"]  # letters from qubit 0 up
    state = np.full(8, 8**-0.5, dtype=complex)
    for letters, angle in zip(order, values, strict=True):
        for label, value in operator.to_list():
            if label[::-1].replace("I", "") == letters:
                state = expm(-1j * angle * value.real * Operator.from_label(label).data) @ state
    found = Statevector(made.circuit.assign_parameters(values)).data
    assert abs(np.vdot(state, found)) == pytest.approx(1, abs=1e-12)


def test_real_amplitudes_start_near_the_occupied_qubits():
    made = ry(Hamiltonian("", SparsePauliOp("ZZZZ"), occupied=(1, 3)), 2, 0)
    state = Statevector(made.circuit.assign_parameters(made.start))
    assert abs(state.data[0b1010]) > 0.8 and np.abs(state.data.imag).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("g.txt", "0 1\n2 2\n", "line 2: an edge joins node '2' to itself: remove it"),
        ("g.txt", "# nothing\n", "has no edges"),
        ("g.txt", "0 1\n1 0 2\n", "line 2: the edge '1' to '0' is given twice"),
        ("g.txt", "0 1 2 3\n", "line 1: an edge is two nodes and a weight"),
        ("g.txt", "0 1 nan\n", "line 1: the weight 'nan' is not a number"),
        ("g.txt", "0 1 heavy\n", "line 1: the weight 'heavy' is not a number"),
        ("g.txt", "0 1 " + "{" * 300_000, "line 1: the weight '{{{"),
        ("g.json", '{"nodes": [], "links": []}', "has no edges"),
        ("g.grf", '{"nodes": [], "links": [' + "9" * 5000 + "]}", "a number of too many digits"),
        ("g.grf", '{"links": [{"source": 0, "target": 1, "weight": 1' + "0" * 400 + "}]}", "is not a number"),
        ("g.json", '{"nodes": []}', "has no lists of 'nodes'"),
        ("g.json", '{"nodes": [], "links": [{"source": 1}]}', "link 0 has no source and target"),
        ("g.graphml", "<graphml><oops>", "not valid GraphML"),
        ("g.graphml", '<!DOCTYPE x [<!ENTITY a "b">]><graphml>&a;</graphml>', "not valid GraphML"),
        ("o.json", '[["XY", [0.5, 0.25]]]', "the operator is not Hermitian"),
        ("o.json", '[["XY", 0.5], ["XYZ", 1]]', "is 2 wide"),
        ("o.json", "[]", "is not a list of terms"),
    ],
)  # fmt: skip
def test_a_bad_file_is_said_in_one_line(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        find_hamiltonian(str(tmp_path / name))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_first_line_that_counts_nodes_and_edges_is_no_edge(tmp_path):
    (tmp_path / "gset.txt").write_text("4 3\n1 2 1\n2 3 -1\n3 4 2\n")
    (tmp_path / "plain.txt").write_text("4 3\n1 2\n2 3\n3 1\n")
    assert read_graph(tmp_path / "gset.txt").weights == (1, -1, 2)
    assert len(read_graph(tmp_path / "plain.txt").edges) == 4
    (tmp_path / "long.txt").write_text("9" * 5000 + " 1\n")
    assert len(read_graph(tmp_path / "long.txt").nodes) == 2


def test_a_name_that_is_none_is_said():
    with pytest.raises(InputError, match=r"'h3' is no file, and the names known are h2, h4, ising2d, lih"):
        find_hamiltonian("h3")


def test_weights_whose_squares_are_too_small_for_numbers_start_somewhere():
    start = qaoa(Hamiltonian("", SparsePauliOp(["ZZ"], [1e-310])), 2, 0)
    assert np.isfinite(start.start).all() and np.isfinite(start.bounds).all()


def test_qaoa_refuses_what_is_not_diagonal():
    with pytest.raises(InputError, match="one or two Z alone"):
        qaoa(Hamiltonian("", SparsePauliOp(["ZX"])), 1, 0)


def test_starts_are_lists_or_what_an_optimisation_printed(tmp_path: Path):
    (tmp_path / "s.json").write_text("[0.5, 1]")
    assert read_start(tmp_path / "s.json") == (0.5, 1.0)
    (tmp_path / "s.json").write_text('{"energy": -1, "parameters": {"beta[0]": 0.5, "gamma[0]": 1}}')
    assert read_start(tmp_path / "s.json") == (0.5, 1.0)
    (tmp_path / "s.json").write_text('"x"')
    with pytest.raises(InputError, match="is not a list of parameter values"):
        read_start(tmp_path / "s.json")
