"""Makes the example run beside this, its report and the pictures of both: ``python -m results.examples.pictures``.

Needs the extra `report` and a Chromium. The run is the bundled example with shots; its folder is a
Provenance Run Crate. The machine is called by another name than its own.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from apps.cli.main import main
from apps.cli.watch import view
from tasks.runs.live import LiveRun

HERE = Path(__file__).parent
RUN = HERE / "run"
_NODE = "workstation"
_ASKED = ("apps/circuits/vqe40.qasm", "--observable", "Z0 Z1", "--observable", "X0", "--max-qubits", "12")


def make(browser: str) -> None:
    """Run, report, and take the pictures."""
    shutil.rmtree(RUN, ignore_errors=True)
    elsewhere = patch("platform.node", return_value=_NODE), patch("tasks.runs.log._NODE", _NODE)
    with tempfile.TemporaryDirectory() as folder, elsewhere[0], elsewhere[1]:
        status = main(["run", *_ASKED, "--target-error", "0.004", "--seed", "7", "--cache", "off", "--out", folder])
        assert status == 0
        (made,) = Path(folder).iterdir()
        assert main(["report", str(made)]) == 0
        shutil.copytree(made, RUN, ignore=shutil.ignore_patterns("lock"))
    live = LiveRun(RUN)
    live.read()
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
    console.print(view(live, RUN, live.latest or 0.0))
    (HERE / "watch.svg").write_text(console.export_svg(title="qompass watch RUN"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,1750", "--hide-scrollbars",
               "--virtual-time-budget=20000", f"--screenshot={HERE / 'report.png'}"]  # fmt: skip
    subprocess.run([*command, (RUN / "report.html").as_uri()], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("no Chromium is on the PATH")
    make(found)
