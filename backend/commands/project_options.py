"""What the commands share that work on a project of Label Studio."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from backend.settings import Settings


def add_project(parser: argparse.ArgumentParser) -> None:
    """Add ``--project`` and ``--filter``, which chooses some of the project's tasks."""
    parser.add_argument(
        "--project", type=int, required=True, metavar="ID", help="a project of Label Studio"
    )
    parser.add_argument(
        "--filter",
        type=int,
        metavar="VIEW",
        help="only the tasks of this view (tab) of the Data Manager: the number after tab= in the"
        " address of the page",
    )


def require_label_studio(settings: Settings) -> None:
    """Check that the address of Label Studio is known.

    Raises:
        ValueError: it is not.
    """
    if settings.label_studio_url is None:
        raise ValueError(
            "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: the address of Label Studio and a"
            " personal access token of it"
        )


def tell_failures(failures: Sequence[tuple[str, str]]) -> int:
    """Print what failed, each with its name and its reason. Returns the exit status."""
    for name, reason in failures:
        print(f"{name}: {reason}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} failed", file=sys.stderr)
    return 1 if failures else 0
