"""Pictures whose objects are known: what the network learns from and what it is judged by.

The readers are in ``mask_folder.py``, ``coco.py`` and ``label_studio_export.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from training.scenes import Bool

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class LabelledImage:
    """A picture and its objects.

    Attributes:
        name: the name that people read.
        image: H x W x 3 uint8 RGB.
        masks: one mask for each object, H x W, by the name of the object. No mask is empty.
        kinds: what an object is, by the name of the object; empty where the source does not say.
        unknown: H x W, the pixels that belong to no object for sure; None for no such pixels.
            They count neither for an answer nor against it.
    """

    name: str
    image: npt.NDArray[np.uint8]
    masks: Mapping[str, Bool]
    kinds: Mapping[str, str] = field(default_factory=dict)
    unknown: Bool | None = None


@dataclass(frozen=True)
class LabelledDataset:
    """Labelled images that are loaded one at a time.

    Attributes:
        name: the name in tables.
        count: the number of images.
        load: loads the image with an index from 0 on.
    """

    name: str
    count: int
    load: Callable[[int], LabelledImage]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[LabelledImage]:
        return map(self.load, range(self.count))


def sample(dataset: LabelledDataset, images: int | None, objects: int | None) -> LabelledDataset:
    """Some images of a dataset and some objects of each image: the same ones each time.

    Args:
        images: at most so many; None for all.
        objects: at most so many of each image; None for all.
    """
    order = np.random.default_rng(0).permutation(len(dataset))
    chosen = sorted(order[:images].tolist())

    def load(position: int) -> LabelledImage:
        labelled = dataset.load(chosen[position])
        names = sorted(labelled.masks)
        kept = np.random.default_rng(chosen[position]).permutation(len(names))[:objects]
        masks = {names[index]: labelled.masks[names[index]] for index in sorted(kept)}
        return replace(labelled, masks=masks)

    return LabelledDataset(dataset.name, len(chosen), load)


def label_map(labelled: LabelledImage, most: int, unknown: int) -> npt.NDArray[np.uint8]:
    """All objects in one array: 0 is background, each other value is one object.

    Smaller objects lie on top of larger ones. The smallest objects are left out where there are
    more than ``most``.

    Args:
        most: the largest number of objects.
        unknown: the value of unknown pixels.

    Returns:
        H x W.
    """
    labels = np.zeros(labelled.image.shape[:2], np.uint8)
    by_size = sorted(labelled.masks.values(), key=np.count_nonzero, reverse=True)
    for number, mask in enumerate(by_size[:most], start=1):
        labels[mask] = number
    if labelled.unknown is not None:
        labels[labelled.unknown] = unknown
    return labels


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """A picture as a viewer shows it, turned by EXIF; H x W x 3 RGB.

    Raises:
        ValueError: the file is not a complete picture.
    """
    with open_picture(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture as a viewer shows it, turned by EXIF.

    Raises:
        ValueError: the file is not a picture.
    """
    with open_picture(path) as picture:
        turned = picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5
        width, height = picture.size
        return (height, width) if turned else (width, height)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture file.

    Raises:
        ValueError: the file is not a complete picture. The pixels are read inside the context.
    """
    try:
        with Image.open(path) as picture:
            yield picture
    except OSError as error:  # also where the pixels break off
        raise ValueError(f"{path} cannot be read as a picture ({error})") from error


def find_picture(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of that name in the first folder that has it.

    Args:
        name: a relative path. A file without its folders is looked for too.
    """
    for folder in folders:
        for candidate in (folder / name, folder / Path(name).name):
            if candidate.is_file() and candidate.resolve().is_relative_to(folder.resolve()):
                return candidate
    return None
