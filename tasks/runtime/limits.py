"""What a piece of work may use, and the file that ends it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a piece of work may use.

    Attributes:
        seconds: wall time, None for no limit. The start of a child process is not counted.
        memory_bytes: memory beyond what an idle child has, None for no limit.
        cancel_file: the work ends when this file appears; "" where nobody can cancel. Engines fill it in.
        threads: threads of the numerical libraries in the child.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    cancel_file: str = ""
    threads: int = 1

    def cancelled(self) -> bool:
        """Whether the work is to end now."""
        return bool(self.cancel_file) and os.path.exists(self.cancel_file)
