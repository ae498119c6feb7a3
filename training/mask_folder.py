"""Reads a folder of pictures and masks::

DIR/images/NAME.jpg    a picture: .jpg, .jpeg, .png, .webp, .bmp, .tif or .tiff
DIR/masks/NAME.png     of the same size, greyscale or indexed: 0 is background, every other
                       value is one object
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.labelled_images import (
    IMAGE_SUFFIXES,
    LabelledDataset,
    LabelledImage,
    open_picture,
    picture_size,
    read_image,
)
from training.scenes import Bool

_MASK_MODES = ("1", "L", "P", "I;16")
_MIN_AREA = 16  # pixels


def mask_folder(path: Path, unknown: int | None = None) -> LabelledDataset:
    """The pictures and masks of a folder.

    Args:
        unknown: the value of pixels that belong to no object for sure; None if there is none.

    Raises:
        ValueError: the layout is another, a picture has no mask or a mask no picture, or their
            sizes differ. When an image is loaded: its mask has no object, or a file is broken.
    """
    for part in (path / "images", path / "masks"):
        if not part.is_dir():
            raise ValueError(
                f"there is no folder {part}: put the pictures into {path / 'images'} and masks of"
                f" the same names, .png, into {path / 'masks'}"
            )
    images = _by_stem(path / "images", IMAGE_SUFFIXES)
    masks = _by_stem(path / "masks", (".png",))
    if images.keys() != masks.keys():
        stem = min(images.keys() ^ masks.keys())
        have, lack = ("images", "masks") if stem in images else ("masks", "images")
        raise ValueError(
            f"{path / have} has {stem!r} but {path / lack} has not: every picture needs a mask of"
            " the same name, and every mask a picture"
        )
    if not images:
        raise ValueError(f"{path / 'images'} holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
    pairs = [(images[stem], masks[stem]) for stem in sorted(images)]
    for pair in pairs:
        _check_sizes(*pair)
    return LabelledDataset(path.name, len(pairs), lambda index: _read_pair(*pairs[index], unknown))


def masks_of(labels: npt.NDArray[np.integer]) -> dict[int, Bool]:
    """The mask of every object of a label map, H x W, where 0 is background."""
    return {int(label): labels == label for label in np.unique(labels) if label}


def _by_stem(part: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(part.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in suffixes:
            raise ValueError(f"{path} is none of {', '.join(suffixes)}: remove or convert it")
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} have one name: rename one of them")
        found[path.stem] = path
    return found


def _check_sizes(image_path: Path, mask_path: Path) -> None:
    image_size, mask_size = picture_size(image_path), picture_size(mask_path)
    if image_size != mask_size:
        raise ValueError(
            f"{mask_path} is {mask_size[0]} x {mask_size[1]} pixels but {image_path.name} is"
            f" {image_size[0]} x {image_size[1]}: a mask must have the size of its picture"
        )


def _read_pair(image_path: Path, mask_path: Path, unknown: int | None) -> LabelledImage:
    image = read_image(image_path)
    with open_picture(mask_path) as picture:
        if picture.mode not in _MASK_MODES:
            raise ValueError(
                f"{mask_path} is a picture of mode {picture.mode}: a mask holds one number for"
                " each pixel, save it as greyscale or indexed PNG"
            )
        labels = np.asarray(picture).astype(np.int64)
    masks = masks_of(labels)
    unknown_pixels = None if unknown is None else masks.pop(unknown, None)
    if not masks:
        raise ValueError(f"{mask_path} has no object: remove it and its picture")
    for label, mask in masks.items():
        if (area := np.count_nonzero(mask)) < _MIN_AREA:
            raise ValueError(
                f"object {label} of {mask_path} has {area} pixels, fewer than {_MIN_AREA}: if its"
                " edges were smoothed, save it without antialiasing"
            )
    named = {f"object {label}": mask for label, mask in masks.items()}
    return LabelledImage(image_path.stem, image, named, unknown=unknown_pixels)
