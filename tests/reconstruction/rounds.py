"""Runs in rounds of shots on given outcome distributions: what a whole run does, without simulating circuits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting import Plan, structure_of
from tasks.cutting.variants import enumerate_variants
from tasks.execution.samples import sampled_data
from tasks.execution.simulators.drawing import draw_counts
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import variant_distributions
from tasks.model.counts import merge_counts, split_counts
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor, LegSettings, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction import estimate_values, tensor_values
from tasks.reconstruction.statistics.allocation import (
    FIRST_ROUND,
    allocate_shots,
    each_from_the_other,
    more_of_all,
)
from tasks.reconstruction.statistics.influences import Influences
from tasks.reconstruction.statistics.uncertainty import Uncertainty, uncertainty_of_mean

FIRST_SHOTS = 400  # a variant, towards a target error


@dataclass(frozen=True)
class SampledProblem:
    """A network of sampled fragments and what every variant would measure.

    Attributes:
        structure: the network.
        legs: (fragment,) settings of its legs.
        variants: (fragment, variant) what is known of each; their counts are not used.
        draw: shots of one variant (fragment, variant, shots, rng).
        exact: value of the one observable.
        others: tensors of fragments that are exact; the sampled ones come first.
    """

    structure: Structure
    legs: Sequence[tuple[LegSettings, ...]]
    variants: Sequence[Sequence[VariantData]]
    draw: Callable[[int, int, int, np.random.Generator], VariantCounts]
    exact: float
    others: Sequence[FragmentTensor] = ()


def part_flips(angle: float) -> float:
    """The chance that a part of ``near_certain_parts`` reads 1."""
    chance = np.sin(angle / 2) ** 2  # both qubits read 1, and then one more flip for the second rotation
    return float(2 * chance * (1 - chance))


def near_certain_parts(parts: int, angle: float = 0.09) -> SampledProblem:
    """The sum of Z over two-qubit parts (``ry(angle)``, ``cx``), each measured in a variant of its own."""

    def draw(_: int, __: int, shots: int, rng: np.random.Generator) -> VariantCounts:
        ones = int(rng.binomial(shots, part_flips(angle)))
        seen = np.array([shots - ones, ones])
        found = np.flatnonzero(seen)
        return VariantCounts(found.astype(np.uint8)[:, None], seen[found], 1)

    # One leg with a setting for each part, contracted with ones: the sum, at the price of a single fragment.
    columns = np.column_stack([np.arange(parts), np.ones(parts, dtype=np.int64)])
    leg = LegSettings(columns, np.eye(parts), parts)
    nothing = VariantCounts(np.zeros((0, 1), dtype=np.uint8), np.zeros(0, dtype=np.int64), 1)
    factor, mask = np.array([0]), np.array([[False]])
    variants = [VariantData((part,), (0,), factor, mask, nothing) for part in range(parts)]
    one = csr_array(np.ones((1, 1)))
    structure = Structure((((0, 0),), ((0, 1),)), (np.ones((parts, 1)),), np.zeros((1, 2), dtype=int), (1, 1), one)
    ones = FragmentTensor(1, np.ones((1, 1)))
    return SampledProblem(structure, [(leg,)], [variants], draw, parts * np.cos(angle) ** 2, (ones,))


def cut_problem(problem: Problem, plan: Plan, exact: float) -> SampledProblem:
    """A problem that was cut, with the exact distribution of every variant."""
    laws, variants = [], []
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        found = enumerate_variants(fragment, schemes)  # by group and settings, as neighbours share their work
        laws.append(list(variant_distributions(fragment, schemes, open_state(fragment), found)))
        none = [VariantCounts(np.zeros((0, 1), dtype=np.uint8), np.zeros(0, dtype=np.int64), 0)] * len(found)
        data = sampled_data(fragment, schemes, found, none)
        variants.append(data)

    def draw(fragment: int, variant: int, shots: int, rng: np.random.Generator) -> VariantCounts:
        return draw_counts(laws[fragment][variant], shots, rng)

    legs = [data.legs for data in variants]
    return SampledProblem(structure_of(problem, plan), legs, [data.variants for data in variants], draw, exact)


def run_in_rounds(
    problem: SampledProblem, rng: np.random.Generator, *, each: int = 500, target_error: float | None = None
) -> tuple[float, float, int]:
    """Value, standard error and shots of a run with ``each`` shots a variant, or as many as the target error takes.

    Fewer than 100 shots a variant are taken in one round.
    """
    sizes = [len(own) for own in problem.variants]
    total = None if target_error is not None else each * sum(sizes)
    once = target_error is None and each < 100
    first = FIRST_SHOTS if target_error is not None else each if once else int(FIRST_ROUND * each)
    wanted = [np.tile([[first - first // 2], [first // 2]], size) for size in sizes]
    if once:
        wanted = [np.full((1, size), each) for size in sizes]
    taken: list[list[list[list[VariantCounts]]]] = [[[[] for _ in range(n)] for _ in (0, 1)] for n in sizes]
    for number in range(5):
        for fragment, numbers in enumerate(wanted):
            chosen = np.flatnonzero(numbers.sum(axis=0))
            counts = [problem.draw(fragment, v, int(numbers[:, v].sum()), rng) for v in chosen.tolist()]
            shares = np.ones(chosen.size) if once else numbers[0, chosen] / numbers[:, chosen].sum(axis=0)
            for v, pair in zip(chosen.tolist(), split_counts(counts, shares.tolist(), rng), strict=True):
                for half, own in enumerate(pair):
                    taken[fragment][half][v] += [own] if own.shots else []
        tensors = [*(_tensor(problem, fragment, own) for fragment, own in enumerate(taken)), *problem.others]
        if once or (number and target_error is None):
            break
        prices = dict.fromkeys(range(len(sizes)), 0.0)
        more = allocate_shots(problem.structure, tensors, total, target_error, prices, rounds=number + 1)
        if not any(shots.any() for shots in more.values()):
            break
        wanted = [more[fragment] for fragment in range(len(sizes))]
    values, errors = estimate_values(problem.structure, tensors)
    spent = sum(counts.shots for own in taken for half in own for rounds in half for counts in rounds)
    return float(values[0]), float(errors[0]), spent


def signs_in_rounds(
    parts: int, flip: float, rng: np.random.Generator, *, each: int = 500, target_error: float | None = None
) -> tuple[float, float, int]:
    """``run_in_rounds`` of the sum of signs that flip with a chance, each of a variant of its own, on bare numbers.

    The sum is linear: its gradient is 1, its exact value parts * (1 - 2 flip).
    """
    first = FIRST_SHOTS if target_error is not None else int(FIRST_ROUND * each)
    total = None if target_error is not None else each * parts
    wanted = np.tile([[first - first // 2], [first // 2]], parts)
    shots, flips = np.zeros((2, 2, parts), dtype=np.int64)
    for number in range(5):
        flips += rng.binomial(wanted, flip)
        shots += wanted
        mean = 1 - 2 * flips / shots
        halves = [uncertainty_of_mean(shots[h], mean[h], np.ones(parts), shots[h]) for h in (0, 1)]
        whole = Uncertainty.none()
        for half in halves:
            whole.add(half.scaled(0.5).summed())
        if number and target_error is None:
            break
        if number:
            assert target_error is not None
            wanted = more_of_all(shots, float(whole.variance), None, target_error)
        else:
            known = [
                Influences(np.zeros(parts, dtype=np.int64), np.arange(1), one.per_shot(own)[:, None], own, of=2)
                for one, own in zip(halves, shots, strict=True)
            ]
            wanted = each_from_the_other(known, total, target_error, {0: 0.0})
        if not wanted.any():
            break
    return float(mean.sum() / 2), float(np.sqrt(whole.variance)), int(shots.sum())


def _tensor(problem: SampledProblem, fragment: int, taken: list[list[list[VariantCounts]]]) -> FragmentTensor:
    data = []
    for half, own in enumerate(taken):
        for variant, rounds in zip(problem.variants[fragment], own, strict=True):
            for counts in merge_counts(rounds):
                data.append(
                    VariantData(variant.settings, variant.leg_bits, variant.factors, variant.factor_masks, counts, half)
                )
    samples = SampledData(tuple(problem.legs[fragment]), tuple(data))
    return FragmentTensor(fragment, tensor_values(samples, problem.structure.num_factors[fragment]), samples)


def pulls(problem: SampledProblem, runs: int, seed: int, **how: float) -> dict[str, float]:
    """What repeated runs say: mean and spread of (value - exact) / error, coverage, errors and shots a variant."""
    rng = np.random.default_rng(seed)
    found = np.array([run_in_rounds(problem, rng, **how) for _ in range(runs)])  # type: ignore[arg-type]
    return summary(found, problem.exact, sum(len(own) for own in problem.variants))


def summary(found: np.ndarray, exact: float, variants: int) -> dict[str, float]:
    """The same of (run, 3) values, standard errors and shots."""
    values, errors, shots = found.T
    pull = (values - exact) / errors
    return {
        "mean pull": float(pull.mean()),
        "within 1": float((np.abs(pull) < 1).mean()),
        "within 2": float((np.abs(pull) < 2).mean()),
        "rms error": float(np.sqrt(np.square(values - exact).mean())),
        "claimed": float(np.sqrt(np.square(errors).mean())),
        "shots a variant": float(shots.mean() / variants),
    }
