"""Boxes that a detector has found: YOLO label files, or a COCO file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.sources import Source

Box = tuple[float, float, float, float]
CLASS_NAMES = "classes.txt"  # beside label files: the name of each class, one in a line
# From an image, H x W x 3 uint8 RGB, to a class and a box (x0, y0, x1, y1) in pixels for each
# object.
Detector = Callable[[npt.NDArray[np.uint8]], Sequence[tuple[int, Sequence[float]]]]


@dataclass(frozen=True)
class Detection:
    """One box.

    Attributes:
        class_id: the number of its class, from 0 on.
        box: (x0, y0, x1, y1), pixels. The numbers may be anything, as they come from a file.
    """

    class_id: int
    box: Box


class Detections(Protocol):
    """Knows the boxes of images."""

    @property
    def class_names(self) -> Sequence[str]:
        """By the number of the class; empty where the names are not known."""

    def of(self, source: Source, image: npt.NDArray[np.uint8]) -> list[Detection]:
        """The boxes in one image, in the order of the detector.

        Args:
            source: where the image comes from.
            image: H x W x 3.

        Raises:
            ValueError: what is said about this image is broken, or is about an image of another
                size.
        """

    def check(self, found: Sequence[Source]) -> list[str]:
        """What is said about none of these images, as sentences.

        Raises:
            ValueError: nothing is said about any of these images.
        """


def read(boxes: Path) -> Detections:
    """Read a folder of YOLO labels or a COCO file.

    Raises:
        OSError: there is no such file.
        ValueError: it is neither.
    """
    return YoloLabels(boxes) if boxes.is_dir() else CocoFile(boxes)


class YoloLabels:
    """A folder of ``<image>.txt`` with a row ``class x y width height [confidence]`` for each box.

    The centre and the size of a box are fractions of the image. An image without a file has no
    boxes: YOLO means it so. A file ``classes.txt`` in the folder or beside it has the names of the
    classes, one in a line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = [one / CLASS_NAMES for one in (folder, folder.parent)]
        self._names = next((one for one in names if one.is_file()), None)
        self.class_names: list[str] = []
        if self._names is not None:
            self.class_names = self._names.read_text().splitlines()

    def check(self, found: Sequence[Source]) -> list[str]:
        """See :class:`Detections`."""
        known = {self._path(source) for source in found}
        files = {one for one in self._folder.rglob("*.txt") if one != self._names}
        if not files & known:
            raise ValueError(
                f"no label file in {self._folder} belongs to an image:"
                f" {self._path(found[0])} would belong to {found[0].name}"
            )
        return [f"{path} belongs to no image" for path in sorted(files - known)]

    def of(self, source: Source, image: npt.NDArray[np.uint8]) -> list[Detection]:
        """See :class:`Detections`."""
        path = self._path(source)
        if not path.exists():
            return []
        height, width = image.shape[:2]
        lines = path.read_text().splitlines()
        return [
            _from_yolo(words, width, height, f"{path}, line {number}")
            for number, line in enumerate(lines, start=1)
            if (words := line.split())
        ]

    def _path(self, source: Source) -> Path:
        return self._folder / source.relative.with_suffix(".txt")


class CocoFile:
    """A COCO file with ``images``, ``annotations`` with ``bbox``, and ``categories``.

    The classes are the categories in the order of their ids, counted from 0. An image belongs to
    the entry whose ``file_name`` is its path below the folder, or else its name alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = _read_json(path)
        try:
            categories = sorted(content["categories"], key=lambda one: int(one["id"]))
            self.class_names = [str(one["name"]) for one in categories]
            class_ids = {one["id"]: index for index, one in enumerate(categories)}
            self._images = {PurePosixPath(one["file_name"]): one for one in content["images"]}
            self._boxes: dict[Any, list[Detection]] = {one["id"]: [] for one in content["images"]}
            for one in content["annotations"]:
                x, y, width, height = map(float, one["bbox"])
                detection = Detection(class_ids[one["category_id"]], (x, y, x + width, y + height))
                self._boxes.setdefault(one["image_id"], []).append(detection)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{path} is no COCO file with images, annotations (with bbox) and categories:"
                f" {type(error).__name__} {error}"
            ) from error

    def check(self, found: Sequence[Source]) -> list[str]:
        """See :class:`Detections`."""
        entries = [self._entry(source) for source in found]
        known = {one["id"] for one in entries if one is not None}
        if not known:
            raise ValueError(f"{self._path} has no entry for any of the images")
        return [
            f"{one['file_name']} of {self._path} is no image here"
            for one in self._images.values()
            if one["id"] not in known
        ]

    def of(self, source: Source, image: npt.NDArray[np.uint8]) -> list[Detection]:
        """See :class:`Detections`."""
        entry = self._entry(source)
        if entry is None:
            raise ValueError(f"{self._path} has no entry for this image")
        height, width = image.shape[:2]
        size = entry.get("width", width), entry.get("height", height)
        if size != (width, height):
            raise ValueError(
                f"{self._path} says {size[0]} x {size[1]} pixels, and the image has {width} x"
                f" {height} as browsers show it: the boxes would be in wrong places"
            )
        return self._boxes[entry["id"]]

    def _entry(self, source: Source) -> dict[str, Any] | None:
        return self._images.get(source.relative) or self._images.get(
            PurePosixPath(source.relative.name)
        )


class Called:
    """The boxes of a function."""

    class_names: Sequence[str] = ()

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def check(self, found: Sequence[Source]) -> list[str]:
        """See :class:`Detections`."""
        return []

    def of(self, source: Source, image: npt.NDArray[np.uint8]) -> list[Detection]:
        """See :class:`Detections`."""
        detections = []
        for class_id, box in self._detector(image):
            x0, y0, x1, y1 = map(float, box)
            detections.append(Detection(int(class_id), (x0, y0, x1, y1)))
        return detections


def _from_yolo(words: list[str], width: int, height: int, place: str) -> Detection:
    try:
        class_number, x, y, box_width, box_height = map(float, words[:5])
    except ValueError:
        class_number = -1.0
    if class_number < 0 or not class_number.is_integer() or len(words) > 6:
        raise ValueError(
            f"{place}: a row must be `class x y width height`, the class from 0 on, not"
            f" {' '.join(words)!r}"
        )
    x0, y0 = (x - box_width / 2) * width, (y - box_height / 2) * height
    x1, y1 = (x + box_width / 2) * width, (y + box_height / 2) * height
    return Detection(int(class_number), (x0, y0, x1, y1))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is neither a folder of YOLO labels nor JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must be a COCO file with images, annotations and categories: detections alone"
            " do not say which image an id means"
        )
    return content
