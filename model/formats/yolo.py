"""Ultralytics' label files for segmentation: a row for each object, `class x1 y1 x2 y2 ...`.

Coordinates are shares of the image's width and height. A row is one closed ring. Ultralytics draws
a ring with ``cv2.fillPoly``, which rounds coordinates down, fills by the even-odd rule, and draws
every pixel that the ring itself runs through. Therefore

- rings run a little inside of the edge of the outermost pixels. So they round down to these pixels,
  and the ring draws exactly the mask, and nearly so at other sizes of the image;
- holes and further parts are joined to the first ring by lines of no width. A line to a hole lies
  on the object and draws nothing new. A line between two parts is drawn, one pixel wide.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from model.formats.polygons import Mask, trace
from model.formats.rings import Ring, joined

_INSET = 0.1  # pixels
_DECIMALS = 6


def row(class_index: int, rings: Sequence[Ring], size: tuple[int, int]) -> str:
    """The row of an object, without the end of the line.

    Args:
        class_index: 0 for the first class.
        rings: the outlines of the parts and of the holes, pixels; from :func:`rings_of`, or as
            somebody drew them. At least one.
        size: (H, W) of the image.
    """
    height, width = size
    shares = joined(rings) / (width, height)
    numbers = " ".join(f"{share:.{_DECIMALS}f}" for share in shares.reshape(-1))
    return f"{class_index} {numbers}"


def rings_of(mask: Mask, tolerance: float = 0.0) -> list[Ring]:
    """The rings of a mask, H x W: those of each part and of its holes.

    Args:
        mask: True on the object, not empty.
        tolerance: how far the rings may be from the mask's edge, pixels (:func:`trace`). With 0
            Ultralytics draws the mask again.
    """
    rings = [
        ring for polygon in trace(mask, tolerance) for ring in (polygon.exterior, *polygon.holes)
    ]
    if tolerance <= 0:
        return [_inset(ring) for ring in rings]
    return [ring.clip(0, mask.shape[::-1]) for ring in rings]


def data_yaml(classes: Sequence[str], images: str) -> str:
    """The file that tells Ultralytics where the images are, and the names of the classes.

    Args:
        classes: the names in the order of their indices.
        images: the folder of the images, from the folder of the file. It is named for training and
            for validation: Ultralytics needs both, and nobody has said how to split the images.
    """
    folder = json.dumps(images, ensure_ascii=False)  # texts of JSON are texts of YAML
    names = [
        f"  {index}: {json.dumps(name, ensure_ascii=False)}" for index, name in enumerate(classes)
    ]
    return "\n".join([f"train: {folder}", f"val: {folder}", "names:", *names, ""])


def _inset(ring: Ring) -> Ring:
    """A ring of :func:`trace`, moved towards the inside of the object.

    A corner where the object bends inwards is cut off: at such a corner the object may be as thin
    as a point.
    """
    before = np.sign(ring - np.roll(ring, 1, axis=0))
    after = np.roll(before, -1, axis=0)
    # The object is to the right of the direction of travel.
    inside_before = np.stack([-before[:, 1], before[:, 0]], axis=1)
    inside_after = np.stack([-after[:, 1], after[:, 0]], axis=1)
    bends_inwards = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] < 0
    corner = inside_before + inside_after
    moves = np.stack([inside_before - before, inside_after + after], axis=1)
    moves[~bends_inwards] = corner[~bends_inwards, None]
    moved = (ring[:, None] + _INSET * moves).reshape(-1, 2)
    is_needed = np.ones(len(moved), dtype=np.bool_)
    is_needed[1::2] = bends_inwards  # other corners are there twice
    return moved[is_needed]
