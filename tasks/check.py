"""Check a run: what it stored of each fragment against the same fragment computed another way.

Counts are held against the exact distribution of every variant, a whole tensor against the one that its variants'
distributions give: the way of the sampled path with infinitely many shots.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import xlogy
from scipy.stats import chi2

from tasks.cutting import Fragment, Plan, make_plan
from tasks.cutting.cuts import cuts_from
from tasks.cutting.kinds import Scheme
from tasks.cutting.variants import Variant, enumerate_variants
from tasks.dispatch.errors import value_of
from tasks.dispatch.rounds import first_round
from tasks.execution.jobs import ExactJob, SampledJob, exact_jobs, predicted_seconds, sampled_jobs
from tasks.execution.packed_counts import unpack_counts
from tasks.execution.samples import sampled_data
from tasks.execution.simulators.drawing import pack_outcomes
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import OpenState, open_state
from tasks.execution.simulators.sampled import variant_distributions
from tasks.model.problem import Problem
from tasks.model.tensor import VariantCounts
from tasks.options import Options, plan_limits
from tasks.reconstruction import tensor_values
from tasks.runs import RunDirectory, RunRecordError
from tasks.runtime import (
    INLINE_S,
    Limits,
    Outcome,
    Ticket,
    constraint,
    inline,
    isolated,
    limits,
    shared_engine,
    task,
    tickets_in,
    wait_on,
)

_CHANCE = 1e-6  # a fragment as unlikely as this was not sampled from its distribution
_FEWEST = 5.0  # expected counts of an outcome; rarer ones are looked at together
_IMPOSSIBLE = 1e-12  # a probability as small as this is a rounding error
_MANY_SHOTS = 1 << 50
_OPEN_QUBITS = 26  # wider states are not computed again here
_MOST_NUMBERS = 1 << 24  # of a tensor or of all its variants' distributions
_TOLERANCE = 1e-8

Found = tuple[tuple[ExactJob | SampledJob, Mapping[str, np.ndarray], str], ...]
"""Stored results of a fragment: what was asked, its arrays, the device that made it."""


@dataclass(frozen=True)
class Checked:
    """What came of checking one fragment.

    Attributes:
        fragment: its index.
        made: how its results were made: "exact", "sampled", or "" where none is stored.
        devices: that made them.
        agrees: whether they agree with what was computed now; None where that cannot be said.
        detail: how far they are apart, or why that cannot be said.
    """

    fragment: int
    made: str
    devices: tuple[str, ...]
    agrees: bool | None
    detail: str


def check(problem: Problem, options: Options, directory: RunDirectory, noisy: Sequence[str] = ()) -> list[Checked]:
    """Check every fragment of a run.

    Args:
        problem: of the run.
        options: it was started with.
        directory: its folder.
        noisy: names of devices whose counts carry errors of their own: these are compared, and not judged.

    Returns:
        one entry for each fragment, in order.

    Raises:
        RunRecordError: it has no plan yet.
    """
    stored = directory.record.get("plan")
    if stored is None:
        raise RunRecordError(f"{directory.path}: has no plan yet, so there is nothing to check; resume it first")
    plan = _plan_again(problem, options, stored)
    found = _found(plan, options, directory)
    seconds = sum(predicted_seconds(job) for job in exact_jobs(plan)) + sum(cost.variants for cost in plan.costs) * 1e-3
    with (
        shared_engine(options.engine),
        inline(seconds <= INLINE_S),
        contextlib.closing(tickets_in(directory.path)) as tickets,
    ):
        futures = [
            (check_fragment(fragment, schemes, own, tuple(noisy), limits(), ticket := tickets.next()), ticket)
            for fragment, schemes, own in zip(plan.fragments, plan.schemes, found, strict=True)
        ]
        return [
            value_of(wait_on(future, ticket), f"fragment {index}") for index, (future, ticket) in enumerate(futures)
        ]


def _plan_again(problem: Problem, options: Options, stored: Mapping[str, Any]) -> Plan:
    asked = {**plan_limits(options), "memory_bytes": None}
    # Which settings a leg has depends on what the devices of that time could do.
    for midway in (True, False):
        plan = make_plan(problem, cuts=cuts_from(stored["cuts"]), **asked, mid_circuit_measurement=midway)
        if [cost.variants for cost in plan.costs] == [fragment["variants"] for fragment in stored["fragments"]]:
            return plan
    raise RunRecordError(
        "this version of Qompass plans other variants for the run's cuts: check it with its own version"
    )


def _found(plan: Plan, options: Options, directory: RunDirectory) -> list[Found]:
    """What is stored for each fragment and was asked for in this plan's words."""
    jobs = {job.digest: job for job in exact_jobs(plan)}
    sampled: dict[tuple[int, int], SampledJob] = {}
    if options.sampled:
        wanted: Sequence[np.ndarray] | None = first_round(plan, options.shots)
        number = 0
        while wanted is not None:
            for asked in sampled_jobs(plan, wanted, options.seed, round_index=number):
                sampled[asked.fragment.index, number] = asked
            number += 1
            more = directory.results.shots_of_round(number)
            wanted = None if more is None else [
                more.get(f.index, np.zeros((2, cost.variants), dtype=np.int64))
                for f, cost in zip(plan.fragments, plan.costs, strict=True)
            ]  # fmt: skip
    found: list[list[Any]] = [[] for _ in plan.fragments]
    for _, result in directory.results.stored():
        meta = result.meta
        job: ExactJob | SampledJob | None = jobs.get(str(meta.get("digest")))
        if job is None and (whole := sampled.get((meta.get("fragment", -1), meta.get("round", -1)))) is not None:
            share = whole.share(meta["first"], meta["count"])
            job = share if share.digest == meta.get("digest") else None
        if job is not None:
            found[job.fragment.index].append((job, result.arrays, str(meta.get("device", ""))))
    return [tuple(own) for own in found]


@constraint(computing_units="1")
@task(returns=1)
def check_fragment(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    found: Found,
    noisy: tuple[str, ...],
    limits: Limits,
    ticket: Ticket,
) -> Outcome:
    """Check one fragment; the value is a `Checked`."""
    with ticket.held():
        return isolated(compare, fragment, schemes, found, noisy, limits=limits, device="CPU")


def compare(fragment: Fragment, schemes: tuple[Scheme, ...], found: Found, noisy: tuple[str, ...]) -> Checked:
    """The work itself, in a child process of the task."""
    index, devices = fragment.index, tuple(sorted({device for *_, device in found}))
    exact = [arrays["values"] for job, arrays, _ in found if isinstance(job, ExactJob)]
    if not found:
        return Checked(index, "", (), None, "no result of it is stored, or none that this run asked for")
    made = "exact" if exact else "sampled"
    if fragment.open_qubits > _OPEN_QUBITS:
        return Checked(index, made, devices, None, f"{fragment.open_qubits} open qubits are too many to compute again")
    state = open_state(fragment)
    if exact:
        return Checked(index, made, devices, *_compare_tensor(fragment, schemes, state, exact[0]))
    if set(devices) & set(noisy):
        return Checked(index, made, devices, None, _distance(fragment, schemes, state, found))
    return Checked(index, made, devices, *_compare_counts(fragment, schemes, state, found))


def _compare_tensor(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: OpenState, stored: np.ndarray
) -> tuple[bool, str]:
    variants = enumerate_variants(fragment, schemes)
    if len(variants) << fragment.num_qubits <= _MOST_NUMBERS:
        counts = [_as_counts(p) for p in variant_distributions(fragment, schemes, state, variants)]
        again = tensor_values(sampled_data(fragment, schemes, variants, counts), fragment.num_factors)
        how = f"the distributions of its {len(variants):,} variants"
    else:
        again, how = exact_tensor(fragment, state), "another simulation"
    if stored.shape != again.shape:
        return False, f"its tensor has shape {stored.shape}, and {how} gives {again.shape}"
    off = float(np.abs(stored - again).max(initial=0.0)) if np.isfinite(stored).all() else np.inf
    return off <= _TOLERANCE * max(1.0, float(np.abs(again).max(initial=0.0))), f"off by {off:.2g} at most from {how}"


def _as_counts(probabilities: np.ndarray) -> VariantCounts:
    """Counts so many that the tensor they give is exact to rounding."""
    counts = np.rint(np.clip(probabilities, 0.0, None) * _MANY_SHOTS).astype(np.int64)
    seen = np.flatnonzero(counts)
    bits = int(probabilities.size).bit_length() - 1
    return VariantCounts(pack_outcomes(seen, bits), counts[seen], bits)


def _observed(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: OpenState, found: Found
) -> Iterator[tuple[Variant, np.ndarray, np.ndarray]]:
    """(variant, counts of each outcome, its probability) of all variants, both (2**m,)."""
    pairs = [
        (variant, counts)
        for job, arrays, _ in found
        if isinstance(job, SampledJob)
        for variant, counts in zip(job.variants, unpack_counts(arrays), strict=True)
    ]
    pairs.sort(key=lambda pair: (pair[0].group, pair[0].settings))
    distributions = variant_distributions(fragment, schemes, state, [variant for variant, _ in pairs])
    for (variant, counts), probabilities in zip(pairs, distributions, strict=True):
        seen = np.zeros(probabilities.size)
        raw = np.zeros((len(counts.outcomes), 8), dtype=np.uint8)
        raw[:, : counts.outcomes.shape[1]] = counts.outcomes
        np.add.at(seen, raw.view("<u8").reshape(-1).astype(np.int64) % probabilities.size, counts.counts)
        yield variant, seen, probabilities


def _compare_counts(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: OpenState, found: Found
) -> tuple[bool, str]:
    """Likelihood-ratio tests: of each variant alone, and of all together (Wilks, Ann. Math. Stat. 9, 60 (1938))."""
    total, freedom, worst, tested = 0.0, 0, (1.0, ""), 0
    for variant, seen, probabilities in _observed(fragment, schemes, state, found):
        tested += 1
        if seen[probabilities < _IMPOSSIBLE].any():
            return False, f"the variant with settings {variant.settings} gave an outcome that it never gives"
        expected = probabilities * seen.sum()
        rare = expected < _FEWEST
        observed = np.append(seen[~rare], seen[rare].sum())
        wanted = np.append(expected[~rare], expected[rare].sum())
        ratio = 2.0 * float((xlogy(observed, observed) - xlogy(observed, np.maximum(wanted, _IMPOSSIBLE))).sum())
        degrees = int((wanted > 0).sum()) - 1
        if degrees > 0:
            total, freedom = total + max(ratio, 0.0), freedom + degrees
            worst = min(worst, (float(chi2.sf(ratio, degrees)), str(variant.settings)))
    alone, together = min(1.0, worst[0] * max(tested, 1)), float(chi2.sf(total, freedom)) if freedom else 1.0
    chance = min(alone, together)
    which = f", most of it in the variant with settings {worst[1]}" if chance < _CHANCE and alone <= together else ""
    return chance >= _CHANCE, f"counts as far from the exact distributions have a chance of {chance:.2g}{which}"


def _distance(fragment: Fragment, schemes: tuple[Scheme, ...], state: OpenState, found: Found) -> str:
    far = max(
        0.5 * float(np.abs(seen / max(seen.sum(), 1.0) - probabilities).sum())
        for _, seen, probabilities in _observed(fragment, schemes, state, found)
    )
    return f"counts of a QPU, errors of its own included: total variation distance {far:.2g} at most"
