"""Stores by the scheme of their place: a directory is LMDB, ``redis://`` a server, both is one in front of the other.

A new store is a file here: ``etcd_store.py`` with its class ``EtcdStore``, which has a class method
``open_at(place, max_bytes)``, is the store of ``etcd://`` places and needs the package ``etcd``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from urllib.parse import parse_qs, urlsplit

from tasks.errors import InputError
from tasks.execution.cache import stores
from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.stores.store import Store
from tasks.execution.cache.stores.tiered import TieredStore

_DIRECTORY = ""


def _of_this_room() -> dict[str, tuple[str, str, str]]:
    names = [module.name for module in pkgutil.iter_modules(stores.__path__) if module.name.endswith("_store")]
    schemes = [name.removesuffix("_store") for name in names]
    found = {s: (f"{stores.__name__}.{s}_store", f"{s.capitalize()}Store", s) for s in schemes}
    return {_DIRECTORY: found.pop("lmdb"), **found, "rediss": found["redis"], "unix": found["redis"]}


STORES = _of_this_room()
"""For each scheme module and class, imported when a store of it is asked for, and the package that they need."""


def check_place(where: str) -> None:
    """Make sure that a place may stand in arguments, records and process lists, and that its URL can be read.

    Raises:
        InputError: it names a password, or is not a URL where it looks like one, or one of no store.
    """
    for part in where.split(","):
        try:
            url = urlsplit(part)
            url.port  # noqa: B018  (reading it is the check)
        except ValueError as error:
            how = "give a directory, a redis:// or rediss:// URL, or off"
            raise InputError(f"`cache`: not a URL ({error}): {how}", field="cache") from None
        if _scheme(part) not in STORES:
            raise InputError(_unknown(part), field="cache")
        if url.password or "password" in parse_qs(url.query):
            raise InputError(
                "`cache`: leave the password out of the URL and put it into QOMPASS_REDIS_PASSWORD", field="cache"
            )


def open_store(where: str, *, max_bytes: int = 1 << 30) -> Store:
    """Open a store.

    Args:
        where: a directory (LMDB), ``redis://`` or ``rediss://`` (TLS) URL, or ``DIRECTORY,URL`` for the directory in
            front of the URL. A password may be left out of the URL and given in QOMPASS_REDIS_PASSWORD.
        max_bytes: size bound of a directory; the oldest entries make room.

    Raises:
        StoreUnavailable: the directory cannot be written, or the URL is not understood.
    """
    near, comma, far = where.rpartition(",")
    if comma and _scheme(far) in STORES.keys() - {_DIRECTORY}:
        return TieredStore(_open(near, max_bytes), _open(far, max_bytes))
    return _open(where, max_bytes)


def _scheme(place: str) -> str:
    return place.partition("://")[0] if "://" in place else _DIRECTORY


def _unknown(place: str) -> str:
    known = ", ".join(f"{name}://" for name in STORES if name)
    return f"cache {place[:200]!r}: give a directory, a URL that begins with one of {known}, or off"


def _open(place: str, max_bytes: int) -> Store:
    scheme = _scheme(place)
    if scheme not in STORES:
        raise StoreUnavailable(_unknown(place))
    module, name, package = STORES[scheme]
    try:
        kind = getattr(import_module(module), name)
    except ImportError as error:
        raise StoreUnavailable(
            f"cache {scheme or 'in a directory'}: needs the package {package} ({error}): pip install {package}"
        ) from error
    store: Store = kind.open_at(place, max_bytes)
    return store
