"""What a checkpoint is judged on: pictures whose objects are known.

Scenes drawn from seeds that no training uses, or any folder of one's own::

    DIR/images/NAME.jpg    a picture: .jpg, .jpeg, .png, .webp, .bmp, .tif or .tiff
    DIR/masks/NAME.png     of the same size, greyscale or indexed: 0 is background, every other
                           value is one object

The photographs are in ``training/photographs.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from training.scenes import Bool, generate

_SEED = 20_000_003  # far from any seed of the training
_SCENE_SIZE = 512
_OBJECTS = 4  # of each scene, at most
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_MASK_MODES = ("1", "L", "P", "I;16")
_MIN_AREA = 16  # pixels
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class LabelledImage:
    """A picture and its objects.

    Attributes:
        name: for people.
        image: H x W x 3 uint8 RGB.
        masks: H x W each, by the name of the object; none is empty.
    """

    name: str
    image: npt.NDArray[np.uint8]
    masks: Mapping[str, Bool]


@dataclass(frozen=True)
class JudgingSet:
    """Labelled images that are loaded one at a time.

    Attributes:
        name: for the table.
        count: of the images.
        load: makes the image of an index from 0.
    """

    name: str
    count: int
    load: Callable[[int], LabelledImage]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[LabelledImage]:
        return map(self.load, range(self.count))


def drawn_scenes(count: int) -> JudgingSet:
    """The first ``count`` of an endless series of scenes, always the same."""
    return JudgingSet("scenes", count, _draw)


def folder(path: Path) -> JudgingSet:
    """The images and masks of a folder laid out as the module says.

    Raises:
        ValueError: the layout is another, an image has no mask or a mask no image, or their sizes
            differ. When an image is loaded: its mask is none, or a file is broken.
    """
    for part in (path / "images", path / "masks"):
        if not part.is_dir():
            raise ValueError(
                f"there is no folder {part}: pictures belong into {path / 'images'}, masks of the"
                f" same names, .png, into {path / 'masks'}"
            )
    images = _by_stem(path / "images", _IMAGE_SUFFIXES)
    masks = _by_stem(path / "masks", (".png",))
    if images.keys() != masks.keys():
        stem = min(images.keys() ^ masks.keys())
        have, lack = ("images", "masks") if stem in images else ("masks", "images")
        raise ValueError(
            f"{path / have} has {stem!r} but {path / lack} has not: every picture needs a mask of"
            " the same name, and every mask a picture"
        )
    if not images:
        raise ValueError(f"{path / 'images'} holds no pictures ({', '.join(_IMAGE_SUFFIXES)})")
    pairs = [(images[stem], masks[stem]) for stem in sorted(images)]
    for pair in pairs:
        _check_sizes(*pair)
    return JudgingSet(path.name, len(pairs), lambda index: _read_pair(*pairs[index]))


def masks_of(labels: npt.NDArray[np.integer]) -> dict[int, Bool]:
    """The mask of every object of a label map, H x W, 0 for background."""
    return {int(label): labels == label for label in np.unique(labels) if label}


def _draw(index: int) -> LabelledImage:
    rng = np.random.default_rng((_SEED, index))
    scene = generate(rng, _SCENE_SIZE)
    masks = scene.object_masks
    chosen = rng.permutation(len(masks))[:_OBJECTS]
    named = {f"object {number}": masks[number] for number in chosen}
    return LabelledImage(f"scene {index}", scene.image, named)


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
    sizes = []
    for path in (image_path, mask_path):
        with _open(path) as picture:
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5
            sizes.append(picture.size[::-1] if turned else picture.size)
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"{mask_path} is {sizes[1][0]} x {sizes[1][1]} pixels but {image_path.name} is"
            f" {sizes[0][0]} x {sizes[0][1]}: a mask must have the size of its picture"
        )


def _read_pair(image_path: Path, mask_path: Path) -> LabelledImage:
    with _open(image_path) as picture:
        image = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    with _open(mask_path) as picture:
        if picture.mode not in _MASK_MODES:
            raise ValueError(
                f"{mask_path} is a picture of mode {picture.mode}: a mask holds one number per"
                " pixel, save it as greyscale or indexed PNG"
            )
        labels = np.asarray(picture).astype(np.int64)
    masks = masks_of(labels)
    if not masks:
        raise ValueError(f"{mask_path} is all 0: it has no object, remove it and its picture")
    for label, mask in masks.items():
        if (area := np.count_nonzero(mask)) < _MIN_AREA:
            raise ValueError(
                f"object {label} of {mask_path} has {area} pixels, fewer than {_MIN_AREA}: if its"
                " edges were smoothed, save it without antialiasing"
            )
    return LabelledImage(
        image_path.stem, image, {f"object {label}": mask for label, mask in masks.items()}
    )


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except OSError as error:  # also where the pixels break off
        raise ValueError(f"{path} cannot be read as a picture ({error})") from error
