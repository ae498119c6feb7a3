"""`python -m model auto-annotate FOLDER`: boxes of a detector to YOLO segmentation labels."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from model.auto_annotation import auto_annotate
from model.commands import shared_options

_DESCRIPTION = (
    "Write a YOLO segmentation label file for each image of a folder: a row `class x1 y1 x2 y2 ...`"
    " for each box, in the order of the boxes. An image without boxes gets an empty file. A box"
    " without a mask becomes its rectangle. Label files that are there are skipped, so a run that"
    " was interrupted can be started again. Prints a line of JSON with the counts."
)


def run(arguments: Sequence[str]) -> int:
    """Annotate a folder. Returns 1 if an image failed or a box has no row."""
    options = _parser().parse_args(arguments)
    sam = shared_options.load_model(options)
    report = auto_annotate(sam, options.folder, options.boxes, options.output)
    for title, sentences in (
        ("note", report.unmatched),
        ("rectangle", report.rectangles),
        ("left out", report.left_out),
        ("failed", report.failed),
    ):
        for sentence in sentences:
            print(f"{title}: {sentence}", file=sys.stderr)
    counts = {
        "output": str(report.output),
        "written": report.written,
        "skipped": report.skipped,
        "failed": len(report.failed),
        "objects": report.objects,
        "joined": report.joined,
        "rectangles": len(report.rectangles),
        "left_out": len(report.left_out),
    }
    print(json.dumps(counts))
    return 1 if report.failed or report.left_out else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model auto-annotate", description=_DESCRIPTION)
    parser.add_argument("folder", type=Path, help="the folder of the images")
    parser.add_argument(
        "--boxes",
        type=Path,
        required=True,
        metavar="DETECTIONS",
        help="a folder of YOLO labels (`class x y width height`, fractions of the image), or a"
        " COCO file",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="the folder for the label files (default: FOLDER_segmentation_labels)",
    )
    shared_options.add_model(parser)
    return parser
