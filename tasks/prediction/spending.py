"""What running a plan takes: seconds of its stages and money, on the devices of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from scheduler_policies import Device, Kind, Work, cheapest_devices
from scheduler_policies.cost import cpu_speed, runs_exact, why_not, work_seconds
from scheduler_policies.device import Speed
from scheduler_policies.machine import (
    CPU_SPEED,
    DRAWN_GATES,
    DRAWN_TOGETHER,
    ENGINE_NUMBER_S,
    ERRORS_FRAGMENT_S,
    ERRORS_GROUP_S,
    ERRORS_LEG_S,
    ERRORS_OUTCOME_S,
    ERRORS_PLACE_BITS,
    ERRORS_PLACE_S,
    ERRORS_PLACE_TERMS,
    ERRORS_RUN_S,
    ERRORS_VARIANT_S,
    INLINE_FRAGMENT_S,
    INLINE_NUMBER_S,
    INLINE_RUN_S,
    JOIN_LEG_S,
    JOIN_REFINE_S,
    JOIN_RUN_S,
    JOIN_TERM_S,
    ROUNDS_FRAGMENT_S,
    ROUNDS_GROUP_S,
    ROUNDS_LEG_S,
    ROUNDS_OUTCOME_S,
    ROUNDS_RUN_S,
    ROUNDS_VARIANT_S,
)
from tasks.cutting import Plan
from tasks.cutting.cost import GreedyStep, greedy_contraction
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment
from tasks.cutting.seconds import exact_fragment_seconds, reading_seconds, sampled_fragment_seconds
from tasks.cutting.sizes import tensor_numbers
from tasks.cutting.variants import leg_choices, measurement_groups
from tasks.execution.jobs import count_measuring, equal_jobs, exact_jobs
from tasks.execution.works import noise_shares, works_of
from tasks.prediction.bill import RoundShots, billed
from tasks.prediction.shot_variances import ShotVariances
from tasks.reconstruction.contraction.layout import product_effort
from tasks.reconstruction.contraction.path import is_refined
from tasks.reconstruction.statistics.allocation import first_round_shots
from tasks.runtime import INLINE_S

_HERE_BYTES = 1 << 29  # what takes more memory runs in a process of its own
_MOST_SHOTS = 1e30  # of which it makes no difference how many more there are
_CONTRACTIONS = 5  # of a sampled run, about: the values, their gradients, the shots of two rounds


@dataclass(frozen=True)
class Spending:
    """What running a plan takes.

    Attributes:
        execute: seconds until the last fragment is done.
        reconstruct: seconds of the contractions.
        price: in the currency of the devices.
        unplaced: (fragment, why) of those that no device can run.
        used: names of the devices that run the others.
    """

    execute: float
    reconstruct: float
    price: float
    unplaced: tuple[tuple[int, str], ...] = ()
    used: tuple[str, ...] = ()


def greedy_flops(plan: Plan) -> float:
    """Floating-point operations of the contraction along a path that is found in milliseconds.

    A step is done once for all terms that ask the same of the fragments that it joins.
    """
    found = greedy_contraction(plan.fragments, plan.bonds)
    if not found.steps:
        return found.flops * len(plan.factor_index)
    return sum(step.flops * products for step, products, _ in _counted_steps(plan, found.steps))


def greedy_seconds(plan: Plan, speed: Speed = CPU_SPEED) -> float:
    """How long that contraction takes: small products and moved numbers count for more than their operations."""
    found, effort = greedy_contraction(plan.fragments, plan.bonds), 0.0
    for step, products, parts in _counted_steps(plan, found.steps):
        k, m, n = step.sizes
        effort += product_effort(k=k, m=m, n=n, products=products, lefts=parts[0], rights=parts[-1])
    return 2 * effort * speed.contraction


def _counted_steps(plan: Plan, steps: Sequence[GreedyStep]) -> Iterator[tuple[GreedyStep, int, list[int]]]:
    """Each step, of how many distinct combinations of observable factors it is done, and of how many each part."""
    if not steps:
        return
    factors = max(fragment.num_factors for fragment in plan.fragments)
    # Random numbers whose sums are equal where, in practice, all factors are.
    table = np.random.default_rng(0).integers(0, 2**63, size=(len(plan.fragments), factors), dtype=np.uint64)
    asked = dict(enumerate(table[np.arange(len(plan.fragments)), plan.factor_index].T))
    combinations = {number: len(np.unique(own)) for number, own in asked.items()}
    for number, step in enumerate(steps, len(plan.fragments)):
        asked[number] = np.sum([asked.pop(part) for part in step.parts], axis=0)
        combinations[number] = len(np.unique(asked[number]))
        yield step, combinations[number], [combinations[part] for part in step.parts]


def refined_fragments(plan: Plan) -> int:
    """Fragments of a plan whose path is refined, which may take longer than the contraction; 0 where it is not."""
    steps = greedy_contraction(plan.fragments, plan.bonds).steps
    sizes = [step.sizes for step in steps]
    effort = sum(product_effort(k=k, m=m, n=n, products=1, lefts=1, rights=1) for k, m, n in sizes)
    return len(plan.fragments) if is_refined(len(plan.fragments), effort, len(plan.factor_index)) else 0


def once_each(plan: Plan) -> list[Fragment]:
    """Fragments of which an exact run simulates one each: those that are equal have one result."""
    return [first.fragment for first, *_ in equal_jobs(exact_jobs(plan))]


def done_here(plan: Plan, devices: Sequence[Device], shots: float | None) -> bool:
    """Whether what follows the plan is done in this process, sooner than an engine and its first process have started.

    Args:
        plan: the plan.
        devices: of the run.
        shots: in all, None for an exact run.
    """
    if any(device.kind is not Kind.CPU for device in devices):
        return False
    if sum(cost.exact_bytes for cost in plan.costs) > _HERE_BYTES:
        return False
    contraction = greedy_seconds(plan)
    seconds = sum(map(exact_fragment_seconds, once_each(plan) if shots is None else plan.fragments)) + contraction
    if shots is not None:
        each = min(shots, _MOST_SHOTS) / max(1, sum(cost.variants for cost in plan.costs))
        jobs = zip(plan.fragments, plan.schemes, plan.costs, strict=True)
        drawn = [sampled_fragment_seconds(f, s, cost.variants, int(each * cost.variants)) for f, s, cost in jobs]
        seconds += 2 * sum(drawn) + 2 * contraction  # two rounds, their tensors, errors
    return seconds <= INLINE_S


def predicted_spending(
    plan: Plan,
    devices: Sequence[Device],
    shots: float | None,
    readouts: Mapping[str, int] | None = None,
    *,
    target: bool = False,
    mitigation: str = "none",
    worth: ShotVariances | None = None,
    cheaply: bool = False,
) -> Spending:
    """Put every fragment of every round, the longest first, where it is done soonest.

    Args:
        plan: the plan.
        devices: of the run.
        shots: in all, None for an exact run.
        readouts: by QPU, shots that it takes besides to measure its readout, if it is used at all.
        target: whether these are the shots that a target error takes: the first round does not know how many.
        mitigation: what is done against the errors of QPUs, which may take several circuits for a variant.
        worth: what shots are worth, if that is known: how the second round shares them out.
        cheaply: put them where they cost least, and of those places where they are done soonest.
    """
    drawn = {d.name: replace(d, speed=_drawing_together(d.speed)) for d in devices if d.kind is Kind.CPU}
    speed = cpu_speed(devices)

    def taken(device: Device, work: Work) -> float:
        if shots is None or device.name not in drawn or runs_exact(device, work):
            return work_seconds(device, work)
        return work_seconds(drawn[device.name], replace(work, acted=DRAWN_GATES * work.acted))

    totals = _rounds(plan, shots, target)
    works = _works(plan, totals, shots is None, noise_shares(devices, mitigation))
    round_shots = _round_shots(plan, totals, worth, target) if any(not device.exact for device in devices) else []
    price, refused, total, busiest, used, settled = 0.0, {}, 0.0, 0.0, set[str](), set[int]()
    due = dict(readouts or {})
    for place, every in enumerate(works):
        if place == 0 and round_shots and any(device.exact for device in devices):
            every = [replace(work, whole=True) for work in every]  # what a simulator has whole is then exact
        own = [work for work in every if work.fragment not in settled]
        # Those that are exact take no shots: the others get theirs.
        more = sum(work.shots * work.variants for work in every) / max(1, sum(w.shots * w.variants for w in own))
        free = {device.name: [0.0] * max(1, device.units) for device in devices}
        asked: dict[str, list[Work]] = {}
        able_of = [[k for k, d in enumerate(devices) if not why_not(d, work)] for work in own]
        if cheaply:
            able_of = cheapest_devices(own, devices, able_of)
        fits = {work.fragment: [devices[k] for k in able] for work, able in zip(own, able_of, strict=True)}
        for work in sorted(own, key=lambda work: -min((taken(d, work) for d in devices), default=0.0)):
            if not fits[work.fragment]:
                refused[work.fragment] = "; ".join(f"{d.name} {why_not(d, work)}" for d in devices)
                continue
            chosen = min(fits[work.fragment], key=lambda d: min(free[d.name]) + taken(d, work))
            unit = int(np.argmin(free[chosen.name]))
            free[chosen.name][unit] += taken(chosen, work)
            total += taken(chosen, work) - chosen.speed.job
            price += chosen.price.per_second * work_seconds(chosen, work)
            asked.setdefault(chosen.name, []).append(work)
            settled |= {work.fragment} if runs_exact(chosen, work) else set()
        used |= asked.keys()
        for device in devices:
            if device.name in asked:
                jobs, taken_shots = len(asked[device.name]), 0.0
                if not device.exact:
                    spread = [round_shots[place][work.fragment].times(more) for work in asked[device.name]]
                    shares = asked[device.name][0].shares
                    jobs, taken_shots = billed(device, spread, shares, due.pop(device.name, 0))
                price += device.price.per_shot * taken_shots + device.price.per_job * jobs
        busiest += max((max(units) for units in free.values()), default=0.0)
    here, last = all(device.kind is Kind.CPU for device in devices), works[-1]
    inline = here and done_here(plan, devices, shots)
    if here:
        busiest = total if inline else busiest + speed.start
    numbers = sum(cost.tensor_bytes for cost in plan.costs) / 8
    joining, contraction = refined_fragments(plan) * JOIN_REFINE_S, greedy_seconds(plan, speed)
    if shots is None:
        joining += reading_seconds(len(plan.fragments), numbers) + JOIN_RUN_S
        joining += sum(len(f.legs) * tensor_numbers(f) for f in plan.fragments) / 2 * JOIN_LEG_S
        joining += plan.factor_index.size * JOIN_TERM_S
        if here:
            stored = sum(work.numbers for work in last)
            kept = INLINE_RUN_S + len(last) * INLINE_FRAGMENT_S + stored * INLINE_NUMBER_S
            busiest += speed.housekeeping * kept
    else:
        each = [own[0].shots for own in works if own]
        halves = _halves(totals, target)
        errors = ERRORS_GROUP_S, ERRORS_VARIANT_S, ERRORS_OUTCOME_S, ERRORS_LEG_S
        rounds = ROUNDS_GROUP_S, ROUNDS_VARIANT_S, ROUNDS_OUTCOME_S, ROUNDS_LEG_S
        contraction *= _CONTRACTIONS
        joining += ERRORS_RUN_S + len(last) * ERRORS_FRAGMENT_S
        joining += _evaluated(plan, last, [sum(each) / halves] * halves, *errors)
        if here:
            drawn_in = [own / halves for own in each] * halves
            evaluated = ROUNDS_RUN_S + len(last) * ROUNDS_FRAGMENT_S + _evaluated(plan, last, drawn_in, *rounds)
            busiest += speed.housekeeping * evaluated
    joining += 0.0 if inline else numbers * ENGINE_NUMBER_S
    runs = tuple(device.name for device in devices if device.name in used)
    return Spending(busiest, contraction + speed.housekeeping * joining, price, tuple(refused.items()), runs)


def _drawing_together(speed: Speed) -> Speed:
    """A CPU's, where all draws of a round are made together."""
    typical = vars(CPU_SPEED)
    return replace(speed, **{k: own * vars(speed)[k] / typical[k] for k, own in DRAWN_TOGETHER.items()})


def _round_shots(
    plan: Plan, totals: Sequence[float], worth: ShotVariances | None, target: bool
) -> list[list[RoundShots]]:
    """(round, fragment) what the variants that read a bit take.

    Args:
        plan: the plan.
        totals: shots of each round.
        worth: what shots are worth, if that is known.
        target: whether more rounds may come than these.
    """
    read = list(map(count_measuring, plan.fragments, plan.schemes))
    variants = sum(cost.variants for cost in plan.costs)
    halves = _halves(totals, target)
    silent = halves * (variants - sum(read)) if totals[0] >= halves * variants else 0  # a shot in every half
    first, *later = (total / max(1, sum(read)) for total in (totals[0] - silent, *totals[1:]))
    found = [[RoundShots.even(first, many) for many in read]]
    for each in later:
        if worth is None:
            found.append([RoundShots.uneven(each, many) for many in read])
        else:
            # Equal variants would share jobs that have one number of shots; of noise no two come out equal.
            more = worth.taken(sum(totals), totals[0] - silent, np.random.default_rng(0)) - first
            owner = worth.fragments[worth.measuring]
            found.append([RoundShots.of(more[owner == k]) for k in range(len(read))])
    return found


def _rounds(plan: Plan, shots: float | None, target: bool) -> list[float]:
    """Shots of each round; 1 for an exact run, which takes none."""
    if shots is None:
        return [1.0]
    first = first_round_shots(sum(cost.variants for cost in plan.costs), None if target else shots)
    return [own for own in (first, shots - first) if own > 0]


def _halves(rounds: Sequence[float], target: bool) -> int:
    """In how many parts each round's shots are kept: where more may follow, each half decides for the other."""
    return 2 if target or len(rounds) > 1 else 1


def _works(plan: Plan, rounds: Sequence[float], exact: bool, shares: tuple[float, ...]) -> list[list[Work]]:
    """The works of each round; a later round shares its shots out unevenly, in mean as here."""
    if exact:
        simulated = {fragment.index for fragment in once_each(plan)}
        return [[replace(work, exact=True) for work in works_of(plan, 1) if work.fragment in simulated]]
    variants = sum(cost.variants for cost in plan.costs)
    return [
        [
            replace(work, whole=False)
            for work in works_of(plan, ceil(min(own, _MOST_SHOTS) / max(1, variants)), shares=shares)
        ]
        for own in rounds
    ]


def _evaluated(
    plan: Plan, works: Sequence[Work], shots: Sequence[float], group: float, variant: float, outcome: float, leg: float
) -> float:
    """Seconds that evaluating counts takes.

    Args:
        plan: the plan.
        works: its fragments.
        shots: of a variant, in each of the counts that are looked at by themselves.
        group: seconds of those that read the same bits for the same entries.
        variant: seconds of each.
        outcome: seconds of a distinct one.
        leg: seconds of each leg of a variant that is looked at alone.
    """
    seconds = 0.0
    for work in works:
        fragment, schemes = plan.fragments[work.fragment], plan.schemes[work.fragment]
        bits, shares = _bits_read(fragment, schemes, work.measured)
        together = bits <= ERRORS_PLACE_BITS
        places = float(shares[together] @ 2.0 ** bits[together]) * (ERRORS_PLACE_TERMS + len(plan.factor_index))
        seen = sum(float(shares @ (own / (1 + own / 2.0**bits))) for own in shots)  # as unlike as a random state's
        shared, alone = float(shares[together].sum()), float(shares[~together].sum()) * max(1, len(fragment.legs))
        seconds += group * shared * min(work.variants, _groups(fragment, schemes))
        seconds += work.variants * (variant + outcome * seen + places * ERRORS_PLACE_S + alone * leg)
    return seconds


def _groups(fragment: Fragment, schemes: Sequence[Scheme]) -> int:
    """How many groups of variants there are that read the same bits for entries of the same signs."""
    groups = len(measurement_groups(fragment))
    for settings in leg_choices(fragment, tuple(schemes)):
        groups *= len({own.measured for own in settings})
    return groups


def _bits_read(fragment: Fragment, schemes: Sequence[Scheme], measured: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of bits that variants read, at their end and at gates that are cut, and which share of them each."""
    shares = np.ones(1)
    for leg, scheme in zip(fragment.legs, schemes, strict=True):
        if not leg.kind.opens_qubit:  # else it is among those at the end
            columns = leg.kind.spanning(scheme).columns
            read = len(np.unique(columns[columns[:, 1] == 1, 0])) / leg.kind.spanning(scheme).num_settings
            shares = np.convolve(shares, [1 - read, read])
    return measured + np.arange(len(shares)), shares
