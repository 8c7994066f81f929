"""The key that entries and claims are sealed with: what a store holds is used only if a holder of the key made it.

A store may be written to by others (a Redis server of a site, a file that was brought along). Without the key nobody
can make an entry that is used, or a claim that is waited for. The key is the user's own, made once, or the one in the
file that ``QOMPASS_CACHE_KEY`` names, where several users or machines are to share results.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.execution.cache.errors import StoreUnavailable
from tasks.runtime.private_folder import NO_OTHER_WRITER, PrivateFolder, PrivateFolderError

KEY_VARIABLE = "QOMPASS_CACHE_KEY"
TAG_BYTES = 32
ID_BYTES = 8
_LEAST_BYTES, _MOST_BYTES = 16, 4096


@dataclass(frozen=True)
class Seal:
    """Keyed digests (BLAKE2b in its keyed mode, RFC 7693, and HMAC-SHA256 for entries) under one secret.

    Attributes:
        secret: 32 bytes.
    """

    secret: bytes

    @cached_property
    def identity(self) -> bytes:
        """Which key this is: 8 bytes that tell nothing about it."""
        return self._digest(b"identity", b"")[:ID_BYTES]

    def tag(self, *parts: bytes | memoryview) -> bytes:
        """Return the 32 bytes that only a holder of the key can make for these data, one part after the other.

        HMAC-SHA256, which processors have instructions for: it takes less than half of BLAKE2b's time.
        """
        made = hmac.new(self._entry_key, digestmod="sha256")
        for part in parts:
            made.update(part)
        return made.digest()

    def made(self, tag: bytes, *parts: bytes | memoryview) -> bool:
        """Say whether a holder of the key made this tag."""
        return hmac.compare_digest(self.tag(*parts), tag)

    @cached_property
    def _entry_key(self) -> bytes:
        return self._digest(b"entry", b"")

    def address(self, digest: bytes) -> bytes:
        """Return the 32 bytes under which a key's entry is stored: holders of other keys store theirs elsewhere."""
        return self._digest(b"address", digest)

    def claim_token(self, name: str) -> str:
        """Return a claim's token: when it was made, a name, and a tag over both."""
        text = f"{time.time():.0f}.{name}"
        return f"{text}.{self._digest(b'claim', text.encode()).hex()}"

    def claimed_at(self, token: str) -> float | None:
        """Return when a holder of the key made this token, in seconds since the epoch; None if none did."""
        text, _, tag = token.rpartition(".")
        if not hmac.compare_digest(self._digest(b"claim", text.encode()).hex().encode(), tag.encode()):
            return None
        return float(text.partition(".")[0])

    def _digest(self, purpose: bytes, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self.secret, person=purpose, digest_size=TAG_BYTES).digest()


def open_seal() -> Seal:
    """Return the seal of the file that ``QOMPASS_CACHE_KEY`` names, else the user's own, made now if it is missing.

    Raises:
        StoreUnavailable: the file cannot be read or made, or others may read or change it.
    """
    named = os.environ.get(KEY_VARIABLE)
    path = Path(named) if named else own_key()
    try:
        text = _read(path) if named else _read_own(path)
    except (OSError, PrivateFolderError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreUnavailable(f"cache key {path}: {why}; name a key file in {KEY_VARIABLE}") from error
    if len(text) < _LEAST_BYTES:
        raise StoreUnavailable(
            f"cache key {path}: {len(text)} bytes are too few for a key; put 32 random ones into it "
            "(head -c 32 /dev/urandom)"
        )
    return Seal(hashlib.blake2b(text, digest_size=32).digest())


def own_key() -> Path:
    """Return the file of the user's own key."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "qompass" / "cache.key"


def _read_own(path: Path) -> bytes:
    with PrivateFolder(path.parent, NO_OTHER_WRITER) as folder:
        if not folder.has(path.name):
            folder.create(path.name, secrets.token_bytes(32))
    return _read(path)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise StoreUnavailable(f"cache key {path}: is not a regular file")
        if about.st_uid not in (os.geteuid(), 0) or about.st_mode & 0o026:
            raise StoreUnavailable(
                f"cache key {path}: it must be yours or root's, changed by nobody else and read by your group at most "
                f"(mode {stat.S_IMODE(about.st_mode):04o}, owner {about.st_uid}); make a new one with mode 0600"
            )
        return file.read(_MOST_BYTES)
