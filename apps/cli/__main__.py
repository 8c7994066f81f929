"""``python -m apps.cli``: the ``qompass`` command. Under COMPSs it is imported first and started afterwards."""

import os
import sys

# Python puts the current folder first; nothing that lies there is imported, unless it is this checkout.
_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:] = [_root, *(folder for folder in sys.path if folder not in ("", os.getcwd(), _root))]

from apps.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
