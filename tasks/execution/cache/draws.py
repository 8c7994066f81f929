"""What is asked of the cache and what it answers: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit import QuantumCircuit

from tasks.tensor import VariantCounts


@dataclass(frozen=True)
class Request:
    """Counts wanted of one variant.

    Attributes:
        circuit: the variant.
        shots: how many at least.
        seed: given, the counts are those of this circuit as written with these shots and this seed, and no others:
            a repetition returns the same ones. Not given, any valid shots of a circuit that means the same will do.
        skip: how many shots of this circuit's meaning the run has used already (see ``spread``).
        exactly: take exactly ``shots`` even if more are stored.
    """

    circuit: QuantumCircuit
    shots: int
    seed: int | None = None
    skip: int = 0
    exactly: bool = False


@dataclass(frozen=True)
class Job:
    """A circuit that has to be run, because no valid counts are stored."""

    circuit: QuantumCircuit
    shots: int
    seed: int | None


@dataclass(frozen=True)
class Draw:
    """Counts for one request.

    Attributes:
        counts: the counts, on the request's classical bits; at least as many shots as asked for.
        start: their first shot in the pool of the key; ranges of one key that overlap are the same shots.
        from_cache: nothing was run for it.
        key: name of the key.
    """

    counts: VariantCounts
    start: int
    from_cache: bool
    key: str


@dataclass
class Tally:
    """What the cache did in this process.

    Attributes:
        requests: how many results were asked for.
        executed: circuits or fragments that were run for them.
        topped_up: executions among those that only added shots.
        shared: requests answered by an execution for another request of the same call.
    """

    requests: int = 0
    executed: int = 0
    topped_up: int = 0
    shared: int = 0
