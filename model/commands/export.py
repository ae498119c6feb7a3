"""`python -m model export`: the network as files for other programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from model import weights
from model.commands import shared_options
from model.export import export

_DESCRIPTION = (
    "Write encoder and decoder for use in other programs, and compare their answers with those of"
    " our engine. docs/model-export.md says what the inputs and outputs mean. Prints a line of"
    " JSON."
)


def run(arguments: Sequence[str]) -> int:
    """Export the weights. Returns 0."""
    options = _parser().parse_args(arguments)
    checkpoint = weights.obtain(options.checkpoint, weights.expanded(options.model_dir))
    exported = export(checkpoint, options.format, options.output)
    report = {
        "files": [str(path) for path in exported.files],
        "weights": checkpoint.model_version,
        "relative_errors": {
            name: float(f"{error:.1e}") for name, error in exported.relative_errors.items()
        },
    }
    print(json.dumps(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model export", description=_DESCRIPTION)
    parser.add_argument("--format", choices=("onnx", "openvino"), required=True)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the files go"
    )
    shared_options.add_weights(parser)
    return parser
