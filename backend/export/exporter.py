"""Turns the annotated images of a project into the files of a format."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.export.annotations import Annotated, AnnotatedImage, AnnotationReader
from backend.export.file_names import FileNames, file_name, suffix
from backend.export.report import Note, Report
from backend.export.writers import IMAGES, Classes, Object, Place, Writer
from backend.images import formats
from backend.images.decoding import shown_size
from backend.images.errors import ImageError
from backend.images.loading import ImageLoader
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.region_masks import Region
from model.formats.polygons import Mask, Polygon, trace
from model.formats.rings import winding_numbers

_LOADS_AT_ONCE = 8
_UNLABELLED = "object"
_ROUNDING = 0.01  # pixels


@dataclass(frozen=True)
class _Waiting:
    """An image that is being prepared."""

    image: AnnotatedImage
    place: Future[Place]


class Exporter:
    """Writes images and their objects.

    Args:
        reader: finds the annotated images of tasks.
        loader: fetches images; those without regions too, where the format needs their size.
        writer: of the format.
        classes: those of the labeling config. Further labels are added.
        unlabelled: the class of objects without a label; None: they are failures.
        folder: where the folder of the images is made; None to fetch no images to keep.
        report: gets notes and failures.
    """

    def __init__(
        self,
        reader: AnnotationReader,
        loader: ImageLoader,
        writer: Writer,
        classes: Classes,
        unlabelled: str | None,
        folder: Path | None,
        report: Report,
    ) -> None:
        self._reader = reader
        self._loader = loader
        self._writer = writer
        self._classes = classes
        self._known = frozenset(classes)
        self._unlabelled = unlabelled if len(classes) or unlabelled else _UNLABELLED
        self._images = folder / IMAGES if folder else None
        self._report = report
        self._names = FileNames()
        if self._images:
            self._images.mkdir()

    def write(self, tasks: Iterable[Mapping[str, Any]]) -> None:
        """Write the images of tasks, in the order of the tasks.

        Args:
            tasks: as Label Studio has them, with ``annotations``.

        Raises:
            OSError: a file cannot be written.
        """
        pool = ThreadPoolExecutor(_LOADS_AT_ONCE)
        try:
            waiting: deque[_Waiting] = deque()
            for image in self._annotated(tasks):
                name = self._names.reserve(image.ref.url, image.ref.task_id)
                waiting.append(_Waiting(image, pool.submit(self._prepare, image, name)))
                if len(waiting) > 2 * _LOADS_AT_ONCE:
                    self._write(waiting.popleft())
            while waiting:
                self._write(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _annotated(self, tasks: Iterable[Mapping[str, Any]]) -> Iterator[AnnotatedImage]:
        for task in tasks:
            try:
                yield from self._reader.images(task)
            except (MalformedRequestError, UnanswerableRequestError) as error:
                self._fail(f"task {task.get('id')}", error)

    def _prepare(self, image: AnnotatedImage, name: str) -> Place:
        """Find out what the writer needs to know, and fetch the image where that is wanted."""
        size, ending = image.original_size, suffix(file_name(image.ref.url))
        is_known = ending in formats.SUFFIXES
        if self._images or (size is None and (image.objects or self._writer.needs_size)):
            content = self._loader.load(image.ref).content
            found = shown_size(content, size)
            if size is not None and found != size:
                raise ImageError(
                    f"the image has {found[1]} x {found[0]} pixels, and its regions were drawn on"
                    f" {size[1]} x {size[0]}: has it been replaced?"
                )
            size = found
            if not is_known:
                ending = formats.read(content).format.suffixes[0]
                is_known = True
            if self._images:
                (self._images / f"{name}{ending}").write_bytes(content)
        return Place(name, ending if is_known else "", image.ref.task_id, size)

    def _write(self, waiting: _Waiting) -> None:
        name = f"task {waiting.image.ref.task_id}"
        try:
            place = waiting.place.result()
        except (ImageError, MalformedRequestError) as error:
            self._fail(name, error)
            return
        self._writer.add(place, self._objects(waiting.image.objects, place, name))
        self._report.images += 1

    def _objects(self, annotated: Iterable[Annotated], place: Place, name: str) -> Iterator[Object]:
        for one in annotated:
            assert place.size is not None
            try:
                labels, mask = self._labels(one), one.region.mask(place.size)
                outline = _outline(one.region, mask)
            except MalformedRequestError as error:
                self._fail(name, error)
                continue
            if not mask.any():
                self._report.notes[Note.NO_PIXELS] += 1
                continue
            self._report.notes[Note.SEVERAL_LABELS] += len(labels) > 1
            for label in labels:
                self._report.objects += 1
                self._report.notes[Note.OTHER_LABELS] += label not in self._known
                index, source = self._classes.index(label), one.region.region_id
                yield Object(index, label, mask, outline, one.annotation_id, source)

    def _labels(self, one: Annotated) -> tuple[str, ...]:
        if one.labels:
            return one.labels
        if self._unlabelled is not None:
            return (self._unlabelled,)
        raise MalformedRequestError(
            f"the {one.region.shape} {one.region.region_id} has no label: --unlabelled NAME exports"
            " such objects as a class of this name"
        )

    def _fail(self, name: str, error: Exception) -> None:
        self._report.failures.append((name, str(error)))


def _outline(region: Region, mask: Mask) -> Polygon | None:
    """The outline as it was drawn, where every reader fills it to the mask.

    That is one part without holes, on the image, around which the ring runs once.
    """
    height, width = mask.shape
    polygon = region.polygon((height, width))
    if polygon is None:
        return None
    parts = trace(mask)
    on_image = polygon.exterior.clip(0, (width, height))
    is_on_image = np.abs(on_image - polygon.exterior).max() < _ROUNDING
    if not is_on_image or len(parts) != 1 or parts[0].holes:
        return None
    windings = winding_numbers(on_image, range(height), range(width))
    return Polygon(on_image) if np.abs(windings).max() == 1 else None
