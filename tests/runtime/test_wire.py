"""What goes between a process and its child: arrays of every size arrive as they were, and nothing of them stays."""

from __future__ import annotations

import os
import pickle
from multiprocessing import Pipe

import numpy as np
import pytest

from tasks.runtime import isolated
from tasks.runtime.children import end_children
from tasks.runtime.outcome import Reason
from tasks.runtime.wire import packed, receive, send

LARGE = 1 << 18  # float64: 2 MiB


def value() -> dict[str, object]:
    """Arrays below and above the size from which memory is shared, of several orders and types, one of them twice."""
    rng = np.random.default_rng(3)
    large = rng.normal(size=LARGE)
    return {
        "small": np.arange(10),
        "large": large,
        "again": large,
        "columns": np.asfortranarray(rng.normal(size=(512, 513))),
        "bytes": rng.integers(0, 256, size=(1 << 21) + 7, dtype=np.uint8),
        "complex": rng.normal(size=(1 << 17, 2)).view(complex),
        "part": rng.normal(size=(LARGE, 2))[:, 1],
        "empty": np.zeros((0, 3)),
        "word": "⟨Z⟩",
    }


def same(sent: object) -> object:
    return sent


def change(array: np.ndarray) -> np.ndarray:
    array[0] = -1.0
    return array


def die(array: np.ndarray) -> None:
    os.kill(os.getpid(), 9)


def test_arrays_come_back_as_they_were_and_can_be_written_to():
    sent = value()
    found = isolated(same, sent).value
    assert found.keys() == sent.keys()
    for name, own in sent.items():
        assert np.array_equal(found[name], own), name
        if isinstance(own, np.ndarray):
            assert found[name].dtype == own.dtype, name
    assert found["columns"].flags.f_contiguous
    assert found["again"] is found["large"]
    found["large"][0] = 7.0
    assert sent["large"][0] != 7.0, "what came back is the receiver's own"


def test_a_child_may_write_to_its_arguments():
    array = np.ones(LARGE)
    found = isolated(change, array).value
    assert (found[0], array[0]) == (-1.0, 1.0)


def test_no_descriptor_stays_open():
    isolated(same, value())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        isolated(same, value())
    assert isolated(len, "four").value == 4
    assert len(os.listdir("/proc/self/fd")) == before
    child = isolated(os.listdir, "/proc/self/fd").value
    assert len(child) <= 6, f"the child holds {child}"


def test_a_child_that_dies_of_a_large_call_is_an_outcome():
    outcome = isolated(die, np.ones(LARGE))
    assert outcome.failure is not None and outcome.failure.reason is Reason.KILLED
    assert isolated(np.sum, np.ones(LARGE)).value == LARGE


def test_nobody_who_listens_is_an_error():
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(OSError):
        send(ours, packed(np.ones(LARGE)))


def test_large_arrays_do_not_go_through_the_socket():
    ours, theirs = Pipe()
    send(ours, packed(np.ones(64 * LARGE)))  # 128 MiB: nobody reads, and no socket holds so much
    assert np.array_equal(receive(theirs).value(), np.ones(64 * LARGE))
    small = packed(np.ones(8))
    assert not small.buffers and np.array_equal(pickle.loads(small.body), np.ones(8))


def test_a_large_pickle_of_small_arrays_does_not_go_through_the_socket():
    sent = [np.full(1 << 10, float(k)) for k in range(1 << 9)]
    ready = packed(sent)
    assert not ready.buffers and len(ready.body) > 4 << 20
    ours, theirs = Pipe()
    send(ours, ready)  # nobody reads
    found = receive(theirs).value()
    assert all((a == b).all() for a, b in zip(found, sent, strict=True))
    found[3][0] = 7.0


def teardown_module() -> None:
    end_children()
