"""What Label Studio's editor sends for a click and for a box, as JSON.

``width`` and ``height`` are always those of the image, in pixels; places are in percent of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Region = dict[str, Any]


def keypoint(
    x: float, y: float, *, width: int, height: int, label: str = "Object", is_positive: bool = True
) -> Region:
    """A smart keypoint at (x, y), with ``<KeyPointLabels name="point">``."""
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
    return {
        **_region("point", "keypointlabels", value, width, height),
        "is_positive": is_positive,
    }


def rectangle(
    x: float,
    y: float,
    box_width: float,
    box_height: float,
    *,
    width: int,
    height: int,
    label: str = "Object",
) -> Region:
    """A smart rectangle with its top-left corner at (x, y), with ``<RectangleLabels name="box">``.

    Args:
        box_width, box_height: of the rectangle, percent of the image.
    """
    value = {
        "x": x,
        "y": y,
        "width": box_width,
        "height": box_height,
        "rotation": 0,
        "rectanglelabels": [label],
    }
    return _region("box", "rectanglelabels", value, width, height)


def predict_request(task: Mapping[str, Any], label_config: str, *regions: Region) -> dict[str, Any]:
    """The body of an interactive ``/predict``."""
    return {
        "tasks": [task],
        "project": "1.1",
        "label_config": label_config,
        "params": {"context": {"result": list(regions)}},
    }


def _region(from_name: str, kind: str, value: Region, width: int, height: int) -> Region:
    return {
        "id": f"smart-{from_name}",
        "type": kind,
        "from_name": from_name,
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
    }
