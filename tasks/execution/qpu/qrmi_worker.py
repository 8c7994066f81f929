"""The process that talks to a QPU service: it alone imports ``qrmi``. Requests and answers are lines of JSON.

A process of its own, because the client has no time limit: a call to a service that never answers can only be ended
from outside. When the application that started it dies, standard input ends and the worker releases what it holds.
This file is run as a script and imports nothing of Qompass, so that it starts in a tenth of a second.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import time
from typing import Any

RELEASE_SECONDS = 20.0
ORPHAN_SECONDS = 1.0


def main() -> None:
    """Serve requests until standard input ends, then release."""
    qrmi = importlib.import_module("qrmi")

    renewal: list[str] = []

    def on_log(level: str, origin: str, message: str) -> None:
        # Its log can quote requests, so nothing of it is passed on but this: a token that could not be renewed shows
        # as a wrong token in the next answer, whatever the reason was.
        if "Token renewal failed" in message:
            renewal[:] = [message]

    qrmi.set_log_callback(on_log)
    opening = json.loads(sys.stdin.readline())
    requests: queue.Queue[str] = queue.Queue()
    held: list[str] = []

    kind = getattr(qrmi.ResourceType, opening["type"])

    def create() -> Any:
        return qrmi.QuantumResource.from_config(opening["name"], kind, opening["environment"])

    def read_requests() -> None:
        for line in sys.stdin:
            requests.put(line)
        release()

    def release() -> None:
        # A second client: the first may be busy in a call that never returns.
        timer = threading.Timer(RELEASE_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()
        try:
            for token in list(held):
                create().release(token)
        finally:
            os._exit(0)

    answer = sys.stdout
    sys.stdout = sys.stderr

    def watch_parent(parent: int) -> None:
        # A fork of the application that outlives it would keep standard input open.
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        release()

    threading.Thread(target=read_requests, daemon=True).start()
    threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()
    client = None
    while True:
        request = json.loads(requests.get())
        renewal.clear()
        try:
            if client is None or request["verb"] == "open":
                client = create()
            value = _call(qrmi, client, request["verb"], request["arguments"])
            if request["verb"] == "acquire":
                held.append(value)
            if request["verb"] == "release" and request["arguments"][0] in held:
                held.remove(request["arguments"][0])
            reply = {"value": value}
        except Exception as error:  # every failure of the client is an answer, to be judged by who asked
            reply = {"error": type(error).__name__, "message": str(error), "renewal": "".join(renewal)}
        answer.write(json.dumps(reply) + "\n")
        answer.flush()


def _call(qrmi: Any, client: Any, verb: str, arguments: list[Any]) -> Any:
    if verb == "open":
        return None
    if verb == "task_start":
        kind, fields = arguments
        payload = getattr(qrmi.Payload, kind)(**fields)
        return client.task_start(payload)
    if verb == "status":
        return client.status().to_dict()
    value = getattr(client, verb)(*arguments)
    if verb in {"target", "task_result"}:
        return value.value
    if verb == "task_status":
        return str(value).rpartition(".")[2]
    return value


if __name__ == "__main__":
    main()
