"""What was submitted and not yet handed over, on disk: a client that died finds its jobs again and pays them once.

One file a job, ``<key>-<random>.json``, held open and locked by its owner; the lock ends with the process, whatever
ends it. An unlocked file is an orphan: its job is adopted by the next run that wants the same work, or cancelled.
No token and no circuit is written, only digests.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tasks.execution.qpu.errors import Fault, QpuError

STARTING, STARTED, COLLECTED = "starting", "started", "collected"


@dataclass(frozen=True)
class Entry:
    """One job.

    Attributes:
        resource: name of the QPU.
        key: digest of what the job computes on which device and calibration.
        state: ``starting`` (submission under way), ``started``, ``collected`` (result beside it, not yet handed over).
        job: the provider's id, "" while starting.
        session: what ``release`` wants, "" where there is none.
        submitted: Unix seconds.
        circuits: how many.
        shots: in all.
        run: the run it belongs to, "" where that was not said.
        epoch: calibration it was written for.
        measured: (circuit, bit) physical qubits measured, which the next start may choose otherwise.
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


class Slot:
    """An entry and the open, locked file that holds it."""

    def __init__(self, path: Path, descriptor: int, entry: Entry) -> None:
        self.path, self.entry = path, entry
        self._descriptor = descriptor

    @property
    def _result(self) -> Path:
        return self.path.with_suffix(".result")

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
        with os.fdopen(os.open(self._result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.write(state=COLLECTED)

    def kept_result(self) -> str | None:
        """The result kept, or None."""
        try:
            return self._result.read_text()
        except OSError:
            return None

    def drop(self) -> None:
        """Forget the job: it was handed over, or will never be wanted."""
        self._result.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
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
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise QpuError(Fault.CONFIGURATION, "journal", f"cannot make {folder}: {error}") from None

    def open(self, entry: Entry) -> Slot:
        """Write a new entry, ours until it is closed or dropped."""
        path = self.folder / f"{entry.resource}-{entry.key[:24]}-{secrets.token_hex(4)}.json"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        slot = Slot(path, descriptor, entry)
        slot.write()
        return slot

    def in_flight(self, resource: str) -> int:
        """How many jobs of living processes of this user are with a QPU."""
        found = 0
        for path in self.folder.glob(f"{resource}-*.json"):
            try:
                entry = read_entry(path.read_bytes())
                with open(path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found += entry.resource == resource and entry.state == STARTED
            except (OSError, ValueError, TypeError):
                continue
        return found

    def orphans(self, resource: str) -> Iterator[Slot]:
        """Entries of a QPU whose owner is gone, now ours; the caller closes or drops each."""
        for path in sorted(self.folder.glob(f"{resource}-*.json")):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its owner dropped it meanwhile
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                entry = read_entry(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
            except BlockingIOError:
                os.close(descriptor)
                continue
            except (ValueError, TypeError):
                entry = Entry(resource, "", STARTING)
            if not path.exists() or entry.resource != resource:
                os.close(descriptor)
                continue
            yield Slot(path, descriptor, entry)


def read_entry(data: bytes) -> Entry:
    """An entry from what ``Slot.write`` wrote.

    Raises:
        ValueError, TypeError: it is torn or of another version.
    """
    entry = Entry(**json.loads(data))
    return replace(entry, measured=tuple(tuple(map(int, qubits)) for qubits in entry.measured))


def default_folder() -> Path:
    """``$XDG_STATE_HOME/qompass/qpu``: the same for every run of a user, so that one finds what another lost."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "qompass" / "qpu"
