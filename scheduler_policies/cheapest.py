"""On which devices works cost least, time and noise be what they may: what a run that minimises cost is kept to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler_policies.cost import jobs_needed, repeats_needed, work_price
from scheduler_policies.device import Device, Work

_NONE = -1


def cheapest_devices(
    works: Sequence[Work], devices: Sequence[Device], able: Sequence[Sequence[int]]
) -> list[list[int]]:
    """For each work the indices of the devices that it costs least on, several where they cost the same.

    Works on a QPU share its jobs, so that one which each alone would shun may be the cheapest for all.

    Args:
        works: what is to be placed, each as a whole.
        devices: that there are.
        able: (work,) indices of the devices that can run it.
    """
    prices = [{k: work_price(devices[k], work) for k in own} for work, own in zip(works, able, strict=True)]
    alone = [min(own, key=lambda k: (own[k], k), default=_NONE) for own in prices]
    sharing = [k for k, device in enumerate(devices) if device.price.per_job and not device.exact]
    ways = [alone, *([k if k in own else best for own, best in zip(prices, alone, strict=True)] for k in sharing)]
    chosen = min(ways, key=lambda way: _together(works, devices, prices, way))
    return [
        [best] if best in sharing else [k for k, price in own.items() if price == own[best]]
        for own, best in zip(prices, chosen, strict=True)
    ]


def _together(
    works: Sequence[Work], devices: Sequence[Device], prices: Sequence[dict[int, float]], way: Sequence[int]
) -> float:
    """What works cost where each is on one device, its jobs shared."""
    total, circuits = 0.0, dict.fromkeys(way, 0)
    for work, own, index in zip(works, prices, way, strict=True):
        if index == _NONE:
            continue
        device = devices[index]
        total += own[index]
        if not device.exact:
            total -= device.price.per_job * jobs_needed(device, work)
            circuits[index] += work.variants * repeats_needed(device, work)
    for index, count in circuits.items():
        if count:
            most = devices[index].limits.circuits_per_job or math.inf
            total += devices[index].price.per_job * math.ceil(count / most)
    return total
