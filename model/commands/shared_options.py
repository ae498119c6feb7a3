"""Options of several commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.mobile_sam import MobileSAM
from model.weights import DEFAULT_MODEL_DIR


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint`` and ``--model-dir``, which say what is loaded."""
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file")
    parser.add_argument(
        "--model-dir",
        type=Path,
        default=DEFAULT_MODEL_DIR,
        help="where the published checkpoint is kept (default: %(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`load_model` reads."""
    parser.add_argument(
        "--no-crop-refinement",
        dest="crop_refinement",
        action="store_false",
        help="do not predict small objects again in a crop: faster, coarser",
    )
    add_weights(parser)


def load_model(options: argparse.Namespace) -> MobileSAM:
    """Load the model that the options of :func:`add_model` ask for.

    Raises:
        FileNotFoundError, ValueError: as :class:`MobileSAM` raises them.
    """
    return MobileSAM(
        options.checkpoint, model_dir=options.model_dir, crop_refinement=options.crop_refinement
    )
