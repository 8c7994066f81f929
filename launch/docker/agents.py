"""Start, describe and call COMPSs agents: what the containers of compose.yaml do, and anybody can do by hand.

Agents are processes of COMPSs with a REST interface: one is asked to run an application and shares its tasks with the
agents it was told of, which come and go while it runs. COMPSs' own scripts (``compss_agent_start``) start them; the
requests are those of ``compss_agent_add_resources`` and its like, which cannot name a processor or pass a blank.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
REST_PORT, COMM_PORT = 46101, 46102
PAIRS = ROOT / "launch/docker/resources"
OPERATION = "apps.agent.run"
_LOOK_S = 0.1
_UNBEGUN_S = 60.0  # before the caller is told what it is waiting for
_NO_ANSWER = "does not answer: is the agent up, and is this its REST port?"


class AgentError(Exception):
    """An agent refused something or is not there; the text is one line."""


def serve(name: str, rest: int, comm: int, resources: Path, folder: Path) -> None:
    """Become an agent.

    Args:
        name: what the other agents call this machine.
        rest: port of the REST interface.
        comm: port on which agents exchange tasks and data.
        resources: folder with ``project.xml`` and ``resources.xml``: what the agent itself has for tasks.
        folder: for its logs and working files.
    """
    program = shutil.which("compss_agent_start")
    if program is None:
        raise AgentError("compss_agent_start is not on the PATH: install COMPSs (launch/README.md)")
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # mpirun is there
    os.environ.setdefault("HYDRA_LAUNCHER", "fork")
    os.execv(
        program,
        [program, f"--hostname={name}", f"--rest_port={rest}", f"--comm_port={comm}", f"--pythonpath={ROOT}",
         f"--python_interpreter={sys.executable}", f"--log_dir={folder / 'logs'}",
         f"--project={resources / 'project.xml'}", f"--resources={resources / 'resources.xml'}"],
    )  # fmt: skip


def processor(name: str, kind: str, units: int) -> str:
    """A processor in COMPSs' words."""
    return (
        f"<processor><name>{escape(name)}</name><type>{kind}</type><architecture>[unassigned]</architecture>"
        f"<computingUnits>{units}</computingUnits><internalMemory>-1.0</internalMemory><propName>[unassigned]"
        "</propName><propValue>[unassigned]</propValue><speed>-1.0</speed></processor>"
    )


def description(processors: Sequence[str]) -> str:
    """What a node has, in COMPSs' words; all but the processors is left open."""
    return (
        f"<processors>{''.join(processors)}</processors><memorySize>-1</memorySize>"
        "<memoryType>[unassigned]</memoryType><storageSize>-1.0</storageSize><storageType>[unassigned]</storageType>"
        "<operatingSystemDistribution>[unassigned]</operatingSystemDistribution>"
        "<operatingSystemType>[unassigned]</operatingSystemType>"
        "<operatingSystemVersion>[unassigned]</operatingSystemVersion><pricePerUnit>-1.0</pricePerUnit>"
        "<priceTimeUnit>-1</priceTimeUnit><value>0.0</value><wallClockLimit>-1</wallClockLimit>"
    )


def add(agent: str, worker: str, comm: int, processors: Sequence[str]) -> None:
    """Tell an agent of another one that takes its tasks from now on."""
    _put(
        agent, "addResources",
        f"<newResource><externalResource><name>{escape(worker)}</name><description>{description(processors)}"
        "</description><adaptor>es.bsc.compss.agent.comm.CommAgentAdaptor</adaptor>"
        '<resourceConf xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="ResourcesExternalAdaptorProperties"><Property><Name>Port</Name><Value>{comm}</Value></Property>'
        "</resourceConf></externalResource></newResource>",
    )  # fmt: skip


def remove(agent: str, worker: str) -> None:
    """Take a worker away from an agent: it finishes what it has begun and gets nothing more."""
    _put(agent, "removeNode", f"<removeNode><workerName>{escape(worker)}</workerName></removeNode>")


def lost(agent: str, worker: str) -> None:
    """Tell an agent that a worker has died: what ran there is run elsewhere."""
    _put(agent, "lostNode", f"<lostNode><workerName>{escape(worker)}</workerName></lostNode>")


def resources(agent: str) -> dict[str, dict[str, int]]:
    """Units of each processor of each node that an agent knows of."""
    document = json.loads(_ask(agent, "GET", "resources/"))
    return {
        node["name"]: {one["name"]: one["units"] for one in node["description"]["processors"]}
        for node in document["resources"]
    }


def call(agent: str, operation: str, arguments: Sequence[str]) -> None:
    """Have an agent run a Python function; nothing says when it ends.

    Args:
        agent: its REST interface, HOST:PORT.
        operation: ``module.function``, decorated as a task.
        arguments: texts.
    """
    module, _, function = operation.rpartition(".")
    values = "".join(
        f'<params paramId="{number}"><direction>IN</direction><paramName></paramName><prefix></prefix>'
        f"<contentType></contentType><stdIOStream>UNSPECIFIED</stdIOStream><type>STRING_64_T</type>"
        f'<element paramId="{number}"><className>java.lang.String</className>'
        '<value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:xs="http://www.w3.org/2001/XMLSchema" xsi:type="xs:string">'
        f"{base64.b64encode(b'#' + text.encode()).decode()}</value></element></params>"
        for number, text in enumerate(arguments)
    )
    _put(
        agent, "startApplication",
        f"<startApplication><lang>PYTHON</lang><className>{module}</className><hasResult>false</hasResult>"
        f"<methodName>{function}</methodName><parameters>{values}</parameters></startApplication>",
    )  # fmt: skip


def run(
    agent: str,
    arguments: Sequence[str],
    answers: Path,
    operation: str = OPERATION,
    limit_s: float = 86400.0,
    silent_s: float = 120.0,
) -> int:
    """Have an agent run a ``qompass`` command line, and pass on what it says.

    Args:
        agent: its REST interface, HOST:PORT.
        arguments: of the command.
        answers: a folder that the agent and this process share.
        operation: what to run instead.
        limit_s: how long to wait.
        silent_s: how long a command that has begun may give no sign of life.

    Returns:
        the command's exit status.

    Raises:
        AgentError: the agent or the command's process has died, or it takes too long.
    """
    answer = Path(tempfile.mkdtemp(prefix="answer-", dir=answers))
    call(agent, operation, [str(answer), json.dumps(list(arguments))])
    began = seen = time.monotonic()
    beat, told = "", False
    while not (answer / "status").exists():
        now = time.monotonic()
        if now - began > limit_s:
            raise AgentError(f"{agent}: no answer after {limit_s:g} s; its log may say why")
        last, beat = beat, _content(answer / "beat") or beat
        seen = now if beat != last else seen
        if beat and now - seen > silent_s and not (answer / "status").exists():
            raise AgentError(
                f"{agent}: the command's process has died: its log may say why, `qompass resume` goes on with what"
                f" the run has stored; what it said is in {answer}"
            )
        if not beat and not told and now - began > _UNBEGUN_S:
            told = True
            print(
                f"agents: {agent} has not begun in {_UNBEGUN_S:g} s: it is busy, or does not see {answers} or Qompass:"
                " its log says which",
                file=sys.stderr,
            )
        _ask(agent, "GET", "test/")  # an agent that has died answers nobody
        time.sleep(_LOOK_S)
    sys.stderr.write((answer / "errors").read_text())
    sys.stdout.write((answer / "output").read_text())
    status = int((answer / "status").read_text())
    shutil.rmtree(answer)
    return status


def _content(file: Path) -> str:
    """What is in a file, "" where there is none."""
    try:
        return file.read_text()
    except OSError:
        return ""


def stop(agent: str) -> None:
    """End an agent."""
    _ask(agent, "DELETE", "")


def _put(agent: str, what: str, document: str) -> None:
    _ask(agent, "PUT", what, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{document}')


def _ask(agent: str, method: str, what: str, document: str = "") -> str:
    host, _, port = agent.partition(":")
    request = urllib.request.Request(
        f"http://{host}:{port or REST_PORT}/COMPSs/{what}",
        data=document.encode() or None,
        headers={"Content-Type": "application/xml"},
        method=method,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace").strip()[:200]
        raise AgentError(f"{agent}: refused ({said or error.reason})") from None
    except OSError:
        raise AgentError(f"{agent}: {_NO_ANSWER}") from None


def processors(cpus: int, qpus: Sequence[str]) -> list[str]:
    """A worker's processors in COMPSs' words.

    Args:
        cpus: units on which tasks compute; 0 for a worker that only reaches QPUs.
        qpus: NAME or NAME=UNITS.
    """
    units = [text.partition("=") for text in qpus]
    clients = sum(int(count or 1) for _, _, count in units)
    return [
        *([processor("CPU", "CPU", cpus)] if cpus else []),
        *([processor("Clients", "CPU", clients)] if clients else []),  # COMPSs runs as many tasks as there are CPUs
        *(processor(name, "OTHER", int(count or 1)) for name, _, count in units),
    ]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="launch/docker/agents.py", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    agent = verbs.add_parser("serve", help="become an agent")
    agent.add_argument("name", help="what the other agents call this machine")
    agent.add_argument("--rest", type=int, default=REST_PORT, help="port of its REST interface")
    agent.add_argument("--comm", type=int, default=COMM_PORT, help="port between agents")
    agent.add_argument("--resources", type=Path, default=PAIRS / "application", help="folder with the pair")
    agent.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "qompass-agent", help="for logs")
    for verb, says in (
        ("add", "tell AGENT of a worker"),
        ("remove", "take a worker away from AGENT"),
        ("lost", "tell AGENT that a worker has died"),
        ("resources", "list what AGENT has"),
        ("run", "have AGENT run a qompass command"),
        ("stop", "end AGENT"),
    ):
        one = verbs.add_parser(verb, help=says)
        one.add_argument("agent", metavar="AGENT", help="its REST interface, HOST[:PORT]")
        if verb in ("add", "remove", "lost"):
            one.add_argument("worker", help="the worker's name")
        if verb == "add":
            one.add_argument("--comm", type=int, default=COMM_PORT, help="the worker's port between agents")
            one.add_argument("--cpus", type=int, default=os.cpu_count() or 1, help="its computing units")
            one.add_argument("--qpu", action="append", default=[], metavar="NAME[=UNITS]", help="a QPU that it reaches")
        if verb == "run":
            one.add_argument("--answers", type=Path, default=Path.cwd(), help="a folder that AGENT sees too")
            one.add_argument("command", nargs=argparse.REMAINDER, help="of qompass, e.g. run CIRCUIT --observable Z0")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; see --help."""
    asked = build_parser().parse_args(arguments)
    try:
        match asked.verb:
            case "serve":
                serve(asked.name, asked.rest, asked.comm, asked.resources.resolve(), asked.folder.resolve())
            case "add":
                add(asked.agent, asked.worker, asked.comm, processors(asked.cpus, asked.qpu))
            case "resources":
                for name, units in sorted(resources(asked.agent).items()):
                    print(name, shlex.join(f"{processor}={count}" for processor, count in sorted(units.items())))
            case "run":
                return run(asked.agent, asked.command, asked.answers.resolve())
            case "stop":
                stop(asked.agent)
            case verb:
                {"remove": remove, "lost": lost}[verb](asked.agent, asked.worker)
    except (AgentError, ValueError) as error:
        print(f"agents: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
