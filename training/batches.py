"""Batches of scenes with prompts and their right answers.

Drawing a new scene for every sample would take as long as learning from it, so scenes stay in a
pool and come back cropped, flipped and with their colours exchanged, while new ones replace them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.architecture import PIXEL_MEAN
from model.types import PADDING
from training.prompts import (
    BOX_LABELS,
    CLICK_LABELS,
    PromptBatch,
    box_around,
    click_inside,
    clicks_of_both_signs,
)
from training.scenes import Bool, Label, Scene, generate

LOW_RES = 4  # pixels of the input frame to one pixel of the low-res masks
_POOL_SCENES = 800
_POOL_AT_START = 32
_MIN_TARGET = 48  # pixels of a 256 x 256 frame
# Prompts to each image. They are cheap: the decoder is a tenth of the encoder's work.
_CLICKS, _BOXES, _LONG = 3, 1, 2


@dataclass(frozen=True)
class Answers:
    """Prompts and what they should give.

    Attributes:
        prompts: of equal length.
        targets: B x 2 x S/4 x S/4 uint8, coverage 0 to 255: first the whole object, then the
            part of it. A prompt that is not ambiguous has the same mask twice.
        is_single_click: B bool, the ambiguous ones.
    """

    prompts: PromptBatch
    targets: Tensor
    is_single_click: Tensor


@dataclass(frozen=True)
class Batch:
    """Images and prompts on them.

    Attributes:
        images: B x 3 x S x S uint8 RGB.
        short: single clicks and boxes: prompts of two points.
        long: prompts of several clicks.
    """

    images: Tensor
    short: Answers
    long: Answers


def stream(seed: Sequence[int], batch_size: int, image_size: int) -> Iterator[Batch]:
    """An endless stream of batches."""
    rng = np.random.default_rng(seed)
    pool = [generate(rng, image_size) for _ in range(_POOL_AT_START)]
    while True:
        for _ in range(max(1, batch_size // 3)):
            scene = generate(rng, image_size)
            if len(pool) < _POOL_SCENES:
                pool.append(scene)
            else:
                pool[rng.integers(len(pool))] = scene
        chosen = rng.integers(len(pool), size=batch_size)
        yield make_batch(rng, [pool[i] for i in chosen], image_size)


def make_batch(rng: np.random.Generator, scenes: list[Scene], image_size: int) -> Batch:
    """Vary scenes and put prompts on them."""
    clicks = int(rng.integers(2, 7))
    images, short, long = [], _AnswerList(), _AnswerList()
    for index, original in enumerate(scenes):
        scene = _vary(rng, original, image_size)
        while not _large_enough(scene.object_map).size:
            scene = _vary(rng, generate(rng, image_size), image_size)
        images.append(scene.image)
        for _ in range(_CLICKS):
            short.add_click(rng, index, scene)
        for _ in range(_BOXES):
            target = _one_target(rng, scene)
            short.add(index, box_around(rng, target), BOX_LABELS, target, target)
        for _ in range(_LONG):
            target = _one_target(rng, scene)
            coords, labels = clicks_of_both_signs(rng, target, clicks)
            coords, labels = np.pad(coords, ((0, 1), (0, 0))), np.append(labels, PADDING)
            long.add(index, coords, labels, target, target)
    pixels = np.stack(images).transpose(0, 3, 1, 2)  # B x 3 x S x S
    return Batch(torch.from_numpy(np.ascontiguousarray(pixels)), short.stack(), long.stack())


class _AnswerList:
    """Collects prompts of equal length and their targets."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.coords: list[npt.NDArray[np.float32]] = []
        self.labels: list[npt.NDArray[np.int64]] = []
        self.targets: list[Label] = []
        self.single_clicks: list[bool] = []

    def add(
        self,
        index: int,
        coords: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        whole: Bool,
        part: Bool,
        *,
        is_single_click: bool = False,
    ) -> None:
        self.indices.append(index)
        self.coords.append(coords)
        self.labels.append(labels)
        self.targets.append(np.stack([_coverage(whole), _coverage(part)]))
        self.single_clicks.append(is_single_click)

    def add_click(self, rng: np.random.Generator, index: int, scene: Scene) -> None:
        whole = scene.object_map == _some_object(rng, scene)
        x, y = click_inside(rng, whole)
        part = scene.part_map == scene.part_map[y, x]
        if np.count_nonzero(part) < _MIN_TARGET:
            part = whole
        coords = np.array([[x, y], [0, 0]], np.float32)
        self.add(index, coords, CLICK_LABELS, whole, part, is_single_click=True)

    def stack(self) -> Answers:
        prompts = PromptBatch(
            torch.tensor(self.indices),
            torch.from_numpy(np.stack(self.coords)),
            torch.from_numpy(np.stack(self.labels)),
        )
        targets = torch.from_numpy(np.stack(self.targets))
        return Answers(prompts, targets, torch.tensor(self.single_clicks))


def _one_target(rng: np.random.Generator, scene: Scene) -> Bool:
    """A whole object, or now and then one part of it."""
    whole: Bool = scene.object_map == _some_object(rng, scene)
    if rng.random() < 0.75:
        return whole
    parts = _large_enough(np.where(whole, scene.part_map, 0).astype(np.uint8))
    return scene.part_map == rng.choice(parts) if parts.size else whole


def _some_object(rng: np.random.Generator, scene: Scene) -> int:
    objects = scene.object_map
    numbers = _large_enough(objects)
    # large ones more often, or crowds of small ones would make up most of the lessons
    weights = np.sqrt(np.bincount(objects.ravel(), minlength=256)[numbers])
    return int(rng.choice(numbers, p=weights / weights.sum()))


def _large_enough(numbers: Label) -> npt.NDArray[np.int64]:
    area = np.bincount(numbers.ravel(), minlength=256)
    area[0] = 0
    return np.flatnonzero(area >= _MIN_TARGET)


def _coverage(mask: Bool) -> Label:
    """How much of each low-res pixel a mask covers, S/4 x S/4, 0 to 255."""
    height, width = mask.shape
    size = (width // LOW_RES, height // LOW_RES)
    return np.asarray(
        cv2.resize(mask.view(np.uint8) * 255, size, interpolation=cv2.INTER_AREA), np.uint8
    )


def _vary(rng: np.random.Generator, scene: Scene, size: int) -> Scene:
    """Crop, scale, flip and recolour a scene; a picture that is not square is padded."""
    side = scene.part_map.shape[0]
    height = width = int(side * (rng.uniform(0.55, 1.0) if rng.random() < 0.6 else 1.0))
    if rng.random() < 0.5:
        height, width = (
            (int(height * rng.uniform(0.55, 1)), width)
            if rng.random() < 0.5
            else (height, int(width * rng.uniform(0.55, 1)))
        )
    top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    scale = size / max(height, width)
    shape = (round(width * scale), round(height * scale))  # OpenCV's order
    window = (slice(top, top + height), slice(left, left + width))
    image = cv2.resize(scene.image[window], shape, interpolation=cv2.INTER_LINEAR)
    part_map = cv2.resize(scene.part_map[window], shape, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        image, part_map = image[:, ::-1], part_map[:, ::-1]
    if rng.random() < 0.25:
        image, part_map = image.swapaxes(0, 1), part_map.swapaxes(0, 1)
    if rng.random() < 0.6:
        image = image[..., rng.permutation(3)]
    padded = np.empty((size, size, 3), np.uint8)
    padded[:] = np.round(PIXEL_MEAN)  # zero after normalisation, as the serving code pads
    padded[: image.shape[0], : image.shape[1]] = image
    padded_map = np.zeros((size, size), np.uint8)
    padded_map[: part_map.shape[0], : part_map.shape[1]] = part_map
    return Scene(padded, padded_map, scene.owners)
