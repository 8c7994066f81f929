"""What a word on the command line means: amounts, times, numbers, each refused in one line."""

from __future__ import annotations

import argparse
import re
from decimal import Decimal


def port(text: str) -> int:
    """A port of this machine, 0 for any that is free."""
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a port: 0 to 65535")
    return int(text)


def units(text: str) -> dict[str, int]:
    """What a worker offers, from ``CPU=4,QPU_A=1``."""
    found = [word.partition("=") for word in text.split(",")]
    if not all(name and number.isdecimal() and len(number) < 8 and int(number) > 0 for name, _, number in found):
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a list of units: write CPU=4,QPU_A=1")
    return {name: int(number) for name, _, number in found}


def duration(text: str) -> float:
    """Seconds from Slurm's ``45`` (minutes), ``45:00``, ``1:30:00`` or from ``90s``, ``30m``, ``2h``."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh])", text) or re.fullmatch(r"((?:\d{1,4}:){0,2}\d{1,6})()", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a time: write 45 (minutes), 1:30:00, 90s or 2h")
    if match[2]:
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    parts = [int(part) for part in match[1].split(":")]
    hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return float(3600 * hours + 60 * minutes + seconds)


def whole_number(text: str) -> int:
    """A whole number, as 1000000 or 1e6.

    Raises:
        ValueError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        found = Decimal(text) if len(text) <= 40 and re.fullmatch(r"\s*\d+(\.\d*)?[eE]\+?\d{1,2}\s*", text) else None
        if found is None or found != found.to_integral_value():
            raise
        return int(found)


def one_or_more(text: str) -> int:
    """A whole number from 1 to a million."""
    if not text.isdecimal() or len(text) > 7 or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a whole number from 1 to 1,000,000")
    return int(text)


def count(text: str) -> int:
    """A whole number from 0 to a million."""
    return 0 if text == "0" else one_or_more(text)


def nodes(text: str) -> int:
    """A number of nodes."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a number of nodes")
    return int(text)


def index(text: str) -> int:
    """A number that counts from 0."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not the index of a batch")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a number of seconds")
    return found


def memory_size(text: str) -> int:
    """Bytes from ``4GiB``, ``500MB`` or a bare number of bytes."""
    units = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not match or match[2] not in units or not 1 <= float(match[1]) * units[match[2]] < 2**63:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not an amount of memory: write 4GiB or 500MB")
    return int(float(match[1]) * units[match[2]])
