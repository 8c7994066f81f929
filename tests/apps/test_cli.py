"""The qompass command as a user meets it: documents, exit statuses, one-line errors, interruption and resumption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from apps.cli.arguments import build_parser
from apps.cli.doctor import doctor
from apps.cli.main import main
from tasks.runs import RunDirectory, read_record

ROOT = Path(__file__).resolve().parents[2]
CIRCUITS = ROOT / "apps" / "circuits"
GHZ = str(CIRCUITS / "ghz12.qasm")
pytestmark = pytest.mark.usefixtures("own_folder")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "apps.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "results" / "runs").glob("*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run from the command line, and the folder it was started in."""
    folder = tmp_path_factory.mktemp("finished")
    wanted = ["--observable", "Z0 Z11", "--observable", "0.5*Z0 - 2", "--observable", "X" * 12]
    arguments = command("run", GHZ, *wanted, "--max-qubits", "6", "--json", "--cache", "off")
    return folder, subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)


class TestRun:
    def test_one_json_document_on_stdout_in_the_order_asked(
        self, finished: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        folder, done = finished
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["schema"] == 1 and (folder / document["run"]).is_dir()
        assert [e["observable"] for e in document["estimates"]] == ["Z0 Z11", "0.5*Z0 - 2", "X" * 12]
        assert [e["value"] for e in document["estimates"]] == pytest.approx([1, -2, 1], abs=1e-9)
        assert {e["std_error"] for e in document["estimates"]} == {0.0}
        assert max(fragment["width"] for fragment in document["plan"]["fragments"]) <= 6
        assert "12 final measurements dropped" in done.stderr and "\x1b" not in done.stderr

    def test_the_record_says_what_was_done_and_with_what(
        self, finished: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        record = read_record(runs(finished[0])[0])
        assert record["status"] == "done" and set(record["timings"]) == {"cut", "execute", "reconstruct"}
        assert len(record["inputs"]["circuit"]["sha256"]) == 64 and record["versions"]["qiskit-aer"]
        assert record["options"]["max_qubits"] == 6 and record["seed"] == 0
        assert all(result["device"] for result in record["results"].values()) and record["results"]

    def test_resuming_a_finished_run_shows_it_again(
        self,
        finished: tuple[Path, subprocess.CompletedProcess[str]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(finished[0])
        assert main(["resume", runs(finished[0])[0].name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(finished[1].stdout)

    def test_expectation_py_is_the_same_program(self, tmp_path: Path) -> None:
        wanted = ["--observable", "Z0 Z11", "--max-qubits", "6", "--json"]
        script = [sys.executable, str(ROOT / "apps" / "expectation.py"), GHZ, *wanted]
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(script, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=120)
        assert json.loads(done.stdout)["estimates"][0]["value"] == pytest.approx(1), done.stderr


class TestPlan:
    def test_a_plan_can_be_given_back_as_cuts(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", GHZ, "--max-qubits", "5", "--json"]) == 0
        first = json.loads(capsys.readouterr().out)
        (tmp_path / "cuts.json").write_text(json.dumps(first["plan"]["cuts"]))
        assert main(["plan", GHZ, "--cuts", "cuts.json", "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["plan"]["cuts"] == first["plan"]["cuts"] and first["plan"]["cuts"]["gates"]
        assert first["instructions"][1] == {"index": 1, "gate": "cx", "parameters": [], "qubits": [0, 1]}
        assert not (tmp_path / "results").exists()

    def test_a_plan_says_what_it_will_cost(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", GHZ, "--max-qubits", "6", "--instructions"]) == 0
        shown = capsys.readouterr().out
        for word in ("sampling overhead", "distinct variants", "memory", "fragment", "depth", "legs", "instruction"):
            assert word in shown

    def test_a_plan_says_which_gates_are_one_cut_and_what_their_copy_needs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gates = "cx q[0],q[2]; ry(0.3) q[2]; cx q[0],q[3]; h q[0]; cx q[1],q[2]; ry(0.4) q[2]; cx q[1],q[3];"
        (tmp_path / "c.qasm").write_text(f'OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; h q; {gates}')
        cuts = {"gates": [{"instruction": 4, "with": [6]}, {"instruction": 8, "with": [10]}], "wires": []}
        (tmp_path / "cuts.json").write_text(json.dumps(cuts))
        assert main(["plan", "c.qasm", "--cuts", "cuts.json"]) == 0
        shown = capsys.readouterr().out
        assert "4+6, 8+10" in shown and "joined by + are severed as one cut" in shown, shown
        assert "1 qubit more on a device that cannot reset in mid-circuit" in shown, shown

    @pytest.mark.parametrize("name", ["ghz12.qasm", "qaoa40.qasm", "vqe40.qasm", "brickwork100.qasm"])
    def test_every_bundled_circuit_can_be_planned(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", str(CIRCUITS / name), "--max-qubits", "12", "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)["plan"]
        assert max(fragment["width"] for fragment in plan["fragments"]) <= 12

    def test_bundled_circuits_are_what_their_generator_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from apps.circuits import generate

        monkeypatch.setattr(generate, "HERE", tmp_path)
        generate.main()
        for path in tmp_path.glob("*.qasm"):
            assert path.read_text() == (CIRCUITS / path.name).read_text()


BAD = [
    (["run", "none.qasm", "--observable", "Z0"], "none.qasm: No such file"),
    (["run", "broken.qasm", "--observable", "Z0"], "broken.qasm, line 4"),
    (["run", "measured.qasm", "--observable", "Z0"], "mid-circuit measurement"),
    (["run", "reset.qasm", "--observable", "Z0"], "reset"),
    (["run", "conditional.qasm", "--observable", "Z0"], "classical control"),
    (["run", "unbound.qasm", "--observable", "Z0"], "unbound parameters (alpha)"),
    (["run", "unknown.qasm", "--observable", "Z0"], "'foo' is not defined"),
    (["run", GHZ], "no observable is given"),
    (["run", GHZ, "--observable", "ZZ"], "2 wide, the circuit has 12"),
    (["run", GHZ, "--observable", "2j*Z0"], "complex coefficient"),
    (["run", GHZ, "--observables", "broken.json"], "broken.json, line 1"),
    (["run", GHZ, "--observable", "Z0", "--shots", "0"], "--shots: '0' is not a whole number from 1"),
    (["run", GHZ, "--observable", "Z0", "--shots", "-5"], "'-5' is not a whole number"),
    (["optimise", "h2", "--layers", "9" * 5000], "9' is not a whole number from 1 to 1,000,000"),
    (["plan", "missing.qasm", "--draw", "a.gif"], "a.gif: a picture is written as .svg, .png, .pdf"),
    (["run", GHZ, "--observable", "Z0", "--shots", "1" + "0" * 30], "is not a whole number from 1 to 10,000,000,000"),
    (["run", GHZ, "--observable", "Z0", "--shots", "10", "--exact"], "not allowed with"),
    (["run", GHZ, "--observable", "Z0", "--exact", "--target-error", "0.1"], "no error to aim at"),
    (["run", GHZ, "--observable", "Z0", "--max-qubits", "0"], "from 1 to"),
    (["run", GHZ, "--observable", "Z0", "--seed", "x"], "'x' is not a whole number"),
    (["run", GHZ, "--observable", "Z0", "--memory", "lots"], "'lots' is not an amount of memory"),
    (["run", GHZ, "--observable", "Z11", "--memory", "1KB", "--max-qubits", "6"], "of memory"),
    (["run", GHZ, "--observable", "Z0", "--cuts", "nogate.json"], "no instruction 99"),
    (["run", GHZ, "--observable", "Z11", "--cuts", "cut.json", "--max-qubits", "4"], "--max-qubits 4"),
    (["run", GHZ, "--observable", "Z0", "--out", "file/below"], "cannot write runs into"),
    (["run", GHZ, "--observable", "Z0", "--engine", "magic"], "invalid choice: 'magic'"),
    (["run", GHZ, "--observable", "Z0", "--resources", "none.xml"], "none.xml"),
    (["run", GHZ, "--observable", "Z0", "--resources", "broken.xml"], "broken.xml"),
    (["run", GHZ, "--observable", "Z0", "--cache", "redis://:hunter2@h"], "QOMPASS_REDIS_PASSWORD"),
    (["run", GHZ, "--observable", "Z0", "--cache", "redis://h?password=hunter2"], "QOMPASS_REDIS_PASSWORD"),
    (["run", GHZ, "--observable", "Z0", "--cache", "redis://["], "not a URL"),
    (["run", GHZ, "--observable", "Z0", "--cache", "ftp://h"], "a URL that begins with one of redis://"),
    (["run", GHZ, "--observable", "Z0", "--cache", "redis://h:abc"], "not a URL"),
    (["run", GHZ, "--observable=--"], "--observable: '--' is no value"),
    (["resume", "nothing"], "nothing is not a run"),
    (["fly"], "invalid choice: 'fly'"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(a).replace(GHZ, "ghz")[:70] for a, _ in BAD])
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    header = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
    files = {
        "broken.qasm": header + "qreg q[2]\nh q[0];",
        "measured.qasm": header + "qreg q[2]; creg c[1]; measure q[0] -> c[0]; h q[0];",
        "reset.qasm": header + "qreg q[2]; h q[0]; reset q[0];",
        "conditional.qasm": header + "qreg q[2]; creg c[1]; if (c == 1) x q[0];",
        "unbound.qasm": 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float alpha; qubit[2] q; rx(alpha) q[0];',
        "unknown.qasm": header + "qreg q[2]; foo q[0];",
        "broken.json": "[[",
        "nogate.json": '{"gates": [99]}',
        "cut.json": '{"gates": [6]}',
        "broken.xml": "<ResourcesList><ComputeNode>",
        "file": "",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    try:
        status = main(arguments)
    except SystemExit as leaving:  # argparse leaves by itself
        status = int(leaving.code or 0)
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if "final measurements dropped" not in line]
    assert status == 2 and out == "", err
    assert len(lines) == 1 and lines[0].startswith("qompass: ") and expected in lines[0], err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("results", "cache")) == sorted(files)
    assert runs(tmp_path) == []


def test_a_folder_of_runs_that_is_no_job_is_not_resumed_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", GHZ, "--observable", "Z0"]) == 0
    capsys.readouterr()
    for folder in ("results/runs", "."):
        assert main(["resume", folder, "--out", "elsewhere"]) == 2
        assert "is not a run" in capsys.readouterr().err
    job = tmp_path / "results/20261128-074431-8c0a17"
    (tmp_path / "results/runs").rename(job)
    assert main(["resume", str(job)]) == 0 and "Z0" in capsys.readouterr().out


def test_a_job_of_several_runs_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    job = Path("20261128-074431-8c0a17")
    printed = []
    for name in ("Z0 Z1", "X0 X1"):
        assert main(["run", GHZ, "--observable", name, "--max-qubits", "6", "--json", "--out", str(job)]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert main(["resume", str(job), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"schema": 1, "runs": sorted(printed, key=lambda own: own["run"])}


def test_a_job_that_is_interrupted_goes_on_with_none_of_its_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def interrupted(problem: object, options: object, directory: RunDirectory, progress: object) -> None:
        begun.append(directory.path.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("apps.cli.run.workflow.run", interrupted)
    job = "20261128-074431-8c0a17"
    for _ in range(2):
        assert main(["run", GHZ, "--observable", "Z0 Z1", "--max-qubits", "6", "--out", job]) == 130
    capsys.readouterr()
    assert main(["resume", job, "--json"]) == 130
    assert begun[2:] == [min(begun[:2])] and capsys.readouterr().out == ""


class TestInterruption:
    LONG = ("--observable", "X" * 12, "--max-qubits", "6", "--shots", "200000000", "--json", "--cache", "off")

    def started(self, folder: Path) -> subprocess.Popen[str]:
        """A run that has stored no more than a part of its results."""
        circuit = folder / "long.qasm"
        if not circuit.exists():
            layers = "".join(f"ry(0.{q + 1}) q[{q}];\n" for q in range(12)) + "".join(
                f"rzz(0.{q + 1}) q[{q}],q[{q + 1}];\n" for q in range(11)
            )
            circuit.write_text('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[12];\n' + 4 * layers)
        process = subprocess.Popen(
            command("run", str(circuit), *self.LONG),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not list(folder.glob("results/runs/*/fragments/*.npz")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no result was stored within a minute"
            time.sleep(0.02)
        return process

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
    def test_an_interrupted_run_ends_every_process_and_says_how_to_go_on(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        process = self.started(tmp_path)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130 and out == "", err
        assert "Traceback" not in err and "qompass resume results/runs/" in err
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        assert read_record(runs(tmp_path)[0])["status"] == "interrupted"

    def test_a_killed_run_is_resumed_without_repeating_what_is_done(
        self, tmp_path: Path, own_folder: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process = self.started(tmp_path)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate(timeout=60)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == [], "workers outlive a killed run"
        (folder,) = runs(tmp_path)
        kept = {path: path.stat().st_mtime_ns for path in (folder / "fragments").glob("[!.]*.npz")}
        record = read_record(folder)
        assert record["status"] == "interrupted" and kept
        assert main(["resume", folder.name, "--json"]) == 0
        resumed = json.loads(capsys.readouterr().out)
        assert {path: path.stat().st_mtime_ns for path in kept} == kept
        assert main(["run", str(tmp_path / "long.qasm"), *self.LONG]) == 0
        assert resumed["estimates"] == json.loads(capsys.readouterr().out)["estimates"]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("runs show --why one two", "runs", ["one", "two"]),
        ("runs list --why", "runs", []),
        ("runs compare one --json two", "runs", ["one", "two"]),
        ("stage plan folder --max-qubits 2 c.qasm", "circuit", Path("c.qasm")),
        ("stage plan folder c.qasm --max-qubits 2", "circuit", Path("c.qasm")),
        ("cache export --cache store out.bin", "file", Path("out.bin")),
        ("pilot status --json mine", "name", "mine"),
    ],
)
def test_words_that_need_not_be_there_may_come_after_options(words: str, name: str, value: object) -> None:
    assert getattr(build_parser().parse_args(words.split()), name) == value


@pytest.mark.parametrize("words", ["stage plan folder c.qasm --max-qubits 2 d.qasm", "runs show --what one"])
def test_words_that_are_too_many_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(words.split())
    assert f"see qompass {words.split()[0]} --help" in capsys.readouterr().err


def test_an_option_written_wrongly_is_told_apart_from_one_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    for word, meant in (("--maxqubits", " (is --max-qubits meant?)"), ("--colour", "")):
        with pytest.raises(SystemExit):
            build_parser().parse_args(["run", "c.qasm", word, "6"])
        said = capsys.readouterr().err.strip()
        assert said == f"qompass: unrecognized arguments: {word} 6{meant}: see qompass run --help"


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = "import sys; from apps.cli.main import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'qiskit', 'numpy', 'rich', 'distributed', 'scipy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]" and "--observable" in done.stdout


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: qompass" in capsys.readouterr().err


def test_doctor_names_everything_and_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert {"cores", "memory", "embedded engine", "COMPSs engine", "MPI", "GPU", "QPUs"} <= set(findings)
    assert findings["COMPSs engine"]["found"] == (shutil.which("runcompss") is not None)
    assert all(finding["detail"] for finding in findings.values()) and doctor.__doc__
