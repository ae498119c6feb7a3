"""The objects that an annotation, a draft or a prediction of Label Studio has, as masks.

Brushes, bitmasks, polygons, rectangles and ellipses are read. Label Studio may write a region as
several items with the same id: the shape, its label, and the annotator's answers for the region.

Coordinates are percent of the image in Label Studio, after the image's EXIF orientation is applied.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.images.decoding import MAX_PIXELS
from backend.regions import region_items
from backend.regions.errors import MalformedRequestError
from backend.regions.region_items import Item
from model.formats import brush_rle
from model.formats.polygons import Mask, Polygon, fill
from model.formats.rings import Ring

SHAPES = ("brush", "bitmask", "polygon", "rectangle", "ellipse")
_ELLIPSE_VERTICES = 360
_FARTHEST = 1e6  # percent of the image


@dataclass(frozen=True)
class Region:
    """An object on an image, as somebody drew it.

    Attributes:
        region_id: as Label Studio has it.
        shape: one of :data:`SHAPES`.
        labels: the values or aliases of its labels; none where nobody chose a label.
        from_name: the tag that the shape was drawn with.
        to_name: the Image tag that shows the image.
        item_index: the index of the image in a list; None where the tag shows a single image.
        original_size: (H, W) of the image when the region was drawn, pixels; None where the region
            does not tell.
        value: the shape as Label Studio writes it.
    """

    region_id: str
    shape: str
    labels: tuple[str, ...]
    from_name: str
    to_name: str
    item_index: int | None
    original_size: tuple[int, int] | None
    value: Mapping[str, Any] = field(repr=False)

    def mask(self, size: tuple[int, int]) -> Mask:
        """The pixels of the object.

        Args:
            size: (H, W) of the image.

        Returns:
            H x W. It may be empty.

        Raises:
            MalformedRequestError: the region is damaged, or was drawn on an image of another size.
        """
        polygon = self.polygon(size)
        if polygon is not None:
            return fill([polygon], size)
        try:
            check_size(size)
            if self.shape == "brush":
                return brush_rle.decode(self.value["rle"], size)
            return _decode_bitmask(self.value["imageDataURL"], size)
        except (KeyError, TypeError, ValueError, OSError, Image.DecompressionBombError) as error:
            raise self._damaged(error) from error

    def polygon(self, size: tuple[int, int]) -> Polygon | None:
        """The outline that was drawn, in pixels; None for a brush and a bitmask.

        Args:
            size: (H, W) of the image.

        Raises:
            MalformedRequestError: the region is damaged.
        """
        if self.shape in ("brush", "bitmask"):
            return None
        try:
            check_size(size)
            return Polygon(_ring(self.shape, self.value, size))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> MalformedRequestError:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        return MalformedRequestError(f"the {self.shape} {self.region_id} cannot be read: {why}")


def check_size(size: tuple[int, int]) -> None:
    """Refuse sizes of images that cannot be loaded: a mask of such a size may need gigabytes.

    Args:
        size: (H, W), pixels.

    Raises:
        MalformedRequestError: the size is above ``MAX_PIXELS``.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise MalformedRequestError(
            f"it is on an image of {size[1]} x {size[0]} pixels, and at most {MAX_PIXELS} pixels"
            " can be read"
        )


def read_regions(result: Sequence[Any]) -> list[Region]:
    """The objects of an annotation, in its order.

    Items that are no shape (points, choices, texts, relations ...) are left out.

    Args:
        result: the ``result`` of an annotation, a draft or a prediction.

    Raises:
        MalformedRequestError: an item is not as Label Studio writes it.
    """
    items_of: dict[object, list[Item]] = {}
    for index, item in enumerate(region_items.as_items(result)):
        region_id = item.get("id")
        key = region_id if isinstance(region_id, str | int) else ("no id", index)
        items_of.setdefault(key, []).append(item)
    return [region for items in items_of.values() for region in _regions(items)]


def _regions(items: Sequence[Item]) -> Iterator[Region]:
    """The regions of the items with one id: most often one."""
    drawn: list[Mapping[str, Any]] = []
    for item in items:
        shape = _shape(item)
        if shape is None:
            continue
        geometry = _geometry(item)
        if geometry in drawn:  # Rectangle and RectangleLabels may each have an item for one box
            continue
        drawn.append(geometry)
        size = [region_items.size(item, name) for name in _SIZES if item.get(name) is not None]
        yield Region(
            region_id=_text(item.get("id", "")),
            shape=shape,
            labels=_labels([item, *(other for other in items if other is not item)]),
            from_name=str(item.get("from_name", "")),
            to_name=str(item.get("to_name", "")),
            item_index=region_items.count(item, "item_index"),
            original_size=(size[0], size[1]) if len(size) == len(_SIZES) else None,
            value=item["value"],
        )


_SIZES = ("original_height", "original_width")


def _shape(item: Item) -> str | None:
    """What an item draws; None for an item that draws nothing."""
    shape = str(item.get("type")).removesuffix("labels")
    return shape if shape in SHAPES and isinstance(item.get("value"), dict) else None


def _geometry(item: Item) -> Mapping[str, Any]:
    """The value of a shape without its labels."""
    value = item["value"]
    return {"item_index": item.get("item_index")} | {
        name: value[name] for name in value if not name.endswith("labels")
    }


def _labels(items: Sequence[Item]) -> tuple[str, ...]:
    """The labels of a region, each once: those of its shape, its first item, come first."""
    kinds = [str(item.get("type")) for item in items]
    if not any(kind.endswith("labels") for kind in kinds):
        kinds[0] = "labels"  # the editor repeats the label in the value of the shape
    names = [
        name
        for item, kind in zip(items, kinds, strict=True)
        if kind.endswith("labels")
        for name in region_items.label_names(item, kind)
    ]
    return tuple(dict.fromkeys(map(_text, names)))


def _text(value: object) -> str:
    """A text that can be written: half of a surrogate pair becomes a question mark."""
    return str(value).encode(errors="replace").decode()


def _ring(shape: str, value: Mapping[str, Any], size: tuple[int, int]) -> Ring:
    """The outline of a polygon, a rectangle or an ellipse, pixels."""
    height, width = size
    percent = np.array([width, height]) / 100
    if shape == "polygon":
        points = np.asarray(value["points"], dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < _FARTHEST).all():
            raise ValueError("points must be pairs of numbers, percent of the image")
        return points * percent
    if shape == "rectangle":
        x, y, box_width, box_height, rotation = region_items.rectangle(value)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (box_width, box_height)
    else:
        x, y, *radii = (region_items.number(value, n) for n in ("x", "y", "radiusX", "radiusY"))
        rotation = region_items.number(value, "rotation") if value.get("rotation") else 0.0
        angles = np.linspace(0, 2 * np.pi, _ELLIPSE_VERTICES, endpoint=False)
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    # The rotation is an angle on the screen, so pixels must be turned, and not percentages.
    return _turned(corners * percent, rotation) + (x, y) * percent


def _turned(corners: Ring, degrees: float) -> Ring:
    """Clockwise on the screen, around (0, 0)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]))


def _decode_bitmask(url: str, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The pixels of a picture in a data: URL that are opaque by half or more, H x W."""
    try:
        content = base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, AttributeError) as error:
        raise ValueError("imageDataURL is no data: URL in Base64") from error
    with Image.open(BytesIO(content)) as picture:
        if picture.size != size[::-1]:
            width, height = picture.size
            raise ValueError(
                f"its picture is {width} x {height} pixels, and the image is {size[1]} x {size[0]}"
            )
        return np.asarray(picture.convert("RGBA"))[..., 3] >= brush_rle.OPAQUE
