"""Shows the pictures of datasets side by side, with the outlines of their objects.

python -m training.gallery --scenes 8 --output docs/scenes.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from training.contact_sheet import Picture, outlined, save
from training.evaluate import add_dataset_arguments, chosen_datasets
from training.labelled_images import LabelledImage

_COLUMNS = 4


def draw_gallery(images: Iterable[LabelledImage], side: int) -> Picture:
    """All pictures, four to a row, each in a square of ``side`` pixels.

    Returns:
        H x W x 3 uint8 RGB.
    """
    panels = [_panel(labelled, side) for labelled in images]
    panels += [np.zeros_like(panels[0])] * (-len(panels) % _COLUMNS)
    rows = [np.hstack(panels[i : i + _COLUMNS]) for i in range(0, len(panels), _COLUMNS)]
    return np.vstack(rows)


def _panel(labelled: LabelledImage, side: int) -> Picture:
    height, width = labelled.image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.asarray(cv2.resize(labelled.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for mask in labelled.masks.values():
        small = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        picture = outlined(picture, small > 0)
    panel = np.zeros((side, side, 3), np.uint8)
    panel[: size[1], : size[0]] = picture
    return panel


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="file to draw")
    parser.add_argument("--side", type=int, default=160, help="side of each picture, pixels")
    arguments = parser.parse_args()
    try:
        images = chain.from_iterable(chosen_datasets(arguments))
        save(draw_gallery(images, arguments.side), arguments.output)
    except ValueError as error:
        raise SystemExit(f"training.gallery: {error}") from error


if __name__ == "__main__":
    main()
