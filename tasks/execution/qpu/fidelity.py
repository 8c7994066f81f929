"""How well a QPU would do each fragment of a plan: gate and readout errors along a transpiled variant."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from scheduler_policies.cost import circuit_fidelity
from scheduler_policies.device import Device, Kind
from tasks.cutting.plan import Plan
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import QpuError
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.resources import qpu_resource
from tasks.execution.qpu.retry import present_target

log = logging.getLogger(__name__)


def fragment_fidelities(
    plan: Plan, devices: Iterable[Device], readout_mitigated: bool
) -> dict[int, list[tuple[str, float]]]:
    """For each fragment, (QPU, expected fidelity of one of its variants) where the QPU can be asked and can run it.

    Args:
        plan: the plan.
        devices: of the run, QPUs as their targets describe them.
        readout_mitigated: readout errors are taken out of the counts, so they do not count.
    """
    found: dict[int, list[tuple[str, float]]] = {fragment.index: [] for fragment in plan.fragments}
    for device in devices:
        if device.kind is not Kind.QPU or not device.gates:
            continue
        try:
            with QpuClient(qpu_resource(device.name)) as client:
                target = present_target(client)
        except QpuError as error:
            log.info("%s", error)
            continue
        for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
            # The last variant has the most in it: every leg at its last setting, measured in the last group's bases.
            circuit = VariantBuilder(fragment, schemes).circuit(enumerate_variants(fragment, schemes)[-1])
            if circuit.num_clbits == 0:
                continue
            try:
                (program,) = make_programs([circuit], target)
            except QpuError:
                continue  # it does not fit; the policy sees that too, or the device says so
            found[fragment.index].append((device.name, program_fidelity(device, program, readout_mitigated)))
    return found


def program_fidelity(device: Device, program: Program, readout_mitigated: bool = False) -> float:
    """Expected fidelity of a program: the product of (1 - error) of its gates and, unless mitigated, its readouts."""
    circuit = program.circuit
    operations = [
        (entry.operation.name, tuple(circuit.find_bit(bit).index for bit in entry.qubits))
        for entry in circuit.data
        if entry.operation.name not in {"barrier", "measure", "reset", "delay"}
    ]
    return circuit_fidelity(device, operations, () if readout_mitigated else program.measured)
