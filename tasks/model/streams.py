"""Streams of random numbers by name: equal names give equal numbers, different ones independent numbers.

A name holds all that tells one sample from another. What is left out of it is shared: two circuits whose streams do not
name them have correlated errors.
"""

from __future__ import annotations

import hashlib

import numpy as np


def random_stream(name: str) -> np.random.Generator:
    """The stream of that name."""
    return np.random.Generator(np.random.Philox(key=_key(name)))


def simulator_seed(name: str) -> int:
    """The same for a simulator that takes a 31-bit seed."""
    return int(_key(name)[0] & 0x7FFFFFFF)


def _key(name: str) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), dtype=np.uint64)
