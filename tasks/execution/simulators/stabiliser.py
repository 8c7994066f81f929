"""Counts of a Clifford fragment's variants: what is measured is followed back to |0...0>, however wide the fragment.

The measured bits are Paulis Z, and a Clifford circuit makes one Pauli of each (D. Gottesman, quant-ph/9807006; S.
Aaronson and D. Gottesman, Phys. Rev. A 70, 052328 (2004), quant-ph/0406196). On |0...0> those whose X parts are
independent are fair coins; a product of them that has no X part left is +1 or -1 for certain, which says how every
other bit follows from the coins. So a variant's distribution is known once and for all, and a shot is a few coins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.cutting.kinds import GATES, Scheme, Setting
from tasks.cutting.pauli_program import unitary_map
from tasks.cutting.pauli_rows import PauliMap, Rows
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import Variant, VariantBuilder
from tasks.execution.simulators.drawing import draw_places, outcome_bytes
from tasks.model.streams import Streams
from tasks.model.tensor import VariantCounts

_ROWS = 1 << 16  # of all variants followed together
_LISTED = 10  # coins whose outcomes are all listed
_X, _Z, _Y = 1, 2, 3
_MEASURED = np.array([0, _X, _Y, _Z], dtype=np.uint8)  # letters of bases, coded as ``MeasurementGroup`` has them


def stabiliser_counts(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    variants: Sequence[Variant],
    shots: Sequence[int],
    streams: Sequence[str],
) -> list[VariantCounts]:
    """Counts of variants of a fragment of Clifford gates; as ``sample_open`` without a state.

    Args:
        fragment: the fragment.
        schemes: (leg,) which settings each leg has.
        variants: which to run.
        shots: for each, how many.
        streams: for each, the name of the stream of random numbers that it draws from.

    Returns:
        one VariantCounts per variant, in order.
    """
    streams_of = Streams()
    every = zip(coins_of(fragment, schemes, variants), shots, streams, strict=True)
    return [coins.draw(number, streams_of.at(stream)) for coins, number, stream in every]


def coins_of(fragment: Fragment, schemes: tuple[Scheme, ...], variants: Sequence[Variant]) -> Iterator[Coins]:
    """The distribution of each variant, in order."""
    builder = VariantBuilder(fragment, schemes)
    together = max(1, _ROWS // (fragment.num_qubits + len(fragment.legs)))
    for start in range(0, len(variants), together):
        for letters, signs in _measured(fragment, builder, variants[start : start + together]):
            yield _coins(letters, signs)


def _measured(
    fragment: Fragment, builder: VariantBuilder, variants: Sequence[Variant]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each variant, what its bits are on |0...0>: (qubit, bit) letters and (bit,) signs; ancillas after qubits."""
    legs = fragment.legs
    settings = np.array([v.settings for v in variants], dtype=np.int64).reshape(len(variants), len(legs))
    bits = [builder.meaning(v).num_bits for v in variants]
    ends = np.cumsum([0, *bits])
    variant_of = np.repeat(np.arange(len(variants)), bits)
    letters = np.zeros((fragment.num_qubits + len(legs), int(ends[-1])), dtype=np.uint8)
    own_row = np.full((len(legs), len(variants)), -1)
    for v, variant in enumerate(variants):
        signed = [k for k in range(len(legs)) if builder.choices[k][variant.settings[k]].measured]
        for bit, k in enumerate(signed):
            own_row[k, v] = ends[v] + bit
        bases = builder.groups[variant.group].bases
        asked = np.flatnonzero(bases)
        letters[asked, ends[v] + len(signed) + np.arange(len(asked))] = _MEASURED[bases[asked]]
    rows = Rows(letters, np.zeros(letters.shape[1]))
    order = sorted(range(len(legs)), key=lambda k: (legs[k].position, k))
    done = len(fragment.circuit.data)
    for k in reversed(order):
        _follow(rows, fragment, legs[k].position, done)
        done = legs[k].position
        for index, setting in enumerate(builder.choices[k]):
            its = np.flatnonzero(settings[:, k] == index)
            if its.size:
                there = np.flatnonzero(settings[variant_of, k] == index)
                _set(rows, there, own_row[k, its], fragment, k, setting)
    _follow(rows, fragment, 0, done)
    parts = [slice(end - own, end) for own, end in zip(bits, ends[1:].tolist(), strict=True)]
    return [(rows.letters[:, part], rows.coefficients[part]) for part in parts]


def _follow(rows: Rows, fragment: Fragment, first: int, end: int) -> None:
    """Gates ``end - 1`` down to ``first``, backwards."""
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    for item in reversed(fragment.circuit.data[first:end]):
        rows.take(tuple(number[bit] for bit in item.qubits), unitary_map(item.matrix))


def _set(rows: Rows, there: np.ndarray, measuring: np.ndarray, fragment: Fragment, k: int, setting: Setting) -> None:
    """A leg's setting, backwards, on the rows of the variants that have it; ``measuring``: those that are its bit."""
    leg = fragment.legs[k]
    qubit, ancilla = leg.qubit, fragment.num_qubits + k
    for name in reversed(setting.after):
        _take_there(rows, there, (qubit,), _GATE_MAPS[name])
    if setting.measured:
        place = qubit if leg.kind.opens_qubit else ancilla
        rows.letters[place, measuring] = _Z
        if not leg.kind.opens_qubit:
            for name in reversed(setting.coupling or ("cx",)):
                on = (ancilla, qubit) if setting.coupling else (qubit, ancilla)
                _take_there(rows, there, on[: GATES[name].num_qubits], _GATE_MAPS[name])
    for name in reversed(setting.before):
        _take_there(rows, there, (qubit,), _GATE_MAPS[name])


# What the gates of settings do to Paulis.
_GATE_MAPS: dict[str, PauliMap] = {name: unitary_map(np.asarray(gate.to_matrix())) for name, gate in GATES.items()}


def _take_there(rows: Rows, there: np.ndarray, qubits: tuple[int, ...], step: PauliMap) -> None:
    code = rows.letters[qubits[0], there]
    if len(qubits) == 2:
        code = code | (rows.letters[qubits[1], there] << 2)
    rows.coefficients[there] *= step.coefficients[code, 0]
    found = step.codes[code, 0]
    rows.letters[qubits[0], there] = found & 3
    if len(qubits) == 2:
        rows.letters[qubits[1], there] = found >> 2


@dataclass(frozen=True)
class Coins:
    """A variant's distribution: bits are parities of fair coins.

    Attributes:
        follows: (bit, coin) bool, which coins' parity a bit is.
        fixed: (bit,) bool, whether it is the opposite of that.
    """

    follows: np.ndarray
    fixed: np.ndarray

    def draw(self, shots: int, rng: np.random.Generator) -> VariantCounts:
        """Shots of it."""
        bits, coins = self.follows.shape
        if coins <= _LISTED:
            places, found = draw_places(np.full(1 << coins, 0.5**coins), shots, rng)
            drawn = (places[:, None] >> np.arange(coins)) & 1
        else:
            drawn = rng.integers(0, 2, size=(shots, coins), dtype=np.uint8)
            found = np.ones(shots, dtype=np.int64)
        # Numbers of coins are far below what a float32 counts exactly.
        parities = (drawn.astype(np.float32) @ self.follows.T.astype(np.float32)).astype(np.int64) & 1
        outcomes = np.zeros((len(drawn), 8 * outcome_bytes(bits)), dtype=np.uint8)
        outcomes[:, :bits] = parities ^ self.fixed
        packed, place = np.unique(np.packbits(outcomes, axis=1, bitorder="little"), axis=0, return_inverse=True)
        totals = np.bincount(place.reshape(-1), weights=found, minlength=len(packed))
        return VariantCounts(packed, totals.astype(np.int64), bits)


def _coins(letters: np.ndarray, signs: np.ndarray) -> Coins:
    """Of commuting Paulis on |0...0>, (qubit, bit) letters and (bit,) signs.

    Rows are i^(x z) X^x Z^z with their bits in an integer; the product of two of them has the phase that
    Z^z X^x' = (-1)^(z x') X^x' Z^z leaves.
    """
    xs, zs = (_as_integers(letters & part) for part in (_X, _Z))
    pivots: list[tuple[int, int, int, int, int]] = []  # highest bit of x, x, z, sign, coins
    follows, fixed = [], []
    for x, z, sign in zip(xs, zs, (signs < 0).tolist(), strict=True):
        phase, coins = 2 * int(sign), 0
        for top, other_x, other_z, other_phase, own in pivots:
            if x >> top & 1:
                phase += other_phase + (x & z).bit_count() + (other_x & other_z).bit_count()
                phase += 2 * (z & other_x).bit_count()
                x, z, coins = x ^ other_x, z ^ other_z, coins ^ own
                phase -= (x & z).bit_count()
        if x:
            coin = 1 << len(pivots)
            pivots.append((x.bit_length() - 1, x, z, phase, coins ^ coin))
            follows.append(coin)
            fixed.append(False)
        else:
            follows.append(coins)
            fixed.append(bool(phase & 2))
    number = len(pivots)
    table = [[bool(coins >> k & 1) for k in range(number)] for coins in follows]
    return Coins(np.array(table, dtype=bool).reshape(len(follows), number), np.array(fixed, dtype=bool))


def _as_integers(parts: np.ndarray) -> list[int]:
    """(qubit, bit) as one integer a bit."""
    packed = np.packbits(parts != 0, axis=0, bitorder="little").T
    return [int.from_bytes(row.tobytes(), "little") for row in packed]
