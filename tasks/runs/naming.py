"""How runs are named, and jobs that are folders of runs: when they began, and six random digits."""

from __future__ import annotations

import datetime
import re
import secrets


def new_name(now: datetime.datetime) -> str:
    """The name of what begins now."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def is_name(text: str) -> bool:
    """Whether a run or a job may be called so."""
    return re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", text) is not None
