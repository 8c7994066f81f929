"""Backends and samplers of Qiskit that a user names or hands over: any provider's package is enough.

What it offers as a ``BackendV2`` or a ``SamplerV2`` (IBM, IQM, AQT, Braket) takes the place of a QPU of QRMI's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, PrimitiveResult, StatevectorSampler
from qiskit.providers import BackendV2
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from tasks.errors import InputError
from tasks.execution.own_stages import own_stages


class NamedSampler:
    """A sampler, its backend where it has one, and how users call it.

    Attributes:
        name: for messages and results.
        sampler: runs PUBs.
        backend: to transpile for; None where the sampler takes circuits as they are.
    """

    def __init__(self, device: Any, seed: int = 0) -> None:
        """Find what a user means.

        Args:
            device: the name of a fake backend of Qiskit's IBM package (``"fake_torino"``), ``"aer"``, a noise model of
                Aer, a ``BackendV2``, or a ``SamplerV2``.
            seed: of simulators.

        Raises:
            InputError: it is none of these.
        """
        self.sampler: BaseSamplerV2
        self.backend: BackendV2 | None
        if isinstance(device, str):
            device = _by_name(device)
        if isinstance(device, NoiseModel):
            device = AerSimulator(noise_model=device)
        if isinstance(device, BackendV2):
            device = BackendSamplerV2(backend=device, options={"seed_simulator": seed & 0x7FFFFFFF})
        if not isinstance(device, BaseSamplerV2):
            raise InputError(
                f"`backend`: a {type(device).__name__} is no backend: give the name of a fake backend, a noise model of"
                " Aer, a BackendV2 or a SamplerV2",
                field="backend",
            )
        # A number that seeds every job alike would make the same shots of all of them.
        self._seeds: np.random.Generator | None = None
        self.sampler, self.backend = device, getattr(device, "backend", None)
        if callable(self.backend):
            self.backend = self.backend()
        if isinstance(device, BackendSamplerV2) and device.options.seed_simulator is not None:
            self._seeds = np.random.default_rng(device.options.seed_simulator)
            self.sampler = BackendSamplerV2(backend=device.backend, options=dataclasses.asdict(device.options))
        if isinstance(device, StatevectorSampler) and isinstance(device.seed, int):
            self.sampler = StatevectorSampler(
                default_shots=device.default_shots, seed=np.random.default_rng(device.seed)
            )
        self.name = str(getattr(self.backend, "name", None) or type(device).__name__)

    def run(self, pubs: Sequence[tuple[Any, ...]], seed: int | None = None) -> PrimitiveResult:
        """The results of one job.

        Args:
            pubs: what to run.
            seed: of a simulator; by default another one in every job.
        """
        if self._seeds is not None:
            assert isinstance(self.sampler, BackendSamplerV2)
            self.sampler.options.seed_simulator = int(self._seeds.integers(1 << 31)) if seed is None else seed
        return self.sampler.run(pubs).result()

    def transpiled(self, circuits: Sequence[QuantumCircuit], seed: int) -> list[QuantumCircuit]:
        """The circuits as the backend takes them.

        Raises:
            InputError: one is wider than the backend.
        """
        if self.backend is None or not circuits:
            return list(circuits)
        widest, most = max(circuit.num_qubits for circuit in circuits), self.backend.num_qubits
        if most is not None and widest > most:
            raise InputError(
                f"{self.name} has {most} qubits and a variant takes {widest}: lower `max_qubits`", field="max_qubits"
            )
        with nullcontext() if hasattr(self.backend, "get_translation_stage_plugin") else own_stages():
            manager = generate_preset_pass_manager(optimization_level=1, backend=self.backend, seed_transpiler=seed)
        return list(manager.run(list(circuits)))


def _by_name(name: str) -> BackendV2:
    if name == "aer":
        return AerSimulator()
    try:
        from qiskit_ibm_runtime import fake_provider
    except ImportError:
        raise InputError(
            f"`backend`: '{name:.40}' is looked for in qiskit-ibm-runtime, which is not installed", field="backend"
        ) from None
    known = {found.backend_name: found for found in vars(fake_provider).values() if hasattr(found, "backend_name")}
    if name not in known:
        raise InputError(
            f"`backend`: there is no '{name:.40}': name one of aer, {', '.join(sorted(known))}", field="backend"
        )
    return known[name]()
