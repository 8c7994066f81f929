"""What was submitted and not yet handed over, on disk: a client that died finds its jobs again and pays them once.

One file a job, ``<resource>-<key>-<random>.json``, held open and locked by its owner; the lock ends with the process,
whatever ends it. An unlocked file is an orphan: its job is adopted by the next run that wants the same work, left for
its own run, or cancelled. No token and no circuit is written, only digests.
"""

from __future__ import annotations

import atexit
import glob
import json
import os
import secrets
import threading
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.runtime.file_lock import lock, try_lock
from tasks.runtime.private_folder import PrivateFolder, PrivateFolderError

STARTING, STARTED, COLLECTED = "starting", "started", "collected"

_handed_over: list[Slot] = []
_lock = threading.Lock()


@dataclass(frozen=True)
class JournalEntry:
    """One job.

    Attributes:
        resource: name of the QPU.
        key: digest of what the job computes on which device; names it for people.
        state: ``starting`` (submission under way), ``started``, ``collected`` (result beside it, not yet handed over).
        job: the provider's id, "" while starting.
        session: what ``release`` wants, "" where there is none.
        submitted: Unix seconds.
        circuits: how many.
        shots: in all.
        run: the run it belongs to, "" where that was not said.
        epoch: calibration it was written for.
        measured: (circuit, bit) physical qubits measured, which the next start may choose otherwise.
        pieces: (circuit,) digest of what each computes, and its shots.
    """

    resource: str
    key: str
    state: str
    job: str = ""
    session: str = ""
    submitted: float = 0.0
    circuits: int = 0
    shots: int = 0
    run: str = ""
    epoch: str = ""
    measured: tuple[tuple[int, ...], ...] = ()
    pieces: tuple[tuple[str, int], ...] = ()


class Slot:
    """An entry and the open, locked file that holds it."""

    def __init__(self, folder: PrivateFolder, name: str, descriptor: int, entry: JournalEntry) -> None:
        self.entry = entry
        self._folder, self._name, self._descriptor = folder, name, descriptor

    @property
    def path(self) -> Path:
        """Where the entry is."""
        return self._folder.path / self._name

    def write(self, **changes: object) -> None:
        """Change the entry, on disk when this returns."""
        self.entry = replace(self.entry, **changes)  # type: ignore[arg-type]
        data = json.dumps(asdict(self.entry)).encode()
        # In place, not by renaming: the lock is on this file. A torn write is an orphan that cannot be read, and
        # those are told of, not adopted.
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))
        os.fsync(self._descriptor)

    def keep_result(self, text: str) -> None:
        """Put a job's result beside its entry and mark it collected."""
        self._folder.write(_result(self._name), text.encode())
        self.write(state=COLLECTED)

    def kept_result(self) -> str | None:
        """The result kept, or None."""
        try:
            return self._folder.read(_result(self._name)).decode()
        except (OSError, PrivateFolderError, UnicodeDecodeError):
            return None

    def drop(self) -> None:
        """Forget the job: it was handed over, or will never be wanted."""
        _remove(self._folder, self._name)
        self.close()

    def close(self) -> None:
        """Let go of the entry without forgetting it: whoever wants it may adopt it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Journal:
    """The jobs of one user on one file system.

    Args:
        folder: where the files are; made if it is missing, for its owner only.

    Raises:
        QpuError: it cannot be made, or others may use it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._folder = PrivateFolder(folder)
        except PrivateFolderError as error:
            raise QpuError(Fault.CONFIGURATION, "journal", f"{error} (XDG_STATE_HOME says where)") from None

    def open(self, entry: JournalEntry) -> Slot:
        """Write a new entry, ours until it is closed or dropped."""
        name = f"{entry.resource}-{entry.key[:24]}-{secrets.token_hex(4)}.json"
        descriptor = self._folder.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        lock(descriptor)
        slot = Slot(self._folder, name, descriptor, entry)
        slot.write()
        return slot

    def in_flight(self, resource: str) -> int:
        """How many jobs of living processes of this user are with a QPU."""
        found = 0
        for _, descriptor in self._entries(resource):
            try:
                if not try_lock(descriptor, shared=True):
                    entry = _entry_of(descriptor)
                    found += entry is not None and entry.resource == resource and entry.state == STARTED
            finally:
                os.close(descriptor)
        return found

    def orphans(self, resource: str) -> Iterator[Slot]:
        """Entries of a QPU whose owner is gone, now ours; the caller closes or drops each."""
        for name, descriptor in self._entries(resource):
            if not try_lock(descriptor):
                os.close(descriptor)
                continue
            entry = _entry_of(descriptor) or JournalEntry(resource, "", STARTING)
            if not self._folder.has(name) or entry.resource != resource:  # its owner dropped it meanwhile
                os.close(descriptor)
                continue
            yield Slot(self._folder, name, descriptor, entry)

    def forget(self, resource: str, jobs: Collection[str]) -> None:
        """Drop the entries of jobs whose results are stored elsewhere now, also those of living processes.

        Args:
            resource: name of the QPU.
            jobs: the provider's ids.
        """
        for name, descriptor in self._entries(resource):
            entry = _entry_of(descriptor)
            os.close(descriptor)
            if entry is not None and entry.state == COLLECTED and entry.job in jobs:
                _remove(self._folder, name)

    def _entries(self, resource: str) -> Iterator[tuple[str, int]]:
        """(name, descriptor) of the entries of a QPU; the caller closes each descriptor."""
        for name in self._folder.names(f"{glob.escape(resource)}-*.json"):
            try:
                descriptor = self._folder.open(name, os.O_RDWR)
            except FileNotFoundError:
                continue
            yield name, descriptor


def _result(name: str) -> str:
    return name.removesuffix(".json") + ".result"


def _remove(folder: PrivateFolder, name: str) -> None:
    folder.remove(_result(name))
    folder.remove(name)


def _entry_of(descriptor: int) -> JournalEntry | None:
    """The entry in an open file, None where it is torn or of another version."""
    try:
        return read_entry(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    except (ValueError, TypeError):
        return None


def read_entry(data: bytes) -> JournalEntry:
    """An entry from what ``Slot.write`` wrote.

    Raises:
        ValueError, TypeError: it is torn or of another version.
    """
    entry = JournalEntry(**json.loads(data))
    measured = tuple(tuple(map(int, qubits)) for qubits in entry.measured)
    return replace(entry, measured=measured, pieces=tuple((str(digest), int(shots)) for digest, shots in entry.pieces))


def hand_over(slot: Slot) -> None:
    """A result goes to who asked for it; its entry stays for as long as it may not have been stored."""
    with _lock:
        _handed_over.append(slot)


def forget_handed_over() -> None:
    """Drop the entries of results handed over: who asks for more, or ends in good order, has stored them."""
    with _lock:
        slots, _handed_over[:] = list(_handed_over), []
    for slot in slots:
        slot.drop()


atexit.register(forget_handed_over)


def default_folder() -> Path:
    """``$XDG_STATE_HOME/qompass/qpu``: the same for every run of a user, so that one finds what another lost."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "qompass" / "qpu"
