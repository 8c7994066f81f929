"""A program for runcompss: runs every check of the contract and prints how each went, as JSON."""

from __future__ import annotations

import json
import sys
import time
import traceback

from tasks.runtime import engine
from tests.engines.contract import CHECKS


def main() -> None:
    """Run the checks named on the command line, or all."""
    results = {}
    with engine("compss") as info:
        for name in sys.argv[1:] or CHECKS:
            started = time.monotonic()
            try:
                CHECKS[name]()
                failure = ""
            except Exception:
                failure = traceback.format_exc()
            results[name] = {"failure": failure, "seconds": time.monotonic() - started}
            sys.stderr.write(f"{name}: {'failed' if failure else 'ok'}\n")
    print(json.dumps({"engine": info.name, "version": info.version, "checks": results}))


if __name__ == "__main__":
    main()
