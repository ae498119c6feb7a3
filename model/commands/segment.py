"""`python -m model SOURCE`: segment images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model import prompts, sources
from model.commands import shared_options
from model.commands.outputs import FORMATS, Output, open_output
from model.everything import EverythingSettings
from model.mobile_sam import MobileSAM, OpenedImage
from model.sources import Source

_DESCRIPTION = (
    "Segment objects at points or in boxes, or everything. Each --point and each --box is an"
    " object. Several points of one object follow one --point. With both, the first --box belongs"
    " to the first --point, and so on. Prints a line of JSON for each image."
)
_EPILOG = "Commands of their own, each with its own --help: auto-annotate, export."
_DEFAULT_LABEL = "Object"
_SETTINGS = fields(EverythingSettings)
_SETTINGS_HELP = {
    "points_per_side": "points of the grid along each axis",
    "hierarchical": "1: leave out points that lie in a large mask; 0: ask all points",
    "pred_iou_thresh": "the lowest predicted IoU, 0 to 1",
    "stability_score_thresh": "the lowest stability, 0 to 1",
    "box_nms_thresh": "the highest IoU of two masks, 0 to 1",
    "crop_n_layers": "how often the image is cut into crops for small objects",
    "min_mask_region_area": "smaller parts and holes are removed, pixels",
    "max_masks": "the most masks of an image",
}


def run(arguments: Sequence[str]) -> int:
    """Segment the sources. Returns 1 if an image failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    found = sources.resolve(options.source)
    asked = _prompts(options)
    prompts.parse(asked.get("points"), asked.get("labels"), asked.get("bboxes"), None)
    sam = shared_options.load_model(options)
    output = open_output(
        options.format,
        options.output,
        found,
        label=options.label or _DEFAULT_LABEL,
        url_prefix=options.url_prefix,
        model_version=sam.predictor.checkpoint.model_version,
    )
    failures = []
    with output, tqdm(found, unit="image", disable=len(found) == 1) as progress:
        for source in progress:
            try:
                line = json.dumps(_segment(sam, source, asked, output))
                with tqdm.external_write_mode():  # without it, bar and line mix in a terminal
                    print(line, flush=True)
            except (OSError, ValueError) as error:
                failures.append(source.failure(error))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if failures and len(found) > 1:
        print(f"{len(failures)} of {len(found)} images failed", file=sys.stderr)
    return 1 if failures else 0


def _segment(
    sam: MobileSAM, source: Source, asked: dict[str, Any], output: Output
) -> dict[str, object]:
    """Segment one image and write its results. Returns the line of JSON."""
    image = source.read()
    started = time.perf_counter()
    opened = OpenedImage(sam.predictor, image, source.path, sam.crop_refinement)
    embedded = time.perf_counter()
    result = opened.segment(**asked)
    predicted = time.perf_counter()
    output.add(source, result)
    return {
        "image": source.name,
        "objects": [
            {"iou_prediction": round(float(score), 4), "area": int(area), "box": box}
            for score, area, box in zip(
                result.scores, result.areas, result.boxes.astype(int).tolist(), strict=True
            )
        ],
        "embed_ms": round((embedded - started) * 1000, 1),
        "predict_ms": round((predicted - embedded) * 1000, 1),
        "weights": sam.predictor.checkpoint.model_version,
        "engine": sam.predictor.engine.description,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument(
        "source", nargs="+", help="image files, folders, globs in quotes, or http(s) URLs"
    )
    parser.add_argument(
        "--point",
        type=_point,
        nargs="+",
        action="append",
        metavar="X,Y[,LABEL]",
        help="the points of one object in pixels; LABEL 1 (on the object, default) or 0 (not on"
        " it); repeat --point for the next object",
    )
    parser.add_argument(
        "--box",
        type=_box,
        action="append",
        metavar="X0,Y0,X1,Y1",
        help="the box of one object in pixels; repeatable",
    )
    parser.add_argument("--everything", action="store_true", help="all objects, without a prompt")
    for field in _SETTINGS:
        default = "all" if field.default is None else f"{field.default:g}"
        parser.add_argument(
            _option(field.name),
            type=float if isinstance(field.default, float) else int,
            metavar="NUMBER",
            help=f"with --everything, {_SETTINGS_HELP[field.name]} (default: {default})",
        )
    parser.add_argument("-o", "--output", type=Path, help="where --format goes: a file or a folder")
    parser.add_argument(
        "--format", choices=FORMATS, default="overlay", help="what is written (default: overlay)"
    )
    parser.add_argument(
        "--label",
        help="with --format coco or label-studio: the class of all objects (default:"
        f" {_DEFAULT_LABEL})",
    )
    parser.add_argument(
        "--url-prefix",
        metavar="URL",
        help="with --format label-studio: the part of an image's URL before the path of the file,"
        " such as '/data/local-files/?d=photos/'",
    )
    shared_options.add_model(parser)
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Say which options do not go together, with exit status 2."""
    has_prompt = bool(options.point or options.box)
    given = [field.name for field in _SETTINGS if getattr(options, field.name) is not None]
    if options.everything and has_prompt:
        parser.error("--everything goes without --point and --box")
    if not options.everything and not has_prompt:
        parser.error("give at least one --point X,Y, a --box X0,Y0,X1,Y1, or --everything")
    if given and not options.everything:
        parser.error(f"{_option(given[0])} goes with --everything")
    if options.url_prefix is not None and options.format != "label-studio":
        parser.error("--url-prefix goes with --format label-studio")
    if options.label is not None and options.format not in ("coco", "label-studio"):
        parser.error("--label goes with --format coco or label-studio")
    if options.format != "overlay" and options.output is None:
        parser.error(f"--format {options.format} needs -o: where to write")


def _prompts(options: argparse.Namespace) -> dict[str, Any]:
    """The options as the arguments of ``OpenedImage.segment``."""
    if options.everything:
        given = {
            field.name: value
            for field in _SETTINGS
            if (value := getattr(options, field.name)) is not None
        }
        return {"everything": EverythingSettings(**given)}
    asked: dict[str, Any] = {}
    if options.point:
        asked["points"] = [[(x, y) for x, y, _ in points] for points in options.point]
        asked["labels"] = [[label for _, _, label in points] for points in options.point]
    if options.box:
        asked["bboxes"] = options.box
    return asked


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _point(text: str) -> tuple[float, float, int]:
    numbers = _numbers(text, (2, 3))
    label = numbers[2] if len(numbers) == 3 else 1
    if label not in (0, 1):
        raise argparse.ArgumentTypeError(f"the label in {text!r} must be 1 or 0")
    return numbers[0], numbers[1], int(label)


def _box(text: str) -> list[float]:
    return _numbers(text, (4,))


def _numbers(text: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        expected = " or ".join(map(str, counts))
        raise argparse.ArgumentTypeError(f"{text!r} must be {expected} numbers with commas")
    return numbers
