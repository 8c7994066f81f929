"""Says to Kubernetes that this node has the units of the site's QPUs: ``qompass.org/NAME``, as an extended resource.

What the DaemonSet of components/qpu runs. It repeats itself, since a kubelet that starts anew forgets what it was told;
quotas are Kueue's affair and leases are Qompass's own, this is for the scheduler, which puts no pod on a node without.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launch.kubernetes.devices import read_site_devices

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEVICES = Path("/etc/qompass/devices/devices")
DOMAIN = "qompass.org"
AGAIN_S = 60.0
SAID = Path("/tmp/said")  # touched whenever it went well: what the probes look at


def patch_of(units: dict[str, int]) -> list[dict[str, str]]:
    """The JSON patch of a node's status that gives it these units of these QPUs."""
    return [
        {"op": "add", "path": f"/status/capacity/{DOMAIN}~1{name}", "value": str(number)}
        for name, number in units.items()
    ]


def say_units(server: str, node: str, units: dict[str, int], account: Path = ACCOUNT) -> None:
    """Patch a node's status.

    Args:
        server: URL of the API server.
        node: its name.
        units: by the QPU's name.
        account: folder with the ``token`` and ``ca.crt`` of the service account.

    Raises:
        OSError: the API server cannot be reached, or does not allow it.
    """
    request = urllib.request.Request(
        f"{server}/api/v1/nodes/{node}/status",
        json.dumps(patch_of(units)).encode(),
        {
            "Authorization": f"Bearer {(account / 'token').read_text().strip()}",  # it is renewed now and then
            "Content-Type": "application/json-patch+json",
        },
        method="PATCH",
    )
    context = ssl.create_default_context(cafile=str(account / "ca.crt")) if server.startswith("https:") else None
    with urllib.request.urlopen(request, timeout=30, context=context):
        pass


def main() -> int:
    """Say it, again and again."""
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    server = f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    while True:
        units = {str(qpu["name"]): int(qpu["units"]) for qpu in read_site_devices(DEVICES).qpus}
        try:
            say_units(server, os.environ["NODE"], units)
            SAID.touch()
        except OSError as error:  # HTTPError is one
            print(f"units: {error}; trying again", file=sys.stderr, flush=True)
        time.sleep(AGAIN_S)


if __name__ == "__main__":
    sys.exit(main())
