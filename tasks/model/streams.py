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


class Streams:
    """Streams one after the other: setting the state of one generator costs a fifth of making a new one."""

    def __init__(self) -> None:
        self._philox = np.random.Philox(0)
        self._generator = np.random.Generator(self._philox)
        self._state = np.random.Philox(key=np.zeros(2, dtype=np.uint64)).state

    def at(self, name: str) -> np.random.Generator:
        """The start of the stream of that name, the same as ``random_stream`` gives; it ends the one before."""
        self._state["state"]["key"] = _key(name)
        self._philox.state = self._state
        return self._generator


def simulator_seed(name: str) -> int:
    """The same for a simulator that takes a 31-bit seed."""
    return int(_key(name)[0] & 0x7FFFFFFF)


def _key(name: str) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), dtype=np.uint64)
