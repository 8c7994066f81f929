"""Claims in a shared folder: of several processes, on any nodes, one does a piece of work and the others see which.

A claim is a file that only one process can make (a hard link, which file systems make or refuse as one step, NFS too).
Its first line says who made it; its owner appends a byte every few seconds, and the word ``ended`` when it has let go.
No clock is compared with another: a claim is dead when it did not grow for ``DEAD_S`` of the *observer's* own time, or
when its process is of this machine and has ended. A dead or ended claim is not removed, which two observers could do
to each other's new one; the next is made beside it with the next number, and an owner that finds one has lost its own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from tasks.runs.record import RunRecordError

logger = logging.getLogger(__name__)

CLAIMS_OF_BATCHES = "stages/batches"  # below a run's folder
BEAT_S = 5.0  # an owner says this often that it lives
DEAD_S = 30.0  # and one that was not heard for so long does not
_ENDED = b"ended\n"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True)
class Owner:
    """Who holds a claim.

    Attributes:
        node: its computer.
        process: its process id there.
        machine: what tells a start of a computer, and the processes one sees there, from all others; "" if unknown.
        started: when the process did, in the kernel's ticks; 0 if unknown.
    """

    node: str
    process: int
    machine: str = ""
    started: int = 0

    def __str__(self) -> str:
        """For messages."""
        return f"process {self.process} on {self.node}"

    @property
    def here(self) -> bool:
        """Whether its process was one of this machine, as it runs now."""
        return bool(self.machine) and self.machine == _machine()

    @property
    def known_dead(self) -> bool:
        """Whether its process was one of this machine and has ended."""
        return self.here and _started(self.process) != self.started


class Claim:
    """A claim that this process holds until it leaves the block.

    Attributes:
        lost: whether another process has taken it over, having heard nothing for too long.
    """

    def __init__(self, folder: Path, name: str, number: int, beat_s: float) -> None:
        """Use :meth:`Claims.take`."""
        self.lost = False
        self.on_loss: Callable[[], None] = lambda: None
        self._next = folder / f"{name}.{number + 1}"
        self._descriptor = os.open(
            folder / f"{name}.{number}", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(beat_s,), name=f"claim-{name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Claim:
        """The claim."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Let go of it."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.write(self._descriptor, _ENDED)
            os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _beat(self, beat_s: float) -> None:
        while not self._over.wait(beat_s):
            with contextlib.suppress(OSError):  # a full disk must not end the work
                os.write(self._descriptor, b"\n")
                os.fsync(self._descriptor)
            if not self.lost and self._next.exists():
                self.lost = True
                self.on_loss()


class Claims:
    """The claims in one folder, as this process sees them.

    Args:
        folder: where; made if it is missing.
        beat_s: how often an owner says that it lives.
        dead_s: how long one that says nothing is believed to.
    """

    def __init__(self, folder: Path, *, beat_s: float = BEAT_S, dead_s: float = DEAD_S) -> None:
        self._folder, self._beat_s, self._dead_s = folder, beat_s, dead_s
        self._heard: dict[str, tuple[int, float]] = {}  # by file: its size, and when that was new

    def take(self, name: str) -> Claim | Owner:
        """A claim of this process, or who has it; never waits.

        Raises:
            RunRecordError: the folder cannot be written.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            number, owner = self._last(name)
            if owner is not None:
                return owner
            made = self._make(f"{name}.{number + 1}")
        except OSError as error:
            raise RunRecordError(f"cannot write {self._folder}: {error.strerror}: make it writable") from error
        if made:
            return Claim(self._folder, name, number + 1, self._beat_s)
        return self._last(name)[1] or Owner("a node whose claim is not seen here yet", 0)

    def owner(self, name: str) -> Owner | None:
        """Who holds a claim as far as is known, None where nobody does."""
        return self._last(name)[1]

    def any_owner(self) -> Owner | None:
        """Who holds any of the claims; where that may be a dead process of another node, it is waited for a sign."""
        first: dict[str, int] = {}
        while True:
            names = {entry.rpartition(".")[0] for entry in _entries(self._folder) if not entry.startswith(".")}
            owners = {name: owner for name in names if (owner := self.owner(name)) is not None}
            for name, owner in owners.items():
                heard = self._heard.get(f"{name}.{self._last(name)[0]}", (0, 0.0))[0]
                if owner.here or heard > first.setdefault(name, heard):
                    return owner
            if not owners:
                return None
            time.sleep(min(1.0, self._beat_s / 4))

    def wait(self, name: str, told: Callable[[Owner], None] = lambda owner: None) -> Claim:
        """Wait until this process has the claim; ``told`` hears once who has it until then."""
        taken = self.take(name)
        if isinstance(taken, Owner):
            told(taken)
        while isinstance(taken, Owner):
            time.sleep(min(1.0, self._beat_s / 4))
            taken = self.take(name)
        return taken

    def _last(self, name: str) -> tuple[int, Owner | None]:
        """The last number of a claim, -1 where there is none, and its owner where that lives."""
        pattern = re.compile(re.escape(name) + r"\.(\d+)")
        numbers = [int(found[1]) for entry in _entries(self._folder) if (found := pattern.fullmatch(entry))]
        if not numbers:
            return -1, None
        number = max(numbers)
        return number, self._living(f"{name}.{number}")

    def _living(self, file: str) -> Owner | None:
        try:
            descriptor = os.open(self._folder / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as opened:  # opening asks a file server for what is new
                content = opened.read(1 << 20)
        except FileNotFoundError:
            return Owner("a node whose claim is not seen here yet", 0)
        if content.endswith(_ENDED):
            return None
        try:
            owner = Owner(**json.loads(content.partition(b"\n")[0]))
        except (ValueError, TypeError):  # it was made whole, so somebody else has written here
            logger.warning("%s is damaged: it is waited for as long as for one that is silent", self._folder / file)
            owner = Owner("an unknown node", 0)
        if owner.known_dead:
            return None
        now = time.monotonic()
        size, since = self._heard.get(file, (-1, now))
        if len(content) != size:
            self._heard[file] = len(content), now
            return owner
        return owner if now - since < self._dead_s else None

    def _make(self, file: str) -> bool:
        """Make a file with this process as its owner, unless there is one."""
        me = Owner(socket.gethostname(), os.getpid(), _machine(), _started(os.getpid()))
        partial = self._folder / f".{file}.{secrets.token_hex(4)}.partial"
        try:
            partial.write_text(json.dumps(asdict(me)) + "\n")
            try:
                os.link(partial, self._folder / file)
            except FileExistsError:  # over NFS an answer may be lost and the second try refused: look whose it is
                return partial.stat().st_nlink == 2
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _make_without_link(self._folder / file, partial.read_bytes())
            return True
        finally:
            partial.unlink(missing_ok=True)


def _make_without_link(path: Path, content: bytes) -> bool:
    """For file systems that have no hard links: another process may find the file before its owner is in it."""
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
