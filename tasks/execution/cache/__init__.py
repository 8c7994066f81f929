"""The semantic cache: circuits that mean the same are run once."""

from tasks.execution.cache.cache import Cache, open_cache
from tasks.execution.cache.errors import CacheError, UnsupportedCircuit
from tasks.execution.cache.fragment_key import fragment_key
from tasks.execution.cache.keys import Key, KeyMaker, Target
from tasks.execution.cache.requests import Draw, Job, Made, Request
from tasks.execution.cache.shot_pool import spread

__all__ = [
    "Cache",
    "CacheError",
    "Draw",
    "Job",
    "Key",
    "KeyMaker",
    "Made",
    "Request",
    "Target",
    "UnsupportedCircuit",
    "fragment_key",
    "open_cache",
    "spread",
]
