"""What can go wrong in the cache; all of it ends as a warning."""


class CacheError(Exception):
    """Base of every error of the cache."""


class CorruptEntry(CacheError):
    """Stored bytes that are not a sound entry: wrong magic, version, seal or shape."""


class StoreUnavailable(CacheError):
    """A store that cannot be read or written now: disk full, server gone, directory not writable."""


class OtherKey(CorruptEntry):
    """A stored entry that is sealed with another key than the one in force: whoever made it is not known."""
