"""What earlier processes left at a QPU when they died: what is wanted is taken over, the rest left or cancelled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import COLLECTED, STARTED, STARTING, Journal, Slot, default_folder
from tasks.execution.qpu.resources import qpu_resources

KEPT_SECONDS = 7 * 86400.0  # for so long a run may be resumed that was paid and stored nothing

T = TypeVar("T")
_LATER = {Fault.UNAVAILABLE, Fault.TIME_LIMIT, Fault.GARBLED, Fault.AUTHENTICATION}


def adopt(
    client: QpuClient, journal: Journal, wanted: Mapping[str, int], run: str, note: Callable[[str], None]
) -> list[Slot]:
    """Entries whose jobs do what is wanted now, as long as shots are; others of dead clients are cleared up.

    A job that was submitted and never collected is anybody's who wants all of it. A result that was collected may have
    been used by the run that collected it, so only the same run gets it, whatever part of it that wants. What the same
    run left and does not want now is for another piece of it to take over; what another run was paid for stays for a
    while, since it may be resumed.

    Args:
        client: of the QPU.
        journal: where dead clients left their entries.
        wanted: shots, by the digest of what the circuit computes.
        run: name of the present run, "" for none.
        note: takes sentences for the run record.
    """
    taken: list[Slot] = []
    missing = Counter(wanted)
    left: list[Slot] = []
    others: list[Slot] = []
    for slot in journal.orphans(client.resource.name):
        entry = slot.entry
        useful = [missing[digest] > 0 for digest, _ in entry.pieces]
        own = entry.state != STARTING and entry.run == run != ""
        if (own and any(useful)) or (entry.state == STARTED and useful and all(useful)):
            taken.append(slot)
            for digest, shots in entry.pieces:
                missing[digest] -= shots
            note(f"job {entry.job} of an earlier run was found again and is not paid twice")
        elif own:
            left.append(slot)
        else:
            others.append(slot)
    in_use = {slot.entry.session for slot in (*taken, *left)}
    for slot in others:
        _clear_up(client, slot, in_use, note)
    for slot in left:
        slot.close()
    return taken


def release_run(run: str) -> list[str]:
    """Cancel the jobs and close the sessions that processes of a run, dead by now, have left at the QPUs of this job.

    What has been measured stays for a while, since the run may be resumed.

    Args:
        run: as its record names it.

    Returns:
        what there was to say, a line each.
    """
    told: list[str] = []
    journal = Journal(default_folder())
    for resource in qpu_resources().values():
        slots = list(journal.orphans(resource.name))
        with QpuClient(resource) as client:
            for slot in slots:
                if slot.entry.run == run != "":
                    _clear_up(client, slot, set(), told.append)
                else:
                    slot.close()
    return told


def _unless_ended(call: Callable[[], T]) -> T | None:
    """The call's answer; None where the service refuses, because what was asked for is over or unknown."""
    try:
        return call()
    except QpuError as error:
        if error.fault in _LATER:
            raise
        return None


def _clear_up(client: QpuClient, slot: Slot, in_use: set[str], note: Callable[[str], None]) -> None:
    entry = slot.entry
    job = f"job {entry.job or 'of unknown id'} of an earlier run"
    kept = entry.run != "" and time.time() - entry.submitted < KEPT_SECONDS
    paid = entry.state == COLLECTED
    try:
        if entry.state == STARTED:
            paid = bool(_unless_ended(lambda: client.resource.vendor.cancel(client, entry.job))) and kept
        if entry.session and entry.session not in in_use:
            _unless_ended(lambda: client.release(entry.session))
            slot.write(session="")
    except QpuError as error:
        slot.close()  # for the next start to try again
        note(f"{job} could not be cancelled yet: {error}")
        return
    if paid and kept:
        slot.close()
        return
    if entry.state == STARTING and not entry.session:
        tag = f" under the tag qompass-{entry.key[:12]}" if client.resource.vendor.tags else ""
        note(f"an earlier run died while it submitted {entry.circuits} circuits; the service may run them{tag}")
    elif not paid:
        note(f"{job} is not wanted any more and was cancelled")
    slot.drop()
