"""Money over a whole loop: what an evaluation may cost, when to stop, and what is kept for the energy at the end.

The search compares energies of one mixture of devices, whose errors shift all of them alike; the energy at the end is
what is told. So the search spends its money evenly over the evaluations that may come, a policy that looks at prices
keeping to that, and a part is kept for the end, when it may be spent on the best devices.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import QompassError

_KEPT = 0.25  # of the budget, for the energy at the end


class BudgetSpentError(QompassError):
    """The search has spent its part; what it has found so far is the result."""


@dataclass(frozen=True)
class Allowance:
    """What may be spent now.

    Attributes:
        budget: at most.
        share: of that, what a policy is to keep to; the rest is there for policies that do not look at prices.
    """

    budget: float
    share: float = 1.0


class LoopBudget:
    """A loop's budget, and what of it is paid.

    Args:
        total: in the currency of the devices' prices.
        sets: of parameter values that the search asks for at most.

    Attributes:
        paid: so far.
    """

    def __init__(self, total: float, sets: int) -> None:
        self.total, self.paid = total, 0.0
        self._sets = sets
        self._last: tuple[float, int] | None = None  # price of a set, and its level

    def for_search(self, sets: int, level: int) -> Allowance:
        """What an evaluation of so many sets may spend, at a level of effort, each of twice the shots.

        Raises:
            BudgetSpentError: it would take more than the search has left.
        """
        left = self.total * (1 - _KEPT) - self.paid
        price, before = self._last or (0.0, 0)
        expected = price * sets * 2.0 ** (level - before)
        if left <= 0 or expected > left * (1 + 1e-9):
            raise BudgetSpentError(
                f"`budget`: {self.total:g} ended the search: {self.paid:.4g} paid, an evaluation takes {expected:.4g}, "
                f"and {_KEPT * self.total:.4g} are kept for the energy at the end"
            )
        return Allowance(left, sets / max(sets, self._sets))

    def for_end(self) -> Allowance:
        """What the energy at the end may cost: all that is left."""
        return Allowance(max(self.total - self.paid, 0.0))

    def lost(self, price: float) -> None:
        """Event: an evaluation was paid for and gave no answer."""
        self.paid += price

    def took(self, price: float, sets: int, level: int, once: float = 0.0) -> None:
        """Event: an evaluation of the search was paid for; ``once``: what of it the next one need not pay again."""
        self.paid += price
        self._sets = max(0, self._sets - sets)
        if price > once:
            self._last = (price - once) / sets, level
