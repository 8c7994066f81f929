"""What follows from a fragment alone is worked out once, though planner, execution and reconstruction ask in turn."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from tasks.cutting.plan import Fragment

Found = TypeVar("Found")


def once_a_fragment(function: Callable[[Fragment], Found]) -> Callable[[Fragment], Found]:
    """Keep what a function returned for a fragment as long as the fragment is alive; nobody may change it."""
    kept: dict[int, Found] = {}  # by identity: a fragment holds arrays, which have no hash

    @wraps(function)
    def found(fragment: Fragment) -> Found:
        key = id(fragment)
        if key not in kept:
            kept[key] = function(fragment)
            weakref.finalize(fragment, kept.pop, key, None).atexit = False
        return kept[key]

    return found
