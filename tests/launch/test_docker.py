"""launch/docker: compose files that follow the specification, a clean Dockerfile, an image that is built and run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from launch.docker import agents
from launch.emulator.options import parse_device
from resources_xml import read_nodes

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "launch/docker"
COMPOSE = [DOCKER / "compose.yaml", DOCKER / "compose.test.yaml"]


def run(*command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_follow_the_compose_specification(path):
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def test_the_dockerfile_is_clean():
    run(Path(sys.executable).with_name("hadolint"), DOCKER / "Dockerfile")


def services(path):
    return YAML(typ="safe").load(path.read_text())["services"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_commands_of_services_are_commands_of_this_checkout(path):
    for name, service in services(path).items():
        command = service.get("command", [])
        words = " ".join(command).replace('"', " ").split()
        for word in words:
            if word.startswith("/opt/qompass/"):
                assert (ROOT / word.removeprefix("/opt/qompass/")).exists(), f"{name}: {word}"
        if "serve" in command:
            asked = agents.build_parser().parse_args(command[command.index("serve") :])
            assert asked.name == name
        lines = [line.split() for line in command[-1].splitlines()] if name == "workers" else []
        for line in (line for line in lines if line[0] == "$$agents"):
            asked = agents.build_parser().parse_args(line[1:])
            assert asked.agent in services(COMPOSE[0]) and asked.worker in services(COMPOSE[0])
    qpu = services(COMPOSE[0])["qpu"]["command"]
    assert parse_device(qpu[-1]).name == services(COMPOSE[0])["master"]["environment"]["QRMI_JOB_QPU_RESOURCES"]


def test_every_service_is_private_and_may_do_nothing_special():
    together = services(COMPOSE[0])
    for name, service in [*together.items(), *services(COMPOSE[1]).items()]:
        assert "ports" not in service and "privileged" not in service, name
        if name in together and service is together[name]:
            assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name


@pytest.mark.parametrize("pair", sorted(path.name for path in (DOCKER / "resources").iterdir()))
def test_pairs_of_files_are_good(pair):
    assert read_nodes(DOCKER / "resources" / pair)


@pytest.mark.skipif(shutil.which("sshd", path="/usr/sbin:/usr/bin") is None, reason="sshd is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as another user")
def test_a_container_without_a_command_lets_its_own_user_in_and_nobody_else(tmp_path):
    nobody = 65534
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="qompass-home-"))  # not below a folder that is only root's
    try:
        os.chown(home, nobody, nobody)
        script = home / "wait.sh"
        shutil.copy(DOCKER / "wait.sh", script)
        script.chmod(0o755)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "QOMPASS_SSH_PORT": str(port)}
        server = subprocess.Popen(
            ["sh", str(script)], env=environment, user=nobody, group=nobody, stderr=subprocess.PIPE
        )
        try:
            deadline = time.monotonic() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
                time.sleep(0.05)
            ssh = home / ".ssh"
            assert {path.stat().st_mode & 0o077 for path in ssh.iterdir()} == {0}
            scanned = run("ssh-keyscan", "-p", port, "127.0.0.1").split()
            assert (ssh / "host_key.pub").read_text().split()[1] in scanned
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=10)
    finally:
        shutil.rmtree(home)


class Buildah:
    """Builds and runs images in a storage of its own; no daemon, no control groups."""

    def __init__(self, folder):
        self.storage = ["--root", folder / "root", "--runroot", folder / "runroot", "--storage-driver", "vfs"]
        self.environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *arguments):
        return run("buildah", *self.storage, *arguments, env=self.environment, cwd=ROOT)


@pytest.fixture(scope="module")
def debian():
    """A tar file of a small Debian with Python and pip, kept for the next time."""
    kept = Path(tempfile.gettempdir()) / f"qompass-debian-{os.getuid()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    assert kept.stat().st_uid == os.getuid()
    archive = kept / "bookworm.tar"
    if not archive.exists():
        folder = Path(tempfile.mkdtemp(dir=kept))
        try:
            packages = "python3,python3-pip,ca-certificates"
            run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", folder)
            run("tar", "-C", folder, "-cf", kept / "partial.tar", ".")
            (kept / "partial.tar").rename(archive)
        finally:
            shutil.rmtree(folder)
    return archive


@pytest.mark.slow
@pytest.mark.uses("container builds")
def test_the_image_is_built_and_runs_the_example_and_the_emulator(tmp_path, debian):
    buildah = Buildah(tmp_path)
    scratch = buildah("from", "scratch").strip()
    buildah("add", "-q", scratch, debian, "/")
    buildah("commit", "-q", "--rm", scratch, "base")
    pip, certificates = tmp_path / "pip.conf", ssl.get_default_verify_paths().cafile
    pip.write_text("[global]\ncert = /run/secrets/ca\n")
    secrets = ["--secret", f"id=pip,src={pip}", "--secret", f"id=ca,src={certificates}"] if certificates else []
    buildah("bud", "--format", "docker", "--ignorefile", DOCKER / "Dockerfile.dockerignore", *secrets,
            "--build-arg", "BASE=localhost/base", "-t", "qompass", "-f", DOCKER / "Dockerfile", ".")  # fmt: skip
    container = buildah("from", "localhost/qompass").strip()

    def inside(command):
        return buildah("run", container, "--", "sh", "-ec", command)

    assert inside("id -u").strip() == "1000"
    assert "qompass 0.1" in inside("qompass --version")
    example = "qompass run /opt/qompass/apps/circuits/vqe40.qasm --observable 'Z0 Z1' --max-qubits 12"
    assert "-0.00619888268" in inside(example)
    emulator = "/opt/qompass/launch/qpu_emulator"
    found = inside(f'eval "$({emulator} start)"; qompass devices; {emulator} stop')
    assert "QPU_A" in found and "online" in found
    assert inside("find /run/secrets /etc/pip.conf ! -type d 2>/dev/null || true") == ""  # nothing of the build is left
