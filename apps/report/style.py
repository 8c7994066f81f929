"""Colours and type of reports and drawings: told apart by people who see few colours, readable on light and dark."""

from __future__ import annotations

WIDTH = 640
"""Of a chart, in pixels."""

CUT_COLOUR = "#d62839"
UNSEEN_COLOUR = "#8a9098"

# Seen on white and on near-black, told apart with few colours; after Okabe and Ito (https://jfly.uni-koeln.de/color/).
DEVICE_COLOURS = ("#3b82c4", "#c9731f", "#2a9d78", "#b5619a", "#a08c1e", "#6c78c8", "#c2573f", "#5f8f3a")

# Of one luminance: white letters on them have a contrast of 4.5 and more, they themselves 3 and more on white and on
# near-black. Neighbours differ in hue by more than a third of the circle.
_FRAGMENTS = (
    "#685ed0", "#127f36", "#c4317f", "#0d769f", "#9b6108", "#924dc4", "#1f7b64", "#cb3347", "#256bcf", "#6f7214",
)  # fmt: skip


def fragment_colours(count: int) -> list[str]:
    """A colour for each of so many fragments; they come again after ten."""
    return [_FRAGMENTS[index % len(_FRAGMENTS)] for index in range(count)]
