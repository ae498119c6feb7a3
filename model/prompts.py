"""Points, labels, boxes and masks as people write them, to one prompt for each object.

| ``points``                  | ``labels``   | objects                         |
|-----------------------------|--------------|---------------------------------|
| ``[x, y]``                  | ``[1]``      | one object with one point       |
| ``[[x, y], [x, y]]``        | ``[1, 1]``   | two objects with one point each |
| ``[[[x, y], [x, y]]]``      | ``[[1, 0]]`` | one object with two points      |

``bboxes`` are one box or N boxes, and ``masks`` one mask or N masks. Where several of them are
given, each object has one of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.types import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    PADDING,
    Prompt,
)

Numbers = Sequence[Any] | npt.NDArray[Any]
Array = npt.NDArray[np.float64]


def parse(
    points: Numbers | None,
    labels: Numbers | int | None,
    bboxes: Numbers | None,
    masks: Numbers | None,
) -> list[Prompt] | None:
    """One prompt for each object, in the order of the objects.

    Args:
        points: (x, y) in pixels of the image. See the table above. The objects may have different
            numbers of points. An object with a box may have none.
        labels: 1 on the object, 0 not on it, nested as ``points``. None for 1 everywhere.
        bboxes: (x0, y0, x1, y1) in pixels, one box or N x 4. The corners may be any two opposite
            corners. An empty list means no object.
        masks: logits of earlier low-res masks, S/4 x S/4, one or N.

    Returns:
        The prompts, or None where nothing is given at all.

    Raises:
        ValueError: shapes or counts do not fit together, a number is not finite, a label is not 0
            or 1, a box has no area, or nothing says where an object is.
    """
    if points is None and labels is not None:
        raise ValueError("labels need points: there are labels and no points")
    parts: dict[str, Numbers] = {}
    if points is not None:
        parts["points"] = _points(points, labels)
    if bboxes is not None:
        parts["bboxes"] = _boxes(bboxes)
    if masks is not None:
        parts["masks"] = _masks(masks)
    if not parts:
        return None
    counts = {name: len(part) for name, part in parts.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ValueError(f"each object needs one of each, but there are {listed}")
    return [
        _prompt(index, **{name: part[index] for name, part in parts.items()})
        for index in range(len(next(iter(parts.values()))))
    ]


def place(prompts: Sequence[Prompt], original_size: tuple[int, int], low_res: int) -> list[Prompt]:
    """The prompts in one image, boxes cut at its edges.

    Args:
        prompts: as :func:`parse` gives them.
        original_size: (H, W) of the image.
        low_res: the side of a low-res mask, S/4.

    Raises:
        ValueError: a point or a whole box lies outside the image, or a mask has another size.
    """
    return [_placed(index, prompt, original_size, low_res) for index, prompt in enumerate(prompts)]


def _placed(index: int, prompt: Prompt, original_size: tuple[int, int], low_res: int) -> Prompt:
    height, width = original_size
    edge = np.array([width, height], dtype=np.float32)
    is_click = np.isin(prompt.point_labels, (FOREGROUND, BACKGROUND))
    for x, y in prompt.point_coords[is_click]:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(
                f"point ({x:g}, {y:g}) of object {index + 1} is outside the image, which has"
                f" {width} x {height} pixels"
            )
    coords = prompt.point_coords.copy()
    coords[~is_click] = np.clip(coords[~is_click], 0, edge)
    if prompt.has_box:
        first, last = (
            coords[prompt.point_labels == corner][0] for corner in (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)
        )
        if not (first < last).all():
            raise ValueError(
                f"the box of object {index + 1} is outside the image, which has {width} x"
                f" {height} pixels"
            )
    if prompt.mask_input is not None and prompt.mask_input.shape != (low_res, low_res):
        raise ValueError(
            f"a mask prompt must be {low_res} x {low_res} logits (low_res_masks of an earlier"
            f" result), not {' x '.join(map(str, prompt.mask_input.shape))}"
        )
    return replace(prompt, point_coords=coords)


def _prompt(
    index: int,
    points: tuple[Array, list[int]] | None = None,
    bboxes: Array | None = None,
    masks: npt.NDArray[np.float32] | None = None,
) -> Prompt:
    coords, labels = points or (np.empty((0, 2)), [])
    if bboxes is None and masks is None and FOREGROUND not in labels:
        raise ValueError(
            f"object {index + 1} needs a point with label 1, or a box: points with label 0 alone"
            " do not say where it is"
        )
    if bboxes is None and not len(coords):  # a mask alone
        return Prompt(np.zeros((1, 2), np.float32), np.array([PADDING]), masks)
    box = None if bboxes is None else (bboxes[0], bboxes[1], bboxes[2], bboxes[3])
    prompt = Prompt.from_points([(x, y) for x, y in coords], labels, box)
    return replace(prompt, mask_input=masks)


def _points(points: Numbers, labels: Numbers | int | None) -> list[tuple[Array, list[int]]]:
    """The points and the labels of each object."""
    listed, depth = _listed(points), _nesting(_listed(points))
    if depth == 1 and listed:
        listed = [[listed]]
    elif depth == 2:
        listed = [[point] for point in listed]
    elif depth not in (1, 3):
        raise ValueError("points must be [x, y], N x 2, or a list of objects with points each")
    coords = [_array("points", one, columns=2) for one in listed]
    if labels is None:
        return [(one, [FOREGROUND] * len(one)) for one in coords]
    return list(zip(coords, _labels(labels, depth, [len(one) for one in coords]), strict=True))


def _labels(labels: Numbers | int, depth: int, counts: list[int]) -> list[list[int]]:
    """The labels of each object, whose points are nested ``depth`` times."""
    listed = _listed(labels)
    if not isinstance(listed, list):
        listed = [listed]
    if depth < 3:  # one point each: both [1, 0] and [[1], [0]] say which labels the two have
        listed = [one if isinstance(one, list) else [one] for one in listed]
    nested = [one if isinstance(one, list) else None for one in listed]
    if [None if one is None else len(one) for one in nested] != counts:
        raise ValueError(
            f"labels must be nested as points, one for each point: there are points for"
            f" {len(counts)} objects ({', '.join(map(str, counts))} points), and labels {listed}"
        )
    flat = [label for one in listed for label in one]
    if any(label not in (BACKGROUND, FOREGROUND) for label in flat):
        raise ValueError(f"labels must be 1 (on the object) or 0 (not on it), not {labels}")
    return [[int(label) for label in one] for one in listed]


def _boxes(bboxes: Numbers) -> Array:
    listed = _listed(bboxes)
    boxes = _array("bboxes", [listed] if _nesting(listed) == 1 and listed else listed, columns=4)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        if x0 == x1 or y0 == y1:
            raise ValueError(f"box {index + 1} has no area: {x0:g}, {y0:g}, {x1:g}, {y1:g}")
    return boxes


def _masks(masks: Numbers) -> npt.NDArray[np.float32]:
    array = np.asarray(masks)
    if array.ndim not in (2, 3) or array.dtype.kind != "f":
        raise ValueError(
            "masks must be logits, S/4 x S/4 or N x S/4 x S/4 of floating-point numbers"
            f" (low_res_masks of an earlier result), not {array.shape} {array.dtype}"
        )
    if not np.isfinite(array).all():
        raise ValueError("masks must be finite numbers")
    return (array[None] if array.ndim == 2 else array).astype(np.float32)


def _listed(value: Any) -> Any:
    """Arrays and tensors as lists, also inside a list."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value


def _nesting(listed: Any) -> int:
    """How deep lists are nested; the deepest counts."""
    if not isinstance(listed, list):
        return 0
    return 1 + max((_nesting(one) for one in listed), default=0)


def _array(name: str, rows: list[Any], *, columns: int) -> Array:
    """Rows as N x ``columns``."""
    try:
        array = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array([])
        rows = [None]
    if not rows:
        return np.empty((0, columns))
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} numbers each")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers")
    return array
