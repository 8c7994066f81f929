"""Amounts of memory in words, and the most shots that there may be."""

from __future__ import annotations

MAX_SHOTS = 10**10
_MOST = 999.5  # that three digits say


def bytes_text(size: float) -> str:
    """A size in bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _MOST:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB" if size < _MOST or size >= 1e6 else f"{size:,.0f} TiB"
