"""The qompass command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line."""
    print("qompass: no subcommand yet", file=sys.stderr)
    return 2
