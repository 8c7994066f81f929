"""Whether looking for more than the circuit as written pays: its measured cost against what its extra hits saved."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.execution.cache.entry import Entry

_TRIAL = 64  # keys before the first verdict
_PROBE = 16  # afterwards every so many circuits one is keyed so all the same


@dataclass
class Worth:
    """Running sums of one process, for one kind of key.

    Attributes:
        keys: circuits keyed so.
        key_seconds: what that took.
        extra_hits: hits that the circuit as written would not have had.
        saved_seconds: what producing those results had cost.
        skipped: circuits keyed as written because more did not pay.
    """

    keys: int = 0
    key_seconds: float = 0.0
    extra_hits: int = 0
    saved_seconds: float = 0.0
    skipped: int = 0

    def pays(self) -> bool:
        """Say whether the next circuit should be keyed so."""
        if self.keys < _TRIAL or self.key_seconds <= self.saved_seconds:
            return True
        self.skipped += 1
        return self.skipped % _PROBE == 0

    def spent(self, seconds: float) -> None:
        """One more circuit was keyed so."""
        self.keys += 1
        self.key_seconds += seconds

    def hit(self, entry: Entry, written: str) -> None:
        """A circuit found an entry; it counts where another circuit (``exact_digest``) had made it."""
        if entry.provenance.get("written") != written:
            self.extra_hits += 1
            self.saved_seconds += entry.cost

    def describe(self, kind: str) -> str:
        """Return one sentence for the run record."""
        text = (
            f"{self.keys} circuits keyed by {kind} in {self.key_seconds:.3f} s; their {self.extra_hits} extra hits "
            f"saved {self.saved_seconds:.3f} s"
        )
        return text + (f"; {self.skipped} circuits keyed as written because that did not pay" if self.skipped else "")
