"""Reads Label Studio's export in the JSON format: brushes, bitmasks, polygons, boxes, ellipses.

The export names pictures by the URLs of its tasks and does not hold them. The part of the URL that
is a path is looked for in the folder of the pictures, and so is its last part alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from backend.regions.region_masks import SHAPES, Region, read_regions
from training.labelled_images import LabelledDataset, LabelledImage, find_picture, read_image
from training.scenes import Bool

_MIN_AREA = 16  # pixels


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
        regions = [(task, _regions(task)) for task in tasks]
        images = [(_picture(path, task, folders), found) for task, found in regions if found]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an export of Label Studio in JSON ({error!r})") from error
    if not images:
        raise ValueError(
            f"{path} has no annotation with a shape: {', '.join(SHAPES)} are read from results"
        )
    return LabelledDataset(path.stem, len(images), lambda index: _load(*images[index]))


def _regions(task: Mapping[str, Any]) -> list[Region]:
    """The objects of the task's annotation."""
    finished = [one for one in task["annotations"] if not one.get("was_cancelled")]
    return read_regions(finished[0]["result"]) if finished else []


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


def _load(path: Path, regions: Sequence[Region]) -> LabelledImage:
    image = read_image(path)
    size = (image.shape[0], image.shape[1])
    masks: dict[str, Bool] = {}
    kinds: dict[str, str] = {}
    for number, region in enumerate(regions, start=1):
        if region.original_size not in (None, size):
            height, width = region.original_size
            raise ValueError(
                f"{path} is {size[1]} x {size[0]} pixels but its annotation is for"
                f" {width} x {height}: it is another picture"
            )
        try:
            mask = region.mask(size)
        except ValueError as error:
            raise ValueError(f"the annotation of {path} is broken: {error}") from error
        if np.count_nonzero(mask) >= _MIN_AREA:
            masks[f"object {number}"] = mask
            kinds[f"object {number}"] = next(iter(region.labels), "")
    return LabelledImage(path.stem, image, masks, kinds)
