"""How to install what only some commands need."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]

INSTALL_EXTRAS = f"{sys.prefix}/bin/pip install -r {_ROOT}/launch/requirements-extras.txt"
"""A command that works wherever the user stands."""
EXTRA_MISSING = f"pictures and reports need Altair: {INSTALL_EXTRAS} (the extra `report`)"
