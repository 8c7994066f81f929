"""Qiskit's primitives on circuits too wide for one device: ``Estimator`` and ``Sampler``, cut underneath.

They take the PUBs that Qiskit defines (https://quantum.cloud.ibm.com/docs/guides/primitive-input-output), broadcast as
it says, and give its results. What does not depend on parameter values is done once for a circuit.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub, EstimatorPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub, SamplerPubLike

from apps.cli.progress import BarProgress
from tasks.bound_runs import Evaluated, kept_run
from tasks.draw import Drawer
from tasks.errors import InputError
from tasks.evaluate import Evaluator, Watched
from tasks.execution.backends import NamedSampler
from tasks.options import Options, options_of

from .job import QompassJob, new_id
from .pubs import Asked, CircuitKey, sets_of
from .shared import Plans, Shared


class _Primitive:
    """What both primitives have: options, a session, plans of the circuits they saw."""

    def __init__(self, session: Shared | None, options: Options | None, progress: bool, given: dict[str, Any]) -> None:
        self._shown = BarProgress() if progress else None
        base = options or (session.options if session is not None else Options())
        checked = options_of(given)
        self._options = dataclasses.replace(base, **{name: getattr(checked, name) for name in given})
        self._session = session
        self._plans = Plans() if session is None else session.plans

    @property
    def options(self) -> Options:
        """How circuits are run; a frozen dataclass whose fields are checked. Assign another one to change it."""
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        if not isinstance(options, Options):
            raise TypeError(f"options are a qompass.Options, not a {type(options).__name__}")
        self._options = options

    def _job(self, name: str, work: Callable[[Callable[[], None]], PrimitiveResult]) -> QompassJob:
        return QompassJob(name, work, None if self._session is None else self._session.executor)

    def _check_open(self) -> None:
        if self._session is not None:
            _ = self._session.executor


class QompassEstimator(_Primitive, BaseEstimatorV2):
    """Expectation values as Qiskit's ``EstimatorV2`` gives them, of circuits cut as far as needed.

    >>> from qiskit import QuantumCircuit
    >>> from qiskit.circuit import Parameter
    >>> from qompass import QompassEstimator
    >>> angle = Parameter("angle")
    >>> circuit = QuantumCircuit(4)
    >>> _ = circuit.ry(angle, 0); _ = [circuit.cx(qubit, qubit + 1) for qubit in range(3)]
    >>> estimator = QompassEstimator(max_qubits=2)
    >>> job = estimator.run([(circuit, ["ZIII", "IIIZ"], [[0.0], [3.141592653589793]])])
    >>> job.result()[0].data.evs.round(9)
    array([ 1., -1.])

    The data of a result has ``evs``, ``stds`` (standard errors of the values, 0 on the exact path) and
    ``ensemble_standard_error`` (the same: all shots are one ensemble). Its metadata says ``target_precision``,
    ``shots``, ``devices``, ``plan`` (as ``qompass plan --json``), ``notes`` and ``runs`` (folders, with ``out``).

    Args:
        default_precision: standard error to reach where a PUB and ``run`` say none; 0 takes what the options say: the
            exact path, unless they name ``shots`` or ``target_error``.
        session: an open ``Session`` whose engine and plans to use.
        options: an ``Options``; by default the session's, or the defaults.
        backend: runs the fragments instead of the options' devices: the name of a fake backend (``"fake_torino"``),
            ``"aer"``, a noise model of Aer, a ``BackendV2`` or a ``SamplerV2`` of any provider. It takes shots.
        out: keep the folders of all runs below this one, so that ``qompass resume`` can finish what a crash
            interrupted; by default nothing is kept.
        progress: show a bar for each stage, on a terminal or in a notebook.
        given: fields of ``Options`` that differ from these (``max_qubits=12, resources="devices.xml"``).

    Raises:
        InputError: an option cannot be used; ``field`` names it.
    """

    def __init__(
        self,
        *,
        default_precision: float = 0.0,
        session: Shared | None = None,
        options: Options | None = None,
        backend: Any = None,
        progress: bool = False,
        out: Path | str | None = None,
        **given: Any,
    ) -> None:
        super().__init__(session, options, progress, given)
        self._default_precision = default_precision
        self._out = None if out is None else Path(out)
        self._backend = None if backend is None else NamedSampler(backend, self._options.seed)
        if self._backend is not None and self._out is not None:
            raise InputError("`out`: what a `backend` runs is not kept: leave one of them out", field="out")

    @property
    def default_precision(self) -> float:
        """Standard error to reach where none is asked for; 0 takes what the options say."""
        return self._default_precision

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> QompassJob:
        """Start estimating.

        Args:
            pubs: (circuit, observables, parameter values, precision), the last two where needed.
            precision: standard error to reach for every value of PUBs that name none.

        Returns:
            the job, at once.

        Raises:
            ValueError: a PUB's parts do not fit each other.
            TypeError: a PUB is of other types than Qiskit takes.
            InputError: a parameter value is not finite, or the session is closed.
        """
        wanted = self._default_precision if precision is None else precision
        asked = [Asked(EstimatorPub.coerce(pub, wanted)) for pub in pubs]
        self._check_open()
        options = self._options
        evaluators = [self._evaluator(own, options) for own in asked]
        name, folders = new_id(), None
        if self._out is not None:
            name, folders = self._kept(name, asked, options)

        def work(stop: Callable[[], None]) -> PrimitiveResult:
            stop()
            results = [
                self._result(own, evaluator, None if folders is None else folders[number], stop)
                for number, (own, evaluator) in enumerate(zip(asked, evaluators, strict=True))
            ]
            return PrimitiveResult(results, metadata={"version": 2})

        return self._job(name, work)

    def run_gradients(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> QompassJob:
        """Start estimating values and their derivatives by every parameter of the circuit.

        On the exact path one pass back through the network and the fragments gives all derivatives; with shots each
        phase is shifted up and down, which runs the fragment that holds it alone. The angle of a cut gate costs
        neither runs nor shots.

        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> from qompass import QompassEstimator
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("angle"), 0); _ = circuit.cx(0, 1)
        >>> job = QompassEstimator(max_qubits=1).run_gradients([(circuit, "ZI", [0.5])])
        >>> job.result()[0].data.gradients.round(6)
        array([-0.479426])

        Args:
            pubs: as for ``run``.
            precision: as for ``run``: of the values; shifted fragments take as many shots.

        Returns:
            the job, at once. Beside what ``run`` gives, the data has ``gradients`` and ``gradient_stds`` of the shape
            of the PUB and one more axis, for ``circuit.parameters``.

        Raises:
            as ``run``.
        """
        wanted = self._default_precision if precision is None else precision
        asked = [Asked(EstimatorPub.coerce(pub, wanted)) for pub in pubs]
        self._check_open()
        options = self._options
        evaluators = [self._evaluator(own, options) for own in asked]

        def work(stop: Callable[[], None]) -> PrimitiveResult:
            results = []
            for own, evaluator in zip(asked, evaluators, strict=True):
                stop()
                found, slopes = evaluator.gradients(own.values, target_error=own.target_error)
                at = (own.observables, own.sets)
                more = {"gradients": slopes.slopes[at], "gradient_stds": slopes.slope_errors[at]}
                results.append(_pub_result(own, found, more))
            return PrimitiveResult(results, metadata={"version": 2})

        return self._job(new_id(), work)

    def _evaluator(self, asked: Asked, options: Options) -> Evaluator:
        key = (asked.circuit_key, asked.keys, options, self._backend)
        return self._plans.get(key, lambda: Evaluator(asked.pub.circuit, asked.operators, options, self._backend))

    def _kept(self, name: str, asked: Sequence[Asked], options: Options) -> tuple[str, list[list[Path]]]:
        """Folders for every set of every PUB, and the name that resumes all of them."""
        assert self._out is not None
        single = sum(len(own.values) for own in asked) == 1
        parent = self._out if single else self._out / name
        folders = []
        for own in asked:
            evaluator = self._evaluator(own, options)
            chosen = own.options(options)
            folders.append([kept_run(parent, evaluator.problem(values), chosen) for values in own.values])
        return (folders[0][0].name if single else name), folders

    def _result(
        self, asked: Asked, evaluator: Evaluator, folders: Sequence[Path] | None, stop: Callable[[], None]
    ) -> PubResult:
        found = evaluator.evaluate(
            asked.values, target_error=asked.target_error, folders=folders, progress=Watched(stop, self._shown)
        )
        stop()
        return _pub_result(asked, found)


def _pub_result(asked: Asked, found: Evaluated, more: dict[str, np.ndarray] | None = None) -> PubResult:
    evs, stds = (part[asked.sets, asked.observables] for part in (found.values, found.std_errors))
    data = DataBin(evs=evs, stds=stds, ensemble_standard_error=stds.copy(), **(more or {}), shape=asked.pub.shape)
    return PubResult(
        data,
        metadata={
            "target_precision": asked.pub.precision,
            "circuit_metadata": asked.pub.circuit.metadata,
            "shots": found.shots,
            "devices": list(found.devices),
            "plan": found.plan,
            "notes": list(found.notes),
            "runs": list(found.runs),
        },
    )


class QompassSampler(_Primitive, BaseSamplerV2):
    """Bit strings as Qiskit's ``SamplerV2`` gives them, of circuits cut as far as needed.

    The fragments are simulated exactly; strings are drawn from contracted conditionals, one bit after the other, so
    that the distribution itself is never built.

    >>> from qiskit import QuantumCircuit
    >>> from qompass import QompassSampler
    >>> circuit = QuantumCircuit(4)
    >>> _ = circuit.h(0); _ = [circuit.cx(qubit, qubit + 1) for qubit in range(3)]
    >>> circuit.measure_all()
    >>> result = QompassSampler(max_qubits=2).run([circuit], shots=100).result()
    >>> sorted(result[0].data.meas.get_counts())
    ['0000', '1111']

    Args:
        default_shots: how many strings to draw where a PUB and ``run`` say none.
        session: an open ``Session`` whose engine and plans to use.
        options: an ``Options``; by default the session's, or the defaults.
        progress: show a bar for each stage, on a terminal or in a notebook.
        given: fields of ``Options`` that differ from these (``max_qubits=12, seed=7``).

    Raises:
        InputError: an option cannot be used; ``field`` names it.
    """

    def __init__(
        self,
        *,
        default_shots: int = 1024,
        session: Shared | None = None,
        options: Options | None = None,
        progress: bool = False,
        **given: Any,
    ) -> None:
        super().__init__(session, options, progress, given)
        self._default_shots = default_shots

    @property
    def default_shots(self) -> int:
        """How many strings to draw where none are asked for."""
        return self._default_shots

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> QompassJob:
        """Start sampling.

        Args:
            pubs: (circuit, parameter values, shots), the last two where needed.
            shots: how many strings to draw for PUBs that name none.

        Returns:
            the job, at once.

        Raises:
            ValueError: a PUB's parts do not fit each other.
            TypeError: a PUB is of other types than Qiskit takes.
            InputError: a parameter value is not finite, or the session is closed.
        """
        wanted = self._default_shots if shots is None else shots
        coerced = [SamplerPub.coerce(pub, wanted) for pub in pubs]
        if any(not pub.circuit.cregs for pub in coerced):
            warnings.warn(
                "One of your circuits has no output classical registers and so the result will be empty. Did you mean"
                " to add measurement instructions?",
                UserWarning,
                stacklevel=2,
            )
        asked = [(pub, *sets_of(pub)) for pub in coerced]
        self._check_open()
        options = dataclasses.replace(self._options, shots=None, target_error=None)
        drawers = [
            self._plans.get(("sampler", CircuitKey(pub.circuit), options), partial(Drawer, pub.circuit, options))
            for pub in coerced
        ]

        def work(stop: Callable[[], None]) -> PrimitiveResult:
            results = []
            for (pub, values, _), drawer in zip(asked, drawers, strict=True):
                stop()
                drawer = self._plans.get(
                    ("sampler", CircuitKey(pub.circuit), options), partial(Drawer, pub.circuit, options)
                )
                results.append(_sampled(pub, values, drawer, Watched(stop, self._shown)))
            return PrimitiveResult(results, metadata={"version": 2})

        return self._job(new_id(), work)


def _sampled(pub: SamplerPub, values: np.ndarray, drawer: Drawer, shown: Watched) -> SamplerPubResult:
    circuit = pub.circuit
    place = {bit: number for number, bit in enumerate(circuit.clbits)}
    bits = drawer.bits(values, pub.shots, shown).astype(bool).reshape(*pub.shape, pub.shots, len(place))
    registers = {
        register.name: BitArray.from_bool_array(bits[..., [place[bit] for bit in register]], order="little")
        for register in circuit.cregs
    }
    return SamplerPubResult(
        DataBin(**registers, shape=pub.shape), metadata={"shots": pub.shots, "circuit_metadata": circuit.metadata}
    )
