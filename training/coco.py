"""Reads object instances in COCO's JSON format (https://cocodataset.org/#format-data).

A segmentation is a list of polygons, or run lengths. Run lengths go down the columns of the
picture and begin with the background. They are a list of numbers, or pycocotools' short string.
Regions with ``iscrowd`` become unknown pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.formats.polygons import Polygon, fill
from training.labelled_images import LabelledDataset, LabelledImage, find_picture, read_image
from training.scenes import Bool

_MIN_AREA = 16  # pixels


def coco(path: Path, content: Mapping[str, Any], folders: Sequence[Path]) -> LabelledDataset:
    """The pictures with objects of a COCO file.

    Args:
        path: the file, for its name.
        content: what it holds.
        folders: where the pictures lie.

    Raises:
        ValueError: a part of the file is missing, a picture is not there, or no picture has an
            object. When an image is loaded: its size or a segmentation is wrong.
    """
    try:
        annotations: dict[int, list[Mapping[str, Any]]] = {}
        for annotation in content["annotations"]:
            if annotation.get("segmentation"):
                annotations.setdefault(annotation["image_id"], []).append(annotation)
        kinds = {one["id"]: str(one["name"]) for one in content.get("categories", [])}
        images = [
            (_picture(path, image["file_name"], folders), annotations[image["id"]])
            for image in content["images"]
            if any(not one.get("iscrowd") for one in annotations.get(image["id"], []))
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a COCO file of object instances ({error!r})") from error
    if not images:
        raise ValueError(f"{path} has no picture with a segmented object")
    return LabelledDataset(path.stem, len(images), lambda index: _load(*images[index], kinds))


def _picture(path: Path, name: str, folders: Sequence[Path]) -> Path:
    found = find_picture(name, folders)
    if found is None:
        looked = ", ".join(map(str, folders))
        raise ValueError(
            f"{path} names {name}, which is not in {looked}: say with --images where the pictures"
            " are"
        )
    return found


def _load(
    path: Path, annotations: Sequence[Mapping[str, Any]], kinds: Mapping[int, str]
) -> LabelledImage:
    image = read_image(path)
    size = (image.shape[0], image.shape[1])
    masks: dict[str, Bool] = {}
    named: dict[str, str] = {}
    unknown = np.zeros(size, dtype=np.bool_)
    for number, annotation in enumerate(annotations, start=1):
        name = f"object {annotation.get('id', number)}"
        try:
            mask = _mask(annotation["segmentation"], size)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"the segmentation of {name} in {path} is wrong ({error})") from error
        if annotation.get("iscrowd"):
            unknown |= mask
        elif np.count_nonzero(mask) >= _MIN_AREA:
            masks[name] = mask
            named[name] = kinds.get(annotation.get("category_id", -1), "")
    masks = {name: mask & ~unknown for name, mask in masks.items() if (mask & ~unknown).any()}
    return LabelledImage(path.stem, image, masks, named, unknown if unknown.any() else None)


def _mask(segmentation: Any, size: tuple[int, int]) -> Bool:
    """H x W of polygons or run lengths."""
    if isinstance(segmentation, list):
        rings = [np.reshape(np.asarray(ring, np.float64), (-1, 2)) for ring in segmentation]
        return fill([Polygon(ring) for ring in rings], size)
    if tuple(segmentation["size"]) != size:
        raise ValueError(f"its size is {segmentation['size']}, the picture's is {list(size)}")
    counts = segmentation["counts"]
    lengths = _lengths(counts) if isinstance(counts, str) else counts
    if sum(lengths) != size[0] * size[1]:
        raise ValueError(f"its run lengths give {sum(lengths)} pixels, not {size[0] * size[1]}")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(size[::-1]).T)


def _lengths(text: str) -> list[int]:
    """Run lengths of pycocotools' string.

    Each character holds five bits of a number, lowest bits first, and a sixth bit that says
    whether more follow; 48 is added. From the fourth number on, a number is the difference to the
    one two places before it.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # negative
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    return lengths
