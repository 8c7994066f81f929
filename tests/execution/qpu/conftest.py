"""A real QPU service on loopback for every test that wants one, and the resource by which QRMI reaches it."""

import importlib.util
import threading
import time
from dataclasses import replace

import pytest

from launch.emulator.faults import parse_fault
from launch.emulator.options import KINDS, DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tasks.execution.qpu import QpuOptions, QpuResource

# The client of every QPU service, and what the emulator is made of; qrmi has no wheels before Python 3.11.
collect_ignore_glob = [] if importlib.util.find_spec("qrmi") else ["test_*.py"]
TOKEN = "token-of-the-tests"
HELD = 3600.0  # seconds in the queue: until `let_go`


def until(condition, seconds=90.0, every=0.02):
    """Wait for something that has to come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every)


class Service:
    """An emulator that runs in this process, and its devices as resources."""

    def __init__(self, *devices):
        self.emulator = Emulator(list(devices), TOKEN)
        self._thread = threading.Thread(target=self.emulator.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def resource(self, name="QPU_A", token=TOKEN):
        options = self.emulator.devices[name].options
        return QpuResource(name, options.kind, environment(options, self.emulator.url, token))

    def fault(self, text, skip=0):
        rule = parse_fault(text)
        rule.skip = skip
        self.emulator.faults.add(rule)

    def jobs(self, name="QPU_A"):
        return list(self.emulator.devices[name].jobs.values())

    def received(self, name="QPU_A"):
        """Jobs that really reached the service, whatever became of them."""
        return self.emulator.devices[name].received

    def open_sessions(self):
        return [s for s in self.emulator.sessions.values() if s["accepting_jobs"]]

    def let_go(self):
        """What waits in a queue begins now."""
        for device in self.emulator.devices.values():
            device.options = replace(device.options, queue=0.0)

    def let_go_when(self, condition):
        """A thread that lets go as soon as the condition holds."""
        thread = threading.Thread(target=lambda: (until(condition), self.let_go()))
        thread.start()
        return thread

    def stop(self):
        self.emulator.shutdown()
        self.emulator.server_close()


@pytest.fixture
def service():
    running = []

    def start(kind="ibm", **options):
        running.append(Service(DeviceOptions("QPU_A", KINDS[kind], **options)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def options(tmp_path):
    return QpuOptions(time_limit=60.0, patience=2.0, journal=tmp_path / "journal", believe=0.0)
