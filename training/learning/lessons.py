"""Embeddings and right answers as arrays in files: what the decoder learns from.

A view is a whole image or a crop of it. A small object is a lesson in both, because annotators get
its mask from both (``model/crops.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.images.errors import ImageError
from model import transforms
from model.crops import Crop, crop_for
from model.files import write_atomically
from model.predictor import Predictor
from model.transforms import LOW_RES_STRIDE, TOKEN_STRIDE
from model.types import ImageEmbedding, MaskPrediction, Prompt
from training.learning.pictures import Origin, Picture
from training.protocol import bounding_box
from training.scenes import Bool

# How often an object is chosen. What was accepted as it was teaches least: the decoder knows it.
_WEIGHTS = {
    Origin.MANUAL: 1.0,
    Origin.CLICKED: 1.0,
    Origin.CORRECTED: 1.0,
    Origin.ACCEPTED: 0.3,
}
_FEWEST_CELLS = 4.0  # of an object in a view; smaller objects are not asked for
_LARGEST_SHARE = 255  # targets are kept in bytes

_FEATURES, _TARGETS, _TABLE = "features.f16", "targets.u8", "objects.npz"


@dataclass(frozen=True)
class Lessons:
    """N objects in V views of S x S pixels.

    Attributes:
        features: V x C x S/16 x S/16 float16, embeddings.
        sizes: V x 2 (H, W), the part of the input frame that the picture covers, pixels.
        view: N, the view of each object.
        targets: N x S/4 x S/4 uint8, the share of each cell that the object covers; 255 is all.
        boxes: N x 2 x 2 (x, y), the first and the last pixel of each object in the input frame.
        weights: N, how likely each object is to be chosen.
    """

    features: npt.NDArray[np.float16]
    sizes: npt.NDArray[np.float32]
    view: npt.NDArray[np.int64]
    targets: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.view)

    def first(self, count: int) -> Lessons:
        """The first objects."""
        return replace(
            self,
            view=self.view[:count],
            targets=self.targets[:count],
            boxes=self.boxes[:count],
            weights=self.weights[:count],
        )

    def select(self, rows: npt.NDArray[np.int64], device: str) -> Batch:
        """Some of the objects, on a device."""
        views = self.view[rows]
        targets = torch.from_numpy(self.targets[rows]).to(device).float() / _LARGEST_SHARE
        sizes = torch.from_numpy(self.sizes[views] / LOW_RES_STRIDE).to(device)
        cells = torch.arange(targets.shape[-1], device=device) + 0.5
        inside = [cells[None] < sizes[:, axis, None] for axis in (0, 1)]
        return Batch(
            torch.from_numpy(self.features[views]).to(device).float(),
            targets,
            (inside[0][:, :, None] & inside[1][:, None, :]).float(),
            torch.from_numpy(self.boxes[rows]).to(device),
        )


@dataclass(frozen=True)
class Batch:
    """Some objects, each with its view.

    Attributes:
        features: B x C x S/16 x S/16.
        targets: B x S/4 x S/4, 0 to 1.
        known: B x S/4 x S/4, 1 where the picture is and 0 beside it.
        boxes: B x 2 x 2 (x, y).
    """

    features: Tensor
    targets: Tensor
    known: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def are_written(folder: Path) -> bool:
    """Whether :func:`write_lessons` has come to its end in a folder."""
    return (folder / _TABLE).exists()


def write_lessons(
    folder: Path,
    pictures: Iterable[Picture],
    predictor: Predictor,
    *,
    small_in_whole: float = 1.0,
) -> list[str]:
    """Write the lessons of pictures to a folder.

    Args:
        folder: is made. Files of an earlier call are overwritten.
        pictures: whose objects to learn.
        predictor: made the embeddings.
        small_in_whole: the weight of a small object in the whole image, as a share of its weight in
            its crop.

    Returns:
        A sentence for each image that is not available.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failures, rows = [], _Rows()
    with open(folder / _FEATURES, "wb") as features, open(folder / _TARGETS, "wb") as targets:
        for picture in pictures:
            try:
                views = _views(picture, predictor, small_in_whole)
            except ImageError as error:
                failures.append(f"{picture.name}: {error}")
                continue
            for embedding, lessons in views:
                features.write(embedding.features.astype(np.float16).tobytes())
                rows.add_view(embedding, predictor.engine.image_size)
                for lesson in lessons:
                    targets.write(lesson.target.tobytes())
                    rows.add(lesson)
    rows.save(folder / _TABLE)  # last: a folder with the table is complete
    return failures


def read_lessons(folder: Path, predictor: Predictor) -> Lessons:
    """The lessons of a folder. The large arrays stay in their files until they are used."""
    cells = predictor.engine.image_size // LOW_RES_STRIDE
    with np.load(folder / _TABLE) as table:
        sizes, view, boxes, weights = (table[key] for key in ("sizes", "view", "boxes", "weights"))
    features, targets = np.empty(0, np.float16), np.empty(0, np.uint8)
    if len(view):  # an empty file cannot be mapped
        features = np.memmap(folder / _FEATURES, np.float16, "r")
        targets = np.memmap(folder / _TARGETS, np.uint8, "r")
    return Lessons(
        features.reshape(-1, *predictor.features_shape[1:]), sizes, view,
        targets.reshape(-1, cells, cells), boxes, weights,
    )  # fmt: skip


@dataclass(frozen=True)
class _Lesson:
    target: npt.NDArray[np.uint8]
    box: npt.NDArray[np.float32]
    weight: float


class _Rows:
    """The small arrays of :class:`Lessons`, row by row."""

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int]] = []
        self._view: list[int] = []
        self._lessons: list[_Lesson] = []

    def add_view(self, embedding: ImageEmbedding, image_size: int) -> None:
        self._sizes.append(transforms.input_size(embedding.original_size, image_size))

    def add(self, lesson: _Lesson) -> None:
        self._view.append(len(self._sizes) - 1)
        self._lessons.append(lesson)

    def save(self, path: Path) -> None:
        with write_atomically(path) as file:
            np.savez(
                file,
                sizes=np.array(self._sizes, np.float32).reshape(-1, 2),
                view=np.array(self._view, np.int64),
                boxes=np.array([one.box for one in self._lessons], np.float32).reshape(-1, 2, 2),
                weights=np.array([one.weight for one in self._lessons], np.float32),
            )


def _views(
    picture: Picture, predictor: Predictor, small_in_whole: float
) -> list[tuple[ImageEmbedding, list[_Lesson]]]:
    """The whole image and every crop that shows an object, each with its lessons."""
    size = predictor.engine.image_size
    in_image: list[_Lesson] = []
    in_crops: dict[Crop, list[_Lesson]] = {}
    for one in picture.objects:
        mask, weight = one.mask, _WEIGHTS[one.origin]
        crop = _crop_of(mask, size // TOKEN_STRIDE)
        in_image += _lessons(mask, weight * (1.0 if crop is None else small_in_whole), size)
        if crop is not None:
            in_crops.setdefault(crop, []).extend(_lessons(_cut(mask, crop), weight, size))
    views = [(picture.embed(), in_image)]
    for crop, lessons in in_crops.items():
        embedding = picture.embed_crop(crop)
        if embedding is not None:
            views.append((embedding, lessons))
    return [(embedding, lessons) for embedding, lessons in views if lessons]


def _crop_of(mask: Bool, tokens: int) -> Crop | None:
    """The crop that a small object is predicted again in; None for a large object."""
    known = MaskPrediction(mask, np.empty((0, 0), np.float32), 1.0)
    return crop_for(known, Prompt.from_box(bounding_box(mask)), tokens)


def _cut(mask: Bool, crop: Crop) -> Bool:
    return mask[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]


def _lessons(mask: Bool, weight: float, image_size: int) -> list[_Lesson]:
    """The lesson of an object in a view; none where the object covers too few cells."""
    original_size = (mask.shape[0], mask.shape[1])
    target = _target(mask, original_size, image_size)
    if target.sum() < _FEWEST_CELLS * _LARGEST_SHARE:
        return []
    x0, y0, x1, y1 = bounding_box(mask)
    corners = np.array([[x0, y0], [x1, y1]], np.float32)
    box = transforms.points_to_input_frame(corners, original_size, image_size)
    return [_Lesson(target, box, weight)]


def _target(mask: Bool, original_size: tuple[int, int], size: int) -> npt.NDArray[np.uint8]:
    """The share of each cell of the low-res mask that the object covers, S/4 x S/4."""
    height, width = transforms.input_size(original_size, size)
    shrinks = height < original_size[0]
    frame = np.zeros((size, size), np.float32)
    frame[:height, :width] = cv2.resize(
        mask.astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    cells = size // LOW_RES_STRIDE
    share = frame.reshape(cells, LOW_RES_STRIDE, cells, LOW_RES_STRIDE).mean(axis=(1, 3))
    return np.asarray((share * _LARGEST_SHARE).round(), np.uint8)
