"""Starts, describes and stops the emulator: the program behind ``launch/qpu_emulator``."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from launch.emulator.faults import parse_fault
from launch.emulator.options import DeviceOptions, parse_device
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tasks.errors import QompassError
from tasks.runtime.private_folder import check_private

DEFAULT_DEVICES = ["QPU_A:kind=ibm,backend=hanoi", "QPU_B:kind=iqm,backend=nairobi,seed=2"]
START_SECONDS = 60.0
# Not `python -m`, which would search the current folder first.
_PROGRAM = (
    f"import sys; sys.path[:] = [{str(Path(__file__).resolve().parents[2])!r}, *filter(None, sys.path)]; "
    "from launch.emulator.__main__ import main; sys.exit(main())"
)


def default_folder() -> Path:
    """Where the emulator keeps its pid, configuration and token when told nothing else."""
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "qompass-emulator"


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def exports(devices: list[DeviceOptions], folder: Path) -> str:
    """Shell lines that point QRMI and Qompass at the emulator; they hold no token, only where it is."""
    return "\n".join(
        [
            f"export QRMI_JOB_QPU_RESOURCES={','.join(device.name for device in devices)}",
            f"export QRMI_JOB_QPU_TYPES={','.join(device.kind for device in devices)}",
            f"export QOMPASS_QRMI_CONFIG={folder / 'qrmi_config.json'}",
        ]
    )


def run(folder: Path, devices: list[DeviceOptions], host: str, port: int, faults: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; on start write pid, environment and qrmi_config.json, on end remove the pid."""
    check_private(folder)
    kept = os.environ.get("QOMPASS_EMULATOR_TOKEN_FILE")
    token = Path(kept).read_text().strip() if kept else os.environ.get("QOMPASS_EMULATOR_TOKEN")
    token = token or secrets.token_urlsafe(24)
    emulator = Emulator(devices, token, port, host)
    for text in faults:
        emulator.faults.add(parse_fault(text))
    config = {
        "resources": [
            {"name": device.name, "type": device.kind, "environment": environment(device, emulator.url, token)}
            for device in devices
        ]
    }
    _write_private(folder / "qrmi_config.json", json.dumps(config, indent=2) + "\n")
    (folder / "environment.sh").write_text(exports(devices, folder) + "\n")
    (folder / "url").write_text(emulator.url + "\n")
    (folder / "pid").write_text(f"{os.getpid()}\n")  # last: who waits for it finds the rest

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        emulator.serve_forever(poll_interval=0.1)
    finally:
        (folder / "pid").unlink(missing_ok=True)
    return 0


def _pid(folder: Path) -> int | None:
    try:
        pid = int((folder / "pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def start(folder: Path, arguments: list[str]) -> int:
    """Start the emulator in the background and print what to export."""
    if (pid := _pid(folder)) is not None:
        print(f"an emulator runs already, pid {pid}; launch/qpu_emulator stop ends it", file=sys.stderr)
        return 1
    check_private(folder)
    with open(folder / "log", "w", encoding="utf-8") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "run", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    end = time.monotonic() + START_SECONDS
    while _pid(folder) is None:
        if child.poll() is not None or time.monotonic() > end:
            print((folder / "log").read_text().strip() or "the emulator did not start", file=sys.stderr)
            child.kill()
            return 1
        time.sleep(0.05)
    print((folder / "environment.sh").read_text().strip())
    return 0


def stop(folder: Path) -> int:
    """End the emulator that runs in ``folder``."""
    pid = _pid(folder)
    if pid is None:
        print("no emulator runs there", file=sys.stderr)
        return 1
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while _pid(folder) is not None and time.monotonic() < end:
        time.sleep(0.05)
    return 0 if _pid(folder) is None else 1


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="launch/qpu_emulator", description=__doc__)
    parser.add_argument("verb", choices=("start", "run", "env", "stop", "status"))
    parser.add_argument("--folder", type=Path, default=default_folder(), help="its pid, configuration and token")
    parser.add_argument("--device", action="append", help="NAME[:key=value,...]; see launch/emulator/options.py")
    parser.add_argument("--host", default="127.0.0.1", help="the address it listens on, as others call it")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--fault", action="append", default=[], help="STEP:KIND[=AMOUNT][xTIMES]")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    try:
        devices = [parse_device(text) for text in asked.device or DEFAULT_DEVICES]
        for text in asked.fault:
            parse_fault(text)
    except ValueError as error:
        parser.error(str(error))
    try:
        if asked.verb == "run":
            return run(folder, devices, asked.host, asked.port, asked.fault)
        if asked.verb == "start":
            return start(folder, [argument for argument in sys.argv[1:] if argument != "start"])
    except QompassError as error:  # the folder is not the user's own
        print(f"qpu_emulator: {error}", file=sys.stderr)
        return 2
    if asked.verb == "stop":
        return stop(folder)
    pid = _pid(folder)
    if asked.verb == "status":
        print(f"runs, pid {pid}, {(folder / 'url').read_text().strip()}" if pid else "does not run")
    elif pid:
        print((folder / "environment.sh").read_text().strip())
    return 0 if pid else 1


if __name__ == "__main__":
    raise SystemExit(main())
