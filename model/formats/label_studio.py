"""Tasks with predictions, as Label Studio imports them.

The labeling config needs ``<Image name="image" value="$image"/>`` and
``<BrushLabels name="brush" toName="image">`` with the label.
``examples/keypoints-and-boxes.xml`` is such a config.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from model.formats import brush_rle

TO_NAME = "image"
FROM_NAME = "brush"


def task(
    url: str,
    objects: Iterable[tuple[npt.NDArray[np.bool_], float]],
    *,
    label: str,
    model_version: str,
) -> dict[str, Any]:
    """A task with one prediction.

    Args:
        url: where Label Studio finds the image.
        objects: the mask of each object, H x W, and its predicted IoU. Empty masks are left out.
        label: of all objects.
        model_version: the name of the prediction.
    """
    regions = [_region(mask, score, label) for mask, score in objects if mask.any()]
    prediction: dict[str, Any] = {"model_version": model_version, "result": regions}
    if regions:
        prediction["score"] = min(one["score"] for one in regions)
    return {"data": {TO_NAME: url}, "predictions": [prediction]}


def _region(mask: npt.NDArray[np.bool_], score: float, label: str) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": str(uuid.uuid4()),
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "type": "brushlabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_rle.encode(mask), "brushlabels": [label]},
        "score": round(min(max(score, 0.0), 1.0), 4),
    }
