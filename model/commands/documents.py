"""The results of many images as the content of one JSON file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from model.downloads import is_url
from model.formats import coco, label_studio
from model.results import Results
from model.sources import Source


class Document(Protocol):
    """Takes the results of the images one after the other."""

    def add(self, source: Source, result: Results) -> None:
        """Add an image."""

    def content(self) -> Any:
        """What the file holds."""


class Listing:
    """Our own format: a list of images with their objects. Polygons and boxes are in pixels."""

    def __init__(self) -> None:
        self._images: list[Any] = []

    def add(self, source: Source, result: Results) -> None:
        """See :class:`Document`."""
        height, width = result.original_size
        objects = [
            {
                "iou_prediction": round(float(score), 4),
                "area": int(area),
                "box": box,
                "polygons": [
                    {
                        "exterior": part.exterior.tolist(),
                        "holes": [hole.tolist() for hole in part.holes],
                    }
                    for part in parts
                ],
            }
            for score, area, box, parts in zip(
                result.scores,
                result.areas,
                result.boxes.astype(int).tolist(),
                result.polygons,
                strict=True,
            )
        ]
        self._images.append(
            {"image": source.name, "width": width, "height": height, "objects": objects}
        )

    def content(self) -> Any:
        """See :class:`Document`."""
        return self._images


class Coco:
    """A COCO file with one category. Empty masks are left out.

    Args:
        category: its name.
    """

    def __init__(self, category: str) -> None:
        self._category = category
        self._images: list[Any] = []
        self._annotations: list[Any] = []

    def add(self, source: Source, result: Results) -> None:
        """See :class:`Document`."""
        image_id = len(self._images) + 1
        self._images.append(coco.image(image_id, str(source.relative), result.original_size))
        for mask, parts, score in zip(
            result.each_mask(), result.polygons, result.scores, strict=True
        ):
            if parts:
                number = len(self._annotations) + 1
                annotation = coco.annotation(number, image_id, 1, mask, parts)
                self._annotations.append({**annotation, "score": round(float(score), 4)})

    def content(self) -> Any:
        """See :class:`Document`."""
        return coco.dataset([self._category], self._images, self._annotations)


class Tasks:
    """Tasks of Label Studio with predictions. Empty masks are left out.

    Args:
        found: all images that will be added.
        label: of all objects.
        url_prefix: what comes before the paths of files.
        model_version: the name of the predictions.

    Raises:
        ValueError: the prefix is needed and missing.
    """

    def __init__(
        self, found: Sequence[Source], label: str, url_prefix: str | None, model_version: str
    ) -> None:
        self._urls = {source.name: _url(source, url_prefix) for source in found}
        self._label = label
        self._model_version = model_version
        self._tasks: list[Any] = []

    def add(self, source: Source, result: Results) -> None:
        """See :class:`Document`."""
        task = label_studio.task(
            self._urls[source.name],
            zip(result.each_mask(), map(float, result.scores), strict=True),
            label=self._label,
            model_version=self._model_version,
        )
        self._tasks.append(task)

    def content(self) -> Any:
        """See :class:`Document`."""
        return self._tasks


def _url(source: Source, prefix: str | None) -> str:
    """Where Label Studio finds an image."""
    if source.path is not None and is_url(source.path):
        return source.path
    if prefix is None:
        raise ValueError(
            "--format label-studio needs --url-prefix for files: the part of an image's URL before"
            f" the path of the file {source.relative}, such as '/data/local-files/?d=photos/'"
        )
    return prefix + quote(os.fsencode(str(source.relative)))  # "#" and "+" mean other things
