"""What is asked of the cache and what it answers: plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from qiskit import QuantumCircuit

from tasks.model.tensor import VariantCounts


@dataclass(frozen=True)
class CountsRequest:
    """Counts wanted of one variant.

    Attributes:
        circuit: the variant.
        shots: how many at least.
        seed: given, the counts are those of this circuit as written with these shots and this seed, and no others:
            a repetition returns the same ones. Not given, any valid shots of a circuit that means the same will do.
        stream: given, a sequence of shots of its own: requests of different streams never share a shot, and the same
            request gets the same shots again, in whole executions, as few as have the shots wanted.
        as_written: never shared by meaning, whatever the target allows (a circuit that is there to be noisy).
        seconds: predicted for running it. What takes next to nothing is run and not looked for, and what takes little
            is looked for as it is written (``cost_benefit``); by default it is worth everything.
    """

    circuit: QuantumCircuit
    shots: int
    seed: int | None = None
    stream: str = ""
    as_written: bool = False
    seconds: float = math.inf


@dataclass(frozen=True)
class MissingShots:
    """A circuit that has to be run, because too few valid counts are stored.

    Attributes:
        circuit: of the request.
        shots: those that are missing.
        seed: of the request.
        place: of the (first) request that it is for among those of the call.
    """

    circuit: QuantumCircuit
    shots: int
    seed: int | None
    place: int = 0


@dataclass(frozen=True)
class NewCounts:
    """Counts just measured, with what is to be known of them.

    Attributes:
        counts: the counts.
        keep: whether they may be stored; not where they are not what the key says (a device recalibrated meanwhile).
        origin: where they come from, for people.
    """

    counts: VariantCounts
    keep: bool = True
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CountsAnswer:
    """Counts for one request.

    Attributes:
        counts: the counts, on the request's classical bits; at least as many shots as asked for.
        start: their first shot in the pool of the key; ranges of one key that overlap are the same shots.
        from_cache: nothing was run for it.
        key: name of the key.
        origin: what is stored about where the counts come from.
    """

    counts: VariantCounts
    start: int
    from_cache: bool
    key: str
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayAnswer:
    """An array for one key.

    Attributes:
        array: the array.
        from_cache: nothing was computed for it.
        origin: what is stored about where it comes from.
    """

    array: np.ndarray
    from_cache: bool
    origin: Mapping[str, str]


@dataclass
class Tally:
    """What the cache did in this process.

    Attributes:
        requests: how many results were asked for.
        executed: circuits or fragments that were run for them.
        topped_up: executions among those that only added shots.
        shared: requests answered by an execution for another request of the same call.
        passed_over: results that were not looked for, because looking does not pay (``Payoff``).
        meaning_keys: keys made by meaning.
        meaning_key_seconds: what making them took.
        meaning_hits: hits that a key of the circuit as written would not have had.
        meaning_saved_seconds: what producing those results had cost.
    """

    requests: int = 0
    executed: int = 0
    topped_up: int = 0
    shared: int = 0
    passed_over: int = 0
    meaning_keys: int = 0
    meaning_key_seconds: float = 0.0
    meaning_hits: int = 0
    meaning_saved_seconds: float = 0.0
