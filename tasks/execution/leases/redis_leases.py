"""Leases that several nodes share: tickets in Redis, each alive for as long as its owner renews it."""

from __future__ import annotations

import secrets
import threading
from typing import Any
from urllib.parse import urlsplit

from tasks.execution.leases.lease import Lease, LeaseError, LeaseLostError, Leases

LIFE_SECONDS = 10.0

# KEYS: queue (sorted set, member by ticket number), lives (hash, member to its end), counter.
# ARGV: member, life in ms, what to do. Redis's own clock is the only one that is asked.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local member, life, verb = ARGV[1], tonumber(ARGV[2]), ARGV[3]
for _, other in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if tonumber(redis.call('HGET', KEYS[2], other) or 0) < now then
        redis.call('ZREM', KEYS[1], other)
        redis.call('HDEL', KEYS[2], other)
    end
end
if verb == 'take' then
    redis.call('ZADD', KEYS[1], redis.call('INCR', KEYS[3]), member)
elseif verb == 'release' then
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
    return -1
elseif verb == 'count' then
    return redis.call('ZCARD', KEYS[1])
end
local rank = redis.call('ZRANK', KEYS[1], member)
if not rank then
    return -1
end
redis.call('HSET', KEYS[2], member, now + life)
return rank
"""


class RedisLeases(Leases):
    """Tickets in a Redis server.

    Args:
        url: of the server; may hold a password, which appears in no message.
        life: seconds a ticket lives without being renewed: how long a dead holder keeps its unit.
    """

    def __init__(self, url: str, life: float = LIFE_SECONDS) -> None:
        import redis

        self._where = urlsplit(url).hostname or "redis"
        self._life = life
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        try:
            self._server = redis.Redis.from_url(url, socket_timeout=life, socket_connect_timeout=5)
            self._script = self._server.register_script(_SCRIPT)
            self._server.ping()
        except (*self._errors, ValueError) as error:
            raise LeaseError(
                f"leases: the Redis server at {self._where} cannot be used ({type(error).__name__}); is it up?"
            ) from None

    def take(self, device: str, units: int) -> Lease:
        """Take a ticket; see ``Leases.take``."""
        return _RedisLease(self, device, units)

    def wanted(self, device: str) -> int:
        """See ``Leases.wanted``."""
        return self.run(device, "", "count")

    def run(self, device: str, member: str, verb: str) -> int:
        """Run the script; -1 where the ticket is not in the queue, else how many are before it.

        Raises:
            LeaseError: the server does not answer.
        """
        # One hash tag, so that a cluster keeps a device's keys together.
        keys = [f"qompass:lease:{{{device}}}:{part}" for part in ("queue", "lives", "counter")]
        try:
            found: Any = self._script(keys=keys, args=[member, int(1000 * self._life), verb])
        except self._errors as error:
            raise LeaseError(
                f"device {device}: the Redis server at {self._where} does not answer ({type(error).__name__})"
            ) from None
        return int(found)

    @property
    def life(self) -> float:
        """Seconds a ticket lives without being renewed."""
        return self._life


class _RedisLease(Lease):
    """A member of the queue, renewed by a thread of its own while it is wanted."""

    def __init__(self, leases: RedisLeases, device: str, units: int) -> None:
        self._leases, self._device, self._units = leases, device, units
        self._member = secrets.token_hex(8)
        self._held = self._lost = False
        self._done = threading.Event()
        leases.run(device, self._member, "take")
        threading.Thread(target=self._renew, name=f"lease-{device}", daemon=True).start()

    def granted(self) -> bool:
        """Whether fewer than ``units`` living tickets are before this one."""
        if not self._held:
            rank = self._leases.run(self._device, self._member, "renew")
            if rank < 0:
                self._leases.run(self._device, self._member, "take")  # out of touch while waiting: join at the end
            self._held = 0 <= rank < self._units
        return self._held

    def _renew(self) -> None:
        while not self._done.wait(self._leases.life / 3):
            try:
                rank = self._leases.run(self._device, self._member, "renew")
            except LeaseError:
                continue  # the server may be back before the ticket ends
            if rank < 0 and self._held:
                self._lost = True
                return

    def check(self) -> None:
        """Ask the server whether the lease stands; see ``Lease.check``.

        Raises:
            LeaseLostError: it has ended.
        """
        if self._lost or self._leases.run(self._device, self._member, "renew") < 0:
            raise LeaseLostError(
                f"device {self._device}: its lease ended after {self._leases.life:g} s without contact; "
                "submit nothing more"
            )

    def release(self) -> None:
        """Give the ticket back."""
        if not self._done.is_set():
            self._done.set()
            try:
                self._leases.run(self._device, self._member, "release")
            except LeaseError:
                self._lost = True  # it ends by itself
