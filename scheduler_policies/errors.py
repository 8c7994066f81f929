"""The errors this room raises."""

from __future__ import annotations

from tasks.errors import QompassError


class PolicyError(QompassError):
    """Something about devices, work or a policy that cannot be used as given."""


class NoDeviceError(PolicyError):
    """No device can run a fragment; the message says which fragment and what each device lacks."""


class UnknownPolicyError(PolicyError):
    """The policy asked for does not exist; the message lists those that do."""
