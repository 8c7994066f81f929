"""What a finished plan is held against: qubits, memory and shots that are allowed, and what each device holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, log2

from scheduler_policies.cost import needed_bytes, runs_exact, why_not
from scheduler_policies.device import Device
from tasks.cutting.cost import greedy_contraction
from tasks.cutting.errors import CuttingError, NoRoomError, TooFewShotsError
from tasks.cutting.fragment_work import fragment_work
from tasks.cutting.objectives.error import log_variance
from tasks.cutting.partition import partition_of
from tasks.cutting.plan import Fragment, Plan
from tasks.cutting.search.sketch import sketch_of
from tasks.model.sizes import MAX_SHOTS, bytes_text

_LARGE_ERROR, _LARGEST = 0.5, 1000.0
_LARGE_ERROR_BEGINS = "cut ends like these let expect"
"""How the note on large errors begins."""


def checked(
    plan: Plan, shots: int | None, max_qubits: int | None, memory_bytes: int | None, devices: Sequence[Device]
) -> Plan:
    """The plan, with a note where its error will be large.

    Raises:
        CuttingError: it does not keep a limit.
    """
    if max_qubits is not None:
        for fragment in plan.fragments:
            if fragment.width > max_qubits:
                qubits = sorted({q for _, q in fragment.outputs})
                raise CuttingError(
                    f"the cuts leave a fragment of {fragment.width} qubits (it ends on qubits {qubits}), more "
                    f"than `max_qubits` {max_qubits}; cut it further or allow more qubits",
                    field="max_qubits",
                )
    _refuse_without_device(plan, devices, shots)
    need = predicted_bytes(plan, devices, shots)
    if memory_bytes is not None and need > memory_bytes:
        raise CuttingError(
            f"the plan needs {bytes_text(need)} of memory and {bytes_text(memory_bytes)} may be used; allow more "
            "qubits a fragment, ask fewer observables, cut elsewhere or raise `memory_bytes`",
            field="memory_bytes",
        )
    variants = sum(c.variants for c in plan.costs)
    if shots is not None and shots < variants:
        needed = f"`shots` {shots}: the plan has {variants} distinct variants and each needs a shot"
        if variants > MAX_SHOTS:
            raise TooFewShotsError(
                f"{needed}, more than the {MAX_SHOTS} that there may be; allow more qubits a fragment, on a wider "
                "device, or cut elsewhere",
                field="max_qubits",
                variants=variants,
            )
        raise TooFewShotsError(
            f"{needed}; give at least {variants}, better {min(100 * variants, MAX_SHOTS)}",
            field="shots",
            variants=variants,
        )
    if shots is not None:
        error = 2.0 ** min(log_variance(sketch_of(partition_of(plan)), shots) / 2, _LARGEST)
        if error > _LARGE_ERROR:
            note = (
                f"{_LARGE_ERROR_BEGINS} a standard error of the order of {error:.1g} for {shots:,} shots: "
                "give more `shots`, or leave them out"
            )
            return replace(plan, notes=(*plan.notes, note))
    return plan


def with_known_error(plan: Plan, std_error: float) -> Plan:
    """The plan, its note on large errors with a better prediction's number, or left out where that is not large."""
    if not any(note.startswith(_LARGE_ERROR_BEGINS) for note in plan.notes):
        return plan
    kept = [note for note in plan.notes if not note.startswith(_LARGE_ERROR_BEGINS)]
    for note in plan.notes:
        if note.startswith(_LARGE_ERROR_BEGINS) and std_error > _LARGE_ERROR:
            kept.append(re.sub("of the order of [^ ]* for", f"of {std_error:.2g} for", note))
    return replace(plan, notes=tuple(kept))


def predicted_bytes(plan: Plan, devices: Sequence[Device] = (), shots: int | None = None) -> int:
    """Peak memory of the plan in one process: all fragment tensors, the largest fragment, the contraction.

    Args:
        plan: the plan.
        devices: of the run; what a QPU can take needs no simulation here.
        shots: in all, None for an exact run.
    """
    tensors = sum(c.tensor_bytes for c in plan.costs)
    simulated = [c for f, c in zip(plan.fragments, plan.costs, strict=True) if not _on_qpu(f, devices, shots)]
    fragment = max((c.exact_bytes for c in simulated), default=0)
    contraction = greedy_contraction(plan.fragments, plan.bonds)
    # Two operands and their product, or their transposed copies, are alive at once.
    return int(tensors + max(fragment, 3 * 8 * contraction.largest))


def _on_qpu(fragment: Fragment, devices: Sequence[Device], shots: int | None) -> bool:
    """Whether a QPU has room for a fragment and the ancillas of its legs."""
    return shots is not None and any(
        not device.exact and (device.qubits is None or _with_ancillas(fragment, device) <= device.qubits)
        for device in devices
    )


def _with_ancillas(fragment: Fragment, device: Device) -> int:
    """Qubits that a fragment takes on a device at most."""
    midway = 0 if device.limits.mid_circuit_measurement else sum(leg.kind.measures_midway for leg in fragment.legs)
    resets = device.limits.mid_circuit_measurement and device.limits.reset
    width = 1 + max(fragment.homes, default=-1) if resets else fragment.num_qubits
    return width + sum(leg.kind.ancillas for leg in fragment.legs) + midway


def _refuse_without_device(plan: Plan, devices: Sequence[Device], shots: int | None) -> None:
    simulators = [device for device in devices if device.exact]
    if any(device.memory_bytes is None and device.qubits is None for device in simulators) or not devices:
        return
    if simulators:
        _refuse_without_room(plan, devices, shots)
        return
    for fragment in plan.fragments:
        if not _on_qpu(fragment, devices, shots):
            needed = min(_with_ancillas(fragment, device) for device in devices)
            raise CuttingError(
                f"fragment {fragment.index} takes {needed} qubits with the ancillas of its {len(fragment.legs)} cut "
                f"ends, and no device has so many: lower `max_qubits` below {fragment.num_qubits}, or name a simulator",
                field="max_qubits",
            )


def _refuse_without_room(plan: Plan, devices: Sequence[Device], shots: int | None) -> None:
    """Refuse a fragment that no device of stated memory or width can run; the one that lacks most is told of."""
    beside = any(not device.exact for device in devices)  # QPUs, and what a simulator has whole needs no more
    refusals = []
    for fragment, cost, schemes in zip(plan.fragments, plan.costs, plan.schemes, strict=True):
        whole = fragment_work(fragment, cost, schemes, 1, 0.0)
        if shots is None:
            asked = [replace(whole, exact=True)]
        elif beside and any(runs_exact(device, whole) and not why_not(device, whole) for device in devices):
            continue
        else:
            asked = [whole, replace(whole, whole=False)]
        for work in asked:
            reasons = [why_not(device, work) for device in devices]
            if all(reasons):
                most, needed = max(device.memory_bytes or 0 for device in devices), needed_bytes(work)
                over = ceil(log2(needed / most)) if 0 < most < needed and not whole.compact_seconds else 1
                words = "; ".join(f"{own.name} {why}" for own, why in zip(devices, reasons, strict=True))
                lack = f"fragment {fragment.index} ({fragment.num_qubits} qubits) fits no device in use: {words}"
                advice = "cut into narrower fragments or add a device"
                refusals.append(NoRoomError(lack, advice, qubits=fragment.num_qubits - over, needed=needed))
    if refusals:
        raise max(refusals, key=lambda refusal: refusal.needed)
