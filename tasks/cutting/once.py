"""What follows from a fragment alone is worked out once, though planner, execution and reconstruction ask in turn.

The same for a problem.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from tasks.cutting.plan import Fragment
from tasks.model.problem import Problem

Of = TypeVar("Of", Fragment, Problem)
Found = TypeVar("Found")


def once_a_fragment(function: Callable[[Of], Found]) -> Callable[[Of], Found]:
    """Keep what a function returned for a fragment as long as the fragment is alive; nobody may change it."""
    kept: dict[int, Found] = {}  # by identity: a fragment holds arrays, which have no hash

    @wraps(function)
    def found(owner: Of) -> Found:
        key = id(owner)
        if key not in kept:
            kept[key] = function(owner)
            weakref.finalize(owner, kept.pop, key, None).atexit = False
        return kept[key]

    return found


once_a_problem = once_a_fragment
