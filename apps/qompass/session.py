"""A session: many calls that share an engine, threads and plans."""

from __future__ import annotations

from typing import Any

from qiskit import QuantumCircuit

from tasks.model.problem import Estimate
from tasks.sample import sample
from tasks.workflow import estimate

from .primitives import QompassEstimator, QompassSampler
from .shared import Shared


class Session(Shared):
    """Keeps what many calls need: the engine with its workers, threads for jobs, circuits that are planned already.

    Every call may come from any thread, from a notebook, or from inside a running asyncio loop.

    >>> from qiskit import QuantumCircuit
    >>> from qompass import Session
    >>> circuit = QuantumCircuit(4)
    >>> _ = circuit.h(0); _ = [circuit.cx(qubit, qubit + 1) for qubit in range(3)]
    >>> with Session(max_qubits=2) as session:
    ...     estimator = session.estimator()
    ...     job = estimator.run([(circuit, ["ZIIZ", "XXXX"])])
    ...     print(job.result()[0].data.evs.round(9))
    [1. 1.]

    Args:
        options: fields of ``Options``, for every call in the session.

    Raises:
        InputError: an option cannot be used; ``field`` names it.
    """

    def estimator(self, **settings: Any) -> QompassEstimator:
        """A ``QompassEstimator`` of this session; arguments as there."""
        return QompassEstimator(session=self, **settings)

    def sampler(self, **settings: Any) -> QompassSampler:
        """A ``QompassSampler`` of this session; arguments as there."""
        return QompassSampler(session=self, **settings)

    def estimate(self, circuit: QuantumCircuit, observables: Any, **options: Any) -> list[Estimate]:
        """As ``qompass.estimate``, with the session's options where none are given."""
        return self.executor.submit(estimate, circuit, observables, **self._with(options)).result()

    def sample(self, circuit: QuantumCircuit, shots: int = 1024, **options: Any) -> dict[str, int]:
        """As ``qompass.sample``, with the session's options where none are given; ``shots`` are the strings drawn."""
        chosen = {name: value for name, value in self._with(options).items() if name != "shots"}
        return self.executor.submit(sample, circuit, shots, **chosen).result()

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {name: getattr(self.options, name) for name in vars(self.options)}
        return {**own, **options}
