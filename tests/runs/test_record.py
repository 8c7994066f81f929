"""A run's folder keeps what is complete through crashes, damage and second callers."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from tasks.cutting.cuts import GateCut, WireCut, cuts_document
from tasks.cutting.kinds import KINDS
from tasks.errors import InputError
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.runs import RunDirectory, RunRecord, RunRecordError, read_record, storage, store_result
from tasks.runs.directory import stored_problem
from tasks.runs.record import FORMAT
from tasks.runs.results import read_result
from tasks.runs.storage import pack
from tasks.runs.temporary import temporary_runs

ROOT = Path(__file__).resolve().parents[2]


def fragment_files(run: RunDirectory) -> list[Path]:
    return sorted((run.path / "fragments").iterdir())


@pytest.fixture
def problem() -> Problem:
    circuit = QuantumCircuit(3, 1)
    circuit.h(0)
    circuit.rzz(0.1234567890123456, 0, 2)
    circuit.measure(0, 0)
    return make_problem(circuit, ["0.5*Z0 Z2 - X1 + 1", "XYZ"])


@pytest.fixture
def run(tmp_path: Path, problem: Problem) -> RunDirectory:
    return RunDirectory.create(tmp_path / "runs", {"options": {"shots": 100}, "inputs": {"circuit": "a"}}, problem)


def test_a_run_gives_its_problem_and_results_back_exactly(run: RunDirectory, problem: Problem) -> None:
    arrays = {"values": np.arange(6.0).reshape(2, 3), "bits": np.array([[True], [False]]), "empty": np.zeros((0, 4))}
    with run:
        run.results.store("fragment 0/α", arrays, {"device": "cpu", "seconds": np.float64(0.5)})
    with RunDirectory.open(run.path) as again:
        stored = again.results.load("fragment 0/α")
        assert stored is not None
        assert stored.meta.pop("sha256") == hashlib.sha256(fragment_files(run)[0].read_bytes()).hexdigest()
        assert stored.meta == {"device": "cpu", "seconds": 0.5}
        for name, array in arrays.items():
            assert np.array_equal(stored.arrays[name], array) and stored.arrays[name].dtype == array.dtype
        assert again.results.load("fragment 1") is None
        same = again.problem()
    assert Operator(same.circuit) == Operator(problem.circuit)
    assert same.names == problem.names and same.notes == problem.notes
    assert np.array_equal(same.terms.x, problem.terms.x) and np.array_equal(same.terms.z, problem.terms.z)
    assert np.array_equal(same.terms.coefficients.toarray(), problem.terms.coefficients.toarray())
    record = read_record(run.path)
    assert record["results"]["fragment 0/α"]["device"] == "cpu" and record["options"] == {"shots": 100}
    assert record["versions"]["qiskit"] and record["inputs"]["circuit"] == "a"


def test_keys_that_differ_only_in_odd_characters_stay_apart(run: RunDirectory) -> None:
    keys = ["a/b", "a:b", "a_b", "../a", "x" * 300, "x" * 301]
    with run:
        for number, key in enumerate(keys):
            run.results.store(key, {"n": np.array(number)}, {})
        assert [run.results.load(key).arrays["n"].item() for key in keys] == list(range(len(keys)))  # type: ignore[union-attr]
    assert {path.parent for path in run.path.parent.rglob("*.npz")} == {run.path, run.path / "fragments"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "garbage", "another"])
def test_a_damaged_result_is_reported_and_counts_as_none(
    run: RunDirectory, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with run:
        run.results.store("other", {"values": np.ones(1000)}, {})
        other = next((run.path / "fragments").iterdir())
        whole = other.read_bytes()
        run.results.store("key", {"values": np.zeros(1000)}, {})
        path = next(path for path in (run.path / "fragments").iterdir() if path != other)
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(
            {
                "truncated": content[:middle],
                "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "emptied": b"",
                "garbage": os.urandom(len(content)),
                "another": whole,
            }[damage]
        )
        with caplog.at_level(logging.WARNING):
            assert run.results.load("key") is None
        assert str(path) in caplog.text and "computed again" in caplog.text
        run.results.store("key", {"values": np.zeros(1000)}, {})
        assert run.results.load("key") is not None


def test_every_single_flipped_byte_is_noticed(run: RunDirectory) -> None:
    with run:
        run.results.store("key", {"values": np.arange(3.0)}, {"device": "cpu"})
        path = next((run.path / "fragments").iterdir())
        content = path.read_bytes()
        for position in range(len(content)):
            path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
            assert run.results.load("key") is None
            stored = read_result(path)  # as where the record does not know it yet
            if stored is not None:
                assert np.array_equal(stored[1].arrays["values"], np.arange(3.0)) and stored[0] == "key"
                assert stored[1].meta.keys() == {"device", "sha256"} and stored[1].meta["device"] == "cpu"


def test_objects_are_never_stored(run: RunDirectory) -> None:
    with run, pytest.raises(TypeError, match="cannot be stored"):
        run.results.store("key", {"values": np.array([object()])}, {})


def test_one_run_has_one_worker_at_a_time(run: RunDirectory) -> None:
    code = (
        "import sys; from tasks.runs import RunDirectory, RunRecordError\n"
        "try: RunDirectory.open(sys.argv[1]).close(); print('opened')\n"
        "except RunRecordError as error: print(error)"
    )

    def open_elsewhere() -> str:
        command = [sys.executable, "-c", code, str(run.path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout

    with run:
        with pytest.raises(RunRecordError, match="another process works"):
            RunDirectory.open(run.path)
        assert "another process works" in open_elsewhere()
        assert read_record(run.path)["status"] == "running"
    assert open_elsewhere() == "opened\n"
    RunDirectory.open(run.path).close()


def test_a_killed_run_reads_as_interrupted_and_keeps_what_it_stored(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy, time; from qiskit import QuantumCircuit\n"
        "from tasks.inputs.validation import make_problem; from tasks.runs import RunDirectory\n"
        "run = RunDirectory.create(sys.argv[1], {}, make_problem(QuantumCircuit(2), 'Z0'))\n"
        "run.results.store('first', {'n': numpy.array(1)}, {'device': 'cpu'})\n"
        "print(run.path, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    path = Path(died.stdout.strip())
    assert read_record(path)["status"] == "interrupted"
    with RunDirectory.open(path) as run:
        stored = run.results.load("first")
        assert stored is not None and stored.arrays["n"] == 1
    assert read_record(path)["status"] == "done"
    assert read_record(path)["results"]["first"]["device"] == "cpu"


def test_status_follows_how_the_block_ended(tmp_path: Path, problem: Problem) -> None:
    def ended(error: BaseException | None, stored: bool) -> str | None:
        run = RunDirectory.create(tmp_path, {}, problem)
        try:
            with run:
                if stored:
                    run.results.store("key", {"n": np.array(1)}, {})
                if error:
                    raise error
        except BaseException as raised:
            assert raised is error
        return read_record(run.path)["status"] if run.path.exists() else None

    assert ended(None, stored=False) == "done"
    assert ended(KeyboardInterrupt(), stored=False) == "interrupted"
    assert ended(InputError("x"), stored=True) == "failed"
    assert ended(InputError("x"), stored=False) is None  # nothing was done: nothing half-written stays
    assert ended(OSError(28, "No space left on device"), stored=False) is None
    assert list(tmp_path.glob("*/traceback.txt")) == []


def test_a_defect_keeps_the_folder_with_its_traceback(tmp_path: Path, problem: Problem, caplog) -> None:
    run = RunDirectory.create(tmp_path, {}, problem)
    with pytest.raises(ZeroDivisionError), run:
        print(1 / 0)
    assert "print(1 / 0)" in (run.path / "traceback.txt").read_text()
    assert str(run.path / "traceback.txt") in caplog.text
    record = read_record(run.path)
    assert (record["status"], record["error"]) == ("failed", "ZeroDivisionError: division by zero")


def test_timings_add_up_over_resumption(run: RunDirectory) -> None:
    with run:
        with run.timing("plan"):
            pass
        run.record.add_seconds("plan", 10.0)
        with run.timing("plan"):
            pass
    assert read_record(run.path)["timings"]["plan"] >= 10.0


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"schema": 99}'])
def test_what_is_no_run_is_said_so_in_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(RunRecordError) as error:
        RunDirectory.open(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_changed_inputs_are_not_resumed(run: RunDirectory) -> None:
    run.close()
    path = run.path / "circuit.qpy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with RunDirectory.open(run.path) as again, pytest.raises(RunRecordError, match="not what the run stored"):
        again.problem()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, problem: Problem) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunRecordError, match=r"cannot write runs into .*`out`"):
        RunDirectory.create(tmp_path / "file" / "runs", {}, problem)
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["file"]'


def test_what_fails_on_a_finished_run_takes_nothing_from_it(tmp_path, problem):
    """`qompass reconstruct` on a done run: a failure or Ctrl-C leaves the record saying done."""
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        directory.finish("done", estimates=[])
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), RunDirectory.open(directory.path):
            raise error
        assert read_record(directory.path)["status"] == "done"


@pytest.fixture
def finished(tmp_path: Path, problem: Problem) -> Path:
    with RunDirectory.create(tmp_path, {"options": {"shots": 100}}, problem) as directory:
        directory.results.store("key", {"n": np.array(1)}, {"device": "cpu"})
        directory.finish("done", estimates=[{"observable": "Z0", "value": 0.25, "std_error": 0.0}])
    return directory.path


def test_an_edited_record_is_not_believed(finished: Path) -> None:
    content = (finished / "record.json").read_text()
    for old, new in (
        ("0.25", "0.52"),
        ('"done"', '"failed"'),
        ('"shots": 100', '"shots": 101'),
        ('"device"', '"divice"'),
    ):
        assert content.count(old) >= 1
        (finished / "record.json").write_text(content.replace(old, new, 1))
        for reader in (read_record, RunDirectory.open):
            with pytest.raises(RunRecordError, match=r"record\.json was changed after Qompass wrote it") as error:
                reader(finished)
            assert "\n" not in str(error.value)
    (finished / "record.json").write_text(json.dumps(json.loads(content)))  # other blanks are no other content
    assert read_record(finished)["estimates"][0]["value"] == 0.25


@pytest.mark.parametrize("found, words", [(FORMAT + 1, "a newer version"), (1, "an older version")])
def test_other_formats_are_refused_by_name(finished: Path, found: int, words: str) -> None:
    document = {**json.loads((finished / "record.json").read_text()), "schema": found}
    (finished / "record.json").write_text(json.dumps(document))
    with pytest.raises(RunRecordError, match=f"{words} of Qompass .format {found}, this one reads {FORMAT}.") as error:
        read_record(finished)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"estimates": [{"observable": "Z0"}]},
        {"estimates": 3},
        {"notes": [3]},
        {"status": "fine"},
        {"inputs": {"stored": {"../../etc/passwd": ""}}},
        {"inputs": {}},
        {"results": {"key": 3}},
        {"timings": {"cut": "1"}},
        {"options": []},
        {"plan": {"cuts": {"wires": []}}},
        {"plan": {"cuts": {"gates": ["x"], "wires": []}}},
        {"plan": {"cuts": {"gates": [{"instruction": 1}], "wires": []}}},
        {"plan": {"cuts": {"gates": [{"instruction": 1, "with": ["x"]}], "wires": []}}},
        {"plan": {"cuts": {"gates": [], "wires": [{"instruction": 1}]}}},
        {"plan": {"cuts": {"gates": [], "wires": []}, "fragments": -1}},
        {"run": None},
        {"seed": "x"},
        {"shots": []},
        {"versions": "x"},
        {"variance_shares": {"Z0": 1}},
        {"table": {}},
        {"tasks": {"overhead_share": None}},
        {"sweep": {"rows": 1, "values": None, "groups": 1}},
        {"optimum": {"energy": 1.0}},
    ],
    ids=str,
)
def test_a_sealed_record_without_what_a_record_has_is_one_line(finished: Path, change: dict[str, object]) -> None:
    record = RunRecord({**read_record(finished), **change})
    (finished / "record.json").write_bytes(record.to_bytes())
    with pytest.raises(RunRecordError, match=f"no usable field '{next(iter(change))}'"):
        read_record(finished)


def test_the_cuts_of_every_kind_read_back(finished: Path) -> None:
    """A run that was killed with any of them in its plan can be resumed."""
    named = [WireCut(2, 0, kind.name) if kind.takes(None) else GateCut(2, kind.name) for kind in KINDS]
    cuts = sorted((GateCut(1), GateCut(4, joined=(6, 7)), *named, WireCut(3, 0)), key=lambda cut: cut.section)
    document = {"cuts": cuts_document(cuts)}
    (finished / "record.json").write_bytes(RunRecord({**read_record(finished), "plan": document}).to_bytes())
    assert read_record(finished)["plan"] == document


def test_a_result_that_the_run_did_not_store_is_computed_again(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Even a whole one, with a checksum of its own that fits."""
    (path,) = (finished / "fragments").iterdir()
    path.write_bytes(pack({"n": np.array(2)}, {"device": "cpu", "key": "key"}))
    with RunDirectory.open(finished) as again:
        assert again.results.load("key") is None and dict(again.results.stored()) == {}
    assert "is not what the run stored" in caplog.text


def test_what_a_killed_process_left_half_written_is_removed(finished: Path) -> None:
    for name in (".record.json.1.ab.partial", "fragments/.key.npz.1.ab.partial", "network/a.npy", "tasks-x/1-begun"):
        (finished / name).parent.mkdir(exist_ok=True)
        (finished / name).write_text("half")
    RunDirectory.open(finished).close()
    assert {path.name for path in finished.iterdir()} == {
        "record.json", "circuit.qpy", "observables.npz", "fragments", "lock", "log.jsonl", "trace.csv",
        "ro-crate-metadata.json", "workflow.py",
    }  # fmt: skip
    assert len(list((finished / "fragments").iterdir())) == 1


def test_a_folder_without_its_fragments_is_mended(finished: Path) -> None:
    shutil.rmtree(finished / "fragments")
    with RunDirectory.open(finished) as again:
        assert dict(again.results.stored()) == {}
        again.results.store("key", {"n": np.array(1)}, {})


def test_the_lock_is_not_taken_through_a_link(finished: Path, tmp_path: Path) -> None:
    (finished / "lock").unlink()
    (finished / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunRecordError, match="cannot write"):
        RunDirectory.open(finished)
    assert not (tmp_path / "precious").exists()


def test_looking_at_a_run_changes_nothing(finished: Path) -> None:
    (finished / "lock").unlink()
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    read_record(finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_run_of_another_user_is_not_continued(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(finished, 4242, 4242)
    monkeypatch.setattr(os, "geteuid", lambda: 4343)
    assert read_record(finished)["status"] == "done"
    with pytest.raises(RunRecordError, match=r"belongs to another user .uid 4242.: copy it"):
        RunDirectory.open(finished)


def test_a_result_is_written_flushed_and_only_then_renamed(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content on disk before the name, and the name on disk before anybody is told: else a power cut loses both."""
    told: list[str] = []
    names: dict[int, str] = {}
    real_open, real_fsync, real_replace, real_os_open = open, os.fsync, os.replace, os.open

    def opened(path, mode="r", *arguments):
        file = real_open(path, mode, *arguments)
        names[file.fileno()] = "content"
        told.append(f"open {Path(path).suffix}")
        return file

    def os_opened(path, flags, *arguments, **named):
        descriptor = real_os_open(path, flags, *arguments, **named)
        names[descriptor] = "folder" if Path(path).is_dir() else "content"
        return descriptor

    def fsynced(descriptor):
        whole = names[descriptor] == "folder" or os.fstat(descriptor).st_size > 500
        told.append(f"fsync {names[descriptor]}" if whole else "fsync too early")
        real_fsync(descriptor)

    def replaced(source, target):
        assert Path(source).parent == Path(target).parent, "a rename between folders may be no rename"
        told.append(f"rename to {Path(target).suffix}")
        real_replace(source, target)

    monkeypatch.setattr(storage, "open", opened, raising=False)
    monkeypatch.setattr(os, "open", os_opened)
    monkeypatch.setattr(os, "fsync", fsynced)
    monkeypatch.setattr(os, "replace", replaced)
    run.results.store("key", {"values": np.arange(100.0)}, {})
    run.update()
    monkeypatch.undo()
    assert told == [
        "open .partial", "fsync content", "rename to .npz", "fsync folder",
        "open .partial", "fsync content", "rename to .json", "fsync folder",
    ]  # fmt: skip
    run.close()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content_and_no_rest(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = (run.path / "record.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(RunRecordError, match="No space left on device: mend that, or name another folder"):
        run.update(seed=3)
    monkeypatch.undo()
    run.results.store("fragment 0", {"values": np.ones(2)}, {})
    monkeypatch.setattr(os, step, full)
    with pytest.raises(RunRecordError, match="No space left on device: mend that, then `qompass resume"):
        run.update(seed=3)
    monkeypatch.undo()
    assert (run.path / "record.json").read_bytes() == before
    assert not list(run.path.glob(".*"))
    run.close()


def test_the_methods_of_a_record_add_up() -> None:
    record = RunRecord({"run": "x"})
    for _ in range(2):
        record.note("once")
        record.count_cache("store", {"hits": 2, "seconds": 0.25})
        record.move({"fragment": 1}, "a", "b", "why")
    assert record["notes"] == ["once"]
    assert record["cache"] == {"store": "store", "hits": 4, "seconds": 0.5}
    assert record["moves"] == [{"fragment": 1, "from": "a", "to": "b", "why": "why"}] * 2


def test_content_that_does_not_fit_its_own_checksum_is_refused() -> None:
    """Written anew, so that no checksum of the container tells."""
    with np.load(io.BytesIO(pack({"n": np.array(1)}, {"key": "k"}))) as file:
        members = {name: file[name] for name in file.files}
    changed = io.BytesIO()
    np.savez(changed, **{**members, "n": np.array(2)})
    with pytest.raises(ValueError, match="checksum mismatch"):
        storage.unpack(changed.getvalue())


def test_a_run_that_nobody_keeps_is_not_flushed_to_disk(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with temporary_runs() as parent, RunDirectory.create(parent, {}, problem) as run:
        store_result(run.path, "key", {"n": np.array(1)}, {"device": "cpu"})
        assert read_record(run.path)["run"] == run.path.name
    assert not flushed and not parent.exists()


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(run: RunDirectory) -> None:
    run.close()
    record = read_record(run.path)
    for name, read in (
        ("circuit.qpy", lambda: stored_problem(run.path, record)),
        ("record.json", lambda: read_record(run.path)),
    ):
        (run.path / name).unlink()
        os.mkfifo(run.path / name)
        with pytest.raises(RunRecordError, match="is not a regular file"):
            read()


def test_a_pipe_in_the_place_of_a_result_counts_as_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert read_result(tmp_path / "pipe.npz") is None
