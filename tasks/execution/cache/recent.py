"""What this process ran lately, kept or not: an equal circuit that comes again is found by a glimpse at it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.execution.cache.keys import Key
from tasks.execution.cache.payoff import Payoff
from tasks.execution.cache.requests import CountsRequest, NewCounts

_ROOM_BYTES = 32 << 20
_GATE_BYTES = 200  # of an instruction in a circuit
_DIGEST_SECONDS = 2.5e-4  # of naming a circuit of some 50 instructions as written


@dataclass
class Ran:
    """A request and what running it gave.

    Attributes:
        request: the request.
        made: its counts.
        cost: seconds it took.
        written: name of the circuit as written, once it was asked for.
    """

    request: CountsRequest
    made: NewCounts
    cost: float
    written: str = ""

    @property
    def weight(self) -> int:
        """Bytes, about."""
        counts = self.made.counts
        return _GATE_BYTES * len(self.request.circuit.data) + counts.outcomes.nbytes + counts.counts.nbytes


@dataclass
class Recent:
    """Requests that were run, by a glimpse at each; the oldest are forgotten.

    Circuits that look alike and are not equal cost the digests that tell them apart, so these are taken where so many
    turned out to be equal, lately, that they pay.

    Attributes:
        ran: by glimpse, in the order in which they came.
    """

    ran: OrderedDict[bytes, list[Ran]] = field(default_factory=OrderedDict)
    _paying: Payoff = field(default_factory=lambda: Payoff(2.0, 1.0))
    _bytes: int = 0

    def add(self, seen: bytes, one: Ran) -> None:
        """Remember a request that was run, by a glimpse at it."""
        self.ran.setdefault(seen, []).append(one)
        self._bytes += one.weight
        while self._bytes > _ROOM_BYTES:
            _, oldest = self.ran.popitem(last=False)
            self._bytes -= sum(own.weight for own in oldest)

    def equal(
        self, seen: bytes, request: CountsRequest, name: Callable[[CountsRequest], Key | None]
    ) -> tuple[Key, Ran] | None:
        """Return what was run for an equal request, and the key of both.

        Args:
            seen: a glimpse at the circuit, and all else that is asked for.
            request: what is asked for.
            name: returns a key that takes no longer than a digest.
        """
        alike = self.ran.get(seen, [])
        unnamed = [one for one in alike if not one.written]
        predicted = _DIGEST_SECONDS * (1 + len(unnamed))
        if not alike or not self._paying.looks(lambda: seen, request.seconds, predicted):
            return None
        key = name(request)
        for one in unnamed:
            one.written = own.written if (own := name(one.request)) else ""
        same = next((one for one in alike if key and one.written == key.written), None)
        self._paying.note(same is not None)
        return (key, same) if key and same else None
