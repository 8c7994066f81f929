"""What a fragment says about bit strings: a projector onto some of its output bits is one more observable factor.

An exact fragment gives the projectors' tensors from its open-leg state; a sampled one estimates them from the counts of
variants that measure every output in Z, with the variance that goes with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tasks.model.counts import split_counts
from tasks.model.streams import random_stream
from tasks.model.tensor import SampledData, VariantData
from tasks.reconstruction.errors import DistributionError
from tasks.reconstruction.statistics.counts_to_tensor import check_covered, signs, variant_entries
from tasks.reconstruction.statistics.gradient import LeafGradient
from tasks.reconstruction.statistics.uncertainty import Uncertainty, uncertainty_of_mean


class Outputs(Protocol):
    """The output bits of one fragment.

    Attributes:
        qubits: the problem's qubit of each output bit.
    """

    @property
    def qubits(self) -> tuple[int, ...]:
        """The problem's qubit of each output bit."""

    @property
    def exact(self) -> bool:
        """Whether there is no shot noise in it."""

    def outcomes(self) -> np.ndarray:
        """(outcome,) int64: the values of all bits that can be; of counts, those that were seen."""

    def projectors(self, fixed: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Tensors of projectors.

        Args:
            fixed: (bit,) bool, which output bits the projectors fix; the others are summed over.
            codes: (projector,) int, the value of the fixed bits, the first of them least significant.

        Returns:
            (legs..., projector) float64.
        """

    def add_uncertainty(self, fixed: np.ndarray, codes: np.ndarray, found: LeafGradient, total: Uncertainty) -> None:
        """Add what this fragment's shots contribute to ``total`` (observable,), given its gradient.

        ``found.factors`` are positions in ``codes``; each observable has one factor here.
        """

    def in_halves(self, seed: int) -> tuple[Outputs, Outputs]:
        """The same outputs known from two independent halves of the shots; exact ones are the same twice."""


@dataclass(frozen=True)
class ExactOutputs:
    """Outputs of a fragment whose projector tensors are known exactly.

    Attributes:
        qubits: the problem's qubit of each output bit.
        values: (legs..., outcome) float64, bit ``i`` of the outcome being output bit ``i``.
    """

    qubits: tuple[int, ...]
    values: np.ndarray

    @property
    def exact(self) -> bool:
        """See ``Outputs``."""
        return True

    def outcomes(self) -> np.ndarray:
        """See ``Outputs``."""
        return np.arange(self.values.shape[-1], dtype=np.int64)

    def projectors(self, fixed: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """See ``Outputs``."""
        legs = self.values.shape[:-1]
        bits = self.values.reshape((*legs, *(2,) * len(self.qubits)))  # the last bit is the first axis
        free = tuple(len(legs) + len(self.qubits) - 1 - int(bit) for bit in np.flatnonzero(~fixed))
        return np.ascontiguousarray(bits.sum(axis=free).reshape(*legs, -1)[..., codes])

    def add_uncertainty(self, fixed: np.ndarray, codes: np.ndarray, found: LeafGradient, total: Uncertainty) -> None:
        """Exact: nothing to add."""

    def in_halves(self, seed: int) -> tuple[Outputs, Outputs]:
        """See ``Outputs``."""
        return self, self


@dataclass(frozen=True)
class SampledOutputs:
    """Outputs of a fragment known from counts.

    Attributes:
        qubits: the problem's qubit of each output bit.
        samples: counts of variants that measure every output bit in Z; the bits that carry no leg's sign are the
            outputs, in order.
    """

    qubits: tuple[int, ...]
    samples: SampledData

    def __post_init__(self) -> None:
        for number, variant in enumerate(self.samples.variants):
            outputs = variant.counts.num_bits - sum(bit >= 0 for bit in variant.leg_bits)
            if outputs != len(self.qubits):
                raise DistributionError(
                    f"Variant {number} measures {outputs} outputs of {len(self.qubits)}: a distribution needs every"
                    " output measured in Z. Run the circuit through `qompass sample`."
                )
            if variant.counts.readings is not None or variant.counts.weights is not None:
                raise DistributionError(
                    f"Variant {number} has counts corrected bit by bit, which are no counts of bit strings. Run with"
                    " `mitigation` none.",
                    field="mitigation",
                )

    @property
    def exact(self) -> bool:
        """See ``Outputs``."""
        return False

    def outcomes(self) -> np.ndarray:
        """See ``Outputs``."""
        return np.unique(np.concatenate([self._codes(own) for own in self.samples.variants]))

    def projectors(self, fixed: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """See ``Outputs``."""
        legs = self.samples.legs
        shape = (*(len(leg.columns) for leg in legs), codes.size)
        sums, shots = np.zeros(shape), np.zeros(shape[:-1])
        for variant in self.samples.variants:
            at = tuple(variant_entries(legs, variant).columns.T)
            sign, place = self._matched(variant, fixed, codes)
            seen = place >= 0
            found = np.zeros((codes.size, sign.shape[1]))
            np.add.at(found, place[seen], sign[seen] * variant.counts.counts[seen, None])
            sums[at] += found.T if legs else found[:, 0]
            shots[at] += variant.counts.shots
        check_covered(self.samples, shots[None, ..., None])
        raw = np.divide(sums, shots[..., None], out=np.zeros(shape), where=shots[..., None] > 0)
        for axis, leg in enumerate(legs):
            raw = np.moveaxis(np.tensordot(raw, leg.inverse, axes=(axis, 1)), -1, axis)
        return np.ascontiguousarray(raw)

    def add_uncertainty(self, fixed: np.ndarray, codes: np.ndarray, found: LeafGradient, total: Uncertainty) -> None:
        """See ``Outputs``; a pseudo-shot lies inside the projector with probability one half (Wilson)."""
        legs = self.samples.legs
        raw = found.gradient
        for axis, leg in enumerate(legs):
            raw = np.moveaxis(np.tensordot(raw, leg.inverse, axes=(1 + axis, 0)), -1, 1 + axis)
        behind = np.zeros(tuple(len(leg.columns) for leg in legs))
        for variant in self.samples.variants:
            behind[tuple(variant_entries(legs, variant).columns.T)] += variant.counts.shots
        for variant in self.samples.variants:
            at = tuple(variant_entries(legs, variant).columns.T)
            shots = variant.counts.shots
            sign, place = self._matched(variant, fixed, codes)
            seen = place >= 0
            counts = variant.counts.counts[seen].astype(np.float64)
            weighted = sign[seen] * counts[:, None]
            first = np.zeros((codes.size, sign.shape[1]))
            np.add.at(first, place[seen], weighted)
            second = np.zeros((codes.size, sign.shape[1], sign.shape[1]))
            np.add.at(second, place[seen], weighted[:, :, None] * sign[seen][:, None, :])
            every = np.arange(found.observables.size)
            entries = (every[:, None], *(column[None, :] for column in at))
            gradient = raw[entries] * (shots / behind[at])
            mean = np.einsum("pe,pe->p", gradient, first[found.factors]) / shots
            squares = np.einsum("pe,pef,pf->p", gradient, second[found.factors], gradient)
            unsigned = ~variant_entries(legs, variant).masks.any(axis=1)
            even_mean = 0.5 * gradient[:, unsigned].sum(axis=1)
            even_spread = 0.5 * np.square(gradient).sum(axis=1) - np.square(even_mean)
            # The variance about the mean of even outcomes, which is that of the pseudo-shot.
            about = squares - 2 * shots * even_mean * mean + shots * np.square(even_mean)
            own = uncertainty_of_mean(about, mean - even_mean, np.maximum(even_spread, 0.0), shots)
            total.add(own, found.observables)

    def in_halves(self, seed: int) -> tuple[Outputs, Outputs]:
        """See ``Outputs``."""
        variants = self.samples.variants
        seen = hashlib.sha256(b"".join(v.counts.outcomes.tobytes() + v.counts.counts.tobytes() for v in variants))
        rng = random_stream(f"halves:{seed}:{self.qubits}:{seen.hexdigest()}")
        pairs = split_counts([variant.counts for variant in variants], [0.5] * len(variants), rng)
        halves = (
            tuple(replace(variant, counts=half) for variant, half in zip(variants, own, strict=True))
            for own in zip(*pairs, strict=True)
        )
        first, second = (SampledOutputs(self.qubits, replace(self.samples, variants=own)) for own in halves)
        return first, second

    def _matched(self, variant: VariantData, fixed: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Leg signs (outcome, entry) and, for each outcome, the position of its fixed bits in ``codes`` or -1."""
        entries = variant_entries(self.samples.legs, variant)
        own = self._codes(variant, fixed)
        order = np.argsort(codes, kind="stable")
        place = np.minimum(np.searchsorted(codes[order], own), max(0, codes.size - 1))
        position = order[place] if codes.size else place
        return signs(variant, entries.masks), np.where(codes[position] == own, position, -1)

    def _codes(self, variant: VariantData, fixed: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(outcome,) int64: the value of the fixed output bits in each outcome of a variant."""
        carriers = {bit for bit in variant.leg_bits if bit >= 0}
        outputs = np.array([bit for bit in range(variant.counts.num_bits) if bit not in carriers], dtype=np.int64)
        bits = np.unpackbits(variant.counts.outcomes, axis=1, count=variant.counts.num_bits, bitorder="little")[
            :, outputs[fixed]
        ].astype(np.int64)
        return bits @ (np.int64(1) << np.arange(bits.shape[1], dtype=np.int64))


@dataclass(frozen=True)
class MarginalOutputs:
    """Some of the output bits of a fragment; the others are summed over.

    Attributes:
        whole: all of its outputs.
        kept: (bit,) bool, which of them these are.
        qubits: what the kept ones are numbered.
    """

    whole: Outputs
    kept: np.ndarray
    qubits: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """See ``Outputs``."""
        return self.whole.exact

    def outcomes(self) -> np.ndarray:
        """See ``Outputs``."""
        whole = self.whole.outcomes()
        bits = (whole[:, None] >> np.flatnonzero(self.kept)) & 1
        return np.unique(bits @ (np.int64(1) << np.arange(bits.shape[1], dtype=np.int64)))

    def projectors(self, fixed: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """See ``Outputs``."""
        return self.whole.projectors(self._among_all(fixed), codes)

    def add_uncertainty(self, fixed: np.ndarray, codes: np.ndarray, found: LeafGradient, total: Uncertainty) -> None:
        """See ``Outputs``."""
        self.whole.add_uncertainty(self._among_all(fixed), codes, found, total)

    def in_halves(self, seed: int) -> tuple[Outputs, Outputs]:
        """See ``Outputs``."""
        first, second = self.whole.in_halves(seed)
        return replace(self, whole=first), replace(self, whole=second)

    def _among_all(self, fixed: np.ndarray) -> np.ndarray:
        whole = np.zeros(self.kept.size, dtype=bool)
        whole[self.kept] = fixed
        return whole


def marginal(outputs: Outputs, places: Mapping[int, int]) -> Outputs:
    """The output bits of a fragment whose qubits are among ``places``, numbered as these say."""
    kept = np.array([qubit in places for qubit in outputs.qubits], dtype=bool)
    found = MarginalOutputs(outputs, kept, tuple(places[qubit] for qubit in outputs.qubits if qubit in places))
    if not isinstance(outputs, ExactOutputs):
        return found
    size = len(found.qubits)
    return ExactOutputs(found.qubits, found.projectors(np.ones(size, dtype=bool), np.arange(2**size)))
