"""``python -m gencls`` is the command ``gencls``."""

from __future__ import annotations

import sys

from gencls.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
