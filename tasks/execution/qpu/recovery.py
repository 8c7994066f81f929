"""What earlier runs left at a QPU when they died: jobs that are wanted now are taken over, the others cancelled."""

from __future__ import annotations

from collections.abc import Callable

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import COLLECTED, STARTED, STARTING, Journal, Slot

_LATER = {Fault.UNAVAILABLE, Fault.TIME_LIMIT, Fault.GARBLED, Fault.AUTHENTICATION}


def adopt(client: QpuClient, journal: Journal, wanted: set[str], run: str, note: Callable[[str], None]) -> list[Slot]:
    """Entries whose jobs do what is wanted now, one for each key at most; all others of dead clients are cleared up.

    A job that was submitted and never collected is anybody's. A result that was collected may have been used by the
    run that collected it, so only the same run gets it.

    Args:
        client: of the QPU.
        journal: where dead clients left their entries.
        wanted: keys of the jobs that are to run.
        run: name of the present run, "" for none.
        note: takes sentences for the run record.
    """
    taken: dict[str, Slot] = {}
    for slot in journal.orphans(client.resource.name):
        entry = slot.entry
        usable = entry.state == STARTED or (entry.state == COLLECTED and entry.run == run != "")
        if usable and entry.key in wanted and entry.key not in taken:
            taken[entry.key] = slot
            note(f"job {entry.job} of an earlier run was found again and is not paid twice")
        else:
            _clear_up(client, slot, note)
    return list(taken.values())


def _clear_up(client: QpuClient, slot: Slot, note: Callable[[str], None]) -> None:
    entry = slot.entry
    job = f"job {entry.job or 'of unknown id'} of an earlier run"
    try:
        if entry.state == STARTED:
            client.stop(entry.job)
        if entry.session and entry.state != COLLECTED:
            client.release(entry.session)
    except QpuError as error:
        if error.fault in _LATER:
            slot.close()  # for the next start to try again
            note(f"{job} could not be cancelled yet: {error}")
            return
    if entry.state == STARTING and not entry.session:
        note(
            f"an earlier run died while it submitted {entry.circuits} circuits; the service may run them under the "
            f"tag qompass-{entry.key[:12]}"
        )
    elif entry.state != COLLECTED:
        note(f"{job} is not wanted any more and was cancelled")
    slot.drop()
