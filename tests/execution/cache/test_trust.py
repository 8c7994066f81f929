"""Whoever may write to a store, but has not its key, can make lookups miss and nothing else."""

import multiprocessing
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.execution.cache.cache import Cache, open_cache
from tasks.execution.cache.entry import Entry, encode
from tasks.execution.cache.entry_store import OLDEST_CLAIM, EntryStore, open_entries
from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.maintenance import Imported, export_entries, import_entries, prune, statistics, verify
from tasks.execution.cache.requests import CountsRequest
from tasks.execution.cache.seal import ID_BYTES, KEY_VARIABLE, Seal, open_seal, own_key
from tasks.execution.cache.single_flight import SingleFlight
from tasks.execution.cache.stores.registry import open_store
from tasks.execution.cache.stores.store import LONGEST_LEASE
from tests.execution.cache.test_cache import IDEAL, Sampler, as_dict, bell

OTHERS = Seal(b"o" * 32)


def with_counts(cache: Cache) -> tuple[Sampler, dict[tuple[int, ...], int]]:
    """Fill a cache with one circuit's counts, and say what they are."""
    run = Sampler()
    draw = cache.counts([CountsRequest(bell(), 400)], IDEAL, run)[0]
    assert draw is not None
    return run, as_dict(draw.counts)


@pytest.mark.parametrize("how", ["another key", "another key that says it is this one", "a byte of the counts"])
def test_a_forged_entry_is_never_used_and_verify_tells(where: str, how: str) -> None:
    cache = open_cache(where)
    run, honest = with_counts(cache)
    store = open_entries(where)
    for address, data, entry in list(store.stored()):
        assert isinstance(entry, Entry)
        forged = b"".join(encode(replace(entry, cost=1.0, blocks=entry.blocks * 2), OTHERS))
        if how == "another key that says it is this one":
            forged = forged[:6] + data[6 : 6 + ID_BYTES] + forged[6 + ID_BYTES :]
        elif how == "a byte of the counts":
            forged = data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]
        store.store.put(address, [forged], 0)
    if how == "another key":
        assert statistics(store).of_other_keys == 2 and not verify(store)
    else:
        assert len(verify(store)) == 2 and all("seal" in why for why in verify(store).values())
    again = open_cache(where)
    draw = again.counts([CountsRequest(bell(), 400)], IDEAL, run)[0]
    assert draw is not None and not draw.from_cache and draw.counts.shots == 400
    assert len(run.jobs) == 2 and sum(honest.values()) == 400
    for opened in (cache, again, store):
        opened.close()


@pytest.mark.parametrize("token", ["", "forged", "1.2.3", "now"])
def test_a_claim_that_no_key_holder_made_is_not_waited_for(where: str, token: str) -> None:
    if token == "now":  # of this very second, but of no key
        token = f"{time.time():.0f}.me.{'0' * 64}"
    cache = open_cache(where)
    key = cache.keys.counts_key(bell(), IDEAL)
    assert cache.flight is not None
    address = open_seal().address(key.digest)
    assert cache.flight.store.store.claim(address, token, LONGEST_LEASE / 2) is None
    with_counts(cache)
    assert cache.flight.waited == 0
    cache.close()


def test_a_claim_of_a_key_holder_is_waited_for_but_no_longer_than_a_lease_or_an_hour(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_entries(where)
    digest, now = b"d" * 32, time.time()
    mine, yours = store.new_token("mine"), store.new_token("yours")
    assert store.claim(digest, mine, 10.0) and not store.claim(digest, yours, 10.0)
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now + OLDEST_CLAIM + 5)
        store.store.claim(open_seal().address(digest), mine, 10.0)  # renewed all the time
        assert store.claim(digest, store.new_token("yours"), 10.0), "an hour after it was made nobody waits for it"
    far = b"f" * 32
    assert store.claim(far, mine, 100 * LONGEST_LEASE) and store.claim(far, yours, 10.0)
    assert SingleFlight(store, lease=1e9)._lease == LONGEST_LEASE
    store.close()


def test_holders_of_two_keys_neither_share_nor_disturb_each_other(where: str, tmp_path: Path) -> None:
    ours, theirs = (EntryStore(open_store(where), seal) for seal in (open_seal(), OTHERS))
    runs = [with_counts(Cache(SingleFlight(store)))[0] for store in (ours, theirs, ours, theirs)]
    assert [len(run.jobs) for run in runs] == [1, 1, 0, 0]
    for store in (ours, theirs):
        assert statistics(store).entries == 1 and statistics(store).of_other_keys == 2
        assert verify(store) == {} and prune(store) == 0 and export_entries(store, tmp_path / "out") == 2
    assert import_entries(ours, tmp_path / "out") == Imported(0, 0, refused=2), "what others made may be made up"
    ours.close()
    theirs.close()


def test_a_new_cache_folder_is_its_owners_alone(tmp_path: Path) -> None:
    cache = open_cache(str(tmp_path / "cache"))
    with_counts(cache)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    for path in (tmp_path / "cache").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    cache.close()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StoreUnavailable, match="others may write to it"):
        open_store(str(folder))
    assert not list(folder.iterdir())
    assert open_cache(str(folder)).flight is None
    folder.chmod(0o755)
    open_store(str(folder)).close()


def test_a_link_of_ones_own_is_followed_and_what_it_leads_to_is_checked(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    open_store(str(tmp_path / "cache")).close()
    assert (tmp_path / "disk" / "data.mdb").exists()
    (tmp_path / "disk").chmod(0o777)
    with pytest.raises(StoreUnavailable, match="others may write to it"):
        open_store(str(tmp_path / "cache"))


@pytest.mark.skipif(os.getuid() != 0, reason="giving files to another user needs root")
def test_what_another_user_owns_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, link, key = tmp_path / "cache", tmp_path / "link", tmp_path / "key"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(StoreUnavailable, match="belongs to another user"):
        open_store(str(folder))
    link.symlink_to(tmp_path)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(StoreUnavailable, match="link"):
        open_store(str(link))
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    os.chown(key, 12345, 12345)
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    with pytest.raises(StoreUnavailable, match="yours or root's"):
        open_seal()


def _tell_keys(state: Path, told: Path) -> None:
    for number in range(8):
        os.environ["XDG_STATE_HOME"] = str(state / str(number))
        (told / f"{number}.{os.getpid()}").write_bytes(open_seal().secret)


def test_the_users_key_is_made_once_and_only_he_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told").mkdir()
    fork = multiprocessing.get_context("fork")
    makers = [fork.Process(target=_tell_keys, args=(tmp_path, tmp_path / "told")) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    secrets = set()
    for number in range(8):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / str(number)))
        told = [path.read_bytes() for path in (tmp_path / "told").glob(f"{number}.*")]
        assert told == [open_seal().secret] * 8
        assert stat.S_IMODE(own_key().stat().st_mode) == 0o600 and len(own_key().read_bytes()) == 32
        assert [path.name for path in own_key().parent.iterdir()] == [own_key().name]
        secrets.add(told[0])
    assert len(secrets) == 8


def test_a_site_key_is_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "site.key"
    key.write_bytes(b"0123456789abcdef")
    key.chmod(0o640)
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    shared = open_seal().secret
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert open_seal().secret == shared and not (tmp_path / "another user").exists()


@pytest.mark.parametrize("fault", ["missing", "short", "read by all", "written by the group", "link", "pipe", "folder"])
def test_a_key_file_that_cannot_be_trusted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    key = tmp_path / "key"
    if fault == "pipe":
        os.mkfifo(key, 0o600)
    elif fault == "folder":
        key.mkdir(mode=0o700)
    elif fault != "missing":
        (tmp_path / "target").write_bytes(b"k" * (15 if fault == "short" else 32))
        modes = {"read by all": 0o604, "written by the group": 0o620}
        (tmp_path / "target").chmod(modes.get(fault, 0o600))
        if fault == "link":
            key.symlink_to(tmp_path / "target")
        else:
            (tmp_path / "target").rename(key)
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    with pytest.raises(StoreUnavailable, match=f"cache key {key}"):
        open_seal()
    cache = open_cache(str(tmp_path / "cache"))
    with_counts(cache)
    assert cache.flight is None and "going on without a cache" in caplog.text
