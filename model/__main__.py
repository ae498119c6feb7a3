"""Segment one image from the command line.

python -m model photo.jpg --point 420,310 --point 100,80,0 --box 280,80,520,320 -o overlay.png
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from model import interactive, weights
from model.predictor import load_predictor
from model.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, Prompt

_MASK_COLOUR = (30, 144, 255)
_BACKGROUND_COLOUR = (220, 20, 60)


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line and write the overlay; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.point and not options.box:
        parser.error("give at least one --point X,Y or a --box X0,Y0,X1,Y1")
    try:
        report = _segment(options)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model", description="Segment the object at points or in a box."
    )
    parser.add_argument("image", type=Path, help="the picture")
    parser.add_argument(
        "--point",
        type=_point,
        action="append",
        default=[],
        metavar="X,Y[,LABEL]",
        help="a click in pixels; LABEL 1 (on the object, default) or 0 (not on it); repeatable",
    )
    parser.add_argument("--box", type=_box, metavar="X0,Y0,X1,Y1", help="a box in pixels")
    parser.add_argument("-o", "--output", type=Path, help="write the picture with its mask here")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint file")
    parser.add_argument(
        "--model-dir",
        type=Path,
        default=weights.DEFAULT_MODEL_DIR,
        help="where the published checkpoint is kept (default: %(default)s)",
    )
    return parser


def _point(text: str) -> tuple[float, float, int]:
    numbers = _numbers(text, (2, 3))
    label = int(numbers[2]) if len(numbers) == 3 else FOREGROUND
    if label not in (0, 1):
        raise argparse.ArgumentTypeError(f"the label in {text!r} must be 1 or 0")
    return numbers[0], numbers[1], label


def _box(text: str) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = _numbers(text, (4,))
    return x0, y0, x1, y1


def _numbers(text: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        expected = " or ".join(map(str, counts))
        raise argparse.ArgumentTypeError(f"{text!r} must be {expected} numbers with commas")
    return numbers


def _segment(options: argparse.Namespace) -> dict[str, object]:
    checkpoint = weights.obtain(options.checkpoint, weights.expanded(options.model_dir))
    image = _read(options.image)
    prompt = Prompt.from_points(
        [(x, y) for x, y, _ in options.point],
        [label for _, _, label in options.point],
        options.box,
    )
    predictor = load_predictor(checkpoint.path)
    started = time.perf_counter()
    embedding = predictor.embed(image)
    embedded = time.perf_counter()
    (prediction,) = interactive.segment(
        predictor, embedding, [prompt], embed_crop=lambda crop: predictor.embed(crop.cut(image))
    )
    predicted = time.perf_counter()
    if options.output:
        Image.fromarray(_overlay(image, prediction.mask, prompt)).save(options.output)
    return {
        "iou_prediction": round(prediction.iou_prediction, 4),
        "area": int(prediction.mask.sum()),
        "embed_ms": round((embedded - started) * 1000, 1),
        "predict_ms": round((predicted - embedded) * 1000, 1),
        "weights": checkpoint.model_version,
        "engine": predictor.engine.description,
    }


def _read(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as file:
            return np.array(ImageOps.exif_transpose(file).convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no image that Pillow can read") from error


def _overlay(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], prompt: Prompt
) -> npt.NDArray[np.uint8]:
    """The image with the mask tinted and outlined, and the prompt drawn on it."""
    picture = image.copy()
    tint = 0.5 * image[mask] + 0.5 * np.array(_MASK_COLOUR)
    picture[mask] = tint.astype(np.uint8)
    thickness = max(2, max(image.shape) // 400)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, _MASK_COLOUR, thickness)
    corners = {}
    for (x, y), label in zip(prompt.point_coords, prompt.point_labels, strict=True):
        position = (round(float(x)), round(float(y)))
        if label in (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT):
            corners[int(label)] = position
            continue
        colour = (0, 200, 0) if label == FOREGROUND else _BACKGROUND_COLOUR
        cv2.circle(picture, position, 3 * thickness, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, position, 2 * thickness, colour, -1, cv2.LINE_AA)
    if corners:
        cv2.rectangle(
            picture, corners[BOX_TOP_LEFT], corners[BOX_BOTTOM_RIGHT], (255, 255, 0), thickness
        )
    return picture


if __name__ == "__main__":
    sys.exit(main())
