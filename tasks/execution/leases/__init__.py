"""Leases: a cap on how many processes use a device at once, across runs, users' processes and nodes."""

from tasks.execution.leases.files import FileLeases
from tasks.execution.leases.lease import Lease, LeaseError, LeaseLostError, Leases
from tasks.execution.leases.place import lease, open_leases
from tasks.execution.leases.redis_leases import RedisLeases

__all__ = ["FileLeases", "Lease", "LeaseError", "LeaseLostError", "Leases", "RedisLeases", "lease", "open_leases"]
