"""The error of resources files."""

from __future__ import annotations

from tasks.errors import QompassError


class ResourcesError(QompassError):
    """A project or resources file is not what COMPSs and Qompass can run on; the message says where and what to do."""
