"""COCO: all annotations in one JSON file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from backend.export.writers import Classes, Object, Place
from model.formats import coco
from model.formats.polygons import trace

FILE = "annotations.json"


class CocoWriter:
    """Writes annotations as they come: those of a large project do not fit in memory.

    Args:
        folder: exists.
        tolerance: how far polygons may be from a mask's edge, pixels.
    """

    needs_size = True

    def __init__(self, folder: Path, tolerance: float) -> None:
        self._path = folder / FILE
        self._path.write_bytes(b'{"annotations":[')
        self._tolerance = tolerance
        self._images: list[dict[str, Any]] = []
        self._count = 0

    def add(self, place: Place, objects: Iterable[Object]) -> None:
        """See :class:`Writer`."""
        assert place.size is not None
        image = coco.image(len(self._images) + 1, place.file_name, place.size)
        self._images.append(image | {"task": place.task_id})
        with self._path.open("ab") as file:
            for one in objects:
                file.write(b",\n" if self._count else b"\n")
                self._count += 1
                file.write(orjson.dumps(self._annotation(one, image["id"])))

    def finish(self, classes: Classes) -> None:
        """See :class:`Writer`."""
        rest = coco.dataset(list(classes), self._images, ())
        del rest["annotations"]
        with self._path.open("ab") as file:
            file.write(b"\n],\n" + orjson.dumps(rest)[1:] + b"\n")

    def _annotation(self, one: Object, image_id: int) -> dict[str, Any]:
        outline = [one.outline] if one.outline else trace(one.mask, self._tolerance)
        annotation = coco.annotation(self._count, image_id, one.class_index + 1, one.mask, outline)
        source = {"annotation": one.annotation_id, "region": one.region_id}
        return annotation | {"label_studio": source}
