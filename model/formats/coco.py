"""COCO's JSON format of object instances (https://cocodataset.org/#format-data).

A segmentation is a list of polygons, one for each part. COCO's polygons have no holes, and
readers fill all of them. Therefore an object with a hole is written as run lengths (RLE), which
pycocotools and the readers built on it take in the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from model.cleanup import box_around
from model.formats.polygons import Mask, Polygon, trace
from model.formats.rings import Ring

_DECIMALS = 2  # of a pixel


def dataset(
    categories: Sequence[str], images: Iterable[Any], annotations: Iterable[Any]
) -> dict[str, Any]:
    """The content of a file.

    Args:
        categories: their names. The ids count from 1.
        images: from :func:`image`.
        annotations: from :func:`annotation`.
    """
    return {
        "info": {"description": "", "version": "1.0"},
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(categories, start=1)
        ],
        "images": list(images),
        "annotations": list(annotations),
    }


def image(image_id: int, file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    """An image.

    Args:
        image_id: a number of its own.
        file_name: its path below the folder of the images.
        size: (H, W), pixels.
    """
    height, width = size
    return {"id": image_id, "file_name": file_name, "height": height, "width": width}


def annotation(
    annotation_id: int,
    image_id: int,
    category_id: int,
    mask: Mask,
    outline: Sequence[Polygon] | None = None,
) -> dict[str, Any]:
    """An object.

    Args:
        annotation_id: a number of its own.
        image_id: the image that the object is on.
        category_id: 1 for the first category.
        mask: H x W, not empty. Area and bounding box are those of the mask.
        outline: the polygons to write, pixels; None for polygons that are exactly the mask.
    """
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": segmentation(mask, outline),
        "area": int(np.count_nonzero(mask)),
        "bbox": list(box_around(mask) or (0, 0, 0, 0)),
        "iscrowd": 0,
    }


def segmentation(
    mask: Mask, outline: Sequence[Polygon] | None = None
) -> list[list[float]] | dict[str, Any]:
    """An object's polygons, or its run lengths where a part has a hole.

    Args:
        mask, outline: see :func:`annotation`.
    """
    polygons = trace(mask) if outline is None else outline
    if any(polygon.holes for polygon in polygons):
        return encode_rle(mask)
    return [_numbers(polygon.exterior) for polygon in polygons]


def encode_rle(mask: Mask) -> dict[str, Any]:
    """A mask, H x W, as run lengths down its columns, in pycocotools' short text."""
    encoded = run_lengths.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def _numbers(ring: Ring) -> list[float]:
    """x and y of each vertex by turns. Whole numbers are shorter in JSON without a point."""
    rounded = ring.round(_DECIMALS).reshape(-1)
    is_whole = (rounded == rounded.astype(np.int64)).all()
    numbers: list[float] = rounded.astype(np.int64 if is_whole else np.float64).tolist()
    return numbers
