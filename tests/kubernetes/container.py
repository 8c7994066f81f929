"""A container out of what Linux has: the paths of the image, a read-only root, a user without a name, volumes.

The "image" is this machine's own /usr and /etc, the Python and packages that run the tests, and this checkout as
/opt/qompass.
Ownership of volumes is as the kubelet gives it with an ``fsGroup``.
"""

from __future__ import annotations

import functools
import os
import shlex
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kubernetes.composed import ROOT

_PYTHON = Path(sys.base_prefix)
_PACKAGES = site.getsitepackages()[0]


@functools.cache
def why_no_container() -> str:
    """Why there can be no containers here; "" where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root makes containers here"
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return f"no containers: {done.stderr.strip()}" if done.returncode else ""


def contained(
    command: Sequence[str],
    environment: Mapping[str, str],
    mounts: Mapping[str, Path],
    folder: Path,
    user: int,
    group: int,
) -> list[str]:
    """The command line that runs a command in a container.

    Args:
        command: as the manifest has it.
        environment: all of it.
        mounts: path in the container -> folder here.
        folder: an empty one, for the root.
        user: number of the user.
        group: number of the group, which owns the volumes too.
    """
    root = shlex.quote(str(folder))
    read_only = ["", "/usr", "/etc", "/opt/qompass", "/packages", str(_PYTHON)]
    # Where root is only a user who called su, what is for root alone (chroot) is not on the PATH.
    lines = ["set -e", "PATH=$PATH:/usr/sbin:/sbin", f"mount -t tmpfs tmpfs {root}", "umask 022"]
    for own in ("/usr", "/etc", "/proc", "/sys", "/dev"):
        lines += [f"mkdir -p {root}{own}", f"mount --rbind {own} {root}{own}"]
    lines += [f"mount -t tmpfs -o size=64m tmpfs {root}/dev/shm"]  # what every pod has
    for own in ("/bin", "/lib", "/lib64", "/sbin"):
        lines += [f"[ ! -e {own} ] || ln -s usr{own} {root}{own}"]
    bound = {
        "/opt/qompass": ROOT,
        "/packages": Path(_PACKAGES),
        str(_PYTHON): _PYTHON,
        **{p: f for p, f in mounts.items() if f != ROOT},
    }
    for path, source in sorted(bound.items()):
        lines += [f"mkdir -p {root}{path}", f"mount --bind {shlex.quote(str(source))} {root}{path}"]
    lines += [f"mount -o remount,bind,ro {root}{path}" for path in read_only]
    variables = {"PYTHONPATH": "/packages", **environment}
    variables["PATH"] = f"{_PYTHON}/bin:{variables['PATH']}"
    inside = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]
    lines += [f"exec chroot --userspec={user}:{group} --groups={group} {root} {shlex.join(inside)}"]
    return ["unshare", "-m", "sh", "-c", "\n".join(lines)]


def hand_over(folder: Path, group: int, mode: int) -> None:
    """Give a volume to the pod's group, as the kubelet does."""
    os.chown(folder, 0, group)
    folder.chmod(mode)
