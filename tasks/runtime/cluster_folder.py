"""The folder that a dask cluster of the user's shares: where its scheduler is, and the key that all its members hold.

dask's messages are pickles, so whoever may talk to a scheduler or a worker may run programs as its user. Hence TLS on
every connection, in both directions, with one certificate that is made with the folder; who has the key belongs.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.runtime.errors import EngineError
from tasks.runtime.private_folder import PrivateFolder, check_private
from tasks.runtime.versions import difference, environment_of_tasks

CLUSTER_VARIABLE = "QOMPASS_CLUSTER"
NETWORK_VARIABLE = "QOMPASS_CLUSTER_NETWORK"
FORMAT_OF_CLUSTER = 1

CLUSTER_FILE = "cluster.json"

_KEY, _CERTIFICATE, _ABOUT = "key.pem", "certificate.pem", CLUSTER_FILE
_DAYS = 365
_CLOCKS_DIFFER = datetime.timedelta(days=2)


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: with its key; the user's own, seen by all its nodes.
        address: of its scheduler, ``tls://host:port``.
    """

    folder: Path
    address: str

    def security(self) -> Any:
        """What dask needs to know to talk to its members."""
        return security_of(self.folder)


def default_cluster_folder() -> Path:
    """Where a cluster is that nobody names: what ``QOMPASS_CLUSTER`` says, else a folder of the user's state."""
    named = os.environ.get(CLUSTER_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "qompass" / "cluster"


def prepare_folder(folder: Path) -> None:
    """Make the folder and its key, unless they are there.

    Raises:
        PrivateFolderError: it is not the user's own.
        EngineError: the package that makes certificates is missing.
    """
    with PrivateFolder(folder) as private:
        if private.has(_CERTIFICATE) and private.has(_KEY):
            return
        key, certificate = _new_key()
        private.create(_KEY, key)
        private.create(_CERTIFICATE, certificate)


def security_of(folder: Path) -> Any:
    """Dask's ``Security`` with the key in a folder, for each of the three parts that a member can play.

    Raises:
        PrivateFolderError: the folder or a file in it is not the user's own.
        EngineError: there is no key.
    """
    from distributed.security import Security

    try:
        with PrivateFolder(folder) as private:
            key, certificate = private.read(_KEY).decode(), private.read(_CERTIFICATE).decode()
    except OSError as error:
        raise EngineError(
            f"{folder}: has no key of a cluster ({error.strerror}): `qompass cluster scheduler` makes one",
            field="scheduler",
        ) from error
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_client_key=key, tls_client_cert=certificate,
        tls_scheduler_key=key, tls_scheduler_cert=certificate,
        tls_worker_key=key, tls_worker_cert=certificate,
    )  # fmt: skip


def announce(folder: Path, address: str) -> None:
    """Say in the folder where the scheduler is, and what environment its members must have."""
    document = {"schema": FORMAT_OF_CLUSTER, "address": address, "environment": environment_of_tasks()}
    with PrivateFolder(folder) as private:
        private.write(_ABOUT, json.dumps(document, indent=1).encode())


def retract(folder: Path, address: str) -> None:
    """Say no more that a scheduler is there, unless another one says so meanwhile."""
    with PrivateFolder(folder) as private:
        if private.has(_ABOUT) and json.loads(private.read(_ABOUT)).get("address") == address:
            private.remove(_ABOUT)


def find_cluster(named: str) -> Cluster:
    """The cluster that a folder, a file in it or an address names, if this process may belong to it.

    Args:
        named: the cluster's folder, a file in it, or ``tls://host:port``; then the folder is the default one.

    Raises:
        PrivateFolderError: its folder is not the user's own.
        EngineError: there is none, its address is not one to talk to, or it has another environment.
    """
    folder, address = _place(named)
    check_private(folder)
    about = _about(folder)
    if about is None and not address:
        raise EngineError(
            f"{folder}: no scheduler runs there: start one with `qompass cluster scheduler`, or wait for it",
            field="scheduler",
        )
    differs = difference(environment_of_tasks(), dict((about or {}).get("environment", {}))) if about else ""
    if differs:
        raise EngineError(
            f"{folder}: its scheduler has another environment ({differs}): use the same checkout and packages on every "
            "node",
            field="scheduler",
        )
    found = Cluster(folder, address or str((about or {}).get("address", "")))
    check_address(found.address)
    return found


def check_address(address: str) -> str:
    """Make sure that an address is one of TLS, on loopback or the cluster's own network; returns it.

    Raises:
        EngineError: it is not.
    """
    parts = urlsplit(address)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme != "tls" or not host or not port:
        raise EngineError(
            f"'{address:.80}' is no scheduler of ours: write tls://HOST:PORT, or the folder of the cluster",
            field="scheduler",
        )
    check_host(host)
    return address


def check_host(host: str) -> str:
    """Make sure that a host is on loopback or the cluster's own network; returns its address.

    The cluster's network is what ``QOMPASS_CLUSTER_NETWORK`` says (``10.1.0.0/16``), else any that is private.

    Raises:
        EngineError: it is not, or has no address.
    """
    try:
        found = ipaddress.ip_address(socket.getaddrinfo(host, None)[0][4][0])
    except (OSError, ValueError) as error:
        raise EngineError(f"{host}: has no address here: name a host of the cluster", field="scheduler") from error
    named = os.environ.get(NETWORK_VARIABLE, "")
    try:
        fits = found in ipaddress.ip_network(named) if named else found.is_private and not found.is_unspecified
    except ValueError as error:
        raise EngineError(f"{NETWORK_VARIABLE}={named}: is no network: write 10.1.0.0/16") from error
    if not fits and not found.is_loopback:
        raise EngineError(
            f"{host} ({found}): is not on {named or 'a private network'}: name the cluster's own in {NETWORK_VARIABLE}",
            field="scheduler",
        )
    return str(found)


def _place(named: str) -> tuple[Path, str]:
    if "://" in named:
        return default_cluster_folder(), check_address(named)
    path = Path(named)
    return (path.parent if path.is_file() else path).absolute(), ""


def _about(folder: Path) -> Mapping[str, Any] | None:
    with PrivateFolder(folder) as private:
        if not private.has(_ABOUT):
            return None
        try:
            document = dict(json.loads(private.read(_ABOUT)))
            schema = int(document["schema"])
        except (ValueError, TypeError, KeyError) as error:
            raise EngineError(f"{folder / _ABOUT}: is damaged: start the scheduler again", field="scheduler") from error
    if schema != FORMAT_OF_CLUSTER:
        raise EngineError(
            f"{folder / _ABOUT}: was written by another version of Qompass (format {schema}, this one reads "
            f"{FORMAT_OF_CLUSTER}): use the same checkout on every node",
            field="scheduler",
        )
    return document


def _new_key() -> tuple[bytes, bytes]:
    """A private key, and a certificate that signs itself and nothing else; both PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise EngineError("a cluster's key needs the package cryptography: pip install cryptography") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "qompass-cluster")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)
