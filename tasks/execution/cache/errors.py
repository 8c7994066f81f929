"""What can go wrong in the cache. Only :class:`UnsupportedCircuit` is for callers; the rest ends as a warning."""


class CacheError(Exception):
    """Base of every error of the cache."""


class UnsupportedCircuit(CacheError):
    """A circuit whose semantics the normal form does not cover (control flow, unbound parameters, ...)."""


class CorruptEntry(CacheError):
    """Stored bytes that are not a sound entry: wrong magic, version, seal or shape."""


class StoreUnavailable(CacheError):
    """A store that cannot be read or written now: disk full, server gone, directory not writable."""


class OtherKey(CorruptEntry):
    """A stored entry that is sealed with another key than the one in force: whoever made it is not known."""
