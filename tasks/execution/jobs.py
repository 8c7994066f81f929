"""What a device is asked to do for one fragment, and what comes back: plain arrays that can be stored as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from tasks.cutting.drawn_bytes import MOST_OPEN_QUBITS, room_within
from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment, Plan
from tasks.cutting.seconds import exact_fragment_seconds, sampled_fragment_seconds, stabiliser_seconds
from tasks.cutting.variants import (
    Variant,
    VariantBuilder,
    count_variants,
    enumerate_variants,
    leg_choices,
    measurement_groups,
)
from tasks.execution.as_written import fragment_digest
from tasks.execution.packed_counts import pack_counts
from tasks.execution.pieces import Piece
from tasks.execution.samples import Shots, samples_of
from tasks.execution.simulators.accelerator import accelerator
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.outputs import exact_outputs
from tasks.execution.simulators.sampled import sample_open
from tasks.execution.simulators.stabiliser import stabiliser_counts
from tasks.execution.simulators.whole import whole_tensor
from tasks.model.streams import simulator_seed
from tasks.model.tensor import FragmentTensor
from tasks.reconstruction import tensor_values


@dataclass(frozen=True)
class ExactJob:
    """A fragment's whole tensor, which a simulator gives.

    Attributes:
        fragment: the fragment.
        schemes: (leg,) the settings of its legs.
        outputs: ask for the probabilities of its output bits instead of its observable factors.
        also: other fragments of the plan that are the same, so that the result is theirs, too.
    """

    fragment: Fragment
    schemes: tuple[Scheme, ...] = ()
    outputs: bool = False
    also: tuple[int, ...] = ()

    @property
    def fragments(self) -> tuple[int, ...]:
        """Those that it has the result of."""
        return self.fragment.index, *self.also

    @property
    def piece(self) -> Piece:
        """What it asks for, without its circuit."""
        return Piece(self.fragment.index)

    @property
    def key(self) -> str:
        """Unique in its run; names the stored result."""
        return self.key_of(self.fragment.index)

    def key_of(self, fragment: int) -> str:
        """The name of the stored result of one of its fragments."""
        return f"fragment-{fragment}-{'outputs' if self.outputs else 'exact'}"

    @property
    def digest(self) -> str:
        """Of all that determines the result: a stored one is used again only if it was asked for in the same words."""
        return _digest(fragment_digest(self.fragment), self.schemes, self.outputs)

    def as_exact(self) -> ExactJob:
        """The job itself."""
        return self


@dataclass(frozen=True)
class SampledJob:
    """Shots of variants of one fragment.

    Attributes:
        fragment: the fragment.
        schemes: (leg,) the settings of its legs.
        variants: the variants to run.
        shots: (variant,) shots of each.
        first_half: (variant,) how many of the shots belong to the first half of all shots (``SampledData``); none
            where these are not in halves.
        seed: of the run.
        circuit: digest of the circuit that was cut, so that no other circuit gets the same random numbers.
        round_index: which round of shots it belongs to.
        first: place of its first variant among the variants of its fragment and round.
        outputs: whether a simulator may answer with the probabilities of the output bits instead.
    """

    fragment: Fragment
    schemes: tuple[Scheme, ...]
    variants: tuple[Variant, ...]
    shots: tuple[int, ...]
    first_half: tuple[int, ...] = ()
    seed: int = 0
    circuit: str = ""
    round_index: int = 0
    first: int = 0
    outputs: bool = False

    @property
    def piece(self) -> Piece:
        """What it asks for, without its circuit."""
        return Piece(self.fragment.index, self.round_index, self.first, self.shots)

    @property
    def key(self) -> str:
        """Unique in its run; names the stored result."""
        return f"fragment-{self.fragment.index}-round-{self.round_index}-from-{self.first}-{len(self.variants)}"

    @property
    def digest(self) -> str:
        """Of all that determines the result: a stored one is used again only if it was asked for in the same words."""
        words = (self.schemes, self.variants, self.shots, self.seed, self.circuit, self.round_index, self.outputs)
        return _digest(fragment_digest(self.fragment), leg_choices(self.fragment, self.schemes), *words)

    @property
    def fragments(self) -> tuple[int, ...]:
        """Those that it has the result of: shots are one fragment's alone, so that errors are independent."""
        return (self.fragment.index,)

    @property
    def streams(self) -> list[str]:
        """(variant,) the name of the stream of random numbers, or of shots, that each variant draws from.

        It holds all that tells one sample from another: the run's seed, the round, the whole circuit, the fragment and
        the variant; so neither a batch, an order nor an engine changes what is drawn, and no two samples share shots.
        """
        run = f"{self.seed}:{self.round_index}:{self.circuit}:{self.fragment.index}:{fragment_digest(self.fragment)}"
        return [f"{run}:{','.join(map(str, v.settings))}:{v.group}" for v in self.variants]

    def share(self, first: int, count: int) -> SampledJob:
        """Its variants ``first`` to ``first + count - 1``, counted as ``self.first`` is."""
        start = first - self.first
        chosen = slice(start, start + count)
        return replace(
            self,
            first=first,
            variants=self.variants[chosen],
            shots=self.shots[chosen],
            first_half=self.first_half[chosen],
        )

    def as_exact(self) -> ExactJob:
        """The job that asks a simulator for the whole tensor instead."""
        return ExactJob(self.fragment, self.schemes, self.outputs)


FragmentJob: TypeAlias = ExactJob | SampledJob


def _digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()[:32]


def plan_digest(plan: Plan) -> str:
    """Of everything that a plan runs."""
    return _digest(*(fragment_digest(fragment) for fragment in plan.fragments))


def exact_jobs(plan: Plan, *, outputs: bool = False) -> list[ExactJob]:
    """One job for each fragment: its whole tensor, of its observable factors or of its output bits."""
    return [ExactJob(f, s, outputs) for f, s in zip(plan.fragments, plan.schemes, strict=True)]


def equal_jobs(jobs: Iterable[ExactJob]) -> list[list[ExactJob]]:
    """Jobs in groups of which one result is all of theirs, each in the order given."""
    sizes: dict[tuple[int, ...], list[ExactJob]] = {}
    for job in jobs:
        size = (job.fragment.num_qubits, len(job.fragment.circuit.data), len(job.fragment.legs))
        sizes.setdefault(size, []).append(job)
    groups: list[list[ExactJob]] = []
    for alike in sizes.values():
        same: dict[str, list[ExactJob]] = {}
        for job in alike:
            same.setdefault(job.digest if len(alike) > 1 else "", []).append(job)
        groups += same.values()
    return groups


def sampled_jobs(
    plan: Plan, shots: Sequence[np.ndarray | Sequence[int]], seed: int, *, round_index: int = 0
) -> list[SampledJob]:
    """One job for each fragment: its variants with shots.

    Args:
        plan: the plan.
        shots: (fragment, variant) shots, or (fragment, half, variant), variants in the order of
            ``enumerate_variants``; zero skips one.
        seed: of the run.
        round_index: which round of shots this is.
    """
    jobs = []
    circuit = plan_digest(plan)
    for fragment, schemes, wanted in zip(plan.fragments, plan.schemes, shots, strict=True):
        halves = np.atleast_2d(np.asarray(wanted, dtype=np.int64))
        total = halves.sum(axis=0)
        variants = enumerate_variants(fragment, schemes)
        assert len(variants) == len(total)
        chosen = np.flatnonzero(total)
        if chosen.size:
            jobs.append(
                SampledJob(
                    fragment,
                    schemes,
                    tuple(variants[place] for place in chosen.tolist()),
                    tuple(total[chosen].tolist()),
                    tuple(halves[0, chosen].tolist()) if len(halves) > 1 else (),
                    seed,
                    circuit,
                    round_index,
                )
            )
    return jobs


def measuring(fragment: Fragment, schemes: tuple[Scheme, ...]) -> np.ndarray:
    """(variant,) bool, which variants read a bit at all, in the order of ``enumerate_variants``.

    The others are certain, and no device runs them: their one shot says all.
    """
    read = np.zeros(1, dtype=bool)
    for choice in leg_choices(fragment, schemes):
        read = (read[:, None] | [setting.measured for setting in choice]).reshape(-1)
    groups = [bool(group.bases.any()) for group in measurement_groups(fragment)]
    return np.asarray((np.array(groups)[:, None] | read).reshape(-1))


def count_measuring(fragment: Fragment, schemes: tuple[Scheme, ...]) -> int:
    """How many variants read a bit (see ``measuring``); there may be more variants than can be listed."""
    silent = sum(not group.bases.any() for group in measurement_groups(fragment))
    silent *= prod(sum(not setting.measured for setting in own) for own in leg_choices(fragment, schemes))
    return count_variants(fragment, schemes) - silent


def uniform_shots(plan: Plan, total: int, *, halves: int = 1) -> list[np.ndarray]:
    """(fragment, half, variant) shots: ``total`` spread evenly over all variants that measure, in 1 or 2 halves.

    The others have a shot each, where there are as many as variants.
    """
    counts = [c.variants for c in plan.costs]
    if not counts:
        return []
    each = map(measuring, plan.fragments, plan.schemes)
    read = np.tile(np.concatenate(list(each)), halves)
    if total < len(read) or not read.any():
        read[:] = True
    flat, left = np.ones(len(read), dtype=np.int64), total - int((~read).sum())
    number = int(read.sum())
    flat[read] = left // number + (np.arange(number) < left % number)
    return np.split(flat.reshape(halves, -1), np.cumsum(counts)[:-1], axis=1)


def predicted_seconds(job: FragmentJob) -> float:
    """How long a job is likely to take on one typical core (see ``scheduler_policies.machine``)."""
    if isinstance(job, ExactJob):
        return exact_fragment_seconds(job.fragment)
    return sampled_fragment_seconds(job.fragment, job.schemes, len(job.variants), sum(job.shots))


def run_job(
    job: FragmentJob, *, device: str = "CPU", threads: int = 1, memory_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Do the work on a noiseless simulator.

    Args:
        job: what to do.
        device: "CPU" or "GPU".
        threads: how many cores it may use, while no other work holds them.
        memory_bytes: what drawing variants may take; None: as much as makes it quick.

    Returns:
        exact: {"values": (leg..., factor) float64}; sampled: the counts of all variants, concatenated
        (``pack_counts``).

    Raises:
        ExecutionError: the simulator refused, or there is no GPU.
    """
    fragment = job.fragment
    gpu = accelerator() if device == "GPU" else None
    if isinstance(job, ExactJob):
        if job.outputs:
            return {"values": exact_outputs(fragment, open_state(fragment, threads=threads, gpu=gpu)).values}
        return {"values": whole_tensor(fragment, threads=threads, gpu=gpu)}
    if stabiliser_seconds(fragment, count_variants(fragment, job.schemes)):
        return pack_counts(stabiliser_counts(fragment, job.schemes, job.variants, job.shots, job.streams))
    together = fragment.open_qubits <= MOST_OPEN_QUBITS
    room = room_within(fragment, job.schemes, memory_bytes) if together else None
    if room is not None:
        state = open_state(fragment, threads=threads, gpu=gpu)
        return sample_open(fragment, job.schemes, state, job.variants, job.shots, job.streams, room)
    from qiskit_aer import AerSimulator  # takes long to import, and few fragments are that wide

    from tasks.execution.simulators.as_circuits import run_circuits

    builder = VariantBuilder(fragment, job.schemes)
    own = device if device in AerSimulator().available_devices() else "CPU"  # few builds of Aer know GPUs
    simulator = AerSimulator(device=own, max_parallel_threads=threads)
    seeds = [simulator_seed(stream) for stream in job.streams]
    return pack_counts(run_circuits([builder.circuit(v) for v in job.variants], job.shots, seeds, simulator))


def fragment_tensor(
    fragment: Fragment, schemes: tuple[Scheme, ...], results: Sequence[tuple[FragmentJob, Mapping[str, np.ndarray]]]
) -> FragmentTensor:
    """The tensor of one fragment from the results of all jobs on it: an exact one, or all shots of all rounds."""
    sampled = []
    for job, arrays in results:
        if isinstance(job, ExactJob):
            return FragmentTensor(fragment.index, arrays["values"])
        stream = f"halves:{job.seed}:{job.round_index}:{job.circuit}:{fragment.index}"
        sampled.append(Shots(job.first, job.round_index, job.variants, job.shots, job.first_half, stream, arrays))
    samples = samples_of(fragment, schemes, sampled)
    return FragmentTensor(fragment.index, tensor_values(samples, fragment.num_factors), samples)
