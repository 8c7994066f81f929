"""What a caller hears of a command that a COMPSs agent runs: its answer, and that its process has died."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import apps.agent
from launch.docker import agents
from tasks.runtime import heartbeat

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "say": "print('said'); sys.exit(3)",
    "hang": "import threading; threading.Event().wait()",
}


class Rest:
    """An agent's REST interface; what it is asked to start is a process of its own."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        rest = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_PUT(self) -> None:
                document = self.rfile.read(int(self.headers["Content-Length"])).decode()
                values = re.findall(r'xsi:type="xs:string">([^<]*)<', document)
                folder, arguments = (base64.b64decode(value).decode().removeprefix("#") for value in values)
                command = COMMANDS[arguments.strip('[]"')]
                program = f"import sys; from apps.agent import answer\ndef main(): {command}\nanswer({folder!r}, main)"
                rest.processes.append(subprocess.Popen([sys.executable, "-c", program], cwd=ROOT))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.name = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def rest() -> Iterator[Rest]:
    one = Rest()
    yield one
    one.server.shutdown()
    one.server.server_close()
    for process in one.processes:
        process.kill()
        process.wait()


def test_what_a_command_says_and_its_status_come_back(
    rest: Rest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agents.run(rest.name, ["say"], tmp_path) == 3
    assert capsys.readouterr().out == "said\n" and not list(tmp_path.iterdir())


def test_a_command_whose_process_is_killed_is_not_waited_for(rest: Rest, tmp_path: Path) -> None:
    def kill() -> None:
        while not list(tmp_path.glob("*/beat")):
            time.sleep(0.01)
        rest.processes[0].kill()

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(agents.AgentError, match=r"process has died.*resume"):
        agents.run(rest.name, ["hang"], tmp_path, silent_s=1.0, limit_s=300.0)
    killing.join()


def test_a_command_that_has_not_begun_is_told_of_once(
    rest: Rest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agents, "_UNBEGUN_S", 0.0)
    monkeypatch.setattr(agents, "call", lambda *_: None)
    with pytest.raises(agents.AgentError, match="no answer after 1 s"):
        agents.run(rest.name, ["say"], tmp_path, limit_s=1.0)
    assert capsys.readouterr().err.count("has not begun in 0 s") == 1


def test_a_command_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    seen: set[str] = set()

    def watch() -> int:
        while len(seen) < 3:
            seen.add((tmp_path / "beat").read_text())
        return 0

    apps.agent.answer(str(tmp_path), watch)
    assert (tmp_path / "status").read_text() == "0" and len(seen) == 3
