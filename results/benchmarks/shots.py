"""Benchmark of the shot allocation: ``python -m results.benchmarks.shots [--quick] [--keep-peer]``.

Every problem is estimated many times with the same total of shots by four ways of spending them, and the root mean
square error against the exact value is what counts: Qompass in two rounds; Qompass with shots uniform over its
variants; qiskit-addon-cutting's settings and coefficients with shots uniform over its distinct sub-experiments (each
run once); and qiskit-addon-cutting as it is, with a finite ``num_samples`` and every sub-experiment run for itself.
The last two use the peer's own decomposition, weights and combination, on exactly simulated outcome distributions.
Writes shots.md, .json and .png beside this file (shots_quick.* with --quick). --keep-peer takes the peer's errors from
shots.json where the cuts and the shots are still the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp, Statevector
from qiskit_addon_cutting.qpd import generate_qpd_weights
from qiskit_addon_cutting.utils.simulation import simulate_statevector_outcomes

from tasks.cutting import Cut, Plan, make_plan, structure_of
from tasks.cutting.variants import enumerate_variants
from tasks.execution.samples import sampled_data
from tasks.execution.simulators.drawing import draw_counts
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import variant_distributions
from tasks.inputs.validation import make_problem
from tasks.model.counts import merge_counts, split_counts
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor, VariantCounts
from tasks.reconstruction import contract, estimate_values, tensor_values
from tasks.reconstruction.statistics.allocation import FIRST_ROUND, allocate_shots, each_from_the_other, spend
from tasks.reconstruction.statistics.influences import influences
from tests.peers.addon import PeerProblem, peer_problem, peer_structure

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """A circuit, an operator, and how it is cut."""

    name: str
    circuit: QuantumCircuit
    operator: SparsePauliOp
    max_qubits: int


def cases(seed: int = 5) -> list[Case]:
    """Twelve problems: variational, Ising, QAOA, GHZ, random; one to three cuts; energies and single correlators."""
    rng = np.random.default_rng(seed)
    found = []
    for qubits, layers in ((6, 2), (8, 2), (8, 4)):
        circuit = QuantumCircuit(qubits)
        for layer in range(layers):
            for q in range(qubits):
                circuit.ry(rng.uniform(0, np.pi), q)
            for q in range(layer % 2, qubits - 1, 2):
                circuit.cx(q, q + 1)
        found.append(Case(f"variational {qubits} x {layers}, energy", circuit, ising(qubits), qubits // 2))
    for angle in (0.2, 0.6, 1.2):
        circuit = QuantumCircuit(8)
        for _ in range(2):
            for q in range(7):
                circuit.rzz(angle, q, q + 1)
            for q in range(8):
                circuit.rx(0.7, q)
        found.append(Case(f"Trotter, angle {angle}, energy", circuit, ising(8), 4))
    ring = QuantumCircuit(8)
    ring.h(range(8))
    for q in range(8):
        ring.rzz(0.8, q, (q + 1) % 8)
    for q in range(8):
        ring.rx(0.6, q)
    found.append(Case("QAOA ring, cost", ring, zz_sum(8), 4))
    ghz = QuantumCircuit(8)
    ghz.h(0)
    for q in range(7):
        ghz.cx(q, q + 1)
    found.append(Case("GHZ, Z0 Z7", ghz, SparsePauliOp("ZIIIIIIZ"), 4))
    found.append(Case("GHZ, X on all", ghz, SparsePauliOp("X" * 8), 4))
    for number in range(3):
        circuit = QuantumCircuit(7)
        for layer in range(3):
            for q in range(7):
                circuit.u(*rng.uniform(0, np.pi, 3), q)
            for q in range(layer % 2, 6, 2):
                circuit.cz(q, q + 1)
        labels = ["".join(rng.choice(list("IIIXYZ"), 7)) for _ in range(8)]
        found.append(Case(f"random {number}", circuit, SparsePauliOp(labels, rng.normal(size=8)), 4))
    return found


def ising(qubits: int) -> SparsePauliOp:
    """Transverse-field Ising energy."""
    terms = [("ZZ", [q, q + 1], 1.0) for q in range(qubits - 1)] + [("X", [q], 0.8) for q in range(qubits)]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=qubits)


def zz_sum(qubits: int) -> SparsePauliOp:
    """The cost of a ring."""
    return SparsePauliOp.from_sparse_list([("ZZ", [q, (q + 1) % qubits], 1.0) for q in range(qubits)], qubits)


def ours(problem: Problem, plan: Plan, shots: int) -> tuple[Callable, Callable, Callable, list[float]]:
    """Two ways of spending shots on a plan of ours: estimators of one value, and the error bars that the first gave.

    The third gives the variance of the two rounds' allocation over that of one pool of shots, whose second round
    follows from its whole first one; both with the variants' exact influences. None where the exact gradient vanishes.
    """
    structure = structure_of(problem, plan)
    laws = []
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        variants = enumerate_variants(fragment, schemes)
        state = open_state(fragment)
        order = sorted(range(len(variants)), key=lambda i: (variants[i].group, variants[i].settings))
        found = list(variant_distributions(fragment, schemes, state, [variants[i] for i in order]))
        laws.append((fragment, schemes, [variants[i] for i in order], found))
    total_variants = sum(len(variants) for _, _, variants, _ in laws)

    Taken = list[list[list[VariantCounts]]]  # (fragment, half, variant)

    def draw(wanted: list[np.ndarray], rng: np.random.Generator) -> Taken:
        out = []
        for (_, _, _, found), numbers in zip(laws, wanted, strict=True):
            counts = [draw_counts(law, int(n), rng) for law, n in zip(found, numbers.sum(axis=0), strict=True)]
            if len(numbers) == 1:
                out.append([counts])
            else:
                shares = numbers[0] / np.maximum(numbers.sum(axis=0), 1)
                out.append([list(half) for half in zip(*split_counts(counts, shares, rng), strict=True)])
        return out

    def tensors(*rounds: Taken) -> list[FragmentTensor]:
        out = []
        for (fragment, schemes, variants, _), *taken in zip(laws, *rounds, strict=True):
            parts = []
            for half, own in enumerate(zip(*taken, strict=True)):
                for variant, *counts in zip(variants, *own, strict=True):
                    merged = merge_counts([c for c in counts if c.shots])
                    parts += [(variant, one, half) for one in merged]
            data = sampled_data(fragment, schemes, *(list(column) for column in zip(*parts, strict=True)))
            out.append(FragmentTensor(fragment.index, tensor_values(data, fragment.num_factors), data))
        return out

    def spread(total: int, halves: int) -> list[np.ndarray]:
        flat = np.full(halves * total_variants, total // (halves * total_variants))
        flat[: total % flat.size] += 1
        ends = np.cumsum([len(variants) for _, _, variants, _ in laws])[:-1]
        return np.split(flat.reshape(halves, -1), ends, axis=1)

    def in_rounds(rng: np.random.Generator) -> float:
        first = draw(spread(int(FIRST_ROUND * shots), 2), rng)
        prices = {fragment.index: 0.0 for fragment, *_ in laws}
        more = allocate_shots(structure, tensors(first), shots, None, prices)
        second = draw([more[fragment.index] for fragment, *_ in laws], rng)
        values, errors = estimate_values(structure, tensors(first, second))
        bars.append(float(errors[0]))
        return float(values[0])

    def uniform(rng: np.random.Generator) -> float:
        return float(contract(structure, tensors(draw(spread(shots, 1), rng)))[0])

    def against_a_pool(rng: np.random.Generator, runs: int) -> float | None:
        many = draw([np.full((1, len(variants)), 4 * 10**7) for _, _, variants, _ in laws], rng)
        exact = influences(structure, tensors(many))[0].each.seen.sum(axis=1)
        if exact.max() < 1e-5:
            return None
        halved, pooled = 0.0, 0.0
        prices = {fragment.index: 0.0 for fragment, *_ in laws}
        for _ in range(runs):
            halves = influences(structure, tensors(draw(spread(int(FIRST_ROUND * shots), 2), rng)))
            more = each_from_the_other(halves, shots, None, prices)
            halved += sum(float((exact / (half.shots + own)).sum()) for half, own in zip(halves, more, strict=True)) / 4
            (whole,) = influences(structure, tensors(draw(spread(int(FIRST_ROUND * shots), 1), rng)))
            pooled += float((exact / (whole.shots + spend(whole, whole.shots, shots))).sum())
        return halved / pooled

    bars: list[float] = []
    return in_rounds, uniform, against_a_pool, bars


@dataclass(frozen=True)
class PeerLaw:
    """Outcome distribution of one of the peer's sub-experiments and the signed value of each factor at each outcome."""

    chances: np.ndarray
    values: np.ndarray
    factors: np.ndarray


def peer_laws(problem: PeerProblem) -> list[dict]:
    """For each of the peer's fragments, its distinct sub-experiments' laws."""
    laws = []
    for fragment in problem.fragments:
        own = {}
        for key, circuit in fragment.distinct().items():
            group = fragment.observables.groups[key[1]]
            bits = max(1, len(group.pauli_indices))
            outcomes = simulate_statevector_outcomes(circuit)
            numbers = np.array(list(outcomes), dtype=np.int64)
            chances = np.array(list(outcomes.values()))
            seen, qpd = numbers & ((1 << bits) - 1), numbers >> bits
            masks = np.array(group.pauli_bitmasks, dtype=np.int64)
            parity = np.bitwise_count(seen[:, None] & masks[None, :]) + np.bitwise_count(qpd)[:, None]
            factors = np.array([fragment.factors.index(p.to_label()) for p in group.commuting_observables])
            own[key] = PeerLaw(chances / chances.sum(), 1.0 - 2.0 * (parity & 1), factors)
        laws.append(own)
    return laws


def peer(case: Case, cuts: tuple[Cut, ...], shots: int, num_samples: int) -> tuple[Callable, Callable]:
    """The peer's settings with shots uniform over distinct sub-experiments, and the peer with finite num_samples."""
    problem = peer_problem(case.circuit, cuts, PauliList(case.operator.paulis))
    laws = peer_laws(problem)
    structure = peer_structure(problem)
    weights = case.operator.coeffs.real
    distinct = sum(len(own) for own in laws)

    def draw(law: PeerLaw, number: int, rng: np.random.Generator) -> np.ndarray:
        return rng.multinomial(number, law.chances) @ law.values / number

    def uniform(rng: np.random.Generator) -> float:
        tensors = []
        for index, (fragment, own) in enumerate(zip(problem.fragments, laws, strict=True)):
            shape = [len(problem.sides[cut][end].measured) for cut, end in fragment.legs]
            sums, times = np.zeros((*shape, len(fragment.factors))), np.zeros((*shape, len(fragment.factors)))
            for (settings, _), law in own.items():
                np.add.at(sums[settings], law.factors, draw(law, max(1, shots // distinct), rng))
                np.add.at(times[settings], law.factors, 1)
            tensors.append(FragmentTensor(index, sums / np.maximum(times, 1)))
        return float(weights @ contract(structure, tensors))

    def as_it_is(rng: np.random.Generator) -> float:
        np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 the peer draws from numpy's global stream
        samples = generate_qpd_weights(problem.bases, num_samples=num_samples)
        redundancy = sum(weight for weight, _ in samples.values())
        kappa = np.prod([basis.kappa for basis in problem.bases])
        groups = sum(len(fragment.observables.groups) for fragment in problem.fragments)
        each = max(1, shots // (len(samples) * groups))
        total = np.zeros(len(weights))
        for maps, (weight, _) in samples.items():
            sign = np.sign(np.prod([basis.coeffs[m] for basis, m in zip(problem.bases, maps, strict=True)]))
            product = np.ones(len(weights))
            for fragment, own in zip(problem.fragments, laws, strict=True):
                settings = tuple(problem.sides[cut][end].setting_of_map[maps[cut]] for cut, end in fragment.legs)
                sums, times = np.zeros(len(fragment.factors)), np.zeros(len(fragment.factors))
                for group in range(len(fragment.observables.groups)):
                    law = own[(settings, group)]
                    np.add.at(sums, law.factors, draw(law, each, rng))
                    np.add.at(times, law.factors, 1)
                product *= (sums / np.maximum(times, 1))[fragment.factor_index]
            total += weight / redundancy * kappa * sign * product
        return float(weights @ total)

    return uniform, as_it_is


def run(
    case: Case, per_variant: int, repeats: int, num_samples: int, known: Sequence[dict] = (), seed: int = 1
) -> dict:
    """One row: the error of each way, with the same total of shots; the peer's from ``known`` rows where they fit."""
    problem = make_problem(case.circuit, case.operator)
    plan = make_plan(problem, max_qubits=case.max_qubits, shots=100_000)
    variants = sum(cost.variants for cost in plan.costs)
    shots = per_variant * variants
    exact = float(Statevector(case.circuit).expectation_value(case.operator).real)
    in_rounds, uniform, against_a_pool, bars = ours(problem, plan, shots)
    row = {"problem": case.name, "cuts": len(plan.cuts), "variants": variants, "shots": shots, "exact": exact}
    same = [old for old in known if all(old[name] == row[name] for name in ("problem", "cuts", "variants", "shots"))]
    peer_uniform, peer_as_it_is = (None, None) if same else peer(case, plan.cuts, shots, num_samples)
    ways = {
        "two_rounds": in_rounds,
        "uniform": uniform,
        "peer_uniform": peer_uniform,
        "peer_num_samples": peer_as_it_is,
    }
    for number, (name, way) in enumerate(ways.items()):
        if way is None:
            row[name] = same[0][name]
            continue
        rng = np.random.default_rng([seed, number])
        found = np.array([way(rng) for _ in range(repeats)])
        row[name] = float(np.sqrt(np.mean((found - exact) ** 2)))
    row["variance_over_a_pool's"] = against_a_pool(np.random.default_rng([seed, len(ways)]), max(1, repeats // 3))
    row["error_bar"] = float(np.sqrt(np.mean(np.square(bars))))
    for name in list(ways)[1:]:
        row[f"shots_saved_{name}"] = (row[name] / row["two_rounds"]) ** 2
    print(row, file=sys.stderr, flush=True)
    return row


def figure(rows: list[dict], path: Path) -> None:
    """How many times the shots each other way takes for the same error."""
    names = ("uniform", "peer_uniform", "peer_num_samples")
    labels = ("Qompass, uniform", "peer's settings, uniform", "peer, finite num_samples")
    canvas, axes = plt.subplots(figsize=(9, 5))
    place = np.arange(len(rows))
    for number, (name, label) in enumerate(zip(names, labels, strict=True)):
        axes.barh(place + 0.27 * (number - 1), [row[f"shots_saved_{name}"] for row in rows], 0.25, label=label)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel="times the shots of Qompass in two rounds, for the same error")
    axes.set_yticks(place, [row["problem"] for row in rows])
    axes.legend()
    canvas.tight_layout()
    canvas.savefig(path, dpi=150)


def main() -> None:
    """Run everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four problems, few repeats")
    parser.add_argument("--keep-peer", action="store_true", help="the peer's errors from shots.json where they fit")
    options = parser.parse_args()
    known = json.loads((_HERE / "shots.json").read_text())["rows"] if options.keep_peer else ()
    chosen = cases()[::3] if options.quick else cases()
    repeats = 20 if options.quick else 60
    rows = [run(case, 500, repeats, 1000, known) for case in chosen]
    middle = {name: median(row[name] for row in rows) for name in rows[0] if name.startswith("shots_saved")}
    name = "shots_quick" if options.quick else "shots"
    (_HERE / f"{name}.json").write_text(json.dumps({"rows": rows, "medians": middle}, indent=1) + "\n")
    figure(rows, _HERE / f"{name}.png")
    names = list(rows[0])
    lines = ["| " + " | ".join(n.replace("_", " ") for n in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = ("-" if v is None else f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    command = "python -m results.benchmarks.shots" + (" --quick" if options.quick else "")
    text = [
        "# Shots",
        f"Made by `{command}` on {os.cpu_count()} cores: root mean square error of {repeats} runs of each problem,"
        " all ways with the same total of shots; *shots saved* is how many times the shots of the two rounds"
        f" a way takes for the same error (squared ratio of errors; to {100 * 2 / np.sqrt(repeats):.0f} %)."
        " *Variance over a pool's*: what dividing the shots into halves, each of which decides for the other, costs"
        f" against a second round that follows from the whole first one; by exact influences, {repeats // 3} runs.",
        "\n".join(lines),
        "Medians: "
        + ", ".join(f"{n.removeprefix('shots_saved_').replace('_', ' ')} {v:.2f}" for n, v in middle.items()),
    ]
    (_HERE / f"{name}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
