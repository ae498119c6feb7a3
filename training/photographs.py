"""Photographs for the evaluation. No training uses them.

The pictures are read from the installed package of scikit-image and are not copied. Most masks were
outlined by hand and are in ``photograph_masks/``, whose README says how. The masks of the coins are
computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import skimage
from PIL import Image
from skimage.filters import sobel
from skimage.segmentation import watershed

from training.labelled_images import LabelledDataset, LabelledImage
from training.mask_folder import masks_of
from training.scenes import Bool

_PICTURES = Path(skimage.__file__).parent / "data"
_MASKS = Path(__file__).with_name("photograph_masks")


@dataclass(frozen=True)
class _Photograph:
    """The files of one picture and its masks.

    Attributes:
        file: the name of scikit-image's file.
        objects: the names of the values from 1 on, by the name of the label map. An object that is
            part of another object is in a label map of its own.
    """

    file: str
    objects: dict[str, tuple[str, ...]]


_OUTLINED = (
    _Photograph(
        "astronaut.png",
        {"astronaut": ("woman", "helmet", "shuttle"), "astronaut_parts": ("patch",)},
    ),
    _Photograph("camera.png", {"camera": ("man",)}),
    _Photograph("cell.png", {"cell": ("cell",)}),
    _Photograph("chelsea.png", {"chelsea": ("cat",), "chelsea_parts": ("left eye", "right eye")}),
    _Photograph("coffee.png", {"coffee": ("cup", "saucer", "spoon")}),
    _Photograph("horse.png", {"horse": ("horse",)}),
    _Photograph("moon.png", {"moon": ("crater",)}),
    _Photograph(
        "motorcycle_left.png", {"motorcycle": ("seat", "headlight", "indicator", "bottle")}
    ),
    _Photograph("rocket.jpg", {"rocket": ("rocket",)}),
)


def photographs() -> LabelledDataset:
    """The outlined photographs."""
    return LabelledDataset("photographs", len(_OUTLINED), lambda index: _load(_OUTLINED[index]))


def coins() -> LabelledDataset:
    """The photograph of 24 coins, a dataset of its own: the coins would outweigh all others."""
    return LabelledDataset("coins", 1, lambda index: _load_coins())


def _load(photograph: _Photograph) -> LabelledImage:
    masks: dict[str, Bool] = {}
    for label_map, names in photograph.objects.items():
        labels = np.asarray(Image.open(_MASKS / f"{label_map}.png"))
        masks |= dict(zip(names, masks_of(labels).values(), strict=True))
    return LabelledImage(Path(photograph.file).stem, _read(photograph.file), masks)


def _load_coins() -> LabelledImage:
    image = _read("coins.png")
    masks = masks_of(_coin_labels(image))
    return LabelledImage("coins", image, {f"coin {n}": mask for n, mask in masks.items()})


def _read(file: str) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(_PICTURES / file).convert("RGB"))


def _coin_labels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Label map of the 24 coins.

    The edges are flooded from pixels that are surely ground and pixels that are surely coin, as
    scikit-image's user guide shows with this picture.
    """
    grey = image[..., 0]
    seeds = np.zeros(grey.shape, np.uint8)
    seeds[grey < 30] = 1
    seeds[grey > 150] = 2
    flooded = (watershed(sobel(grey), seeds) == 2).astype(np.uint8)
    outlines, _ = cv2.findContours(flooded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(flooded), outlines, -1, 1, cv2.FILLED)
    whole = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.connectedComponents(whole)[1], np.int32)
