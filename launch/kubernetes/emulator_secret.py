"""Prints the Secrets of the emulated QPU, with a new token, for ``kubectl apply -f -``; no disk is written to."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launch.emulator.options import parse_device
from launch.emulator.services import environment

DEVICE = "QPU_A:kind=ibm,backend=hanoi"  # as components/emulator has it
URL = "http://qompass-emulator:8080"


def emulator_secrets(token: str, url: str = URL, device: str = DEVICE) -> list[dict[str, Any]]:
    """The token for the emulator, and the same in the qrmi_config.json of those who use it."""
    described = parse_device(device)
    config = {
        "resources": [
            {"name": described.name, "type": described.kind, "environment": environment(described, url, token)}
        ]
    }
    files = {"qompass-emulator": {"token": token}, "qompass-qrmi": {"qrmi_config.json": json.dumps(config)}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "qompass"},
            "type": "Opaque",
            "stringData": content,
        }
        for name, content in files.items()
    ]


if __name__ == "__main__":
    print(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": emulator_secrets(secrets.token_urlsafe(24))}, indent=1)
    )
