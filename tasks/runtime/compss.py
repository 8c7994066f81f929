"""COMPSs behind the seam: PyCOMPSs' own decorators and waiting, unchanged. The project's only import of pycompss."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any


def active() -> bool:
    """Whether this process is a COMPSs master or one of its workers: then PyCOMPSs was imported before this."""
    context = sys.modules.get("pycompss.util.context")
    return context is not None and bool(context.CONTEXT.in_pycompss())


if active():
    from pycompss.api import constraint as constraints
    from pycompss.api.api import compss_delete_object, compss_wait_on
    from pycompss.api.implement import implement
    from pycompss.api.mpi import mpi
    from pycompss.api.on_failure import on_failure
    from pycompss.api.parameter import COLLECTION_IN, DICTIONARY_IN, FILE_IN, IN, IN_DELETE, INOUT, OUT
    from pycompss.api.task import task
    from pycompss.util.context import CONTEXT

    __all__ = [
        "COLLECTION_IN",
        "DICTIONARY_IN",
        "FILE_IN",
        "IN",
        "INOUT",
        "IN_DELETE",
        "OUT",
        "constraint",
        "implement",
        "mpi",
        "on_failure",
        "task",
    ]

    _ONE_PROCESSOR = {
        "ProcessorName": "processor_name",
        "ProcessorType": "processor_type",
        "ComputingUnits": "computing_units",
    }

    def constraint(processors: Sequence[Mapping[str, str]] = (), **needs: Any) -> Callable[..., Any]:
        """PyCOMPSs' ``@constraint``; one processor is said without a list.

        A list has blanks in COMPSs' own words, and where tasks submit tasks (agents) COMPSs 3.3 splits these at blanks:
        the task that submits ends without a word to its caller.

        A worker's Python looks twice for garbage after every task, among all that was ever imported: with Qiskit that
        takes four times as long as the rest of a task's overhead. What is there when a task is declared is left out.
        """
        if CONTEXT.in_worker():
            gc.freeze()
        if len(processors) == 1:
            return constraints.constraint(
                **{_ONE_PROCESSOR[key]: value for key, value in processors[0].items()}, **needs
            )
        return constraints.constraint(**({"processors": list(processors)} if processors else {}), **needs)

    def start(units: dict[str, int], scheduler: str = "", run: str = "") -> dict[str, int]:
        """Nothing to do: runcompss started the runtime, and its resources file says the units."""
        return units

    def current_units() -> dict[str, int]:
        """None that the application was not told of: it has one task function for each device of its resources file."""
        return {}

    def cluster_folder() -> None:
        """None: COMPSs has its own ways to other nodes."""

    def prepare() -> None:
        """Nothing to do: runcompss has started everything."""

    def stop() -> None:
        """Nothing to do: the runtime ends with the program."""

    def version() -> str:
        """The version of COMPSs that runs, as ``runcompss --version`` says it."""
        try:
            said = subprocess.run(["runcompss", "--version"], capture_output=True, text=True, check=False).stdout
        except OSError:
            return "COMPSs, unknown version"
        found = re.search(r"COMPSs version (.+)", said)
        return f"COMPSs {found[1].strip()}" if found else "COMPSs, unknown version"

    def logs() -> str:
        """The folder of this application's logs; ``monitor`` in it gets the graph, ``trace`` the traces."""
        from pycompss.runtime.commons import GLOBALS

        return str(GLOBALS.get_log_directory() or "")

    def wait_on(value: Any) -> Any:
        """The results behind all futures in ``value``."""
        if isinstance(value, (list, tuple)):
            return type(value)(wait_on(member) for member in value)
        if isinstance(value, dict):
            return {key: wait_on(member) for key, member in value.items()}
        return compss_wait_on(value)

    def drop(futures: Iterable[Any]) -> None:
        """Have COMPSs forget results: until then it keeps the file of each, and PyCOMPSs the future."""
        for future in futures:
            compss_delete_object(future)

    def as_completed(futures: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(position, result) in the order given."""
        for position, future in enumerate(futures):
            yield position, wait_on(future)
