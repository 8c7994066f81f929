"""What a container of the workflow does: ``step.py plan|execute|reconstruct|report|release RUN``.

A stage of the run (tasks/stages/README.md), and around it what Argo wants to know, as small files in ``--out``:
``next`` (execute, reconstruct, done), ``cpu``, ``gpu``, ``qpu`` (JSON lists of ``{"batch", "device"}``: what to fan
out over), ``ranks`` (MPI ranks that the contraction is worth), ``turn`` (how often the DAG has come by).

With ``--exchange DIR`` the run's folder is not on a shared volume but travels through an object store: ``DIR/run`` is
the folder without results, in and out; ``DIR/batch`` what a batch has left, out; ``DIR/batches/I`` what batch I has
left, in. So every result is uploaded once, and only the step that reads it downloads it.

Exit status: 0; 2 what only a person can mend; 75 a service that may be back soon (the lease server); 130 interrupted;
1 a defect of Qompass. workflow.yaml says which of them are tried again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

KINDS = ("cpu", "gpu", "qpu")
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
_CONFIG = "QOMPASS_QRMI_CONFIG"
_WORTH_RANKS = 1e11  # floating-point operations, as tasks/reconstruct.py has it


def qompass(*arguments: str) -> tuple[int, str]:
    """The exit status of a command line of Qompass, and what it prints; SIGTERM ends it in order."""
    from apps.cli.main import main  # half of its time is loading Qiskit, which `release` can often do without

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(arguments)
    return status, printed.getvalue()


def private_tokens() -> None:
    """Give this process a copy of the mounted tokens that is its alone.

    Kubernetes mounts a Secret as root's, with read permission for the pod's group (``fsGroup``), without which a
    process that is not root could not read it; Qompass refuses tokens that a group can read.
    """
    mounted = os.environ.get(_CONFIG)
    if not mounted or not Path(mounted).exists():
        os.environ.pop(_CONFIG, None)
        return
    own = Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp")) / "qrmi_config.json"
    own.unlink(missing_ok=True)
    with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(Path(mounted).read_bytes())
    os.environ[_CONFIG] = str(own)
    if "QRMI_JOB_QPU_RESOURCES" not in os.environ:
        entries = json.loads(own.read_text())["resources"]
        os.environ["QRMI_JOB_QPU_RESOURCES"] = ",".join(entry["name"] for entry in entries)
        os.environ["QRMI_JOB_QPU_TYPES"] = ",".join(entry["type"] for entry in entries)


def own_devices(described: Path) -> None:
    """Write the pair of COMPSs files that describes the site's devices, for this process and those it starts."""
    from launch.kubernetes.devices import read_site_devices
    from launch.slurm.jobs import write_resources

    site = read_site_devices(described)
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / "devices"
    write_resources(folder, site.cpu, site.gpu, site.qpus)
    os.environ["QOMPASS_RESOURCES"] = str(folder)


def leases_answer() -> bool:
    """Whether the place where units of QPUs are leased can be used now."""
    from tasks.execution.leases import open_leases
    from tasks.execution.leases.lease import LeaseError

    try:
        open_leases()
    except LeaseError as error:
        print(f"step: {error}", file=sys.stderr)
        return False
    return True


def take_in(run: Path, exchange: Path) -> None:
    """Lay out the run's folder from what came through the object store."""
    if not run.exists() and (exchange / "run/record.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(exchange / "run", run, symlinks=True)
        run.chmod(0o700)
        (run / "fragments").mkdir(exist_ok=True)
    for batch in sorted((exchange / "batches").glob("*")):
        if batch.is_dir():
            shutil.copytree(batch, run, dirs_exist_ok=True, symlinks=True)


def give_out(run: Path, exchange: Path) -> None:
    """Put the run's folder, without results, where the object store takes it from."""
    shutil.rmtree(exchange / "run", ignore_errors=True)
    shutil.copytree(run, exchange / "run", ignore=lambda folder, names: names if folder.endswith("fragments") else [])


def give_out_batch(run: Path, exchange: Path, index: int) -> None:
    """Put what a batch has left where the object store takes it from."""
    from tasks.runs.results import FOLDER, file_name

    target = exchange / "batch"
    shutil.rmtree(target, ignore_errors=True)
    report = run / "stages/done" / f"{index}.json"
    results = [run / FOLDER / file_name(key) for key in json.loads(report.read_text())["results"]]
    for path in [report, *results]:
        copy = target / path.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def tell(out: Path, document: dict[str, Any], turn: int, ranks: int) -> None:
    """Write what the workflow goes on with."""
    batches = document.get("batches", [])
    large = document.get("network_flops", 0.0) >= _WORTH_RANKS
    told: dict[str, Any] = {"next": document["next"], "turn": turn, "ranks": ranks if large else 1}
    for kind in KINDS:
        own = [{"batch": str(b["index"]), "device": b["device"]} for b in batches if b["kind"] == kind]
        told[kind] = json.dumps(own)
    out.mkdir(parents=True, exist_ok=True)
    for name, value in told.items():
        (out / name).write_text(str(value))


def plan(asked: argparse.Namespace) -> int:
    """Make the run's folder and its batches."""
    asked.run.parent.mkdir(parents=True, exist_ok=True)
    given = [] if asked.batches is None else ["--batches", str(asked.batches)]
    command = ["stage", "plan", str(asked.run), asked.circuit, "--json", *given, *shlex.split(asked.options)]
    for observable in asked.observable.splitlines():
        command += ["--observable", observable] if observable.strip() else []
    return _advance(asked, command, 0)


def reconstruct(asked: argparse.Namespace) -> int:
    """The estimates, or the batches of a further round of shots, or those of a device that others stand in for."""
    given = [] if asked.batches is None else ["--batches", str(asked.batches)]
    return _advance(asked, ["stage", "reconstruct", str(asked.run), "--json", *given], asked.turn + 1)


def _advance(asked: argparse.Namespace, command: Sequence[str], turn: int) -> int:
    status, printed = qompass(*command)
    if status == 0:
        tell(asked.out, json.loads(printed), turn, asked.ranks)
        if asked.exchange:
            give_out(asked.run, asked.exchange)
    return status


def execute(asked: argparse.Namespace) -> int:
    """One batch; what its QPU or GPU does not do comes back into the DAG."""
    status, _ = qompass("stage", "execute", str(asked.run), "--batch", str(asked.batch), "--give-back", "--json")
    if status == 0 and asked.exchange:
        give_out_batch(asked.run, asked.exchange, asked.batch)
    return status


def report(asked: argparse.Namespace) -> int:
    """Print the values, and make the page about the run."""
    asked.out.mkdir(parents=True, exist_ok=True)
    status, printed = qompass("resume", str(asked.run), "--json")
    if status == 0:
        (asked.out / "values.json").write_text(printed)
        for estimate in json.loads(printed)["estimates"]:
            print(f"{estimate['observable']}  {estimate['value']:.10g} +/- {estimate['std_error']:.3g}")
        status, _ = qompass("report", str(asked.run))
    if status == 0:
        shutil.copyfile(asked.run / "report.html", asked.out / "report.html")
    return status


def release(asked: argparse.Namespace) -> int:
    """Let go of what pods of the run that are gone have left at QPUs: jobs and sessions. Leases end by themselves."""
    from tasks.execution.qpu.recovery import release_run

    record = asked.run / "record.json"
    if record.exists() and _CONFIG in os.environ:  # else nothing was ever submitted
        for line in release_run(json.loads(record.read_text())["run"]):
            print(line)
    return 0


def main() -> int:
    """Do what the first argument says."""
    doing = {"plan": plan, "execute": execute, "reconstruct": reconstruct, "report": report, "release": release}
    parser = argparse.ArgumentParser(prog="step.py", description=__doc__)
    parser.add_argument("step", choices=doing)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--circuit", default="")
    parser.add_argument("--observable", default="", help="one a line")
    parser.add_argument("--options", default="", help="further arguments of `qompass stage plan`, as in a shell")
    parser.add_argument("--batches", type=lambda text: int(text) if text else None, help="so many for each device")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--turn", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=1, help="of a large contraction")
    parser.add_argument("--out", type=Path, default=Path("/work/out"))
    parser.add_argument("--exchange", type=lambda text: Path(text) if text else None)
    asked = parser.parse_args()
    private_tokens()
    if "QOMPASS_DEVICES" in os.environ:
        own_devices(Path(os.environ["QOMPASS_DEVICES"]))
    if _CONFIG in os.environ and asked.step != "release" and not leases_answer():
        return TRY_AGAIN
    if asked.exchange:
        take_in(asked.run, asked.exchange)
    return doing[asked.step](asked)


if __name__ == "__main__":
    sys.exit(main())
