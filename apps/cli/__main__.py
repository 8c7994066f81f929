"""``python -m apps.cli``: the ``qompass`` command."""

import sys

from apps.cli.main import main

sys.exit(main())
