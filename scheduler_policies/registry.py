"""Policies by name: the files of ``policies/``, and those a user installed under the group ``qompass.policies``.

A policy of your own is a function in any installed package::

    # my_lab/policies.py
    def cheapest(works, pool, goal, /):
        \"\"\"Everything where it costs least, time and noise be what they may.\"\"\"
        def price(work, candidate):
            return work_price(candidate.device, work)

        return [
            (work, min((pool[i] for i in fitting(work, pool)), key=lambda c: price(work, c)).device.name)
            for work in works
        ]

    # pyproject.toml of my_lab
    [project.entry-points."qompass.policies"]
    cheapest = "my_lab.policies:cheapest"

after which ``--policy cheapest`` uses it. Its answer is checked: every variant placed once, on a device that fits.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from types import MappingProxyType

from scheduler_policies import policies
from scheduler_policies.errors import PolicyError, UnknownPolicyError
from scheduler_policies.placement import Policy

POLICY_GROUP = "qompass.policies"
DEFAULT_POLICY = "balanced"


def _of_this_room() -> Mapping[str, Policy]:
    """The function of each file in ``policies/`` that has the file's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(policies.__path__))
    return MappingProxyType({name: getattr(import_module(f"{policies.__name__}.{name}"), name) for name in names})


POLICIES: Mapping[str, Policy] = _of_this_room()


def find_policy(name: str, installed: Iterable[EntryPoint] = ()) -> Policy:
    """The policy of that name.

    Args:
        name: as given to ``--policy``.
        installed: ``importlib.metadata.entry_points(group=POLICY_GROUP)``, read by the caller: this room does no I/O.

    Raises:
        UnknownPolicyError: there is none of that name.
        PolicyError: the installed one cannot be imported, is not callable, or takes the name of one of ours.
    """
    points = {point.name: point for point in installed}
    if name in POLICIES:
        if name in points:
            raise PolicyError(f"policy {name} of {points[name].value} has the name of one of Qompass's; rename it")
        return POLICIES[name]
    if name not in points:
        known = ", ".join([*POLICIES, *sorted(points)])
        raise UnknownPolicyError(f"there is no policy {name!r}; choose one of {known}")
    try:
        policy = points[name].load()
    except (ImportError, AttributeError) as error:
        raise PolicyError(f"policy {name} ({points[name].value}) cannot be imported: {error}") from error
    if not callable(policy):
        raise PolicyError(f"policy {name} ({points[name].value}) is not a function of (works, pool, goal)")
    return policy
