"""What is predicted of a plan, as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from apps.cli.tables import seconds_text, table
from tasks.cutting import Plan
from tasks.forecast import Forecast, Uncut
from tasks.model.sizes import MAX_SHOTS, bytes_text
from tasks.prediction import Spending
from tasks.reconstruction.statistics.allocation import MOST_SHOTS

_LONG_S = 365.25 * 24 * 3600
_SHORT = {"computed": "", "at least": " or more", "an order of magnitude": " (magnitude)"}  # what an error is


def uncut_text(whole: Uncut, known: Forecast, memory_bytes: int | None, cuts: int) -> str:
    """Whether to cut at all."""
    fits = memory_bytes is None or whole.statevector_bytes <= memory_bytes
    too_big = "" if fits else ", more than there is"
    ways = {
        f"a statevector {span_text(whole.statevector_seconds)} ({bytes_text(whole.statevector_bytes)}{too_big})": (
            whole.statevector_seconds if fits else float("inf")
        ),
        f"a matrix product state at most {span_text(whole.product_seconds)}": whole.product_seconds,
    }
    if whole.pauli_seconds is not None:
        name = "stabilisers (all gates are Clifford)" if whole.clifford else "sums of Paulis at most"
        ways[f"{name} {span_text(whole.pauli_seconds)}"] = whole.pauli_seconds
    if whole.cone_seconds is not None:
        ways[f"by the observables' light cones {span_text(whole.cone_seconds)}"] = whole.cone_seconds
    pieces = known.spent.execute + known.spent.reconstruct
    best = min(ways, key=lambda way: ways[way])
    verdict = "uncut is quicker on a simulator" if ways[best] < pieces else "cutting is quicker"
    pieces_text = f"in pieces {span_text(pieces)}: {verdict}" if cuts else "so it is run, without a cut"
    return "\n       ".join(["Uncut: " + next(iter(ways)), *list(ways)[1:], pieces_text])


def forecast_text(known: Forecast, names: Sequence[str], *, target: bool = False) -> str:
    """What to expect of the run, and what a given error would take.

    Args:
        known: the forecast.
        names: of the observables.
        target: whether as many shots are spent as the error takes; otherwise there are as many as ``--shots`` says.
    """
    if known.spent.unplaced:
        number, why = known.spent.unplaced[0]
        return f"Expect: no device runs fragment {number}: {why}"
    price = f", price {known.spent.price:,.4g}" if known.spent.price else ""
    planning = f" after {span_text(known.cut_seconds)} of planning" if known.cut_seconds else ""
    took = f"{_time_text(known.spent)}{price}{planning}"
    if known.shots_for is None:
        return f"Expect: exact values in {took}"
    said = {"an order of magnitude": "about (an order of magnitude) ", "at least": "at least "}
    about = said.get(known.error_is, "")
    worst = max(range(len(names)), key=lambda k: known.std_errors[k])
    lines = [f"Expect: standard error {about}{known.std_errors[worst]:.2g} of {names[worst][:40]}, in {took}"]
    if known.biases:
        shifted = max(range(len(names)), key=lambda k: abs(known.biases[k]))
        by = f"{known.biases[shifted]:+.2g}"
        lines.append(f"        the devices' errors shift {names[shifted][:40]} by about {by}, which no shots lower")
    if known.for_wanted is not None:
        more = f", price {known.for_wanted.price:,.4g}" if known.for_wanted.price else ""
        takes = f"{_time_text(known.for_wanted)}{more}"
        most = MOST_SHOTS if target else MAX_SHOTS
        if known.shots_for > most:
            takes = f"and {'a run takes' if target else '--shots takes'} {most:.0e} at most"
        count = "1 shot" if known.shots_for == 1 else f"{known.shots_for:,.3g} shots"
        lines.append(f"        for an error of {known.wanted:g}: {about}{count}, {takes}")
    return "\n".join(lines)


def _time_text(spent: Spending) -> str:
    """How long, and on which devices."""
    where = f" on {' and '.join(spent.used)}" if spent.used else ""
    return f"{span_text(spent.execute + spent.reconstruct)}{where}"


def ranked(
    chosen: Plan, compared: Sequence[tuple[Plan, Forecast]], minimise: str | None = None
) -> list[tuple[Plan, Forecast]]:
    """The plan taken, then the others by what plans are compared by, the best first."""
    by_price, by_error = _compared_by(compared, minimise)

    def rank(one: tuple[Plan, Forecast]) -> tuple[bool, float, float, float]:
        plan, known = one
        bias = max(map(abs, known.biases), default=0.0)
        error = hypot(max(known.std_errors, default=0.0), bias) if by_error else 0.0
        price = known.spent.price * (error**2 if by_error else 1.0) if by_price else 0.0
        return plan.cuts != chosen.cuts, price, error, known.spent.execute + known.spent.reconstruct

    return sorted(compared, key=rank)


def _compared_by(compared: Sequence[tuple[Plan, Forecast]], minimise: str | None) -> tuple[bool, bool]:
    """Whether plans are compared by their price, and whether by their error."""
    by_price = minimise == "cost" and any(known.spent.price for _, known in compared)
    erring = any(max(known.std_errors, default=0.0) for _, known in compared)
    return by_price, erring and minimise != "time"


def candidates_text(chosen: Plan, compared: Sequence[tuple[Plan, Forecast]], minimise: str | None = None) -> str:
    """Why one of the plans that were found was taken, and all of them in the order given."""
    rows = []
    biased = any(known.biases for _, known in compared)
    priced = any(known.spent.price for _, known in compared)
    for plan, known in compared:
        widest = max((fragment.width for fragment in plan.fragments), default=0)
        error = max(known.std_errors, default=0.0)
        rows.append(
            (
                "chosen" if plan.cuts == chosen.cuts else "",
                str(len(plan.fragments)),
                str(widest),
                str(len(plan.cuts)),
                f"2^{plan.log_overhead:.1f}",
                f"{sum(cost.variants for cost in plan.costs):,}",
                f"{error:.2g}{_SHORT[known.error_is]}" if error else "exact",
                *([f"{max(map(abs, known.biases), default=0.0):.2g}"] if biased else []),
                span_text(known.spent.execute + known.spent.reconstruct),
                *([f"{known.spent.price:,.4g}"] if priced else []),
            )
        )
    price = ("price",) if priced else ()
    bias = ("bias",) if biased else ()
    names = ("plan", "fragments", "widest", "cuts", "kappa^2", "variants", "error", *bias, "time", *price)
    by_price, by_error = _compared_by(compared, minimise)
    if by_price and by_error:
        why = "taken: the least predicted price for the same error, and of those without a price the least error"
    elif by_price:
        why = "taken: the least predicted price, and of equal ones the least time"
    elif by_error:
        what = "predicted error, that of the shots and the devices' bias together" if biased else "predicted error"
        why = (
            f"taken: the least {what}, or what the search prefers where others are within 3 % or too large to simulate"
        )
    else:
        why = "taken: the least predicted time"
    return f"{why}\n{table(names, rows, right=range(1, len(names)))}"


def span_text(seconds: float) -> str:
    """A duration in the unit that suits it, years too."""
    if seconds >= 1e6 * _LONG_S:
        return "more than a million years"
    if seconds >= _LONG_S:
        return f"{seconds / _LONG_S:,.3g} years"
    if seconds >= 7200:
        return f"{seconds / 3600:,.3g} hours"
    return seconds_text(seconds)
