"""Whether looking for a circuit's meaning pays: its measured cost against what its extra hits saved."""

from __future__ import annotations

from dataclasses import dataclass

_TRIAL = 64  # keys before the first verdict
_PROBE = 16  # afterwards every so many circuits one is keyed by meaning all the same


@dataclass
class Worth:
    """Running sums of one process.

    Attributes:
        keys: circuits keyed by meaning.
        key_seconds: what that took.
        extra_hits: hits that the exact circuit would not have had.
        saved_seconds: what producing those results had cost.
        skipped: circuits keyed as written because meaning did not pay.
    """

    keys: int = 0
    key_seconds: float = 0.0
    extra_hits: int = 0
    saved_seconds: float = 0.0
    skipped: int = 0

    def use_meaning(self) -> bool:
        """Say whether the next circuit should be keyed by meaning."""
        if self.keys < _TRIAL or self.key_seconds <= self.saved_seconds:
            return True
        self.skipped += 1
        return self.skipped % _PROBE == 0

    def describe(self) -> str:
        """Return one sentence for the run record."""
        text = (
            f"{self.keys} circuits keyed by meaning in {self.key_seconds:.3f} s; their {self.extra_hits} extra hits "
            f"saved {self.saved_seconds:.3f} s"
        )
        return text + (f"; {self.skipped} circuits keyed as written because that did not pay" if self.skipped else "")
