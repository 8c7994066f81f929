"""The manifests as kustomize composes them: by kubectl, which holds kustomize."""

from __future__ import annotations

import copy
import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "launch/kubernetes"
OVERLAYS = ("minimal", "qpu", "gpu")


_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def _objects(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, _FAST))


def composed(overlay: str | Path) -> list[dict[str, Any]]:
    """The objects of an overlay (a name, or another folder with a kustomization)."""
    folder = overlay if isinstance(overlay, Path) else KUBERNETES / "overlays" / overlay
    return copy.deepcopy(_objects(folder))


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The object of this kind and name."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found
