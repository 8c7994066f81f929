"""The process by which a client reaches a Qiskit backend: it relays lines to its owner, or makes one that has a name.

Run as a script like ``qrmi_worker``, and ended in the same way: standard input ends.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path


def main() -> None:
    """Serve requests until standard input ends."""
    environment = json.loads(sys.stdin.readline())["environment"]
    if "QRMI_SOCKET" in environment:
        relay(environment["QRMI_SOCKET"])
    else:
        make(environment["QRMI_BACKEND"])


def relay(path: str) -> None:
    """Hand lines on to the process that has the backend, and its answers back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        answers = connection.makefile("r")

        def back() -> None:
            for line in answers:
                sys.stdout.write(line)
                sys.stdout.flush()

        reader = threading.Thread(target=back, daemon=True)
        reader.start()
        for line in sys.stdin:
            connection.sendall(line.encode())
        connection.shutdown(socket.SHUT_WR)
        reader.join()


def make(name: str) -> None:
    """Answer for a backend that has a name."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from tasks.execution.backends import NamedSampler
    from tasks.execution.qpu.served import Served

    answer, sys.stdout = sys.stdout, sys.stderr
    served = Served(NamedSampler(name))
    for line in sys.stdin:
        answer.write(served.answer(line) + "\n")
        answer.flush()


if __name__ == "__main__":
    main()
