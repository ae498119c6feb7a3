"""`python -m backend`: see cli.py."""

import sys

from backend.cli import main

sys.exit(main())
