"""The options of all commands that say which weights are loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.weights import DEFAULT_MODEL_DIR


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint`` and ``--model-dir``."""
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file")
    parser.add_argument(
        "--model-dir",
        type=Path,
        default=DEFAULT_MODEL_DIR,
        help="where the published checkpoint is kept (default: %(default)s)",
    )
