"""``QompassEstimator``: expectation values as Qiskit's ``EstimatorV2`` gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.primitives import BaseEstimatorV2, DataBin, PrimitiveResult, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub, EstimatorPubLike

from tasks.bound_runs import Evaluated, kept_run, run_together, shared_runs
from tasks.evaluate import Evaluator, Watched
from tasks.options import Options
from tasks.parametric.backends import in_step

from ..job import QompassJob, new_id
from ..pubs import Asked
from ..shared import Shared
from .base import Primitive


class QompassEstimator(Primitive, BaseEstimatorV2):
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
        super().__init__(session, options, backend, progress, out, given)
        self._default_precision = default_precision

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
            wishes = [own.wanted(pub.values, pub.target_error) for pub, own in zip(asked, evaluators, strict=True)]
            name, folders = self._kept(
                name,
                shared_runs(wishes, options),
                lambda parent, own: kept_run(parent, own.beside.problem, own.options),
            )

        def work(stop: Callable[[], None]) -> PrimitiveResult:
            stop()
            found = self._found(asked, evaluators, options, folders, Watched(stop, self._shown))
            stop()
            results = [_pub_result(own, evaluated) for own, evaluated in zip(asked, found, strict=True)]
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
        return self._plans.get(
            key,
            lambda: Evaluator(asked.pub.circuit, asked.operators, options, self._backend),
            lambda: (asked.circuit_key.lasting(), *key[1:]),
        )

    def _found(
        self,
        asked: Sequence[Asked],
        evaluators: Sequence[Evaluator],
        options: Options,
        folders: Sequence[Path] | None,
        shown: Watched,
    ) -> list[Evaluated]:
        """What each PUB gives: by jobs of the backend or runs that all PUBs share, or in this process."""
        each = list(zip(asked, evaluators, strict=True))
        if self._backend is not None:
            return in_step(self._backend, [own.steps(pub.values, pub.target_error) for pub, own in each], shown.go_on)
        apart = [folders is not None or not own.here(pub.values, pub.target_error) for pub, own in each]
        wanted = [own.wanted(pub.values, pub.target_error) for (pub, own), run in zip(each, apart, strict=True) if run]
        run = iter(run_together(wanted, options, shown, folders) if wanted else ())
        return [
            next(run) if shared else own.evaluate(pub.values, target_error=pub.target_error, progress=shown)
            for (pub, own), shared in zip(each, apart, strict=True)
        ]


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
