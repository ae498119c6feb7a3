"""Boxes of an Ultralytics YOLO model, for tasks that have none:

    pip install ultralytics
    python -m backend preannotate --project 1 --detector examples.ultralytics_detector:detect

Nothing here is imported before somebody asks for it. Ultralytics is licensed under AGPL-3.0: read
what that means for your work before you install the package.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

MODEL = "yolo11n.pt"  # a name that Ultralytics downloads, or the path of your own weights
LEAST_SCORE = 0.25


def detect(image: npt.NDArray[np.uint8]) -> tuple[Any, list[str], Any]:
    """Find objects.

    Args:
        image: H x W x 3 uint8 RGB.

    Returns:
        Boxes, N x 4 (x0, y0, x1, y1) in pixels of the image; N labels; N scores.
    """
    bgr = np.ascontiguousarray(image[..., ::-1])  # the order of channels that Ultralytics expects
    found = _model().predict(bgr, conf=LEAST_SCORE, verbose=False)[0]
    labels = [found.names[int(number)] for number in found.boxes.cls]
    return found.boxes.xyxy.cpu().numpy(), labels, found.boxes.conf.cpu().numpy()


@functools.cache
def _model() -> Any:
    from ultralytics import YOLO

    return YOLO(MODEL)
