"""The sampled path: counts of every variant, and the fragment tensor that they determine.

A variant can run as the plain circuit that it is (``tasks/cutting/variants.py``): that is what a QPU or a noisy
simulator does. A noiseless simulator does less: all variants of a fragment differ only in what happens at its legs, so
one simulation with the legs left open gives each variant's outcome distribution by a few small matrix products, and its
shots are drawn from that. Both give the same distribution (tests hold one against the other); every shot is a real,
independent draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from tasks.cutting.kinds import Scheme, Setting, gate_product
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import Variant, VariantBuilder, leg_choices, measurement_groups
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.open_state import aer_gate
from tasks.model.streams import random_stream
from tasks.model.tensor import SampledData, VariantCounts, VariantData

_DENSE_BITS = 16  # up to here a multinomial over all outcomes is the cheaper way to draw
_TOGETHER_AMPLITUDES = 1 << 13  # of an open state: up to here variants are cheaper many at a time than one by one
_CHUNK_AMPLITUDES = 1 << 22


def draw_counts(probabilities: np.ndarray, shots: int, rng: np.random.Generator) -> VariantCounts:
    """Draw shots from a distribution.

    Args:
        probabilities: (2**m,), outcome ``i`` having measured bit ``b`` equal to ``(i >> b) & 1``; sums to 1 within
            rounding.
        shots: how many, at least 1.
        rng: where randomness comes from.
    """
    num_bits = int(probabilities.size).bit_length() - 1
    weights = np.clip(probabilities, 0.0, None)
    if num_bits <= _DENSE_BITS or shots >= probabilities.size:  # so that memory never grows with the shots
        drawn = rng.multinomial(shots, weights / weights.sum())
        outcomes = np.flatnonzero(drawn)
        counts = drawn[outcomes]
    else:
        cumulative = np.cumsum(weights)
        positions = np.searchsorted(cumulative, rng.random(shots) * cumulative[-1], side="right")
        outcomes, counts = np.unique(np.minimum(positions, probabilities.size - 1), return_counts=True)
    return VariantCounts(pack_outcomes(outcomes, num_bits), counts.astype(np.int64), num_bits)


def pack_outcomes(outcomes: np.ndarray, num_bits: int) -> np.ndarray:
    """(outcome, byte) uint8 from (outcome,) integers, bit ``b`` of the integer being measured bit ``b``."""
    raw = outcomes.astype("<u8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(raw[:, : max(1, (num_bits + 7) // 8)])


def sample_open(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    state: np.ndarray,
    variants: Sequence[Variant],
    shots: Sequence[int],
    streams: Sequence[str],
) -> list[VariantCounts]:
    """Counts of the given variants of a fragment, drawn on a noiseless simulator from one open-leg state.

    Args:
        fragment: the fragment.
        schemes: (leg,) which settings each leg has.
        state: what ``open_state`` returned.
        variants: which to run.
        shots: for each, how many.
        streams: for each, the name of the stream of random numbers that it draws from.

    Returns:
        one VariantCounts per variant, in order.
    """
    counts: list[VariantCounts | None] = [None] * len(variants)
    if state.size <= _TOGETHER_AMPLITUDES:
        for members, table in distributions_together(fragment, schemes, state, variants):
            for i, distribution in zip(members, table, strict=True):
                counts[i] = draw_counts(distribution, shots[i], random_stream(streams[i]))
    else:
        order = sorted(range(len(variants)), key=lambda i: (variants[i].group, variants[i].settings))
        distributions = variant_distributions(fragment, schemes, state, [variants[i] for i in order])
        for i, distribution in zip(order, distributions, strict=True):
            counts[i] = draw_counts(distribution, shots[i], random_stream(streams[i]))
    return [c for c in counts if c is not None]


def distributions_together(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: np.ndarray, variants: Sequence[Variant]
) -> Iterator[tuple[list[int], np.ndarray]]:
    """What ``variant_distributions`` gives, for many variants of a small fragment in one array operation.

    Yields:
        positions in ``variants``, and their distributions (variant, 2**m): variants that read the same bits.
    """
    legs, choices = fragment.legs, leg_choices(fragment, schemes)
    groups = measurement_groups(fragment)
    branching = [k for k, leg in enumerate(legs) if not leg.kind.opens_qubit]
    operators = [[leg.kind.operator(s) for s in choice] for leg, choice in zip(legs, choices, strict=True)]
    axis_of = {k: branching.index(k) if k in branching else len(branching) + legs[k].qubit for k in range(len(legs))}
    order = [*branching, *(k for k in range(len(legs)) if k not in branching)]
    blocks: dict[tuple, list[int]] = {}
    for i, variant in enumerate(variants):
        reads = tuple(len(operators[k][s]) for k, s in enumerate(variant.settings))
        blocks.setdefault((variant.group, reads), []).append(i)
    for (group, reads), members in blocks.items():
        rotated = _rotate_group(state, len(branching), groups[group].bases)[None]
        width = rotated.size // int(np.prod([state.shape[axis_of[k]] for k in branching], dtype=np.int64))
        for k in branching:
            width *= reads[k]
        members.sort(key=lambda i: variants[i].settings)
        step = max(1, _CHUNK_AMPLITUDES // width)
        for start in range(0, len(members), step):
            part = members[start : start + step]
            settings = np.array([variants[i].settings for i in part], dtype=np.int64).reshape(len(part), len(legs))
            value, prefix = rotated, np.zeros(len(part), dtype=np.int64)
            for k in order:  # variants that begin alike share what they have in common
                keys, prefix_of = np.unique(prefix * len(choices[k]) + settings[:, k], return_inverse=True)
                parents, chosen = np.divmod(keys, len(choices[k]))
                matrices = np.stack([operators[k][c] for c in chosen.tolist()])
                value = _apply_each(matrices, value[parents], 1 + axis_of[k])
                prefix = prefix_of.reshape(-1)
            first = [choice[s] for choice, s in zip(choices, variants[part[0]].settings, strict=True)]
            yield part, _marginals(fragment, first, branching, groups[group].bases, value)[prefix]


def _apply_each(matrices: np.ndarray, states: np.ndarray, axis: int) -> np.ndarray:
    """Matrix i on axis ``axis`` of state i."""
    shape = states.shape
    flat = states.reshape(shape[0], int(np.prod(shape[1:axis], dtype=np.int64)), shape[axis], -1)
    return np.matmul(matrices[:, None], flat).reshape(*shape[:axis], matrices.shape[1], *shape[axis + 1 :])


def variant_distributions(
    fragment: Fragment, schemes: tuple[Scheme, ...], state: np.ndarray, variants: Iterable[Variant]
) -> Iterator[np.ndarray]:
    """The outcome distribution of each variant, in order: (2**m,), bits as ``VariantBuilder`` numbers them.

    Cheapest when the variants come sorted by group and settings: neighbours share the work of their common settings.
    """
    legs = fragment.legs
    choices = leg_choices(fragment, schemes)
    groups = measurement_groups(fragment)
    branching = [k for k, leg in enumerate(legs) if not leg.kind.opens_qubit]
    wires_out = [k for k, leg in enumerate(legs) if leg.kind.opens_qubit]
    operators = [[leg.kind.operator(setting) for setting in choice] for leg, choice in zip(legs, choices, strict=True)]
    # Outgoing wires are chosen last: their axes are qubits like any other.
    sequence = wires_out + branching
    path: list[tuple[tuple[int, ...], np.ndarray]] = []
    for variant in variants:
        key = (variant.group, *(variant.settings[k] for k in sequence))
        keep = 0
        while keep < len(path) and path[keep][0] == key[: keep + 1]:
            keep += 1
        del path[keep:]
        while len(path) < len(key):
            depth = len(path)
            if depth == 0:
                value = _rotate_group(state, len(branching), groups[variant.group].bases)
            else:
                leg = sequence[depth - 1]
                operator = operators[leg][variant.settings[leg]]
                value = path[-1][1]
                if legs[leg].kind.opens_qubit:
                    value = _apply(operator, value, len(branching) + legs[leg].qubit)
                else:
                    value = _apply(operator, value, branching.index(leg))
            path.append((key[: depth + 1], value))
        chosen = [choice[s] for choice, s in zip(choices, variant.settings, strict=True)]
        yield _marginal(fragment, chosen, branching, groups[variant.group].bases, path[-1][1])


def _apply(matrix: np.ndarray, state: np.ndarray, axis: int) -> np.ndarray:
    shape = state.shape
    flat = state.reshape(int(np.prod(shape[:axis], dtype=np.int64)), shape[axis], -1)
    return np.matmul(matrix, flat).reshape(*shape[:axis], matrix.shape[0], *shape[axis + 1 :])


def _rotate_group(state: np.ndarray, branching: int, bases: np.ndarray) -> np.ndarray:
    rotations = {1: gate_product(("h",)), 2: gate_product(("sdg", "h"))}
    for qubit, basis in enumerate(bases):
        if int(basis) in rotations:
            state = _apply(rotations[int(basis)], state, branching + qubit)
    return state


def _marginal(
    fragment: Fragment, chosen: list[Setting], branching: list[int], bases: np.ndarray, amplitudes: np.ndarray
) -> np.ndarray:
    """Probabilities over the measured bits only, bit 0 fastest."""
    return _marginals(fragment, chosen, branching, bases, amplitudes[None])[0]


def _marginals(
    fragment: Fragment, chosen: list[Setting], branching: list[int], bases: np.ndarray, amplitudes: np.ndarray
) -> np.ndarray:
    """The same for several states that read the same bits, (state, 2**m)."""
    probabilities = np.square(amplitudes.real) + np.square(amplitudes.imag)
    axes = []  # in bit order: legs that measure, then the group's qubits
    for k, (leg, setting) in enumerate(zip(fragment.legs, chosen, strict=True)):
        if setting.measured:
            axes.append(1 + (len(branching) + leg.qubit if leg.kind.opens_qubit else branching.index(k)))
    axes += [1 + len(branching) + int(q) for q in np.flatnonzero(bases)]
    gone = tuple(a for a in range(1, probabilities.ndim) if a not in set(axes))
    kept = sorted(axes)
    summed = probabilities.sum(axis=gone)
    order = [0, *(1 + kept.index(a) for a in reversed(axes))]
    return summed.transpose(order).reshape(len(amplitudes), -1)


def run_circuits(
    circuits: Sequence[QuantumCircuit], shots: Sequence[int], seeds: Sequence[int], simulator: AerSimulator
) -> list[VariantCounts]:
    """Run variants as the plain circuits they are, with shots, on an Aer simulator, noisy or not.

    Raises:
        ExecutionError: the simulator refused one; its reason.
    """
    counts = []
    for circuit, n, seed in zip(circuits, shots, seeds, strict=True):
        if circuit.num_clbits == 0:
            counts.append(VariantCounts(np.zeros((1, 1), dtype=np.uint8), np.array([n]), 0))
            continue
        result = simulator.run(_known_gates(circuit), shots=n, seed_simulator=seed).result()
        if not result.success:
            raise ExecutionError(f"the simulator refused a variant: {result.status!r}")
        counts.append(counts_from_hex(result.data(0)["counts"], circuit.num_clbits))
    return counts


def counts_from_hex(counts: dict[str, int], num_bits: int) -> VariantCounts:
    """Qiskit's ``{"0x1f": 12, ...}`` as VariantCounts."""
    width = max(1, (num_bits + 7) // 8)
    raw = b"".join(int(key, 16).to_bytes(width, "little") for key in counts)
    outcomes = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
    unique, inverse = np.unique(outcomes, axis=0, return_inverse=True)
    totals = np.bincount(inverse.reshape(-1), weights=np.fromiter(counts.values(), dtype=float), minlength=len(unique))
    return VariantCounts(unique, totals.astype(np.int64), num_bits)


def _known_gates(circuit: QuantumCircuit) -> QuantumCircuit:
    out = circuit.copy_empty_like()
    for item in circuit.data:
        out.append(aer_gate(item.operation), item.qubits, item.clbits, copy=False)
    return out


def sampled_data(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    variants: Sequence[Variant],
    counts: Sequence[VariantCounts],
    halves: Sequence[int] | None = None,
) -> SampledData:
    """Put counts beside what they mean (see ``tasks.model.tensor.SampledData``).

    Args:
        fragment: the fragment.
        schemes: (leg,) which settings each leg has.
        variants: the variants.
        counts: of each.
        halves: which half of the shots each belongs to; None: they are not in halves.
    """
    builder = VariantBuilder(fragment, schemes)
    data = tuple(
        VariantData(v.settings, meaning.leg_bits, meaning.factors, meaning.factor_masks, c, half)
        for v, c, half in zip(variants, counts, halves or [0] * len(variants), strict=True)
        for meaning in (builder.meaning(v),)
    )
    return SampledData(tuple(leg.kind.spanning(s) for leg, s in zip(fragment.legs, schemes, strict=True)), data)
