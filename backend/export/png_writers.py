"""PNG: a picture of the classes of each image, or a picture of each object."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backend.export.file_names import safe
from backend.export.report import Note, Report
from backend.export.writers import Classes, Object, Place
from model.formats import index_png
from model.packed_mask import PackedMask

MASKS = "masks"


class IndexPngWriter:
    """Writes a picture of each image: 0 is the background, 1 the first class.

    Args:
        folder: exists.
        report: counts objects that hide others.
    """

    needs_size = True

    def __init__(self, folder: Path, report: Report) -> None:
        self._folder = folder
        self._report = report
        (folder / MASKS).mkdir()

    def add(self, place: Place, objects: Iterable[Object]) -> None:
        """See :class:`Writer`. The smallest object lies on top."""
        assert place.size is not None
        indices = np.zeros(place.size, dtype=np.uint8)
        packed = [(PackedMask.pack(one.mask), one.class_index + 1) for one in objects]
        for mask, index in sorted(packed, key=lambda one: -one[0].area):
            if index > index_png.MAX_CLASSES:
                raise ValueError(
                    f"an index PNG has at most {index_png.MAX_CLASSES} classes, and this project"
                    " has more: use --format masks or coco"
                )
            if index_png.paint(indices, mask.unpack(), index):
                self._report.notes[Note.HIDDEN] += 1
        content = index_png.encode_index_png(indices)
        (self._folder / MASKS / f"{place.name}.png").write_bytes(content)

    def finish(self, classes: Classes) -> None:
        """See :class:`Writer`."""
        names = {"0": "background"} | {
            str(index): name for index, name in enumerate(classes, start=1)
        }
        _write_json(self._folder / "classes.json", names)


class MaskPngWriter:
    """Writes a picture of each object, and a list of all of them.

    Args:
        folder: exists.
    """

    needs_size = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: list[dict[str, Any]] = []

    def add(self, place: Place, objects: Iterable[Object]) -> None:
        """See :class:`Writer`."""
        folder = self._folder / MASKS / place.name
        listed = []
        for number, one in enumerate(objects, start=1):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{number:04}-{safe(one.label)}.png"
            path.write_bytes(index_png.encode_mask(one.mask))
            listed.append(
                {
                    "mask": path.relative_to(self._folder).as_posix(),
                    "label": one.label,
                    "annotation": one.annotation_id,
                    "region": one.region_id,
                }
            )
        self._images.append(
            {"file_name": place.file_name, "task": place.task_id, "objects": listed}
        )

    def finish(self, classes: Classes) -> None:
        """See :class:`Writer`."""
        _write_json(self._folder / "masks.json", {"classes": list(classes), "images": self._images})


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
