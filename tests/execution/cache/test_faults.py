"""A broken store costs time and a warning, never the run and never the right answer."""

import logging
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tasks.execution.cache import entry_store
from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.entry import Entry, decode, encode
from tasks.execution.cache.entry_store import open_entries
from tasks.execution.cache.errors import CorruptEntry
from tasks.execution.cache.requests import CountsRequest
from tasks.execution.cache.seal import Seal
from tasks.execution.cache.stores.lmdb_store import LmdbStore
from tasks.execution.cache.stores.registry import open_store
from tasks.model.tensor import VariantCounts
from tests.execution.cache.conftest import RedisServer
from tests.execution.cache.test_cache import IDEAL, Sampler, as_dict, bell, fits

REPOSITORY = Path(__file__).parents[3]


SEAL = Seal(bytes(range(32)))


def an_entry() -> Entry:
    counts = VariantCounts(np.array([[0], [3]], dtype=np.uint8), np.array([6, 4]), 2)
    return Entry(b"material", np.array([0.25]), (counts,), np.eye(2) * 1j, 0.5, 1.0, 0.0, {"backend": "b"})


def test_an_entry_survives_its_bytes() -> None:
    entry, again = an_entry(), decode(b"".join(encode(an_entry(), SEAL)), SEAL)
    assert (again.material, again.cost, again.provenance) == (entry.material, entry.cost, entry.provenance)
    assert again.array is not None and np.array_equal(again.array, np.eye(2) * 1j)
    assert as_dict(again.blocks[0]) == as_dict(entry.blocks[0])


def test_no_damaged_byte_passes() -> None:
    data = b"".join(encode(an_entry(), SEAL))
    for at in range(len(data)):
        for damaged in (data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :], data[:at]):
            with pytest.raises(CorruptEntry):
                decode(damaged, SEAL)


def test_corrupt_entries_are_run_again_and_mended(where: str, caplog: pytest.LogCaptureFixture) -> None:
    cache, run = open_cache(where), Sampler()
    cache.counts([CountsRequest(bell(), 400)], IDEAL, run)
    store = open_store(where)
    for key in list(store.keys()):
        store.put(key, [(store.get(key) or b"")[:-1] + b"?"], 0)
    with caplog.at_level(logging.WARNING):
        draw = cache.counts([CountsRequest(bell(), 400)], IDEAL, run)[0]
    assert draw is not None and fits(draw.counts, bell()) > 1e-6 and len(run.jobs) == 2
    assert "fails its seal" in caplog.text
    draw = cache.counts([CountsRequest(bell(), 400)], IDEAL, run)[0]
    assert draw is not None and draw.from_cache
    cache.close()
    store.close()


def test_an_entry_under_the_wrong_key_is_no_hit(where: str) -> None:
    cache, run = open_cache(where), Sampler()
    cache.counts([CountsRequest(bell(0.1), 100)], IDEAL, run)
    store = open_entries(where)
    stolen = store.get(cache.keys.counts_key(bell(0.1), IDEAL).digest)
    assert stolen is not None
    store.put(cache.keys.counts_key(bell(3.0), IDEAL).digest, stolen)
    draw = cache.counts([CountsRequest(bell(3.0), 100)], IDEAL, run)[0]
    assert draw is not None and not draw.from_cache and fits(draw.counts, bell(3.0)) > 1e-6
    cache.close()
    store.close()


@pytest.mark.uses("Redis")
def test_redis_going_away_in_mid_run_and_coming_back_empty(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    cache, run = open_cache(redis_server.url), Sampler()
    cache.counts([CountsRequest(bell(0.1), 100)], IDEAL, run)
    inner = run.__call__

    def run_and_lose_the_server(jobs):
        redis_server.stop()
        return inner(jobs)

    with caplog.at_level(logging.WARNING):
        for angle in (0.2, 0.1):
            draw = cache.counts([CountsRequest(bell(angle), 100)], IDEAL, run_and_lose_the_server)[0]
            assert draw is not None and fits(draw.counts, bell(angle)) > 1e-6
    assert "going on without the cache" in caplog.text and len(run.jobs) == 3
    redis_server.start()
    fresh = open_cache(redis_server.url)
    draws = [fresh.counts([CountsRequest(bell(0.1), 100)], IDEAL, run)[0] for _ in range(2)]
    assert [d.from_cache for d in draws if d] == [False, True]
    cache.close()
    fresh.close()


def test_a_redis_that_never_answers_is_no_obstacle(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("redis")
    cache, run = open_cache("redis://127.0.0.1:1/0"), Sampler()
    with caplog.at_level(logging.WARNING):
        draw = cache.counts([CountsRequest(bell(), 50)], IDEAL, run)[0]
    assert draw is not None and draw.counts.shots == 50 and "going on without" in caplog.text


def test_a_password_comes_from_the_environment_and_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("QOMPASS_REDIS_PASSWORD", "hunter2")
    store = open_store("rediss://example.invalid:6380/0")
    assert "hunter2" not in store.describe() and "6380" in store.describe()


@pytest.mark.parametrize("where", ["/proc/no/such/place", "gopher://127.0.0.1"])
def test_a_store_that_cannot_be_opened_is_a_warning(where: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cache = open_cache(where)
    draw = cache.counts([CountsRequest(bell(), 50)], IDEAL, Sampler())[0]
    assert draw is not None and draw.counts.shots == 50 and "going on without" in caplog.text


def test_a_full_disk_is_a_warning(tmp_path: Path) -> None:
    """A limit on file size makes every write past it fail, as a full disk does."""
    script = textwrap.dedent(
        """
        import logging, sys
        logging.basicConfig(level=logging.WARNING)
        from tasks.execution.cache.cache import CountsRequest, open_cache
        from tests.execution.cache.test_cache import IDEAL, Sampler, bell, fits
        cache, run = open_cache(sys.argv[1]), Sampler()
        for k in range(80):
            circuit = bell(0.1 + 0.01 * k)
            draw = cache.counts([CountsRequest(circuit, 1000)], IDEAL, run)[0]
            assert draw.counts.shots == 1000 and fits(draw.counts, circuit) > 1e-7
        assert len(run.jobs) == 80 and cache.flight.failures, (len(run.jobs), cache.flight.failures)
        """
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache")],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        preexec_fn=limit, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on without the cache" in done.stderr


def test_the_oldest_entries_make_room(tmp_path: Path) -> None:
    cache, run = open_cache(str(tmp_path), max_bytes=400_000), Sampler()
    for k in range(300):
        cache.counts([CountsRequest(bell(0.1 + 0.005 * k), 100)], IDEAL, run)
    assert cache.flight is not None and cache.flight.failures == 0
    assert cache.flight.store.size() <= 400_000
    newest = cache.counts([CountsRequest(bell(0.1 + 0.005 * 299), 100)], IDEAL, run)[0]
    oldest = cache.counts([CountsRequest(bell(0.1), 100)], IDEAL, run)[0]
    assert newest and newest.from_cache and oldest and not oldest.from_cache
    cache.close()


def test_an_entry_too_large_to_keep_is_left_out_and_nothing_fails(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(entry_store, "MOST_BYTES", 10_000)
    entries = open_entries(str(tmp_path))
    small, large = (Entry(b"material", np.zeros(2), array=np.zeros(size)) for size in (1_000, 2_000))
    for entry in (small, large):
        entries.put(entry_store.entry_digest(entry), entry)
    assert entries.get(entry_store.entry_digest(small)).array.size == 1_000  # both have the same key
    assert large.nbytes == 8 + 16 + 16_000 and not caplog.records
    entries.store.close()


def test_room_is_made_until_there_is_enough(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, 400_000)
    for number in range(40):  # a quarter of the entries, all of them small, is not enough for the last ones
        store.put(bytes([number]) * 8, [b"x" * 5_000], 0)
    for number in range(40, 43):
        store.put(bytes([number]) * 8, [b"x" * 150_000], 0)
        assert store.size() <= 400_000 and len(store.get(bytes([number]) * 8)) == 150_000
    store.close()
