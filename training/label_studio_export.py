"""Reads Label Studio's export in the JSON format: brushes, bitmasks, polygons, boxes, ellipses.

The export names pictures by the URLs of its tasks and does not hold them. The part of the URL that
is a path is looked for in the folder of the pictures, and so is its last part alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import numpy.typing as npt
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

from training.labelled_images import (
    LabelledDataset,
    LabelledImage,
    fill_polygon,
    find_picture,
    read_image,
)
from training.scenes import Bool

_SHAPES = ("brush", "bitmask", "polygon", "rectangle", "ellipse")
_MIN_AREA = 16  # pixels
_ELLIPSE_CORNERS = 360


def label_studio_export(
    path: Path, tasks: Sequence[Mapping[str, Any]], folders: Sequence[Path]
) -> LabelledDataset:
    """The annotated pictures of an export.

    The first annotation of a task counts, except for cancelled ones.

    Args:
        path: the file, for its name.
        tasks: what it holds.
        folders: where the pictures lie.

    Raises:
        ValueError: the file is not such an export, a picture is not there, or no task has a shape.
            When an image is loaded: its size is not the annotation's, or a shape is broken.
    """
    try:
        shapes = [(task, _shapes(task)) for task in tasks]
        images = [(_picture(path, task, folders), found) for task, found in shapes if found]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an export of Label Studio in JSON ({error!r})") from error
    if not images:
        raise ValueError(
            f"{path} has no annotation with a shape: {', '.join(_SHAPES)} are read from results"
        )
    return LabelledDataset(path.stem, len(images), lambda index: _load(*images[index]))


def _shapes(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of the task's annotation that are shapes, each with its label as ``kind``."""
    finished = [one for one in task["annotations"] if not one.get("was_cancelled")]
    results = finished[0]["result"] if finished else []
    labels = {
        result["id"]: values[0]
        for result in results
        for key, values in result.get("value", {}).items()
        if key.endswith("labels") and values
    }
    shapes: dict[str, Mapping[str, Any]] = {}
    for result in results:
        shape = result["type"].removesuffix("labels")
        if shape in _SHAPES and result["id"] not in shapes:
            shapes[result["id"]] = {
                **result, "shape": shape, "kind": labels.get(result["id"], "")
            }  # fmt: skip
    return list(shapes.values())


def _picture(path: Path, task: Mapping[str, Any], folders: Sequence[Path]) -> Path:
    urls = [value for value in task["data"].values() if isinstance(value, str)]
    found = [picture for url in urls if (picture := _found(url, folders)) is not None]
    if len(found) == 1:
        return found[0]
    looked = ", ".join(map(str, folders))
    raise ValueError(
        f"task {task.get('id')} of {path} names {', '.join(urls) or 'no picture'}, of which"
        f" {len(found)} are in {looked}: one picture is needed, --images says where"
    )


def _found(url: str, folders: Sequence[Path]) -> Path | None:
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return find_picture(local.lstrip("/"), folders) if local.strip("/") else None


def _load(path: Path, shapes: Sequence[Mapping[str, Any]]) -> LabelledImage:
    image = read_image(path)
    size = (image.shape[0], image.shape[1])
    masks: dict[str, Bool] = {}
    kinds: dict[str, str] = {}
    for number, shape in enumerate(shapes, start=1):
        stated = (shape.get("original_height"), shape.get("original_width"))
        if stated != size:
            raise ValueError(
                f"{path} is {size[1]} x {size[0]} pixels but its annotation is for"
                f" {stated[1]} x {stated[0]}: it is another picture"
            )
        try:
            mask = _mask(shape["shape"], shape["value"], size)
        except (KeyError, TypeError, ValueError, IndexError, binascii.Error, OSError) as error:
            raise ValueError(
                f"the {shape['shape']} {shape['id']} on {path} is broken ({error})"
            ) from error
        if np.count_nonzero(mask) >= _MIN_AREA:
            masks[f"object {number}"] = mask
            kinds[f"object {number}"] = str(shape["kind"])
    return LabelledImage(path.stem, image, masks, kinds)


def _mask(shape: str, value: Mapping[str, Any], size: tuple[int, int]) -> Bool:
    """H x W of one shape."""
    height, width = size
    scale = np.array([width, height]) / 100  # pixels to a percent
    match shape:
        case "brush":
            rgba = np.asarray(decode_rle(value["rle"])).reshape(height, width, 4)
            return np.asarray(rgba[..., 3] > 0)
        case "bitmask":
            return _bitmask(value["imageDataURL"], size)
        case "polygon":
            return fill_polygon(np.asarray(value["points"]) * scale, size)
        case "rectangle":
            sides = np.array([value["width"], value["height"]]) * scale
            corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides
        case _:  # ellipse
            angles = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
            radii = np.array([value["radiusX"], value["radiusY"]]) * scale
            corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    origin = np.array([value["x"], value["y"]]) * scale
    return fill_polygon(_turned(corners, value.get("rotation", 0)) + origin, size)


def _turned(corners: npt.NDArray[np.float64], degrees: float) -> npt.NDArray[np.float64]:
    """Clockwise on the screen, around (0, 0)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]))


def _bitmask(url: str, size: tuple[int, int]) -> Bool:
    """Label Studio draws an object in an opaque colour on transparent ground."""
    with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    if alpha.shape != size:
        raise ValueError(f"its picture is {alpha.shape[1]} x {alpha.shape[0]} pixels")
    return alpha > 0
