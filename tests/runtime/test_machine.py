"""What this process may still take of this machine."""

from __future__ import annotations

import subprocess
import sys

_SAYS = """
import resource
import psutil
from tasks.runtime.machine import free_memory
before = free_memory()
size = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, resource.RLIM_INFINITY))
print(before, free_memory())
"""


def test_a_limit_of_addresses_is_among_what_memory_is_free() -> None:
    told = subprocess.run([sys.executable, "-c", _SAYS], capture_output=True, text=True, check=True).stdout
    before, limited = map(int, told.split())
    assert 0 < limited <= min(before, 2**28)
