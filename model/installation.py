"""What to type to install a package that is missing here."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterable


def pip_install(*words: str) -> str:
    """The command that installs packages into the environment of this process.

    A plain ``python`` may be that of another environment.

    Args:
        words: what follows ``pip install``.
    """
    return shlex.join([sys.executable, "-m", "pip", "install", *words])


def missing(packages: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed here."""
    return [name for name in packages if importlib.util.find_spec(name) is None]
