"""``python -m apps.cli``: the ``qompass`` command. Under COMPSs it is imported first and started afterwards."""

import sys

from apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
