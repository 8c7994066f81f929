"""The semantic cache: circuits that mean the same are run once."""

from tasks.execution.cache.cache import Cache, open_cache
from tasks.execution.cache.errors import CacheError
from tasks.execution.cache.fragment_key import fragment_key
from tasks.execution.cache.keys import Key, KeyMaker, Target
from tasks.execution.cache.requests import ArrayAnswer, CountsAnswer, CountsRequest, MissingShots, NewCounts

__all__ = [
    "ArrayAnswer",
    "Cache",
    "CacheError",
    "CountsAnswer",
    "CountsRequest",
    "Key",
    "KeyMaker",
    "MissingShots",
    "NewCounts",
    "Target",
    "fragment_key",
    "open_cache",
]
