"""The errors of the very qubits that a fragment is transpiled onto, as rates of the gates that it was written with.

A device's qubits differ, transpiling for it chooses good ones, and how many two-qubit gates routing adds depends on the
fragment. So one of its variants is transpiled as a run does it, and what the errors of that circuit's gates leave of a
Pauli on their qubits is shared out evenly among the fragment's own gates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log

import numpy as np

from scheduler_policies import Device
from tasks.cutting import Fragment
from tasks.cutting.kinds import Scheme
from tasks.cutting.variants import Variant, VariantBuilder
from tasks.execution.as_written import fragment_digest

_LEAST = 1e-6  # of what a gate leaves
_SETTINGS = (0.0, 0.5, 1.0)  # of the settings of each leg: some measure on an ancilla, which takes a gate more


@dataclass(frozen=True)
class Rates:
    """What is left by a gate, of a Pauli on its qubits, and by a readout.

    Attributes:
        one_qubit: by a one-qubit gate.
        two_qubit: by a two-qubit gate that the device has, or a CX.
        contrast: by a wrong readout, of a bit's sign.
    """

    one_qubit: float
    two_qubit: float
    contrast: float


@dataclass(frozen=True)
class _Written:
    """A fragment that equals others which are written alike: plans that are compared have many in common."""

    digest: str
    fragment: Fragment = field(compare=False)


def placed_rates(device: Device, fragment: Fragment, schemes: tuple[Scheme, ...], twos: float) -> Rates | None:
    """Rates of a fragment on a device; None where the device's gates are not known or it cannot be transpiled.

    Args:
        device: a QPU.
        fragment: the fragment.
        schemes: of its legs.
        twos: two-qubit gates that it takes where all pairs of qubits have one.
    """
    if not device.gates or device.coupling is None:
        return None
    return _placed(device, _Written(fragment_digest(fragment), fragment), schemes, twos)


@lru_cache(maxsize=256)
def _placed(device: Device, written: _Written, schemes: tuple[Scheme, ...], twos: float) -> Rates | None:
    from tasks.execution.qpu import QpuError  # loads what talks to QPUs
    from tasks.execution.qpu.devices import target_of
    from tasks.execution.qpu.programs import make_programs

    fragment = written.fragment
    builder, programs = VariantBuilder(fragment, schemes), []
    for part in _SETTINGS:
        settings = tuple(round(part * (len(choice) - 1)) for choice in builder.choices)
        circuit = builder.circuit(Variant(fragment.index, settings, len(builder.groups) - 1))
        if circuit.num_clbits:
            try:
                programs += make_programs([circuit], target_of(device))
            except QpuError:
                return None
    if not programs:
        return None
    errors = {(gate.name, gate.qubits): gate.error for gate in device.gates}
    lost = [0.0, 0.0]
    for circuit in [program.circuit for program in programs]:
        for item in circuit.data:
            places = tuple(circuit.find_bit(bit).index for bit in item.qubits)
            error = errors.get((item.operation.name, places), 0.0)
            if error:
                states = 2 ** len(places)
                lost[len(places) - 1] -= log(max(1 - states / (states - 1) * error, _LEAST)) / len(programs)
    ones = sum(len(item.qubits) == 1 for item in fragment.circuit.data)
    each = lost[0] / max(1.0, ones + 2 * twos)  # a CX takes a one-qubit gate on each of its qubits, in another basis
    read = [qubit for program in programs for qubit in program.measured if qubit < len(device.readout_errors)]
    wrong = np.mean([device.readout_errors[qubit] for qubit in read]) if read else 0.0
    return Rates(exp(-each), exp(-2 * each - lost[1] / twos) if twos else 1.0, max(1 - 2 * float(wrong), 0.0))
