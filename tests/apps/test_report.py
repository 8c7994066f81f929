"""The report: complete without scripts, silent with them, every number the record's, whatever state the run is in."""

from __future__ import annotations

import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from qiskit import QuantumCircuit, qasm2

pytest.importorskip("altair", reason="the extra `report` is not installed")

from apps.cli.main import main
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory, RunRecord, read_record
from tests.conftest import browser

ROOT = Path(__file__).resolve().parents[2]
MARKUP = "<script>alert(1)</script><b>&"


def _chain(path: Path, qubits: int) -> Path:
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.ry(0.3 + qubit / 7, qubit)
    for qubit in range(qubits - 1):
        circuit.cz(qubit, qubit + 1)
    path.write_text(qasm2.dumps(circuit))
    return path


def _run(folder: Path, qubits: int, width: int, *more: str) -> Path:
    circuit = _chain(folder / f"chain{qubits}.qasm", qubits)
    asked = ["--observable", "Z0 Z1", "--observable", f"X{qubits - 1}", "--max-qubits", str(width)]
    before = set((folder / "runs").glob("*"))
    assert main(["run", str(circuit), *asked, "--cache", "off", "--out", str(folder / "runs"), *more]) == 0
    (made,) = set((folder / "runs").glob("*")) - before
    return made


@pytest.fixture(scope="module", autouse=True)
def one_bundle():
    """The scripts of all pages are bundled once."""
    import vl_convert

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vl_convert, "javascript_bundle", functools.cache(vl_convert.javascript_bundle))
        yield


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> Path:
    return _run(tmp_path_factory.mktemp("sampled"), 6, 3, "--shots", "20000")


@pytest.fixture(scope="module")
def sampled_page(sampled) -> str:
    return _page(sampled)[1]


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return _run(tmp_path_factory.mktemp("many"), 40, 2)


@pytest.fixture(scope="module")
def many_page(many) -> str:
    return _page(many)[1]


def _page(run: Path, *more: Path) -> tuple[Path, str]:
    target = run / "report.html"
    assert main(["report", str(run), *map(str, more), "--to", str(target)]) == 0
    return target, target.read_text()


def _cells(page: str, table: str) -> list[str]:
    own = re.search(rf'<table[^>]*id="{table}".*?</table>', page, re.S)
    assert own is not None
    return [html.unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<td.*?</td>", own[0], re.S)]


def test_every_number_of_the_answer_is_the_records(sampled, sampled_page):
    record, page = read_record(sampled), sampled_page
    numbers = [float(text) for text in re.findall(r'data-value="([^"]*)"', page[: page.index("How it was cut")])]
    assert numbers == [number for e in record["estimates"] for number in (e["value"], e["std_error"])]
    assert [cell for cell in _cells(page, "estimates")[::3]] == [e["observable"] for e in record["estimates"]]
    shots = sum(int(text.replace(",", "")) for text in _cells(page, "fragments")[6::10])
    assert shots == 20_000 == sum(result["shots"] for result in record["results"].values())
    assert all(record["versions"][name] in page for name in record["versions"])
    assert record["inputs"]["circuit"]["sha256"] in page


def test_a_record_that_says_no_seed_has_a_page(sampled, tmp_path):
    copy = shutil.copytree(sampled, tmp_path / sampled.name)
    for name in ("circuit.qpy", "log.jsonl"):  # and no charts
        (copy / name).unlink()
    unsaid = ("seed", "engine", "versions", "plan", "results")
    kept = {name: own for name, own in read_record(copy).items() if name not in unsaid}
    (copy / "record.json").write_bytes(RunRecord(kept).to_bytes())
    assert 'id="estimates"' in _page(copy)[1]
    (copy / "record.json").write_bytes(RunRecord({**kept, "versions": {"python": "3"}}).to_bytes())
    assert "Seed unknown; no engine was started. python 3." in _page(copy)[1]


def test_it_says_whose_shots_bring_the_variance(sampled, sampled_page):
    shares = read_record(sampled)["variance_shares"]
    assert all(sum(own) == pytest.approx(1, abs=1e-5) for own in shares.values())
    errors = {e["observable"]: e["std_error"] for e in read_record(sampled)["estimates"]}
    assert list(shares) == sorted(shares, key=lambda name: -errors[name])
    assert [f"{100 * share:.1f} %" for share in next(iter(shares.values()))] == _cells(sampled_page, "fragments")[7::10]


def test_calibrations_and_the_engines_files_are_shown(sampled, tmp_path, capsys):
    run = shutil.copytree(sampled, tmp_path / sampled.name)
    (tmp_path / "logs" / "monitor").mkdir(parents=True)
    (tmp_path / "logs" / "monitor" / "complete_graph.dot").write_text("digraph {}")
    with RunDirectory.open(run) as directory:
        seen = {"calibrations": ["first", "second"], "drift": 0.25, "queue": 7, "wait": 12.0}
        errors = {"one_qubit": 2e-4, "two_qubit": 0.0125, "readout": 0.031}
        device = {"kind": "qpu", "units": 1, "type": "iqm-server", "qubits": 7, "errors": errors, **seen}
        engine = {"name": "compss", "version": "3.3", "logs": str(tmp_path / "logs")}
        directory.update(devices={"QPU_B": device}, engine=engine)
    _, page = _page(run)
    assert _cells(page, "calibration") == [
        "QPU_B", "iqm-server", "7", "0.0002", "0.013", "0.031", "+25 %", "7", "12 s", "first, second",
    ]  # fmt: skip
    assert (tmp_path / "logs/monitor/complete_graph.dot").as_uri() in page
    capsys.readouterr()
    assert main(["runs", "show", str(run)]) == 0
    assert "Engine's file: " in capsys.readouterr().out


def test_the_command_on_the_page_gives_the_same_run_again(sampled, sampled_page, tmp_path, capsys):
    found = re.search(r'<pre id="command">(.*?)</pre>', sampled_page, re.S)
    assert found is not None
    import shlex

    words = shlex.split(html.unescape(found[1]))
    assert words[0] == "qompass" and main([*words[1:], "--cache", "off", "--out", str(tmp_path)]) == 0
    (again,) = tmp_path.iterdir()
    assert read_record(again)["estimates"] == read_record(sampled)["estimates"]


@pytest.mark.parametrize("which", ["sampled", "many"])
def test_it_is_complete_without_scripts(which, request):
    page = request.getfixturevalue(f"{which}_page")
    figures = re.findall(r'<figure id="(\w+)"', page)
    assert {"circuit", "graph", "timeline", "costs"} <= set(figures)
    assert ("shots" in figures) == (which == "sampled")
    assert page.count("<svg role") == len(figures) == page.count('<script type="application/json"')
    assert not re.search(r"#0[14]0[25]0[36]\b", re.sub(r"<script.*?</script>", "", page, flags=re.S)), (
        "a colour is left"
    )
    for name in figures:
        json.loads(re.search(rf'id="spec-{name}">(.*?)</script>', page, re.S)[1])  # type: ignore[index]


def test_nothing_is_fetched_and_the_policy_forbids_it(sampled_page):
    assert "default-src 'none'" in sampled_page
    bare = re.sub(r"<script.*?</script>", "", sampled_page, flags=re.S)
    assert not re.search(r'(?:src|href)="(?!data:|#)', bare)


@pytest.mark.uses("browser")
@pytest.mark.parametrize("which", ["sampled", pytest.param("many", marks=pytest.mark.slow)])
def test_a_browser_draws_every_chart_without_a_word(which, request, tmp_path):
    page = request.getfixturevalue(f"{which}_page")
    (target := tmp_path / "report.html").write_text(page)
    dom, log, requests = _browsed(target, tmp_path)
    assert dom.count('data-ready="yes"') == page.count("<figure")
    assert not [line for line in log.splitlines() if "CONSOLE" in line], log
    assert not requests


def _browsed(target: Path, folder: Path) -> tuple[str, str, list[str]]:
    """The page as scripts leave it, what was said on the console, and every address outside it that was asked for."""
    net = folder / "net.json"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    own = [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", f"--log-net-log={net}"]
    command = [str(browser()), *flags, *own, "--dump-dom", target.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, "HOME": str(folder)})
    assert done.returncode == 0, done.stderr[-2000:]
    asked = re.findall(r'"url":"(https?://[^"]*)"', net.read_text(errors="replace")) if net.exists() else []
    return done.stdout, done.stderr, [url for url in asked if "google" not in url and "gvt1" not in url]


def _contrast(one: str, other: str) -> float:
    """After WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_is_readable_on_light_and_dark():
    from apps.report.style import CUT_COLOUR, DEVICE_COLOURS, UNSEEN_COLOUR, fragment_colours

    style = (Path(__file__).resolve().parents[2] / "apps/report/templates/base.html.j2").read_text()
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ][:2]
    assert len(themes) == 2
    for theme in themes:
        for name in ("text", "soft", "link", "good", "bad", "wait"):
            for ground in ("paper", "panel"):
                assert _contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
        for colour in (*DEVICE_COLOURS, UNSEEN_COLOUR, CUT_COLOUR, *fragment_colours(10)):  # marks, not text
            assert _contrast(colour, theme["paper"]) >= 3.0 - 0.5, colour
    assert all(
        _contrast(colour, "#ffffff") >= 4.5 for colour in fragment_colours(10)
    )  # names of gates are white on them


def test_markup_in_names_is_shown_and_not_executed(tmp_path):
    problem = make_problem(QuantumCircuit(2), "Z0")
    with RunDirectory.create(tmp_path, {"asked": {"observable": [MARKUP]}}, problem) as own:
        own.record.note(MARKUP)
        own.event("submit", "", task=0, attempt=0, device=MARKUP, kind="CPU", predicted=1.0, pieces=[[0, 0, 0, 1, 9]])
        own.event("task", "", task=0, work="run_jobs", attempt=0, device=MARKUP, node=MARKUP, began=0.0, seconds=1.0,
                  failure="", error=MARKUP, waited=0, done=[], cached=0, bytes=0)  # fmt: skip
        own.finish("done", estimates=[{"observable": MARKUP, "value": 1.0, "std_error": 0.5}])
    page = _page(own.path)[1]
    assert "<script>alert" not in page and html.escape(MARKUP) in page


@pytest.mark.parametrize("state", ["running", "interrupted", "failed", "empty", "damaged", "older"])
def test_a_run_in_any_state_gives_a_page_that_says_so(state, tmp_path, sampled):
    if state in ("damaged", "older"):
        run = tmp_path / "run"
        shutil.copytree(sampled, run)
        document = json.loads((run / "record.json").read_text())
        (run / "record.json").write_text("{" if state == "damaged" else json.dumps({**document, "schema": 1}))
        page = _page(run)[1]
        assert "unreadable" in page and ("damaged" if state == "damaged" else "older version") in page
        return
    directory = RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0"))
    if state == "failed":
        directory.finish("failed", error="RunError: no device")
    if state == "empty":
        directory.finish("done")
    if state != "running":
        directory.close()
    page = _page(directory.path)[1]
    directory.close()
    expected = {"running": "running", "interrupted": "qompass resume", "failed": "RunError: no device", "empty": "done"}
    assert expected[state] in page


def test_a_run_whose_files_are_damaged_is_shown_without_its_circuit(sampled, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(sampled, run)
    (run / "circuit.qpy").write_bytes(b"nothing")
    (run / "log.jsonl").write_bytes(b"\x00\xff\n{")
    page = _page(run)[1]
    assert '<figure id="circuit"' not in page and '<figure id="graph"' in page and "Z0 Z1" in page


def test_several_runs_are_set_beside_each_other(sampled, many):
    page = _page(sampled, many)[1]
    assert len(_cells(page, "runs")) == 16 and "X5" in _cells(page, "values") and page.count("<figure") == 2


@pytest.mark.parametrize("command", [["nowhere"], ["{run}", "--to", "/proc/nothing/report.html"]])
def test_bad_input_is_one_line(command, tmp_path, capsys):
    with RunDirectory.create(tmp_path, {}, make_problem(QuantumCircuit(2), "Z0")) as run:
        run.finish("done")
    capsys.readouterr()
    assert main(["report", *(word.format(run=run.path) for word in command)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.uses("browser")
def test_two_hundred_fragments_are_drawn(tmp_path):
    run = _run(tmp_path, 400, 2)
    assert len(read_record(run)["plan"]["fragments"]) >= 200
    target, page = _page(run)
    dom, log, _ = _browsed(target, tmp_path)
    assert dom.count('data-ready="yes"') == page.count("<figure") and "CONSOLE" not in log
    assert len(page) < 6_000_000


def test_a_limit_under_which_the_renderer_would_die_is_refused(sampled):
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of address space are kept on Linux")
    command = f'ulimit -v {8 << 20}; exec "{sys.executable}" -m apps.cli report "{sampled}"'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "ulimit -v" in done.stderr
