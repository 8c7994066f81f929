"""Which QPUs this process may use, and how QRMI reaches them: from the environment and from qrmi_config.json.

The variables are those of QRMI's documentation and of the Slurm SPANK plugin: ``QRMI_JOB_QPU_RESOURCES`` and
``QRMI_JOB_QPU_TYPES`` (older: ``SLURM_JOB_QPU_*``) name the resources of a job, ``<name>_QRMI_*`` say how to reach
each. A file in the format of ``qrmi_config.json``, named by ``QOMPASS_QRMI_CONFIG``, fills in what the environment
lacks; the variables win.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.tokens import is_secret, read_private, secret_values
from tasks.execution.qpu.vendors import VENDORS, Vendor, vendor_of

CONFIG_VARIABLE = "QOMPASS_QRMI_CONFIG"
_LISTS = (("QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES"), ("SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES"))


@dataclass(frozen=True)
class QpuResource:
    """A QPU that QRMI can reach.

    Attributes:
        name: as the job and the resources XML call it.
        type: QRMI resource type.
        environment: its variables without ``<name>_`` in front. Holds tokens; never shown.
    """

    name: str
    type: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def vendor(self) -> Vendor:
        """What differs by type."""
        return vendor_of(self.type, self.name)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must appear nowhere."""
        return secret_values(self.environment)


def qpu_resources(environ: Mapping[str, str] | None = None) -> dict[str, QpuResource]:
    """The QPUs of this job by name, in the order given; empty where there are none.

    Args:
        environ: variables to read instead of this process's.

    Raises:
        QpuError: lists of different length, an unknown type, a file that others can read or that cannot be read.
    """
    environ = os.environ if environ is None else environ
    known = _from_file(environ)
    names, types = _job_lists(environ)
    if names is None:
        return known
    found = {}
    for name, kind in zip(names, types, strict=True):
        vendor_of(kind, name)
        prefix = f"{name}_"
        own = {key[len(prefix) :]: value for key, value in environ.items() if key.startswith(prefix + "QRMI_")}
        base = known[name].environment if name in known else {}
        if not own and not base:
            raise QpuError(
                Fault.CONFIGURATION, name, f"nothing says how to reach it: set {name}_QRMI_... or {CONFIG_VARIABLE}"
            )
        found[name] = QpuResource(name, kind, {**base, **own})
    return found


def qpu_resource(name: str, environ: Mapping[str, str] | None = None) -> QpuResource:
    """One QPU of this job by name.

    Raises:
        QpuError: there is no such QPU here, or what ``qpu_resources`` raises.
    """
    known = qpu_resources(environ)
    if name not in known:
        there = ", ".join(known) or "none; is QRMI_JOB_QPU_RESOURCES or QOMPASS_QRMI_CONFIG set?"
        raise QpuError(Fault.CONFIGURATION, name, f"no such QPU in this job; there are: {there}")
    return known[name]


def _job_lists(environ: Mapping[str, str]) -> tuple[list[str] | None, list[str]]:
    for resources, types in _LISTS:
        if resources in environ:
            separator = environ.get("QRMI_LIST_DELIMITER", ",")
            names = [part.strip() for part in environ[resources].split(separator) if part.strip()]
            kinds = [part.strip() for part in environ.get(types, "").split(separator) if part.strip()]
            if len(names) != len(kinds):
                raise QpuError(
                    Fault.CONFIGURATION, resources, f"lists {len(names)} QPUs and {types} {len(kinds)} types"
                )
            return names, kinds
    return None, []


def _from_file(environ: Mapping[str, str]) -> dict[str, QpuResource]:
    path = environ.get(CONFIG_VARIABLE)
    if not path:
        return {}
    text = read_private(Path(path))
    try:
        entries = json.loads(text)["resources"]
        found = {
            str(entry["name"]): QpuResource(
                str(entry["name"]), str(entry["type"]), {str(k): str(v) for k, v in entry["environment"].items()}
            )
            for entry in entries
            if not entry.get("is_dynamic")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        # The error's own text may quote the file, and with it a token.
        raise QpuError(Fault.CONFIGURATION, path, "is not in the format of qrmi_config.json") from None
    return {name: resource for name, resource in found.items() if resource.type in VENDORS}


def shown_variables(resource: QpuResource) -> dict[str, str]:
    """A resource's variables fit to be shown: secrets are left out."""
    return {key: value for key, value in resource.environment.items() if not is_secret(key)}
