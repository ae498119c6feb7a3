"""YOLO: a label file for each image, in the folders that Ultralytics looks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backend.export.report import Note, Report
from backend.export.writers import IMAGES, Classes, Object, Place
from model.formats import yolo
from model.formats.rings import signed_area

LABELS = "labels"


class YoloWriter:
    """Writes rows of YOLO-seg. An image without objects has an empty file.

    Args:
        folder: exists.
        tolerance: how far rings may be from a mask's edge, pixels.
        report: counts objects of several parts.
    """

    needs_size = False

    def __init__(self, folder: Path, tolerance: float, report: Report) -> None:
        self._folder = folder
        self._tolerance = tolerance
        self._report = report
        (folder / LABELS).mkdir()

    def add(self, place: Place, objects: Iterable[Object]) -> None:
        """See :class:`Writer`."""
        rows = [self._row(one) + "\n" for one in objects]
        (self._folder / LABELS / f"{place.name}.txt").write_text("".join(rows))

    def finish(self, classes: Classes) -> None:
        """See :class:`Writer`."""
        names = list(classes)
        (self._folder / "data.yaml").write_text(yolo.data_yaml(names, IMAGES), "utf-8")
        (self._folder / "classes.txt").write_text("".join(f"{n}\n" for n in names), "utf-8")

    def _row(self, one: Object) -> str:
        if one.outline is not None:
            rings = [one.outline.exterior]
        else:
            rings = yolo.rings_of(one.mask, self._tolerance)
        if sum(signed_area(ring) > 0 for ring in rings) > 1:
            self._report.notes[Note.JOINED] += 1
        size = (one.mask.shape[0], one.mask.shape[1])
        return yolo.row(one.class_index, rings, size)
