"""Calls and answers between a process and its child: small ones through a socket, large ones in memory that both see.

A large array, and a large pickle, is copied once, into anonymous memory whose descriptor goes along; whoever receives
it reads it there. Through the socket it would be copied four times, 3 ms a megabyte.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

_LARGE = 1 << 20  # bytes from which shared memory is quicker than a socket
_ALIGNED = 64
_HAS_SHARED = hasattr(os, "memfd_create")  # Linux


@dataclass(frozen=True)
class Message:
    """A value on its way: a pickle, and the large buffers that it leaves out."""

    body: bytes | memoryview
    buffers: Sequence[memoryview] = ()

    def value(self) -> Any:
        """Of a message that came from a process we started, or from the one that started us: the value."""
        return pickle.loads(self.body, buffers=self.buffers)


def packed(value: Any) -> Message:
    """Make a value ready to be sent; its large arrays are not copied and must stay as they are until it is."""
    buffers: list[memoryview] = []

    def stays_in(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE or not _HAS_SHARED:
            return True
        buffers.append(raw)
        return False

    return Message(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=stays_in), buffers)


def send(connection: Connection, ready: Message) -> None:
    """Send a message over a Unix socket.

    Raises:
        OSError: nobody listens, or there is no memory for it.
    """
    # A pickle of many arrays that are small, each of them, is large, too.
    along = len(ready.body) < _LARGE or not _HAS_SHARED
    buffers = ready.buffers if along else [*ready.buffers, memoryview(ready.body)]
    sizes = [buffer.nbytes for buffer in buffers]
    content = struct.pack(f"<Q?{len(sizes)}Q", len(sizes), along, *sizes) + (ready.body if along else b"")
    if not sizes:
        connection.send_bytes(content)
        return
    shared = os.memfd_create("qompass", os.MFD_CLOEXEC)
    try:
        places = _places(sizes)
        os.ftruncate(shared, places[-1])
        with mmap.mmap(shared, places[-1]) as memory:
            for place, size, buffer in zip(places, sizes, buffers, strict=False):
                memory[place : place + size] = buffer
        connection.send_bytes(content)
        send_handle(connection, shared, 0)
    finally:
        os.close(shared)


def receive(connection: Connection) -> Message:
    """Wait for a message.

    Raises:
        EOFError, OSError: the other side is gone.
    """
    content = connection.recv_bytes()
    count, along = struct.unpack_from("<Q?", content)
    sizes = struct.unpack_from(f"<{count}Q", content, 9)
    body = content[9 + 8 * count :]
    if not sizes:
        return Message(body)
    shared = recv_handle(connection)
    try:
        places = _places(sizes)
        memory = memoryview(mmap.mmap(shared, places[-1], access=mmap.ACCESS_COPY))  # ours to write to
    finally:
        os.close(shared)
    buffers = [memory[place : place + size] for place, size in zip(places, sizes, strict=False)]
    return Message(body, buffers) if along else Message(buffers[-1], buffers[:-1])


def _places(sizes: Sequence[int]) -> list[int]:
    """Where each buffer begins, and where all of them end."""
    places = [0]
    for size in sizes:
        places.append(places[-1] + -(-size // _ALIGNED) * _ALIGNED)
    return places
