"""The same program as ``qompass run``, for COMPSs: ``runcompss apps/expectation.py CIRCUIT --observable ...``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runcompss starts this file, not the package

from apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
