"""``QompassSampler``: bit strings as Qiskit's ``SamplerV2`` gives them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2, BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub, SamplerPubLike

from tasks.draw import Drawer
from tasks.evaluate import Watched
from tasks.options import Options
from tasks.parametric.backends import in_step
from tasks.sample_together import Drawn, Strings, draw_together, kept_strings, runs_of_strings

from ..job import QompassJob, new_id
from ..pubs import CircuitKey, sets_of
from ..shared import Shared
from .base import Primitive


class QompassSampler(Primitive, BaseSamplerV2):
    """Bit strings as Qiskit's ``SamplerV2`` gives them, of circuits cut as far as needed.

    Fragments are simulated exactly, or take shots on a ``backend`` and on QPUs among the ``resources``; strings are
    drawn from contracted conditionals, one fragment after the other, so that the distribution itself is never built.
    What shots say is a distribution but for their noise: strings are drawn from the one nearest to it.

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
        options: an ``Options``; by default the session's, or the defaults. Its ``shots`` are those that the fragments
            of a circuit take together on a ``backend`` or on QPUs; without, every variant takes as many as strings
            are drawn.
        backend: runs the fragments instead of the options' devices: the name of a fake backend (``"fake_torino"``),
            ``"aer"``, a noise model of Aer, a ``BackendV2`` or a ``SamplerV2`` of any provider.
        out: keep the folders of all runs below this one, so that ``qompass resume`` can finish what a crash
            interrupted; by default nothing is kept.
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
        backend: Any = None,
        progress: bool = False,
        out: Path | str | None = None,
        **given: Any,
    ) -> None:
        super().__init__(session, options, backend, progress, out, given)
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
        options = dataclasses.replace(self._options, target_error=None)
        drawers = [self._drawer(pub.circuit, options) for pub in coerced]
        each = [(drawer, values, pub.shots) for drawer, (pub, values, _) in zip(drawers, asked, strict=True)]
        name, folders = new_id(), None
        if self._out is not None:
            wishes = _wanted(each)
            name, folders = self._kept(
                name,
                runs_of_strings(wishes, options),
                lambda parent, own: kept_strings(parent, own, wishes, options),
            )

        def work(stop: Callable[[], None]) -> PrimitiveResult:
            stop()
            found = self._found(each, options, Watched(stop, self._shown), folders)
            stop()
            results = [_pub_result(pub, drawn) for (pub, *_), drawn in zip(asked, found, strict=True)]
            return PrimitiveResult(results, metadata={"version": 2})

        return self._job(name, work)

    def _drawer(self, circuit: QuantumCircuit, options: Options) -> Drawer:
        own = CircuitKey(circuit)
        more = ("sampler", options, self._backend)
        return self._plans.get(
            (own, *more), partial(Drawer, circuit, options, self._backend), lambda: (own.lasting(), *more)
        )

    def _found(
        self,
        each: Sequence[tuple[Drawer, np.ndarray, int]],
        options: Options,
        shown: Watched,
        folders: Sequence[Path] | None,
    ) -> list[Drawn]:
        """What each PUB gives: by jobs of the backend or a run that all PUBs share, or in this process."""
        if self._backend is not None:
            return in_step(self._backend, [own.steps(values, shots) for own, values, shots in each], shown.go_on)
        apart = [folders is not None or not own.here(values, shots) for own, values, shots in each]
        wanted = _wanted([own for own, run in zip(each, apart, strict=True) if run])
        run = iter(draw_together(wanted, options, shown, folders) if wanted else ())
        found = []
        for (own, values, shots), shared in zip(each, apart, strict=True):
            drawn = next(run) if shared else None
            if drawn is None or own.nothing(values, shots):
                drawn = own.draw(values, shots, shown)
            found.append(drawn)
        return found


def _wanted(each: Sequence[tuple[Drawer, np.ndarray, int]]) -> list[Strings]:
    """What runs are to draw for each PUB."""
    return [Strings([], 0) if own.nothing(values, shots) else own.wanted(values, shots) for own, values, shots in each]


def _pub_result(pub: SamplerPub, drawn: Drawn) -> SamplerPubResult:
    circuit = pub.circuit
    place = {bit: number for number, bit in enumerate(circuit.clbits)}
    bits = drawn.bits.astype(bool).reshape(*pub.shape, pub.shots, len(place))
    registers = {
        register.name: BitArray.from_bool_array(bits[..., [place[bit] for bit in register]], order="little")
        for register in circuit.cregs
    }
    return SamplerPubResult(
        DataBin(**registers, shape=pub.shape),
        metadata={
            "shots": pub.shots,
            "circuit_metadata": circuit.metadata,
            "fragment_shots": drawn.fragment_shots,
            "devices": list(drawn.devices),
            "notes": list(drawn.notes),
            "runs": list(drawn.runs),
        },
    )
